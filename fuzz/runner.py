"""Run cases in a child process, and start another one if it crashes or hangs."""

import importlib
import multiprocessing
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

# The seconds after which a case of a target is a hang. Compiling a kernel takes about two
# seconds. Some targets start several processes that do so.
TARGETS = {
    "files": 60,
    "changes": 60,
    "json": 60,
    "arrays": 60,
    "growth": 600,
    "caches": 600,
    "races": 600,
    "kills": 600,
    "limits": 600,
}

# Cases between two reports of a child process.
REPORTED_CASES = 100

# A case returns what happened, for the statistics, or raises if something is wrong.
Case = Callable[[np.random.Generator], str]


def run(target: str, seed: int, first: int, cases: int | None, seconds: float) -> int:
    """Run cases of a target until their number or the time is reached.

    Parameters
    ----------
    target : str
        A key of `TARGETS`.
    seed, first : int
        The seed, and the number of the first case.
    cases : int, optional
        The number of cases; no limit if not given.
    seconds : float
        Time limit.

    Returns
    -------
    int
        The number of cases that failed, crashed or hung. Each is printed.
    """
    context = multiprocessing.get_context("spawn")
    current = context.Value("q", first, lock=False)
    outcomes: Counter[str] = Counter()
    failures = 0
    deadline = time.monotonic() + seconds
    last = None if cases is None else first + cases
    while time.monotonic() < deadline and (last is None or first < last):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_run_cases,
            args=(
                target,
                seed,
                first,
                last,
                deadline - time.monotonic(),
                current,
                sender,
            ),
        )
        process.start()
        sender.close()
        hung = _collect(receiver, current, outcomes, TARGETS[target])
        if hung:
            process.kill()
        process.join()
        # A child that was stopped by a fault stopped inside this case.
        first = current.value + 1
        if hung:
            failures += 1
            _report(target, seed, current.value, f"no result after {TARGETS[target]} s")
        elif process.exitcode != 0:
            failures += 1
            _report(
                target,
                seed,
                current.value,
                f"the process ended with exit code {process.exitcode}",
            )
        else:
            break
    failures += outcomes["failed"]
    counts = ", ".join(
        f"{count} {outcome}" for outcome, count in sorted(outcomes.items())
    )
    print(
        f"{target}: {sum(outcomes.values())} cases ({counts}), {failures} failures",
        flush=True,
    )
    return failures


def _run_cases(
    target: str,
    seed: int,
    first: int,
    last: int | None,
    seconds: float,
    current: Any,
    sender: Connection,
) -> None:
    """Run cases in a child process, and send the counts of their outcomes."""
    case: Case = importlib.import_module(f"fuzz.{target}").case
    deadline = time.monotonic() + seconds
    outcomes: Counter[str] = Counter()
    number = first
    parent = multiprocessing.parent_process()
    while time.monotonic() < deadline and (last is None or number < last):
        if parent is not None and not parent.is_alive():
            return  # the fuzzer was killed
        current.value = number
        try:
            outcomes[case(np.random.default_rng([seed, number]))] += 1
        except Exception:
            outcomes["failed"] += 1
            _report(target, seed, number, traceback.format_exc())
        number += 1
        if number % REPORTED_CASES == 0:
            sender.send(outcomes)
            outcomes = Counter()
    sender.send(outcomes)
    sender.close()


def _collect(
    receiver: Connection, current: Any, outcomes: Counter[str], hang_seconds: float
) -> bool:
    """Add the counts of a child process until it ends; return whether it hangs."""
    number, since = current.value, time.monotonic()
    while True:
        if receiver.poll(0.5):
            try:
                outcomes.update(receiver.recv())
            except EOFError:
                return False
        if current.value != number:
            number, since = current.value, time.monotonic()
        elif time.monotonic() - since > hang_seconds:
            return True


def _report(target: str, seed: int, number: int, problem: str) -> None:
    """Print a failure with the command that repeats it."""
    print(
        f"FAILED: python -m fuzz {target} --seed {seed} --first {number} --cases 1\n{problem}",
        flush=True,
    )
