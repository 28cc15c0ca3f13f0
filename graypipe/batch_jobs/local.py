"""Processes of this machine: a bounded number of chunks at a time, results in the order of the chunks.

Workers are forked from a server that has imported the package once, and nothing else; where there is no such server
they start afresh. They never inherit threads, locks or open files.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from ..errors import GraypipeError

Task = TypeVar("Task")
Result = TypeVar("Result")

WAITING = 2
"""Chunks a worker has before it, so that it need not wait for the next one."""

PRELOADED = [
    "graypipe.batch_jobs.converting",
    "graypipe.batch_jobs.gathering",
    "graypipe.io.png",
    "graypipe.engine.numba_engine",
]


def in_order(
    work: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Generator[Result, None, None]:
    """Yield ``work(task)`` for each of ``tasks``, in their order; by this process itself where ``workers`` is 1.

    Whatever ``work`` raises is raised here, and the rest of the tasks is left. GraypipeError where a worker dies.
    """
    if workers == 1:
        yield from map(work, tasks)
        return
    pool = ProcessPoolExecutor(workers, mp_context=_context(), initializer=_begin)
    try:
        yield from _results(pool, work, tasks, workers * WAITING)
    except BrokenProcessPool:
        raise GraypipeError(
            "a worker process died: killed, or out of memory. Fewer --workers need less; what is finished stays"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _results(
    pool: ProcessPoolExecutor,
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    most: int,
) -> Iterator[Result]:
    under_way: deque[Future[Result]] = deque()
    for task in tasks:
        if len(under_way) == most:
            yield under_way.popleft().result()
        under_way.append(pool.submit(work, task))
    while under_way:
        yield under_way.popleft().result()


def _context() -> multiprocessing.context.BaseContext:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        PRELOADED
    )  # modules that are not there are passed over
    return context


def _begin() -> None:
    """Leave Ctrl-C to the process that gives the work, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    giver = multiprocessing.parent_process()
    if giver is not None:
        threading.Thread(target=_follow, args=(giver.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
