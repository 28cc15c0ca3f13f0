"""One plan against the chain written by hand: the largest difference, and both times."""

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .. import Plan, Target
from .chains import Array, Chain

RUNS = 7


class Case(NamedTuple):
    """An image and what is done with it, twice."""

    title: str
    image: Array
    plan: Plan
    preset: str
    by_hand: Chain


class Result(NamedTuple):
    """What came out of a case; times in seconds, medians of several runs."""

    case: Case
    output: Array
    difference: float
    tolerance: float
    time: float
    time_by_hand: float

    @property
    def passed(self) -> bool:
        """Whether the plan gave what the chain gives; never for NaN."""
        return self.difference <= self.tolerance


def check(case: Case) -> Result:
    """Run ``case``: the difference is to the chain in float64, the times are both in the dtype of the target."""
    target, output = case.plan.target, case.plan(case.image)
    return Result(
        case,
        output,
        _difference(output, case.by_hand(case.image, "float64")),
        tolerance(target),
        _median_time(lambda: case.plan(case.image)),
        _median_time(lambda: case.by_hand(case.image, target.dtype)),
    )


def _difference(output: Array, expected: Array) -> float:
    """Return the largest absolute difference; infinite for another shape."""
    return (
        float(np.abs(output.astype("float64") - expected).max())
        if output.shape == expected.shape
        else np.inf
    )


def tolerance(target: Target) -> float:
    """Return what rounding may change: nothing in integers, else some steps of the largest number on the way there."""
    if np.dtype(target.dtype).kind != "f":
        return 0.0
    low, high = target.range
    largest = np.max(
        (abs(high - low) + np.abs(low - np.array(target.mean))) / np.array(target.std)
    )
    return float(8.5 * np.finfo(target.dtype).eps * largest)


def _median_time(job: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        start = perf_counter()
        job()
        times.append(perf_counter() - start)
    return median(times)
