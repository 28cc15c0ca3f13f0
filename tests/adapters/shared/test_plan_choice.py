"""Several plans in one adapter: the band count chooses one, or it is an error."""

import pytest

import graypipe as gp
from graypipe.adapters._shared import plan_choice

GRAY, RGB = gp.plan("gray", "imagenet"), gp.plan("RGB", "imagenet")


def test_the_band_count_picks_the_plan():
    plans = plan_choice.index_by_band_count((GRAY, RGB))
    assert plan_choice.choose_plan(plans, 1, "shape (1, 4, 5)") is GRAY
    assert plan_choice.choose_plan(plans, 3, "shape (3, 4, 5)") is RGB


@pytest.mark.parametrize("count", [2, 4, 13])
def test_another_band_count_is_an_error_that_names_the_plans(count):
    plans = plan_choice.index_by_band_count((GRAY, RGB))
    with pytest.raises(
        gp.ChannelError,
        match=rf"'gray' \(1\) or 'RGB' \(3\), got {count} bands in shape",
    ):
        plan_choice.choose_plan(plans, count, "shape")


def test_two_plans_of_one_band_count_are_an_error():
    with pytest.raises(gp.ChannelError, match="both have 3 bands"):
        plan_choice.index_by_band_count((RGB, gp.plan("BGR", "imagenet")))


def test_plans_of_different_targets_are_an_error():
    with pytest.raises(gp.ChannelError, match="share one target"):
        plan_choice.index_by_band_count((GRAY, gp.plan("RGB", "unit")))


def test_missing_plans_and_other_types_are_errors():
    with pytest.raises(gp.ChannelError, match="at least one plan"):
        plan_choice.index_by_band_count(())
    with pytest.raises(gp.DTypeError, match=r"expected plans.*got str"):
        plan_choice.index_by_band_count(("imagenet",))


@pytest.mark.parametrize("source", ["gray", gp.Source("gray", dtype="uint8")])
def test_an_undeclared_range_is_an_error_with_its_cure(source):
    with pytest.raises(
        gp.RangeError, match=r"Keras casts.*gp.Source\('gray', range=\(0, 255\)\)"
    ):
        plan_choice.check_range_declared(gp.plan(source, "imagenet"), "Keras casts")


@pytest.mark.parametrize("declared", [{"bits": 12}, {"range": (0, 255)}])
def test_a_declared_range_passes(declared):
    plan_choice.check_range_declared(
        gp.plan(gp.Source("gray", **declared), "imagenet"), "Keras casts"
    )
