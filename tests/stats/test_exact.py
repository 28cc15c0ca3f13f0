"""Statistics of integers of up to 16 bits are exact, in any order of merging."""

import json
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stats.data_sets import gather, replacing
from strategies import STRIDES, shape_of, stored, strided

import graypipe as gp

RNG = np.random.default_rng(9)


DTYPES = ["bool", "int8", "uint8", "int16", "uint16"]


BANDS = {1: "gray", 2: "RG", 3: "RGB", 4: "RGBY"}


def stacked(images, layout):
    """Return all pixels as (pixels, bands) in float64."""
    parts = [
        image[..., None]
        if "C" not in layout
        else np.moveaxis(image, layout.index("C"), -1)
        for image in images
    ]
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts]).astype(
        np.float64
    )


def assert_equals_numpy(stats, pixels, percentiles=(0, 2, 12.5, 50, 98, 99.9, 100)):
    close = {"rtol": 1e-9, "atol": 1e-9}
    assert stats.count == len(pixels)
    np.testing.assert_allclose(stats.mean, pixels.mean(0), **close)
    np.testing.assert_allclose(stats.std, pixels.std(0), **close)
    np.testing.assert_allclose(
        stats.covariance,
        np.cov(pixels.T, ddof=0).reshape(stats.covariance.shape),
        **close,
    )
    np.testing.assert_array_equal(stats.min, pixels.min(0))
    np.testing.assert_array_equal(stats.max, pixels.max(0))
    np.testing.assert_allclose(
        stats.percentile(percentiles),
        np.percentile(pixels, percentiles, axis=0),
        **close,
    )
    np.testing.assert_array_equal(stats.percentile(2), stats.percentile([2])[0])


