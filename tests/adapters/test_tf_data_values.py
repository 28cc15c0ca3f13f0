"""Values that contradict the source: refused by tf.data as by the plan itself."""

import numpy as np
import pytest
from adapters.tf_modes import MODES, Dataset, only, tf
from hypothesis import given, settings
from hypothesis import strategies as st

import graypipe as gp
from graypipe.adapters.tf_data import ToBackbone

RNG = np.random.default_rng(6)
FRACTIONS = RNG.uniform(0, 1, (24, 41, 1)).astype(np.float32)
STORED = np.round(FRACTIONS * 4095)
DEEP = (FRACTIONS * 65535).astype(np.uint16)
TWELVE_BITS = gp.Source("gray", bits=12)
REFUSALS = (gp.RangeError, tf.errors.InvalidArgumentError)
DIVIDED = "an earlier step has already divided"
TOO_HIGH = "declares a white of 4095, but the image holds integers"
TESTED = [mode for mode in MODES if mode != "XLA"]


def convert(image, source=TWELVE_BITS, mode="map of unknown size", axis=-1, **plan):
    """Return the result for ``image`` in one of the modes of TensorFlow."""
    target = gp.Target(plan.pop("bands", "RGB"))
    data_format = "channels_last" if axis == -1 else "channels_first"
    run = ToBackbone(gp.plan(source, target, **plan), data_format=data_format)
    return MODES[mode](run, image, axis)


@pytest.mark.parametrize("axis", [-1, -3])
@pytest.mark.parametrize("mode", TESTED)
def test_contradictions_are_refused(mode, axis):
    for image, message in ((FRACTIONS, DIVIDED), (DEEP, TOO_HIGH)):
        moved = np.moveaxis(image, -1, axis)
        for x in (moved, np.stack([moved] * 3)):
            with pytest.raises(REFUSALS, match=message):
                convert(x, mode=mode, axis=axis)
    stored = np.moveaxis(STORED, -1, axis)
    for x in (stored, stored.astype(np.uint16)):
        np.testing.assert_allclose(
            np.take(convert(x, mode=mode, axis=axis), 0, axis),
            np.take(stored, 0, axis) / 4095,
            atol=1e-6,
        )


def test_the_messages_are_those_of_the_plan():
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        convert(FRACTIONS)
    with pytest.raises(gp.RangeError) as expected:
        gp.plan(TWELVE_BITS, "unit")(FRACTIONS[..., 0])
    assert f"{expected.value}." in str(caught.value)
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        convert(DEEP)
    assert "integers above 8190" in str(caught.value)
    assert "bits=16 or range=(0, 65535)" in str(caught.value)
    assert f"[{DEEP.max()}]" in str(caught.value)


def test_eager_errors_are_those_of_the_plan():
    for image in (FRACTIONS, DEEP):
        with pytest.raises(gp.RangeError) as expected:
            gp.plan(TWELVE_BITS, "unit")(image[..., 0])
        with pytest.raises(gp.RangeError) as caught:
            convert(image, mode="eager")
        assert str(caught.value) == str(expected.value)


