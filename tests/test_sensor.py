"""Sensors: each fact with the number of its source, aliases without ambiguity, and sources made from them."""

import dataclasses
import pickle
import re

import numpy as np
import pytest
from PIL import Image

import graypipe as gp
from graypipe.messages import plain_name

ALL = gp.sensors()
SENTINEL_2 = [name for name in ALL if name.startswith("sentinel-2")]
LEVEL_2 = [name for name in ALL if name.endswith("c2-l2")]
OPTICAL = [name for name in ALL if "blue" in str(gp.sensor(name).aliases)]


def source_of(name, bands=None, **source):
    return gp.Source.from_sensor(name, bands, **source)


def test_the_sensors_of_the_issue_are_listed_in_order():
    assert list(ALL) == sorted(ALL)
    assert set(ALL) == {
        "hls-l30",
        "hls-s30",
        "human-protein-atlas",
        "naip",
        "sentinel-1-grd-db",
        *(f"landsat-{n}-c2-l{level}" for n in (5, 7, 8, 9) for level in (1, 2)),
        *(
            f"sentinel-2-{level}{baseline}"
            for level in ("l1c", "l2a")
            for baseline in ("", "-before-04.00")
        ),
    }


@pytest.mark.parametrize("name", ALL)
def test_no_name_stands_for_two_bands_of_a_sensor(name):
    sensor = gp.sensor(name)
    owners = {}
    for band, aliases in zip(sensor.bands, sensor.aliases, strict=True):
        for each in {plain_name(each) for each in (band, *aliases)}:
            assert owners.setdefault(each, band) == band
    # Repeated names within a band would not be ambiguous, but are useless.
    spellings = sum(len(aliases) + 1 for aliases in sensor.aliases)
    assert len(owners) == spellings


@pytest.mark.parametrize("name", ALL)
def test_every_name_of_a_band_finds_it_in_any_spelling(name):
    sensor = gp.sensor(name)
    for band, aliases in zip(sensor.bands, sensor.aliases, strict=True):
        for each in (band, *aliases):
            assert sensor.band(each) == band
            assert sensor.band(each.lower()) == band
            assert sensor.band(each.upper().replace("_", "-")) == band


@pytest.mark.parametrize("name", ALL)
def test_facts_have_one_entry_per_band_and_fit_the_dtype(name):
    sensor = gp.sensor(name)
    count = len(sensor.bands)
    assert len(sensor.aliases) == len(sensor.wavelengths) == count
    assert len(set(sensor.bands)) == count
    assert hash(sensor) == hash(gp.sensor(name))
    assert pickle.loads(pickle.dumps(sensor)) == sensor
    source = source_of(name, dtype=sensor.dtype)  # raises where a value does not fit
    assert source.bands == sensor.bands
    with pytest.raises(dataclasses.FrozenInstanceError):
        sensor.name = "other"


# STAC eo, README.md @09f6527: the limits of the common names, in nm
COMMON_NAMES = {
    "coastal": (400, 450),
    "blue": (450, 500),
    "green": (500, 600),
    "red": (600, 700),
    "pan": (500, 900),
    "rededge1": (680, 790),
    "rededge2": (680, 790),
    "rededge3": (680, 790),
    "nir": (750, 1000),
    "nir08": (750, 900),
    "nir09": (850, 1050),
    "cirrus": (1350, 1400),
    "swir16": (1550, 1750),
    "swir22": (2100, 2300),
    "lwir": (10500, 12500),
    "lwir11": (10500, 11500),
    "lwir12": (11500, 12500),
    "lwir_low_gain": (10500, 12500),
    "lwir_high_gain": (10500, 12500),
}


@pytest.mark.parametrize("name", OPTICAL)
def test_wavelengths_lie_in_the_limits_of_their_common_name(name):
    sensor = gp.sensor(name)
    if name == "human-protein-atlas":
        assert sensor.wavelengths == (None,) * 4
        return
    for band, wavelength in zip(sensor.bands, sensor.wavelengths, strict=True):
        low, high = COMMON_NAMES[sensor._common_name(band)]
        assert low <= wavelength <= high


