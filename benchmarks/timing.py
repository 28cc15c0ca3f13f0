"""Time: the median and the spread of shuffled, interleaved rounds."""

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import repeat
from statistics import quantiles
from time import perf_counter
from typing import Any, NamedTuple

from .scale import Scale

SAMPLE = 50e-6
"""Shortest sample in seconds: short calls are repeated, so that the clock's resolution does not matter."""

MOST_ROUNDS = 301


class Figure(NamedTuple):
    """A measured quantity: median and quartiles over ``rounds`` samples, each the mean of ``calls`` calls."""

    median: float
    q1: float
    q3: float
    rounds: int
    calls: int


def measure(
    contenders: dict[str, Callable[[], Any]], scale: Scale
) -> dict[str, Figure]:
    """Return the seconds a call of each contender takes.

    Every round runs the contenders in a new random order. One untimed call comes before each timed sample, so that no
    contender pays for page faults and cold caches that another one caused.
    """
    calls = {name: _calls(run) for name, run in contenders.items()}
    with no_collection():
        # The first round warms up; its samples are dropped.
        round_seconds = sum(_round(contenders, calls).values())
        rounds = max(
            scale.least_rounds,
            min(MOST_ROUNDS, int(scale.seconds / (2 * max(round_seconds, 1e-9)))),
        )
        samples = [_round(contenders, calls) for _ in range(rounds)]
    return {
        name: summary([each[name] / calls[name] for each in samples], calls[name])
        for name in contenders
    }


LONG = 15
"""Seconds after which no further rounds are made of processes that time themselves."""


def collect(
    contenders: dict[str, Callable[[], float]], scale: Scale
) -> dict[str, Figure]:
    """Return the seconds that contenders return, such as processes that time themselves."""
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    spent = 0.0
    for number in range(1 + max(3, scale.least_rounds) if scale.seconds else 1):
        for name in _shuffled(contenders):
            seconds = contenders[name]()
            spent += seconds
            # The first round fills the file cache, which matters for short jobs only.
            if number or not scale.seconds or seconds > LONG / len(contenders):
                samples[name].append(seconds)
        if spent > LONG and all(samples.values()):
            break
    return {name: summary(found, 1) for name, found in samples.items()}


def summary(samples: list[float], calls: int) -> Figure:
    """Return the figure of ``samples``."""
    if len(samples) == 1:
        return Figure(samples[0], samples[0], samples[0], 1, calls)
    q1, median, q3 = quantiles(samples, n=4, method="inclusive")
    return Figure(median, q1, q3, len(samples), calls)


def _calls(run: Callable[[], Any]) -> int:
    """Return how many calls make a sample."""
    first = _sample(run, 1)
    if first > 20 * SAMPLE:  # slow enough for one call per sample, even if it was cold
        return 1
    fastest = min(_sample(run, 1) for _ in range(3))
    return max(1, round(SAMPLE / max(fastest, 1e-7)))


def _round(
    contenders: dict[str, Callable[[], Any]], calls: dict[str, int]
) -> dict[str, float]:
    seconds = {}
    for name in _shuffled(contenders):
        contenders[name]()
        seconds[name] = _sample(contenders[name], calls[name])
    return seconds


def _sample(run: Callable[[], Any], calls: int) -> float:
    start = perf_counter()
    for _ in repeat(None, calls):
        run()
    return perf_counter() - start


def _shuffled(contenders: dict[str, Any]) -> list[str]:
    return random.sample(list(contenders), len(contenders))


@contextmanager
def no_collection() -> Iterator[None]:
    """Keep the garbage collector from running in the middle of a sample."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
