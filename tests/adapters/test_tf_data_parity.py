"""The tf.data adapter against the oracle: every dtype, layout, rank and mode."""

from fractions import Fraction

import numpy as np
import oracle
import pytest
from adapters.tf_modes import MODES
from strategies import DTYPES, stored

import graypipe as gp
from graypipe.adapters.tf_data import ToBackbone

RNG = np.random.default_rng(6)
FORMATS = {"channels_last": ("HWC", -1), "channels_first": ("CHW", -3)}
LEADS = {3: (), 4: (2,), 5: (2, 3), 6: (2, 1, 2)}
MAIN_MODES = ("eager", "map of known size", "map of unknown size")
VIAS = {
    "repeat": ("A", np.ones((3, 1))),
    "flip": ("ABC", np.eye(3)[::-1]),
    "mix": ("ABCD", np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])),
    "constant": ("AB", np.array([[0.25, 0.75], [0, 0], [0, 1]])),
}


def drawn(shape, dtype, low, high):
    """Return images that exceed their range a little, as far as the dtype allows."""
    values = stored(RNG, shape, dtype, low - 9, high + 9)
    if values.dtype.kind == "f":
        values.flat[:: max(1, values.size // 5)] = np.nan
    return values


def expected(image, layout, source, target, via):
    return oracle.plan(
        image,
        layout=layout,
        out_layout=layout,
        ranges=source._pairs(image.dtype),
        via=via,
        mean=target.mean,
        std=target.std,
        target_range=target.range,
        clip=source.clip,
        nodata=source.nodata,
    )


def check(image, source, target, via, *, data_format="channels_last", modes=MAIN_MODES):
    """Assert that the plan, and the adapter in each of ``modes``, match the oracle."""
    layout, axis = FORMATS[data_format]
    plan = gp.plan(
        source, target, gp.ChannelMap(via, inputs=source.bands, outputs=target.bands)
    )
    lead = "NTD"[: image.ndim - 3]
    y, scale = expected(image, lead + layout, source, target, via)
    oracle.assert_matches(
        plan.with_layouts(lead + layout, lead + layout)(image), y, scale
    )
    transform = ToBackbone(plan, data_format=data_format)
    for mode in modes:
        result = MODES[mode](transform, image, axis)
        assert result.dtype == target.dtype, mode
        oracle.assert_matches(result.numpy(), y, scale)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("kind", VIAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_source_dtype_matches_the_oracle(dtype, kind, data_format):
    bands, via = VIAS[kind]
    low, high = (0, 1) if dtype == "bool" else (2, 100)
    shape = (5, 7, len(bands)) if data_format == "channels_last" else (len(bands), 5, 7)
    target = gp.Target("XYZ", range=(0, 255), mean=(103.939, 0, 1), std=(1, 57.375, 2))
    modes = (
        MODES
        if kind == "repeat" and data_format == "channels_last"
        else MAIN_MODES[:1] + MAIN_MODES[-1:]
    )
    check(
        drawn(shape, dtype, low, high),
        gp.Source(tuple(bands), range=(low, high)),
        target,
        via,
        data_format=data_format,
        modes=modes,
    )


@pytest.mark.parametrize(
    "dtype",
    [
        "float16",
        "float64",
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
    ],
)
def test_every_target_dtype_matches_the_oracle(dtype):
    target = gp.Target("XYZ", dtype=dtype, range=(0, 200), mean=(0, 20, 100))
    image = drawn((5, 7, 1), "float32", 0, 240)
    check(image, gp.Source("gray", range=(0, 250)), target, np.ones((3, 1)))


@pytest.mark.parametrize("nodata", [None, 17, np.nan])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint64", "float32"])
@pytest.mark.parametrize("kind", ["repeat", "mix"])
def test_nodata_and_clip_come_before_the_affine_part(kind, dtype, clip, nodata):
    bands, via = VIAS[kind]
    image = drawn((6, 5, len(bands)), dtype, 20, 90)
    image[1, 2, -1] = 17
    source = gp.Source(tuple(bands), range=(20, 90), clip=clip, nodata=nodata)
    modes = MAIN_MODES if dtype == "float32" else MAIN_MODES[-1:]
    check(image, source, gp.Target("XYZ", mean=0.4, std=0.2), via, modes=modes)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("rank", LEADS)
def test_any_number_of_leading_axes(rank, data_format):
    shape = (5, 7, 1) if data_format == "channels_last" else (1, 5, 7)
    image = drawn((*LEADS[rank], *shape), "uint16", 0, 4000)
    check(
        image,
        gp.Source("gray", bits=12),
        gp.preset("imagenet"),
        np.ones((3, 1)),
        data_format=data_format,
    )


@pytest.mark.parametrize(
    "shape",
    [
        (0, 4, 6, 1),
        (2, 0, 6, 1),
        (1, 1, 1, 1),
        (3, 5, 1, 1),
        (1, 3, 5, 1),
        (2, 4, 4, 1),
    ],
)
def test_empty_and_narrow_images_are_converted(shape):
    check(
        drawn(shape, "uint8", 0, 255),
        gp.Source("gray", range=(0, 255)),
        gp.preset("imagenet"),
        np.ones((3, 1)),
    )


def test_a_nan_reaches_only_bands_that_read_it():
    image = np.full((2, 9, 2), 0.5, np.float32)
    image[0, 3, 0], image[1, 4, 1], image[1, 5, 0] = np.nan, np.inf, -np.inf
    source = gp.Source("AB", range=(0, 1))
    for via in (
        np.array([[1, 0], [0, 1]]),
        np.array([[0.5, 0.5], [0, 1]]),
        np.array([[0.5, 0.25], [0.5, 0.75]]),
    ):
        plan = gp.plan(
            source,
            gp.Target("XY", "HWC", mean=0.3),
            gp.ChannelMap(via, inputs="AB", outputs="XY"),
        )
        touched = {tuple(i) for i in np.argwhere(~np.isfinite(plan(image)))}
        assert touched
        for mode in MAIN_MODES:
            result = MODES[mode](ToBackbone(plan), image, -1).numpy()
            assert {tuple(i) for i in np.argwhere(~np.isfinite(result))} == touched, (
                mode
            )


def test_xla_keeps_narrow_ranges_far_from_zero_precise():
    image = (60_000 + RNG.random((5, 7, 1))).astype(np.float32)
    for white, mean in [(60_001, 1 / 3), (59_999, 1 / 3)]:
        source = gp.Source("gray", range=(60_000, white))
        for data_format in FORMATS:
            shaped = (
                image if data_format == "channels_last" else np.moveaxis(image, -1, 0)
            )
            check(
                shaped,
                source,
                gp.Target("RGB", mean=mean),
                np.ones((3, 1)),
                data_format=data_format,
                modes=MODES,
            )


@pytest.mark.parametrize("span", [210, 374])
def test_xla_rounds_ties_to_even(span):
    image = np.arange(1, span + 2, dtype=np.int16).reshape(1, -1, 1)
    exact = [
        round(Fraction(255 * (value - 1), span)) for value in image.ravel().tolist()
    ]
    assert (
        exact != np.rint((image.ravel() - 1) * (255 / span)).tolist()
    )  # a product in float64 misses some ties
    transform = ToBackbone(gp.plan(gp.Source("gray", range=(1, span + 1)), "rgb8"))
    for mode, run in MODES.items():
        np.testing.assert_array_equal(
            run(transform, image, -1),
            np.reshape(3 * [exact], (3, 1, -1)).transpose(1, 2, 0),
            mode,
        )


def test_64_bit_integers_are_moved_unchanged():
    image = np.array([[[1, 2**63 - 1]], [[3, -(2**63)]]])
    target = gp.Target("BA", "HWC", "int64", range=(0, 2))
    plan = gp.plan(gp.Source("AB", range=(0, 2)), target)
    for mode, run in MODES.items():
        np.testing.assert_array_equal(
            run(ToBackbone(plan), image, -1), image[..., ::-1], mode
        )


def test_float64_is_used_where_float32_is_not_enough():
    image = drawn((4, 5, 1), "int32", 0, 2**30)
    source = gp.Source("gray", range=(2**30, 2**30 + 8))
    check(image, source, gp.Target("RGB", dtype="float64"), np.ones((3, 1)))