@st.composite
def data_sets(draw):
    """Draw a source and a few images of it, with any layout and strides."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    layout = draw(st.sampled_from(["HW", "HWC", "CHW", "HCW", "NHW", "NTHWC", "DCHW"]))
    count = draw(st.integers(1, 4)) if "C" in layout else 1
    dtype = draw(st.sampled_from(DTYPES))
    images = [
        strided(
            stored(rng, shape_of(layout, count, rng), dtype),
            draw(st.sampled_from(STRIDES)),
            order,
        )
        for order in draw(st.lists(st.sampled_from("<>"), min_size=1, max_size=5))
    ]
    return gp.Source(BANDS[count], layout), images


@settings(max_examples=60, deadline=None)
@given(data_sets())
def test_statistics_equal_numpy_on_all_pixels_at_once(data):
    source, images = data
    kept = [image.copy() for image in images]
    assert_equals_numpy(gather(source, images), stacked(images, source.layout))
    for image, before in zip(images, kept, strict=True):
        np.testing.assert_array_equal(image, before)


@settings(max_examples=60, deadline=None)
@given(data_sets(), st.data())
def test_parts_merge_in_any_order_to_the_same_json(data, draw):
    source, images = data
    parts = [gather(source, [image]) for image in draw.draw(st.permutations(images))]
    while len(parts) > 1:  # merge in a random tree
        first = parts.pop(draw.draw(st.integers(0, len(parts) - 1)))
        parts[draw.draw(st.integers(0, len(parts) - 1))].merge(first)
    assert parts[0].to_json() == gather(source, images).to_json()


@settings(max_examples=40, deadline=None)
@given(data_sets())
def test_json_and_pickle_round_trips_can_be_updated(data):
    source, images = data
    stats = gather(source, images)
    for again in (
        gp.BandStats.from_json(stats.to_json()),
        pickle.loads(pickle.dumps(stats)),
    ):
        assert again == stats
        assert again.to_json() == stats.to_json()
        again.update(images[0])
        assert again == gather(source, [*images, images[0]])
        assert again != stats


def test_sums_of_squares_beyond_64_bits_stay_exact():
    white = gather("gray", [np.full((512, 512), 65535, np.uint16)])
    both = gather(
        "gray", [np.full((512, 512), 65535, np.uint16), np.zeros((512, 512), np.uint16)]
    )
    for _ in range(40):
        white.merge(white)
        both.merge(both)
    assert white.count == 2**58
    assert (white.mean, white.std) == (65535, 0)
    assert white.constant == ("gray",)
    assert (both.mean, both.std, both.percentile(50)) == (32767.5, 32767.5, 32767.5)
    assert both.percentile(25) == 0
    assert gp.BandStats.from_json(both.to_json()) == both


def test_merging_more_than_63_bits_of_pixels_is_an_error():
    stats = gather("gray", [np.zeros((1, 2), np.uint8)])
    for _ in range(61):
        stats.merge(stats)
    before = stats.to_json()
    with pytest.raises(gp.RangeError, match="overflow the 64-bit counters"):
        stats.merge(stats)
    assert stats.to_json() == before


def test_an_image_larger_than_a_block_is_counted_whole():
    image = RNG.integers(0, 65536, (3, 700, 900), dtype=np.uint16)
    source = gp.Source("RGB", "CHW")
    assert_equals_numpy(
        gather(source, [image]), stacked([image], "CHW"), percentiles=(1, 50, 99)
    )


@pytest.mark.parametrize("nodata", [0, -1, 7, float("nan")])
def test_a_pixel_with_nodata_in_any_band_counts_in_none(nodata):
    images = [RNG.integers(0, 12, (9, 8, 3), dtype=np.uint8) for _ in range(3)]
    stats = gather(
        gp.Source("RGB", range=(0, 11), nodata=nodata if nodata != -1 else None), images
    )
    pixels = stacked(images, "HWC")
    assert_equals_numpy(stats, pixels[(pixels != nodata).all(axis=1)])


def test_json_holds_the_levels_that_occur_and_no_others():
    stats = gather("gray", [np.array([[3, 4, 4, 60000]], np.uint16)])
    record = json.loads(stats.to_json())
    assert record["statistics"]["runs"] == [[[3, 1, 2], [60000, 1]]]
    assert record["statistics"]["products"] == [[4, 60011], [60011, 3600000041]]
    assert len(stats.to_json()) < 200


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(format=2),
        lambda record: record.update(more=1),
        lambda record: record.pop("source"),
        lambda record: record.pop("dtype"),
        lambda record: record.update(dtype="uint8"),
        lambda record: record.update(dtype="int64"),
        lambda record: record["statistics"].pop("runs"),
        lambda record: record["statistics"]["runs"][0][0].append(5),
        lambda record: record["statistics"].update(products=[[1]]),
        lambda record: record.update(statistics=[]),
        lambda record: record["source"].update(bands="RGB"),
    ],
)
def test_json_of_something_else_is_refused(change, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastdigest", None)
    record = json.loads(
        gather("gray", [np.array([[3, 4, 4, 60000]], np.uint16)]).to_json()
    )
    change(record)
    with pytest.raises(
        (gp.ChannelError, gp.MissingExtraError), match=r"expected|fastdigest"
    ):
        gp.BandStats.from_json(json.dumps(record))


def replace_sum(record):
    record["products"][0][1] = 8
    record["products"][1][0] = 8


CONTRADICTIONS = {
    "a level below the dtype": replacing("runs", 0, 0, 0, value=-3),
    "a level above the dtype": replacing("runs", 0, 1, 0, value=256),
    "a run that exceeds the dtype": replacing("runs", 0, 1, 0, value=255),
    "a negative count": replacing("runs", 0, 0, value=[3, 3, -1]),
    "a fractional count": replacing("runs", 0, 0, 1, value=1.5),
    "a run counted twice": lambda record: record["runs"][0].append([3, 1]),
    "asymmetric products": replacing("products", 0, 1, value=8),
    "another sum": replace_sum,
    "another sum of squares": replacing("products", 1, 1, value=26),
    "another count of values below the bounds": replacing("products", 3, 3, value=2),
    "text instead of a number": replacing("products", 1, 1, value="25"),
    "a float instead of an integer": replacing("products", 1, 1, value=25.0),
    "a boolean": replacing("products", 0, 0, value=True),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_json_with_contradictory_parts_is_refused(contradiction):
    source = gp.Source("gray", range=(3.5, 200), clip=True)
    record = json.loads(gather(source, [np.array([[3, 4, 201]], np.uint8)]).to_json())
    CONTRADICTIONS[contradiction](record["statistics"])
    with pytest.raises(
        gp.ChannelError, match=r"expected statistics written by gp\.BandStats\.to_json"
    ):
        gp.BandStats.from_json(json.dumps(record))


def test_json_with_more_than_63_bits_of_pixels_is_an_error():
    record = gather("gray", [np.array([[0, 1, 1]], np.uint8)]).to_json()
    most = 2**63 - 1
    sums = f"[[{most + 2},{most}],[{most},{most}]]"
    beyond = record.replace("[[3,2],[2,2]]", sums).replace(
        "[[[0,1,2]]]", f"[[[0,2,{most}]]]"
    )
    assert beyond.count(str(most)) == 4
    with pytest.raises(
        gp.ChannelError, match=r"expected statistics written by gp\.BandStats\.to_json"
    ):
        gp.BandStats.from_json(beyond)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", [False, True])
def test_json_round_trip_of_every_level_of_clipped_bands(dtype, clip):
    low, high = (
        (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    levels = np.arange(low, high + 1).astype(dtype)
    source = gp.Source("RG", range=((0.25, 0.75), (high, low)), clip=clip)
    stats = gather(source, [np.stack([levels, levels[::-1]], axis=-1)[None]] * 3)
    assert gp.BandStats.from_json(stats.to_json()) == stats
