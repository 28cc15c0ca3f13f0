"""Folding shared by torch and Keras: the plan that feeds the model, its centre, comparisons."""

import itertools

import imagenet
import numpy as np
import pytest

import graypipe as gp
from graypipe.adapters._shared import folding

RNG = np.random.default_rng(5)
MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)
GRAY = gp.Source("gray", range=(0, 255))
PLAN = gp.plan(GRAY, "imagenet")
KERNEL = RNG.normal(size=(5, 3, 3, 3)).astype("float32")
VIA = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.75, "Y": 0.25}, "B": "B"}


def covered(side, taps, stride, padding):
    """Return which taps of a square kernel lie inside a square image, one by one."""
    starts = range(-padding, side + padding - taps + 1, stride)
    inside = [[0 <= start + k < side for start in starts] for k in range(taps)]
    return np.array(
        [
            [a and b for a, b in itertools.product(inside[r], inside[c])]
            for r in range(taps)
            for c in range(taps)
        ]
    )


def squared_error(plan, kernel, centre, seen):
    """Return the sum of e² over output channels and positions, one by one."""
    mapped = np.array(plan.unit_map.matrix) @ np.atleast_1d(centre) + np.array(
        plan.unit_map.offset
    )
    taps = np.einsum("oirc,i->orc", kernel.astype(np.float64), mapped).reshape(
        len(kernel), -1
    )
    return sum(float((taps[:, ~position].sum(1) ** 2).sum()) for position in seen.T)


def fold(plan=PLAN, kernel=KERNEL, bias=None, exact=False, **options):
    return folding.fold(plan, kernel, bias, layout="OIHW", exact=exact, **options)


@pytest.mark.parametrize(
    ("taps", "stride", "padding"), [(3, 1, 1), (7, 2, 3), (5, 2, 1)]
)
def test_the_centre_is_near_the_least_error_at_the_border(taps, stride, padding):
    kernel = RNG.normal(size=(64, 3, taps, taps)).astype("float32")
    seen = covered(16, taps, stride, padding)
    _, _, feed = fold(kernel=kernel)
    error = squared_error(PLAN, kernel, feed.target.mean, seen)
    assert error < 0.05 * squared_error(PLAN, kernel, [0], seen)
    least = min(
        squared_error(PLAN, kernel, [centre], seen)
        for centre in np.linspace(0.3, 0.6, 301)
    )
    assert error < 1.1 * least


def test_the_centre_of_one_band_has_a_closed_form():
    _, _, feed = fold()
    by_hand = (MEAN / STD**2).sum() / (1 / STD**2).sum()
    assert feed.target.mean[0] == pytest.approx(by_hand, abs=5e-5)


@pytest.mark.parametrize("exact", [False, True])
def test_feed_does_not_depend_on_the_kernel(exact):
    _, _, feed = fold(exact=exact)
    other = RNG.normal(size=(7, 3, 5, 5)) * [[[[1]], [[-20]], [[3]]]]
    _, _, other_feed = fold(kernel=other, exact=exact)
    assert other_feed == feed


def test_four_bands_that_feed_three_leave_no_error():
    plan = gp.plan(gp.Source("RGBY", range=(0, 255)), "imagenet", VIA)
    _, _, feed = fold(plan)
    left = np.array(plan.unit_map.matrix) @ feed.target.mean + plan.unit_map.offset
    assert np.abs(left).max() < 1e-3


def test_equal_statistics_leave_no_error_at_the_border():
    plan = gp.plan(GRAY, "inception")
    _, bias, feed = fold(plan)
    assert feed.target.mean == (0.5,)
    assert bias is None


def test_the_centre_of_an_unread_band_stays_small():
    via = {"R": "R", "G": "G", "B": {"B": 1, "Y": 1e-9}}
    _, _, feed = fold(gp.plan(gp.Source("RGBY", range=(0, 1)), "imagenet", via))
    assert abs(feed.target.mean[3]) < 0.01
    np.testing.assert_allclose(feed.target.mean[:3], MEAN, atol=1e-3)


