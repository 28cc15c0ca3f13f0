"""BandStats.check: what is found in data with published statistics, and what is not."""

from pathlib import Path

import numpy as np
import pytest

import graypipe as gp

L1C, L1C_BEFORE = "sentinel-2-l1c", "sentinel-2-l1c-before-04.00"
L2A, L2A_BEFORE = "sentinel-2-l2a", "sentinel-2-l2a-before-04.00"
BANDS = gp.sensor(L1C).bands
# The file of m-eurosat, whose labels are B8A, B09, B10, B11, B12 from the ninth band on:
# ServiceNow/geo-bench issue 28
HELD = (*BANDS[:8], "B09", "B10", "B11", "B12", "B8A")
ORDER = "B8A, B09, B10, B11, B12 look like B09, B10, B11, B12, B8A"


def statistics(means, stds, bands, *, offset=0, dtype=np.uint16, scale=1):
    """Return the statistics of images whose bands have a mean and a std, in gamma noise."""
    rng = np.random.default_rng(12)
    means, stds = np.array(means), np.array(stds)
    shape = (means / stds) ** 2
    images = rng.gamma(shape, means / shape, (200, 200, len(bands)))
    if np.dtype(dtype).kind != "f":
        images = np.clip(np.rint(images + offset), offset + 1, 65535)
    stats = gp.BandStats(gp.Source(bands, range=(0, 65535)))
    stats.update((images * scale).astype(dtype))
    return stats


def published(order=BANDS):
    """Return mean and std of SSL4EO-S12 of the bands in another order."""
    target = gp.preset("ssl4eo-s12-stats")
    positions = [target.bands.index(band) for band in order]
    return np.array(target.mean)[positions], np.array(target.std)[positions]


def test_published_statistics_are_plausible():
    assert statistics(*published(), BANDS).check(L1C_BEFORE) == ()
    assert statistics(*published(), BANDS, offset=1000).check(L1C) == ()


def test_labels_that_are_rotated_from_the_ninth_band_on_are_found():
    order, *bands = statistics(*published(HELD), BANDS).check(L1C_BEFORE)
    assert ORDER in order
    assert [note[:3] for note in bands] == ["B09", "B10"]


# torchgeo, datamodules/eurosat.py: measured on EuroSAT, in the order of its files
EUROSAT_MEAN = [
    1354.40546513, 1118.24399958, 1042.92983953, 947.62620298, 1199.47283961,
    1999.79090914, 2369.22292565, 2296.82608323, 732.08340178, 12.11327804,
    1819.01027855, 1118.92391149, 2594.14080798,
]  # fmt: skip
EUROSAT_STD = [
    245.71762908, 333.00778264, 395.09249139, 593.75055589, 566.4170017, 861.18399006,
    1086.63139075, 1117.98170791, 404.91978886, 4.77584468, 1002.58768311, 761.30323499,
    1231.58581042,
]  # fmt: skip


def test_the_statistics_of_eurosat_fit_its_files_and_not_its_former_labels():
    assert statistics(EUROSAT_MEAN, EUROSAT_STD, HELD).check(L1C_BEFORE) == ()
    order, *bands = statistics(EUROSAT_MEAN, EUROSAT_STD, BANDS).check(L1C_BEFORE)
    assert ORDER in order
    assert len(bands) == 2
    page = Path(__file__).parents[2] / "docs" / "inspect.md"
    shown = page.read_text(encoding="utf-8").splitlines()
    assert {f"{L1C_BEFORE}: {note}" for note in (order, *bands)} <= {*shown}


def test_two_bands_that_are_exchanged_are_found():
    held = list(BANDS)
    held[1], held[10] = "B10", "B02"
    order, *bands = statistics(*published(held), BANDS).check(L1C_BEFORE)
    assert "B02, B10 look like B10, B02" in order
    assert len(bands) == 2


def test_a_band_in_another_unit_is_found():
    means, stds = published()
    means[10] *= 100
    stds[10] *= 100
    [note] = statistics(means, stds, BANDS).check(L1C_BEFORE)
    assert note.startswith("B10: ")
    assert "another unit" in note
    # A tenth of the water vapour band is still brighter than the cirrus band.
    means, stds = published()
    means[9] /= 11
    stds[9] /= 11
    [note] = statistics(means, stds, BANDS).check(L1C_BEFORE)
    assert note.startswith("B09: ")


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_darker_and_brighter_data_sets_are_plausible(factor):
    means, stds = published()
    assert statistics(means * factor, stds * factor, BANDS).check(L1C_BEFORE) == ()


