"""Choosing: several plans with one target serve a folder of many kinds, and the arriving band count picks one."""

from collections.abc import Mapping
from typing import Any

from ...bands import show
from ...errors import ChannelError, DTypeError, RangeError
from ...plan import Plan

Plans = Mapping[int, Plan]
"""Plans by the number of bands they take, all with one target."""


def index_by_band_count(plans: tuple[Any, ...]) -> Plans:
    """Return ``plans`` by band count; DTypeError for other things, ChannelError where the count could not decide."""
    if not plans:
        raise ChannelError(
            "expected at least one plan, such as gp.plan('gray', 'imagenet'), got none"
        )
    chosen: dict[int, Plan] = {}
    for plan in plans:
        if not isinstance(plan, Plan):
            raise DTypeError(
                f"expected plans, as gp.plan makes them, got {type(plan).__name__}"
            )
        count = len(plan.source.bands)
        if count in chosen:
            raise ChannelError(
                f"{show(chosen[count].source.bands)} and {show(plan.source.bands)} both have {count} "
                f"band{'s' if count > 1 else ''}, so no image could say which plan is meant: use one adapter for each"
            )
        if plan.target != plans[0].target:
            raise ChannelError(
                f"several plans share one target, or their results could not be one batch, got {plans[0].target} "
                f"and {plan.target}"
            )
        chosen[count] = plan
    return chosen


def choose_plan(plans: Plans, count: int, what: str) -> Plan:
    """Return the plan for ``count`` bands; ChannelError where there is none. ``what`` describes what arrived."""
    try:
        return plans[count]
    except KeyError:
        known = " or ".join(
            f"{show(plan.source.bands)} ({held})"
            for held, plan in sorted(plans.items())
        )
        raise ChannelError(
            f"expected the bands {known}, got {count} in {what}: add a plan for images of {count} "
            f"band{'s' if count > 1 else ''}, or pick the bands first"
        ) from None


def check_range_declared(plan: Plan, why: str) -> None:
    """Raise RangeError unless the source declares its range; ``why`` says who may have cast the pixels before."""
    if not plan.source._declares_range:
        bands = show(plan.source.bands)
        raise RangeError(
            f"{why}, so a dtype no longer says what black and white are: declare them in the source, such as "
            f"gp.Source({bands}, range=(0, 255)) for 8-bit data or gp.Source({bands}, range=(0, 1)) for unit floats"
        )