@pytest.mark.parametrize(
    ("name", "alias", "band"),
    [
        ("sentinel-2-l2a", "red", "B04"),
        ("sentinel-2-l2a", "B2", "B02"),
        ("sentinel-2-l2a", "NIR_NARROW", "B8A"),
        ("sentinel-2-l1c", "nir08", "B8A"),
        ("sentinel-2-l1c", "SWIR_1", "B11"),
        ("landsat-8-c2-l2", "red", "SR_B4"),
        ("landsat-8-c2-l1", "lwir11", "B10"),
        ("landsat-5-c2-l2", "red", "SR_B3"),
        ("landsat-7-c2-l1", "pan", "B8"),
        ("hls-s30", "nir_narrow", "B8A"),
        ("hls-l30", "nir_narrow", "B05"),
        ("hls-l30", "swir2", "B07"),
        ("naip", "N", "nir"),
        ("human-protein-atlas", "nucleus", "B"),
        ("sentinel-1-grd-db", "vv", "VV"),
    ],
)
def test_aliases_mean_the_band_that_the_product_says(name, alias, band):
    assert gp.sensor(name).band(alias) == band


def unit_intensity(name, value, band=0):
    """Return what a plan makes of a stored value."""
    source = source_of(name, [gp.sensor(name).bands[band]], layout="HW", nodata=None)
    plan = gp.plan(source, gp.Target(source.bands, "HW", "float64"))
    return plan(np.array([[value]], gp.sensor(name).dtype or np.float64)).item()


@pytest.mark.parametrize("name", SENTINEL_2)
def test_sentinel_2_is_reflectance_with_the_offset_of_its_baseline(name):
    offset = 0 if "before" in name else 1000
    assert unit_intensity(name, 2500 + offset) == pytest.approx(0.25)
    assert ("B10" in gp.sensor(name).bands) == ("l1c" in name)
    assert gp.sensor(name).bands.index("B8A") == 8


@pytest.mark.parametrize("name", LEVEL_2)
def test_landsat_level_2_is_the_reflectance_of_usgs(name):
    assert unit_intensity(name, 20000) == pytest.approx(20000 * 0.0000275 - 0.2)
    thermal = len(gp.sensor(name).bands) - 1
    assert unit_intensity(name, 65535, thermal) == 1


def test_hls_is_reflectance_and_hundredths_of_a_degree():
    assert unit_intensity("hls-s30", 2500) == 0.25
    assert unit_intensity("hls-l30", 2512, 8) * 100 == pytest.approx(25.12)


def test_level_1_and_photographs_have_the_range_of_their_dtype():
    assert unit_intensity("landsat-8-c2-l1", 65535) == 1
    assert unit_intensity("landsat-7-c2-l1", 255) == 1
    assert unit_intensity("naip", 51) == pytest.approx(0.2)
    assert source_of("human-protein-atlas").range is None


@pytest.mark.parametrize(
    ("sensor", "preset", "mean"),
    [
        ("sentinel-2-l2a", "terramind-1-s2l2a", 1390.458 + 1000),
        ("sentinel-2-l1c-before-04.00", "ssl4eo-s12-stats", 1612.9),
        ("naip", "clay-1.5-naip", 110.16),
        ("landsat-8-c2-l1", "satlas-landsat", 4000),
        ("sentinel-1-grd-db", "ssl4eo-s12-s1", -12.59),
    ],
)
def test_sensors_fit_the_presets_of_their_images(sensor, preset, mean):
    """The stored value that is the mean of the first band becomes 0."""
    source = source_of(sensor, nodata=None, layout="HWC")
    plan = gp.plan(source, gp.preset(preset, dtype="float64"))
    values = np.full((1, 1, len(source.bands)), float(mean))
    values[..., 1:] += np.array([0.5])  # not constant, as the pixels of an image
    assert plan(values)[0].item() == pytest.approx(0, abs=1e-12)


def test_a_band_of_hls_feeds_prithvi_through_the_printed_mapping():
    target = gp.preset("prithvi-eo-2", dtype="float64")
    with pytest.raises(gp.ChannelError) as caught:
        gp.plan(source_of("hls-l30"), target)
    via = eval(re.search(r"via=(\{.*?\})\n", str(caught.value))[1])
    assert via["NIR_NARROW"] == "nir08"
    plan = gp.plan(source_of("hls-l30"), target, via)
    values = np.arange(100, 110, dtype=np.int16)[None, None]
    means = [1087, 1342, 1433, 2734, 1958, 1363]
    stds = [2248, 2179, 2178, 1850, 1242, 1049]
    assert plan(values)[:, 0, 0] == pytest.approx(
        (np.arange(101, 107) - means) / stds, abs=1e-12
    )