def test_convert_image_dtype_before_the_plan_is_refused():
    images = Dataset.from_tensors(STORED.astype(np.uint16))
    divided = images.map(lambda x: tf.image.convert_image_dtype(x, tf.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match=DIVIDED):
        only(divided.map(ToBackbone(gp.plan(gp.Source(bits=16), "imagenet"))))


def test_xla_compiles_no_test():
    assert np.isfinite(convert(FRACTIONS, mode="XLA")).all()
    assert np.isfinite(convert(DEEP, mode="XLA")).all()


@pytest.mark.parametrize(
    ("source", "image"),
    [
        (gp.Source(bits=12, clip=True), DEEP),
        (gp.Source(range=(0, 4095)), DEEP),
        (gp.Source(bits=16), DEEP),
        (gp.Source(bits=12), np.full_like(DEEP, 8190)),
        (gp.Source(bits=12, dtype="float32"), FRACTIONS),
        (gp.Source(range=(0, 1)), FRACTIONS),
        (gp.Source(range=(-1, 1)), FRACTIONS),
        (TWELVE_BITS, np.zeros_like(FRACTIONS)),
        (TWELVE_BITS, np.full_like(FRACTIONS, 0.5)),
        (TWELVE_BITS, FRACTIONS[:7, :9]),
        (TWELVE_BITS, np.where(np.eye(24, 41)[..., None] > 0, FRACTIONS, 0)),
        (TWELVE_BITS, np.where(np.eye(24, 41)[..., None] > 0, 1.5, FRACTIONS)),
        (TWELVE_BITS, FRACTIONS[:0]),
        (TWELVE_BITS, DEEP[:0]),
    ],
)
def test_the_exceptions_are_those_of_the_plan(source, image):
    expected = gp.plan(source, "unit")(image[..., 0])
    for mode in ("eager", "map of known size", "map of unknown size"):
        result = np.moveaxis(convert(image, source, mode), -1, 0)
        np.testing.assert_allclose(result, expected, atol=1e-6, rtol=1e-6)


def test_one_image_of_a_batch_is_enough():
    batch = RNG.uniform(0, 4095, (2, 3, 16, 16, 1)).astype(np.float32)
    batch[0, 2] = 0
    convert(batch)
    batch[1, 1] /= 4096
    with pytest.raises(tf.errors.InvalidArgumentError, match=DIVIDED):
        convert(batch)


def test_bands_that_are_not_read_are_not_tested():
    red = {"via": {"R": "R"}, "bands": "R"}
    deep = np.concatenate([STORED.astype(np.uint16), DEEP], -1)
    divided = np.concatenate([STORED, FRACTIONS], -1)
    for image, message in ((deep, TOO_HIGH), (divided, DIVIDED)):
        convert(image, gp.Source("RG", bits=12), **red)
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            convert(image[..., ::-1], gp.Source("RG", bits=12), **red)


def test_ranges_per_band_are_tested_per_band():
    image = np.concatenate([DEEP // 40000, DEEP], -1)
    source = gp.Source("RG", range=((0, 1), (0, 4095)))
    convert(image, source, bands="RG")
    with pytest.raises(tf.errors.InvalidArgumentError, match="white of 1,"):
        convert(image[..., ::-1], source, bands="RG")


@pytest.mark.parametrize("nodata", [65535, 0, (None, 65535), (65535, None)])
def test_nodata_are_not_tested(nodata):
    image = np.concatenate([STORED, STORED], -1).astype(np.uint16)
    image[::3, 4, 1] = 65535
    source = gp.Source("RG", bits=12, nodata=nodata)
    if nodata in (65535, (None, 65535)):
        convert(image, source, bands="RG")
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match=TOO_HIGH):
            convert(image, source, bands="RG")


def test_a_dataset_with_tests_can_be_saved_and_served(tmp_path):
    mapped = Dataset.from_tensors(STORED).map(ToBackbone(gp.plan(TWELVE_BITS, "unit")))
    mapped.save(str(tmp_path / "saved"))
    expected = gp.plan(TWELVE_BITS, "unit").with_layouts("HWC", "HWC")(STORED)
    result = only(Dataset.load(str(tmp_path / "saved")))
    np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint32", "int64", "uint64"])
def test_integers_of_every_dtype_are_tested(dtype):
    image = STORED.astype(dtype)
    convert(image)
    image[5, 6] = 8191
    with pytest.raises(tf.errors.InvalidArgumentError, match=TOO_HIGH):
        convert(image)


def accepts(call, *args):
    try:
        call(*args)
    except gp.RangeError:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_decision_is_that_of_the_plan(data):
    bands = "RGB"[: data.draw(st.sampled_from([1, 2, 3]))]
    shape = data.draw(st.sampled_from([(8, 8), (7, 9), (33, 17), (2, 90)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    if data.draw(st.booleans()):
        x = rng.uniform(0, 1, (2, *shape, len(bands)))
        whole = data.draw(st.sampled_from([0, 0.3, 0.49, 0.5, 0.51, 1]))
        x = np.where(rng.random(x.shape) < whole, rng.integers(0, 2, x.shape), x)
        values = (7.0, 0.5, 0.0, 1.5, -0.5, np.nan, np.inf)
        dtype = data.draw(st.sampled_from(["float16", "float32", "float64"]))
    else:
        x = rng.integers(0, 8191, (2, *shape, len(bands)))
        values = (7, 0, 8191, 60000)
        dtype = data.draw(st.sampled_from(["uint16", "int32"]))
    for value in values:
        if data.draw(st.booleans()):
            share = data.draw(st.sampled_from([0.01, 0.3, 0.7]))
            x = np.where(rng.random(x.shape) < share, value, x)
    nodata = st.sampled_from((None, *values[:-1]))
    declared = data.draw(st.one_of(nodata, st.tuples(*[nodata] * len(bands))))
    kept = data.draw(st.sampled_from(["all", "first"]))
    outputs = bands if kept == "all" else bands[0]
    source = gp.Source(bands, "HWC", bits=12, nodata=declared)
    via = {band: band for band in outputs}
    plan = gp.plan(source, gp.Target(outputs, "HWC"), via)
    image = x.astype(dtype)
    accepted = accepts(plan.batch, image)
    assert accepts(ToBackbone(plan), tf.constant(image)) == accepted
    graph = tf.function(ToBackbone(plan), jit_compile=False)
    if accepted:
        graph(tf.constant(image))
    else:
        with pytest.raises(tf.errors.InvalidArgumentError):
            graph(tf.constant(image))
