"""Folded kernels equal the definition, and convolutions of three-band images."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import graypipe as gp

RNG = np.random.default_rng(8)
GRAY = RNG.integers(0, 256, (12, 15), dtype=np.uint8)
PLAN = gp.plan("gray", "imagenet")
KERNEL, BIAS = (
    RNG.normal(size=(5, 3, 3, 3)).astype("float32"),
    RNG.normal(size=5).astype("float32"),
)
LAYOUTS = ["OIHW", "HWIO", "OIW", "WIO", "OIDHW", "DHWIO"]
RGBY = gp.mix({"R": "R", "G": "G", "B": {"B": 1, "Y": 1}}, of="RGBY")
FOLDS = [gp.weights.fold, gp.weights.fold_exact]


def kernel_of(layout, count, bands, dtype="float32"):
    sizes = {"O": count, "I": bands, "D": 2, "H": 3, "W": 5}
    return RNG.normal(size=[sizes[axis] for axis in layout]).astype(dtype)


def outputs_first(array, layout):
    return np.moveaxis(array, (layout.index("O"), layout.index("I")), (0, 1)).astype(
        np.float64
    )


def defined(kernel, channel_map):
    """Return W · M, and W · b at each tap, for a kernel (O, I, ...), entry by entry."""
    matrix, offset = np.array(channel_map.matrix), np.array(channel_map.offset)
    folded = np.zeros((len(kernel), len(channel_map.inputs), *kernel.shape[2:]))
    constant = np.zeros((len(kernel), *kernel.shape[2:]))
    for o, i in itertools.product(range(len(kernel)), range(len(matrix))):
        constant[o] += kernel[o, i] * offset[i]
        for j in range(len(channel_map.inputs)):
            folded[o, j] += kernel[o, i] * matrix[i, j]
    return folded, constant


def convolved(x, kernel, bias=None, padding=0):
    """Convolve x (C, H, W) with a kernel (O, C, h, w) and zero padding, in float64."""
    x = np.pad(
        np.asarray(x, np.float64), ((0, 0), (padding, padding), (padding, padding))
    )
    rows, columns = x.shape[1] - kernel.shape[2] + 1, x.shape[2] - kernel.shape[3] + 1
    y = np.zeros((len(kernel), rows, columns))
    for r, c in itertools.product(range(kernel.shape[2]), range(kernel.shape[3])):
        y += np.tensordot(
            kernel[:, :, r, c].astype(np.float64),
            x[:, r : r + rows, c : c + columns],
            1,
        )
    return y if bias is None else y + bias[:, None, None]


def error(y, expected):
    return np.linalg.norm(y - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fold_equals_its_definition_in_every_layout(layout):
    kernel, bias = kernel_of(layout, 4, 3), BIAS[:4]
    channel_map = gp.ChannelMap(
        RNG.normal(size=(3, 2)), RNG.normal(size=3), inputs=("a", "b"), outputs="RGB"
    )
    folded, constant = defined(outputs_first(kernel, layout), channel_map)
    new_kernel, shift = gp.weights.fold(kernel, bias, channel_map, layout=layout)
    assert new_kernel.dtype == shift.dtype == np.float32
    np.testing.assert_allclose(
        outputs_first(new_kernel, layout), folded, rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        shift, bias + constant.reshape(4, -1).sum(1), rtol=1e-6, atol=1e-6
    )

    exact, same = gp.weights.fold_exact(kernel, bias, channel_map, layout=layout)
    np.testing.assert_array_equal(same, bias)
    expected = np.concatenate([folded, constant[:, None]], 1)
    np.testing.assert_allclose(
        outputs_first(exact, layout), expected, rtol=1e-6, atol=1e-6
    )


def test_summing_the_kernel_is_folding_a_replication():
    pytorch = RNG.normal(size=(64, 3, 7, 7)).astype("float32")
    kernel, bias = gp.weights.fold(pytorch, None, gp.replicate(), layout="OIHW")
    assert (kernel.shape, kernel.dtype, bias) == ((64, 1, 7, 7), np.float32, None)
    np.testing.assert_allclose(kernel, pytorch.sum(1, keepdims=True), rtol=0, atol=2e-6)

    tensorflow = np.ascontiguousarray(pytorch.transpose(2, 3, 1, 0))
    kernel, bias = gp.weights.fold(tensorflow, None, gp.replicate(), layout="HWIO")
    assert (kernel.shape, kernel.dtype, bias) == ((7, 7, 1, 64), np.float32, None)
    np.testing.assert_allclose(
        kernel, tensorflow.sum(2, keepdims=True), rtol=0, atol=2e-6
    )


def test_yellow_gets_a_copy_of_the_blue_kernel():
    vgg = RNG.normal(size=(3, 3, 3, 64)).astype("float32")
    kernel, bias = gp.weights.fold(vgg, np.ones(64, "float32"), RGBY, layout="HWIO")
    np.testing.assert_array_equal(kernel, np.concatenate([vgg, vgg[:, :, 2:]], axis=2))
    np.testing.assert_array_equal(bias, np.ones(64))


def test_blue_and_yellow_share_the_kernel_with_weights_of_half():
    shared = gp.mix({"R": "R", "G": "G", "B": {"B": 0.5, "Y": 0.5}}, of="RGBY")
    kernel, _ = gp.weights.fold(KERNEL, BIAS, shared, layout="OIHW")
    np.testing.assert_array_equal(
        kernel,
        np.concatenate([KERNEL[:, :2], KERNEL[:, 2:] / 2, KERNEL[:, 2:] / 2], axis=1),
    )


def test_cycling_kernels_gives_yellow_the_red_kernel():
    cycled = np.resize(KERNEL.transpose(1, 0, 2, 3), (4, 5, 3, 3)).transpose(1, 0, 2, 3)
    red = gp.mix({"R": {"R": 1, "Y": 1}, "G": "G", "B": "B"}, of="RGBY")
    np.testing.assert_array_equal(
        gp.weights.fold(KERNEL, None, red, layout="OIHW")[0], cycled
    )


def test_fold_is_exact_wherever_there_is_no_padding():
    feed = gp.plan("gray", gp.Target("gray", "CHW"))
    kernel, bias = gp.weights.fold(KERNEL, BIAS, PLAN.unit_map, layout="OIHW")
    assert (
        error(convolved(feed(GRAY), kernel, bias), convolved(PLAN(GRAY), KERNEL, BIAS))
        <= 1e-6
    )
    padded, expected = (
        convolved(feed(GRAY), kernel, bias, 1),
        convolved(PLAN(GRAY), KERNEL, BIAS, 1),
    )
    assert error(padded[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1]) <= 1e-6
    assert error(padded[:, 0], expected[:, 0]) > 0.01


def test_fold_lacks_the_offset_of_the_padding_at_borders():
    feed = gp.plan("gray", gp.Target("gray", "CHW"))
    kernel, bias = gp.weights.fold(KERNEL, BIAS, PLAN.unit_map, layout="OIHW")
    outside = 1 - np.pad(np.ones(GRAY.shape), 1)  # 1 in the padding, 0 in the image
    carried = convolved(np.multiply.outer(PLAN.unit_map.offset, outside), KERNEL)
    difference = convolved(feed(GRAY), kernel, bias, 1) - convolved(
        PLAN(GRAY), KERNEL, BIAS, 1
    )
    np.testing.assert_allclose(difference, carried, rtol=0, atol=1e-5)


def one_band_more(plan):
    """Return the plan that feeds the result of `fold_exact`: intensities and ones."""
    bands = (*plan.source.bands, "one")
    rows = [*np.eye(len(bands) - 1), np.zeros(len(bands) - 1)]
    via = gp.ChannelMap(
        rows, [0] * (len(bands) - 1) + [1], inputs=plan.source.bands, outputs=bands
    )
    return gp.plan(plan.source, gp.Target(bands, "CHW"), via)


@pytest.mark.parametrize(
    ("source", "image"),
    [
        ("gray", GRAY),
        (gp.Source("gray", range=(20, 200), clip=True), GRAY),
        (gp.Source("gray", range=(0, 255), nodata=GRAY[0, 0]), GRAY),
        ("RGB", RNG.integers(0, 256, (12, 15, 3), np.uint8)),
    ],
    ids=["gray", "clipped", "with nodata", "three bands"],
)
def test_fold_exact_is_exact_at_borders_with_clip_and_nodata(source, image):
    plan = gp.plan(source, "imagenet")
    kernel, bias = gp.weights.fold_exact(KERNEL, BIAS, plan.unit_map, layout="OIHW")
    np.testing.assert_array_equal(bias, BIAS)
    folded = convolved(one_band_more(plan)(image), kernel, bias, padding=2)
    assert error(folded, convolved(plan(image), KERNEL, BIAS, padding=2)) <= 1e-6


def test_plain_fold_turns_nodata_into_black():
    source = gp.Source("gray", range=(0, 255), nodata=GRAY[5, 5])
    plan, feed = gp.plan(source, "imagenet"), gp.plan(source, gp.Target("gray", "CHW"))
    kernel, bias = gp.weights.fold(KERNEL, BIAS, plan.unit_map, layout="OIHW")
    assert (
        error(convolved(feed(GRAY), kernel, bias), convolved(plan(GRAY), KERNEL, BIAS))
        > 0.01
    )


def test_a_centred_plan_reduces_the_border_error_of_fold():
    mean, std = np.mean(PLAN.target.mean), np.mean(PLAN.target.std)
    raw, centred = (
        gp.plan("gray", gp.Target("gray", "CHW", mean=m, std=s))
        for m, s in ((0, 1), (mean, std))
    )
    expected, errors = convolved(PLAN(GRAY), KERNEL, BIAS, 1), []
    for feed in (raw, centred):
        rest = feed.unit_map.inverse() >> PLAN.unit_map
        y = convolved(
            feed(GRAY), *gp.weights.fold(KERNEL, BIAS, rest, layout="OIHW"), 1
        )
        assert error(y[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1]) <= 1e-5
        errors.append(error(y, expected))
    assert errors[1] < errors[0] / 5


def test_fold_adds_a_bias_only_if_the_map_has_an_offset():
    assert gp.weights.fold(KERNEL, None, gp.replicate(), layout="OIHW")[1] is None
    assert gp.weights.fold_exact(KERNEL, None, PLAN.unit_map, layout="OIHW")[1] is None
    shift = gp.weights.fold(
        KERNEL.astype("float16"), None, PLAN.unit_map, layout="OIHW"
    )[1]
    assert (shift.shape, shift.dtype) == ((5,), np.float16)


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize(
    ("dtype", "eps"),
    [("float16", 1e-3), (">f4", 1e-7), ("float32", 1e-7), ("float64", 1e-15)],
)
def test_kernel_and_bias_keep_dtypes_for_any_memory_layout(fold, dtype, eps):
    kernel = np.zeros((5, 3, 3, 6), dtype)[..., ::-2]
    kernel[...] = KERNEL
    kernel.flags.writeable = False
    new_kernel, bias = fold(kernel, BIAS, PLAN.unit_map, layout="OIHW")
    assert (new_kernel.dtype, bias.dtype) == (np.dtype(dtype), np.float32)
    folded, constant = defined(kernel.astype(np.float64), PLAN.unit_map)
    np.testing.assert_allclose(new_kernel[:, :1], folded, rtol=eps, atol=1e-14)
    if fold is gp.weights.fold:
        np.testing.assert_allclose(
            bias, BIAS + constant.sum((1, 2)), rtol=1e-6, atol=1e-6
        )
    else:
        np.testing.assert_allclose(new_kernel[:, 1], constant, rtol=eps, atol=1e-14)
    np.testing.assert_array_equal(kernel, KERNEL.astype(dtype))


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize("layout", ["OIHW", "HWIO"])
def test_results_are_fresh_and_contiguous(fold, layout):
    kernel = kernel_of(layout, 4, 3)
    before = kernel.copy(), BIAS.copy()
    for result in fold(kernel, BIAS[:4], gp.select("RGB", of="RGB"), layout=layout):
        assert result.flags.c_contiguous
        assert result.flags.writeable
        assert not np.shares_memory(result, kernel)
        assert not np.shares_memory(result, BIAS)
        result[...] = 7
    np.testing.assert_array_equal(kernel, before[0])
    np.testing.assert_array_equal(BIAS, before[1])


@pytest.mark.parametrize("fold", FOLDS)
def test_nan_stays_in_its_band(fold):
    kernel = KERNEL.copy()
    kernel[:, 0], kernel[:, 1] = np.nan, np.inf
    new_kernel, _ = fold(kernel, BIAS, RGBY, layout="OIHW")
    assert np.isnan(new_kernel[:, 0]).all()
    assert np.isposinf(new_kernel[:, 1]).all()
    np.testing.assert_array_equal(new_kernel[:, 2], KERNEL[:, 2])
    np.testing.assert_array_equal(new_kernel[:, 3], KERNEL[:, 2])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups", [2, 4])
def test_a_grouped_layer_becomes_one_group_of_every_band(layout, groups):
    kernel = kernel_of(layout, 8, 4 // groups)
    channel_map = gp.ChannelMap(
        RNG.normal(size=(4, 2)), RNG.normal(size=4), inputs=("a", "b"), outputs="RGBY"
    )
    first = outputs_first(kernel, layout)
    dense = np.zeros((8, 4, *first.shape[2:]))
    for o, i in itertools.product(range(8), range(4 // groups)):
        dense[o, o // (8 // groups) * (4 // groups) + i] = first[o, i]
    folded, constant = defined(dense, channel_map)
    new_kernel, shift = gp.weights.fold(
        kernel, None, channel_map, layout=layout, groups=groups
    )
    np.testing.assert_allclose(
        outputs_first(new_kernel, layout), folded, rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(
        shift, constant.reshape(8, -1).sum(1), rtol=1e-5, atol=1e-5
    )
    exact, _ = gp.weights.fold_exact(
        kernel, None, channel_map, layout=layout, groups=groups
    )
    np.testing.assert_allclose(
        outputs_first(exact, layout)[:, -1], constant, rtol=1e-6, atol=1e-6
    )


def test_a_depthwise_kernel_of_keras_folds_as_groups():
    # H, W, bands, multiplier
    depthwise = RNG.normal(size=(3, 3, 3, 2)).astype("float32")
    grouped = depthwise.reshape(3, 3, 1, -1)
    new_kernel, bias = gp.weights.fold(
        grouped, None, gp.replicate(gains=(2, 3, 4)), layout="HWIO", groups=3
    )
    assert (new_kernel.shape, bias) == ((3, 3, 1, 6), None)
    for band, multiple in itertools.product(range(3), range(2)):
        # Output 2 * band + multiple reads this band only.
        np.testing.assert_array_equal(
            new_kernel[:, :, 0, 2 * band + multiple],
            depthwise[:, :, band, multiple] * (2 + band),
        )


coefficients = st.floats(-4, 4, width=32)


@given(st.data())
def test_folding_twice_is_folding_the_composition(data):
    sizes = data.draw(st.tuples(*[st.integers(1, 4)] * 3))
    first, middle, last = (
        tuple(f"{letter}{k}" for k in range(n))
        for letter, n in zip("abc", sizes, strict=True)
    )

    def draw(inputs, outputs):
        numbers = st.lists(
            coefficients, min_size=len(inputs) + 1, max_size=len(inputs) + 1
        )
        rows = [data.draw(numbers) for _ in outputs]
        return gp.ChannelMap(
            [r[:-1] for r in rows],
            [r[-1] for r in rows],
            inputs=inputs,
            outputs=outputs,
        )

    before, after = draw(first, middle), draw(middle, last)
    kernel, bias = (
        np.arange(2.0 * len(last) * 3).reshape(2, len(last), 3) - 5,
        np.array([1.0, -2.0]),
    )
    twice = gp.weights.fold(
        *gp.weights.fold(kernel, bias, after, layout="OIW"), before, layout="OIW"
    )
    once = gp.weights.fold(kernel, bias, before >> after, layout="OIW")
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("fold", FOLDS)
@pytest.mark.parametrize(
    ("changed", "raises", "message"),
    [
        (
            {"channel_map": RGBY >> gp.luminance()},
            gp.ChannelError,
            r"with 3 outputs.*\(5, 3, 3, 3\).*got 1, 'gray'",
        ),
        (
            {"groups": 5},
            gp.ChannelError,
            "with 15 outputs.*groups=5, got 3.*or the groups= of the layer",
        ),
        ({"groups": 2}, gp.ChannelError, "divides the 5 outputs, got 2"),
        ({"groups": True}, gp.ChannelError, "positive integer.*got True"),
        ({"layout": "IOHW"}, gp.LayoutError, "one of OIHW, HWIO.*got 'IOHW'"),
        (
            {"layout": "OIW"},
            gp.LayoutError,
            r"3 axes for layout 'OIW', got shape \(5, 3, 3, 3\)",
        ),
        (
            {"layout": "HWIO"},
            gp.LayoutError,
            r"shape \(3,\) for a kernel with 3 outputs, got \(5,\)",
        ),
        ({"bias": BIAS[:4]}, gp.LayoutError, r"shape \(5,\) .*got \(4,\)"),
        ({"bias": BIAS[:, None]}, gp.LayoutError, r"shape \(5,\) .*got \(5, 1\)"),
        (
            {"bias": np.arange(5)},
            gp.DTypeError,
            "the bias must have a floating dtype.*got int64",
        ),
        (
            {"kernel": KERNEL.astype("int8")},
            gp.DTypeError,
            "the kernel must have a floating dtype.*got int8: fold before quant",
        ),
        ({"kernel": KERNEL.astype("complex64")}, gp.DTypeError, "got complex64"),
        ({"kernel": "weights"}, gp.DTypeError, "array of numbers, got str"),
        (
            {"kernel": [[1.0], [1.0, 2.0]]},
            gp.DTypeError,
            "the kernel must convert to a NumPy array, got list",
        ),
        (
            {"channel_map": PLAN},
            gp.DTypeError,
            r"gp.ChannelMap, got Plan: pass plan.unit_map",
        ),
        (
            {"kernel": np.full((5, 3, 3, 3), 6e4, "float16")},
            gp.RangeError,
            "overflows float16: use a wider dtype",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_that_do_not_fit_are_refused(fold, changed, raises, message):
    call = {
        "kernel": KERNEL,
        "bias": BIAS,
        "channel_map": PLAN.unit_map,
        "layout": "OIHW",
        **changed,
    }
    with pytest.raises(raises, match=f"(?s){message}"):
        fold(**call)