@pytest.mark.parametrize("exact", [False, True])
def test_feed_keeps_source_guards_layout_and_dtype(exact):
    source = gp.Source(
        "RGBY", "CHW", range=(10, 200), clip=True, nodata=7 if exact else None
    )
    plan = gp.plan(source, gp.preset("imagenet", layout="HWC", dtype="float64"), VIA)
    kernel, bias, feed = fold(plan, exact=exact)
    assert (feed.source, feed.target.layout, feed.target.dtype) == (
        source,
        "HWC",
        "float64",
    )
    assert feed.target.bands == (
        ("R", "G", "B", "Y", "one") if exact else ("R", "G", "B", "Y")
    )
    assert kernel.shape == (5, 5 if exact else 4, 3, 3)
    assert (bias is None) == exact
    assert gp.Plan.from_json(feed.to_json()) == feed


@pytest.mark.parametrize("exact", [False, True])
def test_the_folded_layer_gives_the_same_output(exact):
    kernel, bias, feed = fold(bias=np.ones(5, "float32"), exact=exact)
    window = RNG.integers(0, 256, (3, 3), dtype=np.uint8)
    by_hand = (window / 255 - MEAN[:, None, None]) / STD[:, None, None]
    expected = np.einsum("oirc,irc->o", KERNEL.astype(np.float64), by_hand) + 1
    actual = (
        np.einsum(
            "oirc,irc->o", kernel.astype(np.float64), feed(window).astype(np.float64)
        )
        + bias
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_nodata_is_zero_in_the_constant_band():
    plan = gp.plan(gp.Source("gray", range=(0, 255), nodata=7), "imagenet")
    _, _, feed = fold(plan, exact=True)
    fed = feed(np.array([[7, 8], [255, 0]], np.uint8))
    np.testing.assert_array_equal(fed[1], [[0, 1], [1, 1]])
    assert fed[0, 0, 0] == 0


@pytest.mark.parametrize(
    ("plan", "exact", "raises", "message"),
    [
        (
            gp.plan("gray", "imagenet"),
            False,
            gp.RangeError,
            r"comes from other code.*range=\(0, 255\)",
        ),
        (
            gp.plan(GRAY, "rgb8"),
            True,
            gp.DTypeError,
            "folded weights cannot round, got uint8.*dtype='float32'",
        ),
        (
            gp.plan(gp.Source(range=(0, 255), nodata=7), "imagenet"),
            False,
            gp.RangeError,
            "nodata=7.*exact=True",
        ),
        (
            gp.plan(gp.Source(range=(0, 1), nodata=np.nan), "imagenet"),
            False,
            gp.RangeError,
            "nodata=nan.*exact=True",
        ),
        (
            gp.plan(gp.Source(("one",), range=(0, 255)), "imagenet"),
            True,
            gp.ChannelError,
            "band 'one'.*rename the band of the source",
        ),
        (
            "imagenet",
            False,
            gp.DTypeError,
            r"expected plans, such as gp.plan\('gray', 'imagenet'\), got str",
        ),
    ],
    ids=["undeclared", "integers", "nodata", "nan", "one", "no plan"],
)
def test_a_plan_that_cannot_be_folded_is_refused(plan, exact, raises, message):
    with pytest.raises(raises, match=f"(?s){message}"):
        folding.check_foldable(plan, exact=exact)


def test_samples_are_the_same_images_under_every_plan():
    plan = gp.plan(
        gp.Source("RGBY", range=(10, 200), clip=True, nodata=7), "imagenet", VIA
    )
    _, _, feed = fold(plan, exact=True)
    first, second = folding.sample_inputs(
        [plan, feed.with_layouts(target="HWC")], (20, 30)
    )
    assert (first.shape, second.shape) == ((2, 3, 20, 30), (2, 20, 30, 5))
    blank = second[..., 4] == 0
    assert 0 < blank.mean() < 0.1
    assert (second[blank] == 0).all()
    unit = (
        second[..., :4]
        @ np.array([[0.5, 0, 0, 0.5], [0, 0.75, 0, 0.25], [0, 0, 1, 0]]).T
    )
    expected = np.where(blank[..., None], 0, (unit - MEAN) / STD)
    np.testing.assert_allclose(first, expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert second[..., :4].min() == 0  # samples beyond the range are clipped
    assert second[..., :4].max() == 1


def test_samples_are_seeded_and_fill_the_range():
    plans = [gp.plan(gp.Source("gray", dtype="uint8", bits=4), "unit")]
    (first,), (again,), (other,) = (
        folding.sample_inputs(plans, (30, 30), seed=seed) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_allclose(np.unique(first), np.arange(16) / 15, atol=1e-6)


def test_samples_can_be_volumes():
    (samples,) = folding.sample_inputs(
        [
            gp.plan(gp.Source("gray", "THW", range=(0, 1)), "unit").with_layouts(
                target="CTHW"
            )
        ],
        (4, 5, 6),
    )
    assert samples.shape == (2, 3, 4, 5, 6)


def test_plans_of_different_sources_cannot_be_compared():
    with pytest.raises(
        gp.ChannelError,
        match=r"(?s)plans with the same source.*range=\(0.0, 1.0\).*that fold_into returned",
    ):
        folding.sample_inputs(
            [PLAN, gp.plan(gp.Source(range=(0, 1)), "imagenet")], (4, 4)
        )


def test_differences_are_largest_and_relative():
    expected, actual = (
        [np.array([3.0, 0.0]), np.array([[4.0]])],
        [np.array([3.0, 0.1]), np.array([[3.8]])],
    )
    off = folding.Difference.between(actual, expected)
    assert off.largest == pytest.approx(0.2)
    assert off.relative == pytest.approx(np.sqrt(0.1**2 + 0.2**2) / 5)
    assert folding.Difference.between([], []) == folding.Difference(0.0, 0.0)


def test_nan_makes_a_difference_nan():
    off = folding.Difference.between([np.array([1.0, np.nan])], [np.array([1.0, 1.0])])
    assert np.isnan(off.largest)
    assert np.isnan(off.relative)


def test_equal_infinities_do_not_differ():
    expected = [np.array([np.inf, -np.inf, 3.0, 4.0])]
    assert folding.Difference.between(expected, expected) == folding.Difference(
        0.0, 0.0
    )
    assert folding.Difference.between(
        [np.array([np.inf, -np.inf, 3.0, 4.5])], expected
    ) == folding.Difference(0.5, 0.1)
    assert (
        folding.Difference.between(
            [np.array([np.inf, np.inf, 3.0, 4.0])], expected
        ).largest
        == np.inf
    )


def test_outputs_of_different_shapes_are_refused():
    one = np.zeros((2, 9, 4))
    for actual in ([np.zeros((2, 9, 1))], [one, one], []):
        with pytest.raises(
            gp.ChannelError,
            match=r"outputs of shapes \[\(2, 9, 4\)\], got.*the result of fold_into for that model",
        ):
            folding.Difference.between(actual, [one])
    with pytest.raises(
        gp.ChannelError, match=r"a layer with outputs of shape \(9, 4\), got \(9, 5\)"
    ):
        folding.compare_layer_outputs(np.zeros((2, 9, 5)), one, np.ones((9, 9), bool))


def test_taps_inside_separate_interior_and_border():
    seen = covered(4, 3, 1, 1)
    expected = np.ones((2, 4, 4, 3))
    actual = expected.copy()
    actual[:, 1:3, 1:3] += 0.25
    actual[1, 0, 2, 1] -= 4
    interior, border = folding.compare_layer_outputs(actual, expected, seen)
    assert (interior.largest, interior.relative) == (0.25, 0.25)
    assert border.largest == 4
    assert border.relative == pytest.approx(4 / np.sqrt(2 * 12 * 3))


def test_a_comparison_prints_as_a_table():
    comparison = folding.Comparison(
        "stem.conv1", *(folding.Difference(10.0**-i, 0.5) for i in range(3))
    )
    assert str(comparison).splitlines() == [
        "                        largest  relative L2",
        "stem.conv1, interior   1.00e+00     5.00e-01",
        "stem.conv1, border     1.00e-01     5.00e-01",
        "model                  1.00e-02     5.00e-01",
    ]
