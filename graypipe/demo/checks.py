"""Compare a plan with the same conversion written by hand: results and times."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .. import Plan, Target
from .chains_by_hand import Array, Chain

# An odd number, so that the median is one of the measured times.
RUNS = 7

# Every float operation rounds by up to half a step. The conversions have a handful of
# operations, and 17 such errors are more than they can add up to.
MAX_ROUNDING_STEPS = 8.5


class Case(NamedTuple):
    """An image and a conversion, as a plan and by hand."""

    title: str
    image: Array
    plan: Plan
    preset: str
    by_hand: Chain


class Result(NamedTuple):
    """The outcome of a case.

    Parameters
    ----------
    case : Case
        What was computed.
    output : numpy.ndarray
        The output of the plan.
    difference : float
        The largest absolute difference from the conversion by hand in float64.
    tolerance : float
        The difference that rounding explains.
    time, time_by_hand : float
        Median times in seconds, both in the dtype of the target.
    """

    case: Case
    output: Array
    difference: float
    tolerance: float
    time: float
    time_by_hand: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance; False if it is NaN."""
        return self.difference <= self.tolerance


def check(case: Case) -> Result:
    """Run a case, compare the outputs and measure the times."""
    target = case.plan.target
    output = case.plan(case.image)
    expected = case.by_hand(case.image, "float64")
    return Result(
        case,
        output,
        difference=_largest_difference(output, expected),
        tolerance=tolerance(target),
        time=_median_time(lambda: case.plan(case.image)),
        time_by_hand=_median_time(lambda: case.by_hand(case.image, target.dtype)),
    )


def _largest_difference(output: Array, expected: Array) -> float:
    """Return the largest absolute difference; infinity if the shapes differ."""
    if output.shape != expected.shape:
        return np.inf
    return float(np.abs(output.astype("float64") - expected).max())


def tolerance(target: Target) -> float:
    """Return the difference that rounding explains, in units of the output.

    It is 0 for integers. For floats it is `MAX_ROUNDING_STEPS` steps of the largest
    number that occurs in the computation.
    """
    if np.dtype(target.dtype).kind != "f":
        return 0.0
    low, high = target.range
    mean = np.array(target.mean)
    std = np.array(target.std)
    largest_number = np.max((abs(high - low) + np.abs(low - mean)) / std)
    epsilon = np.finfo(target.dtype).eps
    return float(MAX_ROUNDING_STEPS * epsilon * largest_number)


def _median_time(function: Callable[[], object]) -> float:
    """Return the median time of `RUNS` calls in seconds."""
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return median(times)
