"""Values that contradict the declared range, in both engines, against the rule in plain float64 NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import STRIDES, strided

import graypipe as gp
import graypipe.engine
from graypipe.engine import numba_engine, numpy_engine

RNG = np.random.default_rng(5)
FRACTIONS = RNG.uniform(0, 1, (23, 41)).astype(np.float32)
STORED = np.round(FRACTIONS * 4095).astype(np.float32)
DIVIDED = "an earlier step has already divided"
TOO_HIGH = "declares a white of 4095, but the image holds integers up to"
TWELVE_BITS = gp.Source("gray", bits=12)


@pytest.fixture(
    params=[numba_engine, numpy_engine], ids=["numba", "numpy"], autouse=True
)
def engine(request, monkeypatch):
    """Run each test with each engine."""
    monkeypatch.setattr(graypipe.engine, "engine", lambda: request.param)
    return request.param


def convert(source, image, target="imagenet", via=None):
    """Return the result of a new plan, so that no execution is left of the other engine."""
    return gp.plan(source, target, via)(image)


def is_divided(values):
    """Return what the rule says of (bands, pixels) in float64, in which nodata are NaN."""
    finite = values[np.isfinite(values)]
    fractions = finite[(finite > 0) & (finite < 1)]
    inside = [(band > 0) & (band < 1) for band in values]
    several = any(np.unique(v[i]).size > 1 for v, i in zip(values, inside, strict=True))
    return (
        values.shape[1] >= 64
        and bool(((finite >= 0) & (finite <= 1)).all())
        and 2 * fractions.size >= finite.size
        and fractions.size >= 32
        and several
    )


# Divided images


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_an_image_that_was_divided_is_refused(dtype):
    for source in (TWELVE_BITS, gp.Source(range=(-1000, 3000), clip=True)):
        with pytest.raises(gp.RangeError, match=DIVIDED) as caught:
            convert(source, FRACTIONS.astype(dtype))
        assert "range=(0, 1)" in str(caught.value)
        assert f"dtype=np.{np.dtype(dtype).name}" in str(caught.value)
        assert len(str(caught.value)) < 600
        convert(source, STORED.astype(dtype))


def test_each_cure_of_the_message_works():
    unit = convert(gp.Source(range=(0, 1)), FRACTIONS, "unit")
    np.testing.assert_allclose(unit[0], FRACTIONS, rtol=1e-6)
    stored = convert(gp.Source(range=(0, 4), dtype="float32"), FRACTIONS, "unit")
    np.testing.assert_allclose(stored[0], FRACTIONS / 4, rtol=1e-6)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64)),
        np.ones((64, 64)),
        np.full((64, 64), 0.5),
        np.eye(64),
        np.where(np.eye(64) > 0, FRACTIONS[0, 0], 0),  # a few interpolated values
        np.where(np.arange(64) < 30, RNG.uniform(0, 1, (64, 64)), 0),  # fewer than half
        np.where(np.eye(64) > 0, 1.5, RNG.uniform(0, 1, (64, 64))),  # one value above 1
        np.where(np.eye(64) > 0, -0.01, RNG.uniform(0, 1, (64, 64))),
        RNG.uniform(0, 1, (7, 9)),  # 63 pixels
        np.full((64, 64), np.nan),
        np.full((64, 64), np.inf),
    ],
    ids=lambda image: str(image.shape),
)
def test_dark_constant_and_small_images_are_converted(image):
    for dtype in ("float16", "float32", "float64"):
        with np.errstate(all="ignore"):
            convert(TWELVE_BITS, image.astype(dtype))


def test_an_image_of_one_colour_is_converted():
    image = np.broadcast_to(np.float32([0.2, 0.5, 0.7]), (9, 9, 3))
    convert(gp.Source("RGB", bits=8), image)
    with pytest.raises(gp.RangeError, match=DIVIDED):
        convert(gp.Source("RGB", bits=8), image + FRACTIONS[:9, :9, None] / 10)


def test_a_range_up_to_2_wide_may_hold_fractions():
    for bounds in ((0, 1), (1, 0), (-1, 1), (0.5, 2.5)):
        convert(gp.Source(range=bounds), FRACTIONS)
    with pytest.raises(gp.RangeError, match=DIVIDED):
        convert(gp.Source(range=(0, 2.01)), FRACTIONS)


def test_only_bands_that_are_read_and_wide_are_tested():
    image = np.stack([STORED, FRACTIONS], -1)
    convert(gp.Source("RG", bits=12), image, gp.Target("R"), {"R": "R"})
    convert(gp.Source("RG", bits=12), image, gp.Target("RG"))
    source = gp.Source("RG", range=((0, 1), (0, 4095)))
    convert(source, image[..., ::-1], gp.Target("RG"))
    with pytest.raises(gp.RangeError, match=DIVIDED):
        convert(source, image, gp.Target("RG"))
    with pytest.raises(gp.RangeError, match=DIVIDED):
        convert(gp.Source("RG", bits=12), image, gp.Target("R"), {"R": "G"})


@pytest.mark.parametrize("nodata", [-9999.0, 0.0, 2.0, float("nan")])
def test_nodata_are_no_evidence_of_stored_values(nodata):
    image = np.where(RNG.random(FRACTIONS.shape) < 0.6, nodata, FRACTIONS)
    with pytest.raises(gp.RangeError, match=DIVIDED):
        convert(gp.Source(bits=12, nodata=nodata), image.astype(np.float32))
    image = np.where(RNG.random(FRACTIONS.shape) < 0.6, nodata, STORED)
    convert(gp.Source(bits=12, nodata=nodata), image.astype(np.float32))
    almost_empty = np.full((64, 64), nodata, np.float32)
    almost_empty[5, 3:11] = FRACTIONS[0, :8]
    convert(gp.Source(bits=12, nodata=nodata), almost_empty)


def test_infinities_are_no_evidence_of_stored_values():
    image = FRACTIONS.copy()
    image[::3] = np.inf
    image[1::3, 7] = np.nan
    with pytest.raises(gp.RangeError, match=DIVIDED):
        convert(TWELVE_BITS, image)


@pytest.mark.parametrize("out_layout", ["CHW", "HWC"])
@pytest.mark.parametrize("size", [8, 32, 97])
def test_a_batch_is_refused_if_one_of_its_images_is(size, out_layout):
    stored = RNG.uniform(0, 4095, (5, size, size)).astype(np.float32)
    plan = gp.plan(TWELVE_BITS, gp.preset("imagenet", layout=out_layout))
    singles = [plan(image) for image in stored]
    for index in (0, 3, 4):
        images = stored.copy()
        images[index] /= 4096
        for threads in (1, 2, 3, 7):
            with pytest.raises(gp.RangeError, match=DIVIDED):
                plan.batch(images, threads=threads)
            with pytest.raises(gp.RangeError, match=DIVIDED):
                plan.batch(list(images), threads=threads)
            batch = plan.batch(stored, threads=threads)
            np.testing.assert_array_equal(batch, singles)
        with pytest.raises(gp.RangeError, match=DIVIDED):
            plan.batch(np.pad(images, ((0, 0), (1, 2), (3, 1)), "edge")[:, 1:-2, 3:-1])
    # One batch that is half dark is no reason to refuse its black images.
    plan.batch(np.where(np.arange(5)[:, None, None] < 3, 0, stored))


def test_a_dark_slice_of_a_volume_is_converted():
    volume = np.stack([FRACTIONS, STORED])
    plan = gp.plan(gp.Source("gray", "DHW", bits=12), gp.preset("imagenet"))
    for threads in (1, 2, 3):
        plan.batch(np.stack([volume, volume]), threads=threads)
        with pytest.raises(gp.RangeError, match=DIVIDED):
            plan.batch(np.stack([volume, volume * 0 + FRACTIONS]), threads=threads)
    plan(volume)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_rule_is_that_of_float64(data):
    bands = data.draw(st.sampled_from([1, 2, 3]))
    height = data.draw(st.sampled_from([1, 7, 8, 33]))
    width = data.draw(st.sampled_from([8, 9, 70, 1100]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    whole = data.draw(st.sampled_from([0, 0.3, 0.49, 0.5, 0.51, 1]))
    x = rng.uniform(0.001, 0.999, (height, width, bands))
    x = np.where(rng.random(x.shape) < whole, rng.integers(0, 2, x.shape), x)
    for value in (np.nan, np.inf, 0.5, 7.0):
        if data.draw(st.booleans()):
            x = np.where(rng.random(x.shape) < 0.2, value, x)
    if data.draw(st.booleans()):
        x[rng.integers(height), rng.integers(width)] = data.draw(
            st.sampled_from([1.01, -0.01, 3000, 1, 0])
        )
    if data.draw(st.booleans()):
        x[:] = x[0, 0]
    dtype = data.draw(st.sampled_from(["float32", "float64", "float16"]))
    nodata = data.draw(st.sampled_from([None, 7.0, float("nan"), 0.5]))
    image = x.astype(dtype)
    values = image.astype(np.float64).reshape(-1, bands).T.copy()
    if nodata is not None:
        empty = np.isnan(values) if np.isnan(nodata) else values == nodata
        values[:, empty.any(axis=0)] = np.nan
    source = gp.Source(
        "RGB"[:bands], "HWC", bits=12, nodata=nodata, clip=data.draw(st.booleans())
    )
    target = gp.Target("RGB"[:bands], data.draw(st.sampled_from(["CHW", "HWC"])))
    image = strided(image, data.draw(st.sampled_from(STRIDES)))
    threads = data.draw(st.sampled_from([1, 2, 5]))
    for module in (numba_engine, numpy_engine):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(graypipe.engine, "engine", lambda module=module: module)
            plan = gp.plan(source, target)
            if is_divided(values):
                with pytest.raises(gp.RangeError, match=DIVIDED):
                    plan.batch([image], threads=threads)
            else:
                plan.batch([image], threads=threads)


# Integers above twice the declared white


@pytest.mark.parametrize(
    "dtype", ["uint16", "int16", ">u2", "uint32", "int32", "int64"]
)
@pytest.mark.parametrize("bands", ["gray", "RGB", "RGBA"])
def test_one_integer_above_twice_white_is_enough(dtype, bands):
    channels = 1 if bands == "gray" else len(bands)
    source = gp.Source(bands, "HWC", bits=12)
    for layout in ("CHW", "HWC"):
        target = gp.Target(bands, layout)
        if bands == "gray":
            target = gp.preset("imagenet", layout=layout)
        image = np.full((67, 71, channels), 4095, dtype)
        image[3, 5] = 8190  # twice white, still an overshoot
        convert(source, image, target)
        for row, column in ((0, 0), (66, 70), (31, 64)):
            high = image.copy()
            high[row, column, -1] = 8191
            for how in STRIDES:
                with pytest.raises(gp.RangeError, match=f"{TOO_HIGH} 8191"):
                    convert(source, strided(high, how), target)


def test_the_message_names_the_bits_that_the_values_need():
    with pytest.raises(gp.RangeError, match=r"bits=16 or range=\(0, 65535\)") as caught:
        convert(TWELVE_BITS, np.array([[0, 65535]], np.uint16))
    assert "clip=True" in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("bounds", [(0, 1), (1, 0)])
def test_integers_above_2_contradict_a_white_of_1(bounds):
    image = np.array([[0, 1, 2]], np.uint8)
    convert(gp.Source(range=bounds), image)
    image[0, 0] = 255
    with pytest.raises(gp.RangeError, match=r"white of 1,.*declare bits=8"):
        convert(gp.Source(range=bounds), image)
    with pytest.raises(gp.RangeError, match=r"white of 1,"):
        convert(gp.Source(bits=1), image)
    convert(gp.Source(range=bounds, clip=True), image)  # a mask of 0 and 255


@pytest.mark.parametrize(
    "source",
    [
        gp.Source(bits=12, clip=True),
        gp.Source(range=(0, 4095)),
        gp.Source(bits=16),
        gp.Source(),
        gp.Source(range=(0, 2)),
    ],
)
def test_other_ranges_of_integers_are_trusted(source):
    convert(source, np.array([[0, 65535]], np.uint16))


def test_bands_that_are_not_read_may_hold_any_integer():
    image = np.zeros((9, 40, 3), np.uint16)
    image[4, 4, 2] = 65535
    source = gp.Source("RGB", bits=12)
    convert(source, image, gp.Target("RG"), {"R": "R", "G": "G"})
    with pytest.raises(gp.RangeError, match=f"{TOO_HIGH} 65535"):
        convert(source, image, gp.Target("RG"), {"R": "R", "G": "B"})
    ranges = gp.Source("RGB", range=((0, 1), (0, 255), (0, 255)))
    convert(ranges, image, gp.Target("RGB"))
    with pytest.raises(gp.RangeError, match="white of 1,"):
        convert(ranges, image[..., ::-1], gp.Target("RGB"))


def test_nodata_may_lie_above_twice_white():
    for bands, channels in (("gray", 1), ("RGB", 3)):
        image = RNG.integers(0, 4096, (50, 60, channels)).astype(np.uint16)
        image[::2, 5] = 65535
        source = gp.Source(bands, "HWC", bits=12, nodata=65535)
        convert(source, image)
        image[1, 1] = 9000
        with pytest.raises(gp.RangeError, match=f"{TOO_HIGH} 9000"):
            convert(source, image)


def test_an_integer_above_twice_white_is_found_in_every_part():
    images = RNG.integers(0, 4096, (5, 33, 47), np.uint16)
    plan = gp.plan(TWELVE_BITS, "imagenet")
    expected = plan.batch(images)
    for index in ((0, 0, 0), (4, 32, 46), (2, 17, 3)):
        high = images.copy()
        high[index] = 30000
        for threads in (1, 2, 9):
            with pytest.raises(gp.RangeError, match=f"{TOO_HIGH} 30000"):
                plan.batch(high, threads=threads)
            with pytest.raises(gp.RangeError, match=f"{TOO_HIGH} 30000"):
                plan.batch(list(high), threads=threads)
            np.testing.assert_array_equal(plan.batch(images, threads=threads), expected)
        with pytest.raises(gp.RangeError, match=f"{TOO_HIGH} 30000"):
            plan(high[index[0]], out=np.empty((3, 33, 47), np.float32))


def test_a_view_tests_no_values():
    target = gp.Target("gray", "HW", "float32", range=(0, 4095))
    plan = gp.plan(TWELVE_BITS, target)
    np.testing.assert_array_equal(plan.view(FRACTIONS), FRACTIONS)
    with pytest.raises(gp.RangeError, match=DIVIDED):
        plan(FRACTIONS)


def test_an_implied_range_is_refused_where_a_band_is_nan():
    image = np.full((9, 9, 2), np.nan, np.float32)
    image[..., 1] = 200
    with pytest.raises(gp.RangeError, match="from 200 to 200"):
        convert("RG", image, gp.Target("RG"))
