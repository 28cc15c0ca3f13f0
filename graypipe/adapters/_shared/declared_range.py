"""Check what a plan declares before an adapter uses it."""

from ...bands import format_bands
from ...errors import RangeError
from ...plan import Plan


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
