"""Statistics of floating and wide values: stable sums, and percentiles by t-digest."""

import functools
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stats.data_sets import gather, replacing

import graypipe as gp

RNG = np.random.default_rng(99)
WIDE = ["float16", "float32", "float64", "int32", "uint32", "int64", "uint64"]


def images(dtype, count=5, bands=3, offset=0):
    values = RNG.normal(300 + offset, 40, (count, 20, 30, bands)) * np.linspace(
        1, 2, bands
    )
    return list(np.abs(values).astype(dtype))


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("offset", [0, 60_000_000])
def test_moments_equal_numpy_on_all_pixels_at_once(dtype, offset):
    if dtype in ("float16", "float32"):
        offset //= 10_000  # float16 and float32 have fewer digits
    data = images(dtype, offset=offset)
    pixels = np.concatenate([image.reshape(-1, 3) for image in data]).astype(np.float64)
    stats = gather("RGB", data)
    np.testing.assert_allclose(stats.mean, pixels.mean(0), rtol=1e-12)
    np.testing.assert_allclose(stats.std, pixels.std(0), rtol=1e-9)
    np.testing.assert_allclose(
        stats.covariance,
        np.cov(pixels.T, ddof=0),
        rtol=1e-8,
        atol=1e-8 * stats.std.max() ** 2,
    )
    np.testing.assert_array_equal(
        [stats.min, stats.max], [pixels.min(0), pixels.max(0)]
    )
    np.testing.assert_array_equal(
        stats.percentile([0, 100]), [pixels.min(0), pixels.max(0)]
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 3000), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
    st.sampled_from(WIDE),
)
def test_merging_one_image_equals_updating_with_it(sizes, seed, dtype):
    rng = np.random.default_rng(seed)
    source = gp.Source("RG", nodata=0)
    data = [rng.integers(0, 900, (1, size, 2)).astype(dtype) for size in sizes]
    one_pass, merged, sent = (
        gather(source, data),
        gp.BandStats(source),
        gp.BandStats(source),
    )
    for image in data:
        part = gather(source, [image])
        merged.merge(part)
        sent.merge(pickle.loads(pickle.dumps(gp.BandStats.from_json(part.to_json()))))
        sent = gp.BandStats.from_json(sent.to_json())
    assert one_pass.to_json() == merged.to_json() == sent.to_json()
    assert one_pass == merged


PROCESS = """
import numpy, sys, graypipe as gp
rng = numpy.random.default_rng(5)
stats = gp.BandStats(gp.Source("RGBY", range=(200, 400), clip=True))
for _ in range(3):
    stats.update(rng.normal(300, 40, (200, 300, 4)).astype(numpy.float32))
print(stats.to_json())
"""


