"""Run a function on many tasks in local worker processes.

A process without other threads forks its workers, which starts them in milliseconds.
Otherwise they are forked from a server process that has imported the package and does
nothing else, or, on platforms without fork, started from scratch. In all cases they
inherit no threads and no locks.
"""

import errno
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import TypeVar

from ..errors import GraypipeError

Task = TypeVar("Task")
Result = TypeVar("Result")

# Maximum number of submitted tasks per worker. 2 tasks keep every worker busy; more
# would only use memory for pending results.
TASKS_PER_WORKER = 2

# Imported once by the server process instead of by every worker. Modules that cannot be
# imported, such as the Numba engine without Numba, are skipped.
PRELOADED_MODULES = [
    "graypipe.batch_jobs.work",
    "graypipe.io.png",
    "graypipe.engine.numba_engine",
]


def map_in_order(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    may_fork: bool = False,
) -> Generator[Result, None, None]:
    """Yield ``function(task)`` for each task, in the order of the tasks.

    Close the generator to stop the worker processes early.

    Parameters
    ----------
    function : callable
        A picklable function. Its exceptions are propagated, and the remaining tasks are
        cancelled.
    tasks : iterable
        Picklable objects. They are consumed as workers become free, so that memory use
        does not grow with the number of tasks.
    workers : int
        The number of worker processes. With 1, the tasks run in the current process.
    may_fork : bool, default False
        Whether the workers may be forked from this process. Only a process that knows
        its native threads may allow this, because they cannot be detected here.

    Yields
    ------
    object
        The results of ``function``.

    Raises
    ------
    GraypipeError
        If a worker process dies, or the operating system does not allow enough open
        files for the workers.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    with _deferred_interrupts():
        context = _worker_context(may_fork)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_init_worker)
    try:
        yield from _results_in_order(pool, function, tasks, workers * TASKS_PER_WORKER)
    except BrokenProcessPool:
        raise GraypipeError(
            "a worker process died: it was killed, or the machine ran out of memory. "
            "Use fewer workers to reduce memory use; finished files are kept"
        ) from None
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        raise GraypipeError(
            f"the limit on open files is too low for {workers} workers: use fewer "
            "workers, or raise the limit (ulimit -n); finished files are kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _results_in_order(
    pool: ProcessPoolExecutor,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    max_pending: int,
) -> Iterator[Result]:
    """Yield the results in order; submit at most ``max_pending`` tasks in advance."""
    pending: deque[Future[Result]] = deque()
    for task in tasks:
        if len(pending) == max_pending:
            yield pending.popleft().result()
        # Workers may be forked here, and inherit the signal mask.
        with _deferred_interrupts(), _blocked_interrupts():
            future = pool.submit(function, task)
        pending.append(future)
    while pending:
        yield pending.popleft().result()


@contextmanager
def _deferred_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt after the block instead of inside it.

    Inside it, the start of a worker may have been requested, but the pool does not know
    the worker yet. It would neither be ended nor waited for, and print a traceback.
    """
    is_main_thread = threading.current_thread() is threading.main_thread()
    # Only the main thread receives signals. None: a handler that Python cannot restore.
    if not is_main_thread or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    is_interrupted = False

    def handle(*_: object) -> None:
        nonlocal is_interrupted
        is_interrupted = True

    handler = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if is_interrupted:
            signal.raise_signal(signal.SIGINT)


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Block SIGINT in this thread, and in processes and threads that are started.

    A terminal sends SIGINT to every process in the foreground process group. Only the
    parent process handles it: a worker or server that is interrupted while it starts
    would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)


def _worker_context(may_fork: bool) -> multiprocessing.context.BaseContext:
    """Return the multiprocessing context; start the fork server if it is used."""
    # System libraries of macOS do not support forking. The threads of NumPy's BLAS
    # library do not count: it ends them before a fork.
    if may_fork and sys.platform == "linux" and threading.active_count() == 1:
        return multiprocessing.get_context("fork")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED_MODULES)
    _start_fork_server()
    return context


def _start_fork_server() -> None:
    """Start the server process so that it and its workers never receive Ctrl-C."""
    from multiprocessing import forkserver, resource_tracker

    # The signal mask is inherited by the server and by its workers. Starting the
    # resource tracker would unblock SIGINT, so it must be started first.
    resource_tracker.ensure_running()
    with _blocked_interrupts():
        forkserver.ensure_running()


def _init_worker() -> None:
    """Ignore Ctrl-C, which the parent process handles; exit when the parent dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(
            target=_exit_with_parent, args=(parent.sentinel,), daemon=True
        ).start()


def _exit_with_parent(parent_sentinel: int) -> None:
    """Wait until the parent process ends, then exit immediately."""
    connection.wait([parent_sentinel])
    os._exit(1)