@pytest.mark.parametrize(
    ("declared", "actual", "offset"),
    [(L1C, L1C_BEFORE, 0), (L1C_BEFORE, L1C, 1000)],
)
def test_the_offset_of_the_other_baseline_is_found(declared, actual, offset):
    [note] = statistics(*published(), BANDS, offset=offset).check(declared)
    assert note.endswith(f"the images look like {actual!r}")


def test_level_2_tells_its_baselines_apart_too():
    target = gp.preset("terramind-1-s2l2a")
    stats = statistics(target.mean, target.std, target.bands)
    assert stats.check(L2A_BEFORE) == ()
    [note] = stats.check(L2A)
    assert repr(L2A_BEFORE) in note
    later = statistics(target.mean, target.std, target.bands, offset=1000)
    assert later.check(L2A) == ()
    assert repr(L2A) in later.check(L2A_BEFORE)[0]


@pytest.mark.parametrize("scale", [1e-4, 255 / 10000])
def test_another_scale_of_all_bands_is_found(scale):
    stats = statistics(*published(), BANDS, dtype=np.float64, scale=scale)
    [note] = stats.check(L1C_BEFORE)
    assert f"{scale:.1g}"[:4] in note or "0.025" in note
    assert "range=" in note


def test_bands_may_have_aliases_no_names_or_be_a_part():
    means, stds = published()
    numbered = tuple(f"band{number}" for number in range(1, 14))
    assert ORDER in statistics(*published(HELD), numbered).check(L1C_BEFORE)[0]
    part = ("cirrus", "B2", "nir09")
    columns = [10, 1, 9]
    assert statistics(means[columns], stds[columns], part).check(L1C_BEFORE) == ()
    exchanged = statistics(means[[1, 10, 9]], stds[[1, 10, 9]], part)
    assert "B10, B02 look like B02, B10" in exchanged.check(L1C_BEFORE)[0]


@pytest.mark.parametrize("sensor", ["naip", "landsat-8-c2-l1", "hls-s30", "hls-l30"])
def test_every_sensor_with_statistics_finds_them_plausible(sensor):
    target = gp.preset(gp.sensor(sensor).statistics)
    dtype = gp.sensor(sensor).dtype
    mean = np.array(target.mean)
    std = np.minimum(target.std, mean)  # Prithvi's data have long tails
    if dtype == "uint8":
        std = std / 2
    stats = gp.BandStats(gp.Source(target.bands, range=(0, 255)))
    rng = np.random.default_rng(2)
    shape = (mean / std) ** 2
    values = rng.gamma(shape, mean / shape, (100, 100, len(mean)))
    limit = np.iinfo(dtype).max
    stats.update(np.clip(values, 1, limit).astype(dtype))
    assert stats.check(sensor) == ()


@pytest.mark.parametrize("name", gp.sensors())
def test_statistics_are_those_of_bands_of_the_sensor(name):
    facts = gp.sensor(name)
    if facts.statistics is None:
        stats = gp.BandStats(facts.bands)
        stats.update(np.ones((2, 2, len(facts.bands)), np.uint8))
        with pytest.raises(gp.ChannelError, match="sentinel-2-l2a"):
            stats.check(name)
        return
    target = gp.preset(facts.statistics)
    assert {facts.band(band) for band in target.bands} <= set(facts.bands)


def test_unknown_sensors_bands_and_empty_statistics_raise():
    stats = gp.BandStats("RGB")
    with pytest.raises(gp.RangeError, match="update"):
        stats.check(L1C)
    stats.update(np.ones((2, 2, 3), np.uint8))
    with pytest.raises(gp.ChannelError, match=r"gp\.sensors\(\)"):
        stats.check("nikon")
    other = gp.BandStats("YN")
    other.update(np.ones((2, 2, 2), np.uint8))
    with pytest.raises(gp.ChannelError, match="no band 'Y'"):
        other.check(L1C)
    same = gp.BandStats(("red", "B04"))
    same.update(np.ones((2, 2, 2), np.uint8))
    with pytest.raises(gp.ChannelError, match="the same band"):
        same.check(L1C)
