"""Choose among several plans by the band count of an image.

One adapter may use several plans that share one target, for a folder that mixes, for
example, gray and RGB images. The plan is selected by the band count of the image.
"""

from collections.abc import Mapping
from typing import Any

from ...bands import format_bands
from ...errors import ChannelError, DTypeError, RangeError
from ...plan import Plan

PlansByBandCount = Mapping[int, Plan]


def index_by_band_count(plans: tuple[Any, ...]) -> PlansByBandCount:
    """Return ``plans`` as a mapping from the number of source bands to the plan.

    Parameters
    ----------
    plans : tuple of Plan
        The arguments of an adapter, not validated yet.

    Raises
    ------
    DTypeError
        If an argument is not a `graypipe.Plan`.
    ChannelError
        If there is no plan, if two plans take the same number of bands, or if their
        targets differ.
    """
    if not plans:
        raise ChannelError(
            "expected at least one plan, such as gp.plan('gray', 'imagenet'), got none"
        )
    indexed: dict[int, Plan] = {}
    for plan in plans:
        if not isinstance(plan, Plan):
            raise DTypeError(
                "expected plans, such as gp.plan('gray', 'imagenet'), got "
                f"{type(plan).__name__}"
            )
        count = len(plan.source.bands)
        if count in indexed:
            first = format_bands(indexed[count].source.bands)
            second = format_bands(plan.source.bands)
            raise ChannelError(
                f"expected plans that take different numbers of bands, but {first} "
                f"and {second} both have {format_band_count(count)}, "
                "so the band count of an image does not determine its plan: use a "
                "separate adapter for each plan"
            )
        if plan.target != plans[0].target:
            raise ChannelError(
                "expected plans that share one target, so that their results can be "
                f"stacked into a batch, got {plans[0].target} and {plan.target}: build "
                "all plans with the same target"
            )
        indexed[count] = plan
    return indexed


def choose_plan(plans: PlansByBandCount, count: int, description: str) -> Plan:
    """Return the plan for images of ``count`` bands.

    Parameters
    ----------
    plans : mapping of int to Plan
        Result of `index_by_band_count`.
    count : int
        Number of bands of the image.
    description : str
        Description of the image for the error message, such as
        ``"a tensor of shape (4, 8, 8)"``.

    Raises
    ------
    ChannelError
        If no plan takes ``count`` bands.
    """
    if count not in plans:
        raise no_plan_error(plans, count, description)
    return plans[count]


def no_plan_error(
    plans: PlansByBandCount, count: int, description: str
) -> ChannelError:
    """Return the error for an image whose band ``count`` no plan takes.

    The parameters are those of `choose_plan`.
    """
    accepted = " or ".join(
        f"{format_bands(plan.source.bands)} ({number})"
        for number, plan in sorted(plans.items())
    )
    band_count = format_band_count(count)
    return ChannelError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"expected bands {accepted}, got {band_count} in {description}: add a plan for "
        f"images of {band_count}, or select the bands first"
    )


def check_range_declared(plan: Plan, reason: str) -> None:
    """Raise RangeError unless the source of ``plan`` declares its range.

    If a framework may cast pixels before they reach an adapter, their dtype no longer
    implies which values are black and white. ``reason`` is the beginning of the error
    message and states what may have cast the pixels.
    """
    if plan.source._declares_range:
        return
    bands = format_bands(plan.source.bands)
    raise RangeError(
        f"{reason}, so their dtype no longer implies which values are black and white: "
        f"declare the range in the source, such as gp.Source({bands}, range=(0, 255)) "
        f"for 8-bit data or gp.Source({bands}, range=(0, 1)) for floats from 0 to 1"
    )


def format_band_count(count: int) -> str:
    """Return ``count`` with its noun: "1 band" or "3 bands"."""
    if count == 1:
        return "1 band"
    return f"{count} bands"