@pytest.mark.parametrize(
    ("sensor", "preset"),
    [
        ("sentinel-2-l2a", "imagenet"),
        ("sentinel-2-l2a", "clay-1.5-sentinel-2-l2a"),
        ("landsat-9-c2-l1", "clay-1.5-landsat-c2l1"),
        ("hls-s30", "prithvi-eo-1"),
        ("human-protein-atlas", "imagenet"),
    ],
)
def test_the_error_for_a_missing_map_prints_one_that_works(sensor, preset):
    source = source_of(sensor)
    target = gp.preset(preset)
    with pytest.raises(gp.ChannelError) as caught:
        gp.plan(source, target)
    assert len(str(caught.value)) < 600
    text = re.search(r"via=(\{.*?\})\n", str(caught.value))[1]
    plan = gp.plan(source, target, eval(text, {"target": target}))
    sensor = gp.sensor(sensor)
    for output, row in zip(target.bands, plan.via.matrix, strict=True):
        assert row[source.bands.index(sensor.band(output))] == 1


def test_a_band_that_the_source_lacks_stays_a_placeholder():
    source = source_of("sentinel-2-l2a", ("red", "nir"))
    with pytest.raises(gp.ChannelError, match='"R": "red", "G": "<one of B04, B08>"'):
        gp.plan(source, "imagenet")


def test_bands_keep_their_order_and_become_official_names():
    source = source_of("sentinel-2-l2a", ("nir", "B4", "green"))
    assert source.bands == ("B08", "B04", "B03")
    assert source_of("sentinel-2-l2a", "RGB").bands == ("B04", "B03", "B02")
    assert source_of("naip", ["nir"]).layout == "HW"


def test_ranges_per_band_follow_the_bands():
    source = source_of("landsat-8-c2-l2", ("lwir11", "red"))
    assert source.range[0] == (0, 65535)
    assert source.range[1] == pytest.approx((0.2 / 0.0000275, 1.2 / 0.0000275))
    assert source_of("landsat-8-c2-l2", "RGB").range == source.range[1]


def test_keywords_take_precedence():
    source = source_of("sentinel-2-l2a", range=(0, 1), nodata=None, layout="CHW")
    assert (source.range, source.nodata, source.layout) == ((0, 1), None, "CHW")
    assert source_of("sentinel-2-l2a", bits=12).range is None
    assert source_of("sentinel-2-l2a", dtype="uint16", clip=True).clip


@pytest.mark.parametrize("name", ALL)
def test_sources_survive_json_pickle_and_replace(name):
    source = source_of(name)
    plan = gp.plan(source, gp.Target(source.bands, "CHW"))
    assert gp.Plan.from_json(plan.to_json()) == plan
    assert pickle.loads(pickle.dumps(source)) == source
    assert hash(source_of(name)) == hash(source)
    chw = plan.with_layouts("CHW").source
    assert chw.sensor == name
    assert chw == dataclasses.replace(source, layout="CHW")


def test_the_sensor_changes_neither_values_nor_the_fingerprint():
    source = source_of("sentinel-2-l2a", "RGB")
    plain = dataclasses.replace(source, sensor=None)
    via = {"R": "B04", "G": "B03", "B": "B02"}
    plan, without = gp.plan(source, "unit", via), gp.plan(plain, "unit", via)
    assert source != plain
    assert plan.fingerprint == without.fingerprint
    assert '"sensor"' not in without.to_json()
    image = np.random.default_rng(3).integers(0, 65536, (5, 4, 3), np.uint16)
    assert (plan(image) == without(image)).all()


def test_via_takes_aliases_of_a_source_that_was_made_from_a_sensor():
    source = source_of("sentinel-2-l2a", ("red", "nir", "green"))
    mapping = {"R": {"red": 0.5, "B8": 0.5}, "G": "green", "B": None}
    official = {"R": {"B04": 0.5, "B08": 0.5}, "G": "B03", "B": None}
    assert gp.plan(source, "unit", mapping) == gp.plan(source, "unit", official)
    plain = gp.Source(source.bands, range=(1000, 11000), nodata=0)
    with pytest.raises(gp.ChannelError, match="'red'"):
        gp.plan(plain, "unit", {"R": "red", "G": "green", "B": "nir"})


def test_a_band_named_twice_in_one_sum_is_an_error():
    source = source_of("sentinel-2-l2a")
    via = {"R": {"red": 0.5, "B04": 0.5}, "G": "green", "B": "blue"}
    with pytest.raises(gp.ChannelError, match="twice"):
        gp.plan(source, "unit", via)


