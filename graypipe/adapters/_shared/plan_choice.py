"""Choose among several plans by the band count of an image.

One adapter may hold several plans with one target, so that it serves a folder that
mixes, for example, gray and RGB images. The band count of an image picks its plan.
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
                f"expected plans, as gp.plan makes them, got {type(plan).__name__}"
            )
        count = len(plan.source.bands)
        if count in indexed:
            first = format_bands(indexed[count].source.bands)
            second = format_bands(plan.source.bands)
            raise ChannelError(
                f"expected plans that take different numbers of bands, but {first} "
                f"and {second} both have {format_band_count(count)}: "
                f"use one adapter for each, an image cannot tell which plan it needs"
            )
        if plan.target != plans[0].target:
            raise ChannelError(
                f"expected plans that share one target, so that their results can be "
                f"stacked into a batch, got {plans[0].target} and {plan.target}"
            )
        indexed[count] = plan
    return indexed


def choose_plan(plans: PlansByBandCount, count: int, image: str) -> Plan:
    """Return the plan for images of ``count`` bands.

    Parameters
    ----------
    plans : mapping of int to Plan
        Result of `index_by_band_count`.
    count : int
        Number of bands of the image.
    image : str
        Description of the image for the error message, such as
        ``"a tensor of shape (4, 8, 8)"``.

    Raises
    ------
    ChannelError
        If no plan takes ``count`` bands.
    """
    if count not in plans:
        accepted = " or ".join(
            f"{format_bands(plan.source.bands)} ({number})"
            for number, plan in sorted(plans.items())
        )
        raise ChannelError(
            f"expected the bands {accepted}, got {count} in {image}: add a plan for "
            f"images of {format_band_count(count)}, or select the bands first"
        )
    return plans[count]


def check_range_declared(plan: Plan, reason: str) -> None:
    """Raise RangeError unless the source of ``plan`` declares its range.

    Where a framework may cast pixels before an adapter sees them, their dtype no
    longer tells which values are black and white. ``reason`` starts the message and
    says who may have cast them.
    """
    if plan.source._declares_range:
        return
    bands = format_bands(plan.source.bands)
    raise RangeError(
        f"{reason}, so their dtype no longer says which values are black and white: "
        f"declare them in the source, such as gp.Source({bands}, range=(0, 255)) for "
        f"8-bit data or gp.Source({bands}, range=(0, 1)) for floats from 0 to 1"
    )


def format_band_count(count: int) -> str:
    """Return ``count`` with its noun: "1 band" or "3 bands"."""
    if count == 1:
        return "1 band"
    return f"{count} bands"