def test_statistics_do_not_depend_on_the_number_of_threads():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROCESS],
            env={
                **os.environ,
                "OPENBLAS_NUM_THREADS": threads,
                "OMP_NUM_THREADS": threads,
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(outputs) == 1


ALLOWED = {
    0.1: 1e-4,
    2: 2e-4,
    10: 2e-3,
    25: 2e-3,
    50: 2e-3,
    75: 2e-3,
    90: 2e-3,
    98: 2e-4,
    99.9: 1e-4,
}


def distributions():
    rng = np.random.default_rng(2)
    size = 400_000
    normal = rng.normal(300, 5, size)
    return {
        "normal": normal,
        "uniform": rng.random(size),
        "log-normal": rng.lognormal(0, 3, size),
        "bimodal": normal + np.where(rng.random(size) < 0.5, 0, 100),
        "sorted": np.sort(normal),
        "drifting": normal + np.repeat(np.arange(400), size // 400),
        "mostly 0": np.where(rng.random(size) < 0.6, 0, rng.random(size)),
    }


@functools.cache
def sketched(name):
    values = distributions()[name]
    return values, gather("gray", values.reshape(400, 10, 100))


@pytest.mark.parametrize("name", distributions())
def test_percentiles_are_within_the_documented_rank_error(name):
    values, stats = sketched(name)
    ordered = np.sort(values)
    for q, allowed in ALLOWED.items():
        estimate = stats.percentile(q)[0]
        rank = [
            np.searchsorted(ordered, estimate, side) / len(ordered)
            for side in ("left", "right")
        ]
        assert rank[0] - allowed <= q / 100 <= rank[1] + allowed, (q, estimate, rank)


def test_the_size_of_the_statistics_is_bounded():
    _, stats = sketched("drifting")
    assert stats.count == 400_000
    assert len(stats.to_json()) < len(pickle.dumps(stats)) * 5 < 200_000


def test_few_values_have_the_percentiles_of_numpy():
    image = RNG.normal(size=(30, 30))
    stats = gather(gp.Source(range=(-5, 5)), [image])
    q = [0, 1, 12.5, 50, 98, 100]
    np.testing.assert_allclose(
        stats.percentile(q)[:, 0], np.percentile(image, q), rtol=1e-12
    )


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("clip", [False, True])
def test_plans_with_fitted_statistics_give_mean_0_and_std_1(dtype, clip):
    data = images(dtype)
    data[0][3, 4, 1] = data[1][7, 8, 2] = 5
    source = gp.Source(
        "RGB", range=((250, 400), (600, 300.5), (100, 2000)), clip=clip, nodata=5
    )
    stats = gather(source, data)
    mean, std = stats.normalization()
    keep = np.concatenate([(image != 5).all(-1).ravel() for image in data])
    assert not keep.all()
    normalised = gp.plan(source, gp.Target("RGB", "HWC", "float64", mean=mean, std=std))
    y = np.stack([normalised(image) for image in data]).reshape(-1, 3)[keep]
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-10)
    whitened = gp.plan(
        source, gp.preset("imagenet", layout="HWC", dtype="float64"), stats.pca()
    )
    z = np.stack([whitened(image) for image in data]).reshape(-1, 3)[keep]
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(z.T, ddof=0), np.eye(3), atol=1e-9)


def test_nan_is_nodata_if_declared_and_otherwise_an_error():
    image = RNG.random((6, 7, 3), np.float32)
    image[2, 3, 1] = np.nan
    stats = gp.BandStats("RGB")
    stats.update(np.zeros((2, 2, 3), np.float32))
    before = stats.to_json()
    for bad in (image, np.full((2, 2, 3), np.inf, np.float32)):
        with pytest.raises(
            gp.RangeError, match=r"not finite.*declare nodata=float\('nan'\)"
        ):
            stats.update(bad)
    assert stats.to_json() == before
    kept = gather(gp.Source("RGB", nodata=float("nan")), [image])
    assert kept.count == 41
    np.testing.assert_allclose(
        kept.mean,
        np.delete(image.reshape(-1, 3), 17, axis=0).mean(0, np.float64),
        rtol=1e-12,
    )


def test_values_whose_squares_exceed_float64_are_refused():
    stats = gp.BandStats(gp.Source(range=(0, 1)))
    with pytest.raises(gp.RangeError, match="squares of these values overflow float64"):
        stats.update(np.array([[0, 1e200]]))
    assert stats == gp.BandStats(gp.Source(range=(0, 1)))


@pytest.mark.parametrize("value", [0.1, 273.15, 1 / 3, -1e10])
def test_a_constant_band_has_std_0_in_any_order_of_merging(value):
    source = gp.Source(range=(-1e12, 1e12))
    stats = gather(source, [np.full((3, size), value) for size in (1, 7, 1000, 3)])
    stats.merge(stats)
    assert (stats.std, stats.mean, stats.constant) == (0, value, ("gray",))
    np.testing.assert_array_equal(stats.percentile([0, 30, 100]), value)
    with pytest.raises(
        gp.RangeError, match="all pixels have the same value in band 'gray'"
    ):
        stats.normalization()