def test_an_alias_of_a_band_that_the_image_lacks_is_an_error():
    source = source_of("sentinel-2-l2a", "RGB")
    with pytest.raises(gp.ChannelError, match="'B11'"):
        gp.plan(source, "unit", {"R": "swir16", "G": "green", "B": "blue"})


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("sentinel2-l2a", r"\(did you mean 'sentinel-2-l2a'\?\)"),
        ("landsat8", r"'landsat-8-c2-l1', 'landsat-8-c2-l2'\?"),
        ("NIAP", "did you mean 'naip'"),
        ("", r"gp\.sensors\(\)"),
        (None, r"gp\.sensors\(\)"),
    ],
)
def test_unknown_sensors_are_answered_with_the_known_ones(name, suggestion):
    with pytest.raises(gp.ChannelError, match=suggestion):
        gp.sensor(name)
    with pytest.raises(gp.ChannelError, match=suggestion):
        gp.Source.from_sensor(name)


def test_unknown_bands_are_answered_with_a_close_one():
    with pytest.raises(gp.ChannelError, match="did you mean 'green'"):
        source_of("naip", ("gren",))
    with pytest.raises(gp.ChannelError, match="no band 'cirrus'"):
        source_of("sentinel-2-l2a", ("cirrus",))
    with pytest.raises(gp.ChannelError, match="distinct"):
        source_of("naip", ("red", "R"))


def test_a_source_of_a_sensor_has_its_bands_and_a_range():
    source = source_of("sentinel-2-l2a", "RGB")
    with pytest.raises(gp.ChannelError, match="sensor=None"):
        dataclasses.replace(source, bands="RGB")
    assert dataclasses.replace(source, bands="RGB", sensor=None).bands == tuple("RGB")
    with pytest.raises(gp.RangeError, match="from_sensor"):
        dataclasses.replace(source, range=None)
    with pytest.raises(gp.RangeError, match="from_sensor"):
        gp.Source(("B04",), sensor="sentinel-2-l2a")
    with pytest.raises(gp.ChannelError, match="'nikon'"):
        gp.Source(sensor="nikon")


def test_read_takes_a_sensor(tmp_path):
    values = np.arange(48, dtype=np.uint8).reshape(3, 4, 4)
    np.save(tmp_path / "tile.npy", values)
    image, source = gp.read(tmp_path / "tile.npy", sensor="naip", layout="HWC")
    assert source == source_of("naip", dtype="uint8")
    part, of_part = gp.read(
        tmp_path / "tile.npy",
        sensor="naip",
        layout="HWC",
        select=("near_infrared", "R"),
    )
    assert of_part == source_of("naip", ("nir", "red"), dtype="uint8")
    assert (part == image[..., [3, 0]]).all()
    with pytest.raises(gp.ChannelError, match="with 3 bands"):
        gp.read(tmp_path / "tile.npy", sensor="naip", layout="HWC", bands="RGB")
    stats = gp.BandStats(source)
    stats.update(tmp_path / "tile.npy")
    assert stats.count == 12


def test_read_bands_takes_a_sensor(tmp_path):
    for word in ("red", "green", "blue", "yellow"):
        Image.new("L", (4, 3), len(word)).save(tmp_path / f"7_{word}.pgm")
    pattern = tmp_path / "7_{}.pgm"
    image, source = gp.read_bands(
        ("red", "yellow"), pattern=pattern, sensor="human-protein-atlas"
    )
    assert source.bands == ("R", "Y")
    assert source.sensor == "human-protein-atlas"
    assert image[:, 0, 0].tolist() == [3, 6]


@pytest.mark.parametrize(
    ("bands", "sensors"),
    [
        (("SR_B4", "SR_B3", "SR_B2", "ST_B10"), "landsat-8-c2-l2, landsat-9-c2-l2"),
        ([f"band{number}" for number in range(1, 5)], "human-protein-atlas, naip"),
    ],
)
def test_an_alias_without_a_sensor_gets_a_hint(bands, sensors):
    source = gp.Source(bands, range=(0, 10000))
    with pytest.raises(gp.ChannelError, match=f"sensor=, .* fit {sensors}$"):
        gp.plan(source, "imagenet", {"R": "red", "G": "green", "B": "blue"})
    with pytest.raises(gp.ChannelError) as caught:
        gp.plan(source, "imagenet", {"R": "cyan", "G": "green", "B": "blue"})
    assert "sensor=" not in str(caught.value)
