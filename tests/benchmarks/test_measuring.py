"""Timing and weighing: what the gauges say about functions whose cost is known."""

import numpy as np
import pytest

from benchmarks import memory, timing
from benchmarks.engines import NUMPY, OURS, ours
from benchmarks.scale import TINY, Scale
from graypipe import engine

SEVERAL = Scale("test", seconds=2**-6, least_rounds=6, largest=1, batch=1)


def test_a_summary_holds_median_and_quartiles():
    samples = [5.0, 1.0, 4.0, 2.0, 8.0, 3.0]

    figure = timing.summary(samples, calls=7)

    assert (figure.q1, figure.median, figure.q3) == pytest.approx(
        tuple(np.percentile(samples, [25, 50, 75]))
    )
    assert (figure.rounds, figure.calls) == (6, 7)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only contenders move: by their cost, leaving their name in a trace."""

    class Clock:
        def __init__(self):
            self.now, self.trace = 0.0, []

        def contender(self, name, cost):
            def run():
                self.trace.append(name)
                self.now += cost

            return run

    clock = Clock()
    monkeypatch.setattr(timing, "perf_counter", lambda: clock.now)
    return clock


def test_figures_are_seconds_a_call_and_short_calls_are_repeated(clock):
    costs = {"short": 1e-6, "medium": 1e-5, "long": 2e-3}

    figures = timing.measure(
        {name: clock.contender(name, cost) for name, cost in costs.items()}, SEVERAL
    )

    assert {name: figure.median for name, figure in figures.items()} == pytest.approx(
        costs
    )
    assert {name: figure.calls for name, figure in figures.items()} == {
        "short": 50,
        "medium": 5,
        "long": 1,
    }
    assert {figure.rounds for figure in figures.values()} == {SEVERAL.least_rounds}


def test_a_cheap_case_gets_the_rounds_its_seconds_allow(clock):
    figures = timing.measure({"short": clock.contender("short", 2**-14)}, SEVERAL)

    assert figures["short"].rounds == 128


def test_rounds_are_shuffled_with_an_untimed_call_first(clock):
    names = "abcd"

    figures = timing.measure(
        {name: clock.contender(name, 2e-3) for name in names}, SEVERAL
    )

    rounds = figures["a"].rounds + 1  # one to warm up
    visits = clock.trace[len(names) :]  # after a call each to see how long it takes
    assert len(visits) == rounds * len(names) * 2
    assert visits[::2] == visits[1::2]
    orders = [
        tuple(visits[k : k + 2 * len(names) : 2])
        for k in range(0, len(visits), 2 * len(names))
    ]
    assert all(sorted(order) == sorted(names) for order in orders)
    assert len(set(orders)) > 1


def test_reported_seconds_are_taken_as_they_are():
    assert timing.collect({"process": lambda: 0.25}, TINY)["process"].median == 0.25


def test_held_counts_array_data_that_only_the_result_keeps():
    image = np.zeros(5000, np.uint8)
    contenders = {
        "view": lambda: image[::2],
        "copy": lambda: image.repeat(3),
        "gone": lambda: image.repeat(3).max(),
    }

    held = memory.held(contenders, TINY)

    assert {name: figure.median for name, figure in held.items()} == {
        "view": 0,
        "copy": 15_000,
        "gone": 0,
    }


def test_extra_counts_what_a_call_needs_beyond_its_result():
    out = np.empty(1000, np.uint8)

    def scratch_and_fresh():
        return (np.zeros(1_000_000, np.uint8)[:1000] + 1).astype(np.uint8)

    def scratch_and_reused():
        np.add(np.zeros(1_000_000, np.uint8)[:1000], 1, out=out)
        return out

    extra = memory.extra(
        {"fresh": scratch_and_fresh, "reused": scratch_and_reused, "none": lambda: out},
        TINY,
    )

    assert extra["fresh"].median == pytest.approx(1_000_000, rel=0.02)
    assert extra["reused"].median == pytest.approx(1_000_000, rel=0.02)
    assert extra["none"].median < 1000


def test_resident_counts_pages_whoever_allocates_them():
    import torch

    contenders = {
        "torch": lambda: torch.ones(2**23),
        "numpy": lambda: np.ones(2**22),
        "none": lambda: None,
    }

    resident = memory.resident(contenders, TINY)

    assert resident["torch"].median == pytest.approx(2**25, rel=0.2)
    assert resident["numpy"].median == pytest.approx(2**25, rel=0.2)
    assert resident["none"].median < 2**22


def test_the_numpy_engine_is_a_contender_of_its_own():
    def make():
        at_calls = []  # the engine in force at each call; a plan keeps that of the first

        def run():
            at_calls.append(engine.name())
            return at_calls[0]

        return run

    before = engine.name()

    engines = {name: run() for name, run in ours(make).items()}

    assert engines == (
        {OURS: "numpy"} if before == "numpy" else {OURS: before, NUMPY: "numpy"}
    )
    assert engine.name() == before
