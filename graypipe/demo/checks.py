"""Compare the result and the time of a plan with a NumPy reference."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .. import Plan, Target
from .reference import Array, Reference

# An odd number, so that the median is one of the measured times.
RUNS = 7

# In units of the machine epsilon. Each floating-point operation has a rounding error of
# at most 0.5 ulp. 8.5 ulp, that is 17 operations, is more than any of these conversions
# needs.
MAX_ROUNDING_ERROR = 8.5


class Case(NamedTuple):
    """An image and its conversion, as a plan and as a NumPy reference."""

    title: str
    image: Array
    plan: Plan
    preset: str
    reference: Reference


class Result(NamedTuple):
    """The outcome of a case.

    Parameters
    ----------
    case : Case
        The case that was run.
    output : numpy.ndarray
        The output of the plan.
    difference : float
        The maximum absolute difference from the reference in float64.
    tolerance : float
        The maximum difference attributable to rounding.
    time, reference_time : float
        The median times of the plan and of the reference in seconds, both computing in
        the dtype of the target.
    """

    case: Case
    output: Array
    difference: float
    tolerance: float
    time: float
    reference_time: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance; False if it is NaN."""
        return self.difference <= self.tolerance


def check(case: Case) -> Result:
    """Run a case, compare the outputs and measure the times."""
    target = case.plan.target
    output = case.plan(case.image)
    expected = case.reference(case.image, "float64")
    return Result(
        case,
        output,
        difference=_maximum_difference(output, expected),
        tolerance=tolerance(target),
        time=_median_time(lambda: case.plan(case.image)),
        reference_time=_median_time(lambda: case.reference(case.image, target.dtype)),
    )


def _maximum_difference(output: Array, expected: Array) -> float:
    """Return the maximum absolute difference; infinity if the shapes differ."""
    if output.shape != expected.shape:
        return np.inf
    return float(np.abs(output.astype("float64") - expected).max())


def tolerance(target: Target) -> float:
    """Return the maximum difference attributable to rounding, in units of the output.

    It is 0 for integers. For floating dtypes, it is `MAX_ROUNDING_ERROR` times the
    machine epsilon times the largest intermediate value.
    """
    if np.dtype(target.dtype).kind != "f":
        return 0.0
    low, high = target.range
    mean = np.array(target.mean)
    std = np.array(target.std)
    largest_value = np.max((abs(high - low) + np.abs(low - mean)) / std)
    epsilon = np.finfo(target.dtype).eps
    return float(MAX_ROUNDING_ERROR * epsilon * largest_value)


def _median_time(function: Callable[[], object]) -> float:
    """Return the median time of `RUNS` calls in seconds."""
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        function()
        times.append(perf_counter() - start)
    return median(times)