def test_floats_outside_0_to_1_refuse_a_normalization():
    data = images("float32")
    stats = gather("RGB", data)
    for query in (stats.normalization, stats.pca):
        with pytest.raises(
            gp.RangeError, match="read as 0 to 1, but holds values from"
        ):
            query()
    fitted = gather(gp.Source("RGB", range=stats.window(2, 98), clip=True), data)
    mean, _ = fitted.normalization()
    assert 0.3 < min(mean) <= max(mean) < 0.7


def test_int32_needs_a_declared_range_for_a_normalization():
    data = images("int32")
    with pytest.raises(
        gp.RangeError,
        match="int32 does not imply a black and a white level: declare range=",
    ):
        gather("RGB", data).normalization()
    mean, std = gather(gp.Source("RGB", range=(0, 1000)), data).normalization()
    unit = np.stack(data).reshape(-1, 3) / 1000
    np.testing.assert_allclose([mean, std], [unit.mean(0), unit.std(0)], rtol=1e-12)


def test_an_image_of_nodata_alone_changes_nothing():
    source, data = gp.Source("RGB", nodata=-1), images("float32")
    stats = gather(
        source,
        [np.full((3, 3, 3), -1, np.float32), *data, np.full((3, 3, 3), -1, np.float32)],
    )
    assert stats == gather(source, data)
    empty = gather(source, [np.full((3, 3, 3), -1, np.float32)])
    assert gp.BandStats.from_json(empty.to_json()) == empty


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(mean=[1]),
        lambda record: record.pop("sketches"),
        lambda record: record.update(sketches=[{}, {}, {}]),
        lambda record: record.update(sketches=[]),
        lambda record: record.update(count="x"),
    ],
)
def test_json_of_something_else_is_refused(change):
    record = json.loads(gather("RGB", images("float32")).to_json())
    change(record["statistics"])
    with pytest.raises(
        gp.ChannelError,
        match=r"expected (statistics written by gp\.BandStats|JSON text)",
    ):
        gp.BandStats.from_json(json.dumps(record))


CENTROID = ("sketches", 0, "centroids", 0)
CONTRADICTIONS = {
    "a negative count": replacing("count", value=-5),
    "a float count": replacing("count", value=900.0),
    "a count that is text": replacing("count", value="900"),
    "a boolean count": replacing("count", value=True),
    "another count": replacing("count", value=901),
    "text instead of a number": lambda record: record.update(
        mean=[str(number) for number in record["mean"]]
    ),
    "null": replacing("mean", 0, value=None),
    "an infinite extreme": replacing("max", 0, value=float("inf")),
    "a mean outside the extremes": replacing("mean", 0, value=1e6),
    "minimum above maximum": lambda record: record.update(
        min=record["max"], max=record["min"]
    ),
    "a negative variance": replacing("comoment", 0, 0, value=-1.0),
    "asymmetric co-moments": replacing("comoment", 0, 1, value=0.0),
    "NaN": replacing("comoment", 0, 0, value=float("nan")),
    "an empty sketch": replacing("sketches", 0, "centroids", value=[]),
    "a sketch of fewer values": replacing("sketches", 0, "n_values", value=899),
    "a sketch of NaN": replacing(*CENTROID, "m", value=float("nan")),
    "a sketch with negative weights": replacing(*CENTROID, "c", value=-1.0),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_json_with_contradictory_parts_is_refused(contradiction):
    data = [
        image.reshape(10, 30, 3) for image in images("float32", 3)[0].reshape(2, -1, 3)
    ]
    record = json.loads(
        gather(
            gp.Source("RGB", range=(250, 400), clip=True), [*data, data[0]]
        ).to_json()
    )
    CONTRADICTIONS[contradiction](record["statistics"])
    with pytest.raises(
        gp.ChannelError,
        match=r"expected (statistics written by gp\.BandStats|JSON text)",
    ):
        gp.BandStats.from_json(json.dumps(record))
