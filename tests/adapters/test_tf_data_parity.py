"""The tf.data adapter against the oracle: every dtype, layout and rank, in every way TensorFlow runs it."""

from fractions import Fraction

import numpy as np
import oracle
import pytest
from adapters.tf_ways import WAYS
from strategies import DTYPES, stored

import graypipe as gp
from graypipe.adapters.tf_data import ToBackbone

RNG = np.random.default_rng(6)
FORMATS = {"channels_last": ("HWC", -1), "channels_first": ("CHW", -3)}
LEADS = {3: (), 4: (2,), 5: (2, 3), 6: (2, 1, 2)}
FEW = ("eager", "map of known size", "map of unknown size")
VIAS = {
    "repeat": ("A", np.ones((3, 1))),
    "flip": ("ABC", np.eye(3)[::-1]),
    "mix": ("ABCD", np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])),
    "constant": ("AB", np.array([[0.25, 0.75], [0, 0], [0, 1]])),
}


def drawn(shape, dtype, low, high):
    """Images that reach a little beyond their range, as far as the dtype goes."""
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


def check(image, source, target, via, *, data_format="channels_last", ways=FEW):
    """Assert that ``image`` becomes what the oracle says in each of ``ways``, and what the plan itself makes of it."""
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
    for way in ways:
        made = WAYS[way](transform, image, axis)
        assert made.dtype == target.dtype, way
        oracle.assert_matches(made.numpy(), y, scale)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("kind", VIAS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_becomes_what_the_plan_means(dtype, kind, data_format):
    bands, via = VIAS[kind]
    low, high = (0, 1) if dtype == "bool" else (2, 100)
    shape = (5, 7, len(bands)) if data_format == "channels_last" else (len(bands), 5, 7)
    target = gp.Target("XYZ", range=(0, 255), mean=(103.939, 0, 1), std=(1, 57.375, 2))
    ways = (
        WAYS
        if kind == "repeat" and data_format == "channels_last"
        else FEW[:1] + FEW[-1:]
    )
    check(
        drawn(shape, dtype, low, high),
        gp.Source(tuple(bands), range=(low, high)),
        target,
        via,
        data_format=data_format,
        ways=ways,
    )


@pytest.mark.parametrize(
    "made",
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
def test_every_target_is_made(made):
    target = gp.Target("XYZ", dtype=made, range=(0, 200), mean=(0, 20, 100))
    image = drawn((5, 7, 1), "float32", 0, 240)
    check(image, gp.Source("gray", range=(0, 250)), target, np.ones((3, 1)))


@pytest.mark.parametrize("nodata", [None, 17, np.nan])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint64", "float32"])
@pytest.mark.parametrize("kind", ["repeat", "mix"])
def test_nodata_and_clip_stand_before_the_affine_part(kind, dtype, clip, nodata):
    bands, via = VIAS[kind]
    image = drawn((6, 5, len(bands)), dtype, 20, 90)
    image[1, 2, -1] = 17
    source = gp.Source(tuple(bands), range=(20, 90), clip=clip, nodata=nodata)
    ways = FEW if dtype == "float32" else FEW[-1:]
    check(image, source, gp.Target("XYZ", mean=0.4, std=0.2), via, ways=ways)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("rank", LEADS)
def test_leading_axes_of_any_number_stay(rank, data_format):
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
def test_empty_narrow_and_uneven_images_are_images(shape):
    check(
        drawn(shape, "uint8", 0, 255),
        gp.Source("gray", range=(0, 255)),
        gp.preset("imagenet"),
        np.ones((3, 1)),
    )


def test_a_nan_stays_in_its_pixel_and_a_zero_of_the_map_keeps_it_from_a_band():
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
        for way in FEW:
            made = WAYS[way](ToBackbone(plan), image, -1).numpy()
            assert {tuple(i) for i in np.argwhere(~np.isfinite(made))} == touched, way


def test_a_narrow_range_far_from_zero_keeps_its_digits_also_where_xla_would_fold_constants():
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
                ways=WAYS,
            )


@pytest.mark.parametrize("span", [210, 374])
def test_a_tie_is_rounded_to_even_also_where_xla_would_fold_constants(span):
    image = np.arange(1, span + 2, dtype=np.int16).reshape(1, -1, 1)
    exact = [
        round(Fraction(255 * (value - 1), span)) for value in image.ravel().tolist()
    ]
    assert (
        exact != np.rint((image.ravel() - 1) * (255 / span)).tolist()
    )  # a product in float64 misses some
    transform = ToBackbone(gp.plan(gp.Source("gray", range=(1, span + 1)), "rgb8"))
    for way, run in WAYS.items():
        np.testing.assert_array_equal(
            run(transform, image, -1),
            np.reshape(3 * [exact], (3, 1, -1)).transpose(1, 2, 0),
            way,
        )


def test_what_only_moves_keeps_every_bit_of_64():
    image = np.array([[[1, 2**63 - 1]], [[3, -(2**63)]]])
    plan = gp.plan(gp.Source("AB", range=(0, 1)), gp.Target("BA", "HWC", "int64"))
    for way, run in WAYS.items():
        np.testing.assert_array_equal(
            run(ToBackbone(plan), image, -1), image[..., ::-1], way
        )


def test_values_that_float32_does_not_hold_are_computed_in_float64():
    image = drawn((4, 5, 1), "int32", 0, 2**30)
    source = gp.Source("gray", range=(2**30, 2**30 + 8))
    check(image, source, gp.Target("RGB", dtype="float64"), np.ones((3, 1)))
