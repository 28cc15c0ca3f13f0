"""Worker processes: order of the results, memory, errors and Ctrl-C."""

import importlib.util
import math
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial

import pytest
from image_sets import HANGING, ROOT

import graypipe as gp
from graypipe.batch_jobs import local


@pytest.mark.parametrize("workers", [1, 2])
def test_results_have_the_order_of_the_tasks(workers):
    tasks = [20_000, 3, 15_000, 4, 5, 6]
    with closing(local.map_in_order(math.factorial, tasks, workers)) as results:
        assert list(results) == [math.factorial(task) for task in tasks]


@pytest.mark.parametrize("workers", [1, 2])
def test_few_tasks_are_consumed_in_advance(
    workers,
):
    consumed = []

    def tasks():
        for task in range(200):
            consumed.append(task)
            yield task

    with closing(local.map_in_order(math.sqrt, tasks(), workers)) as results:
        for done, _ in enumerate(results, 1):
            assert len(consumed) <= done + workers * local.TASKS_PER_WORKER
    assert len(consumed) == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_an_exception_of_a_task_is_raised(workers):
    with (
        closing(
            local.map_in_order(math.sqrt, [4, -1, *range(500)], workers)
        ) as results,
        pytest.raises(ValueError, match=r"math domain error|nonnegative"),
    ):
        list(results)


def test_a_dead_worker_is_an_error():
    with (
        closing(local.map_in_order(os._exit, [1, 2, 3], 2)) as results,
        pytest.raises(gp.GraypipeError, match="worker process died"),
    ):
        list(results)


def test_closing_stops_all_processes():
    with closing(local.map_in_order(math.sqrt, range(100), 2)) as results:
        next(results)
        assert multiprocessing.active_children()
    assert not multiprocessing.active_children()


def test_workers_never_receive_ctrl_c():
    """The signal is blocked from the start of a worker, before its own code runs."""
    blocked_signals = partial(signal.pthread_sigmask, signal.SIG_BLOCK)
    before = blocked_signals([])
    with closing(local.map_in_order(blocked_signals, [[], [], []], 2)) as results:
        assert all(signal.SIGINT in blocked for blocked in results)
    assert blocked_signals([]) == before


@pytest.mark.parametrize("name", local.PRELOADED_MODULES)
def test_preloaded_modules_exist(name):
    """The server process skips modules that it cannot import, also misspelt ones."""
    assert importlib.util.find_spec(name) is not None


TOO_MANY_WORKERS = """
import math
import resource

import graypipe as gp
from graypipe.batch_jobs import local

if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    try:
        list(local.map_in_order(math.sqrt, range(200), 40))
    except gp.GraypipeError as error:
        print(error)
"""


def run_script(path, content, *arguments):
    """Run a script of its own: the fork server imports the main module."""
    path.write_text(content)
    return subprocess.run(
        [sys.executable, path, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=HANGING,
        check=False,
        capture_output=True,
        text=True,
    )


FORKED_WORKERS = """
import math
import multiprocessing
import os
import signal
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import graypipe as gp
from graypipe.batch_jobs import local
from graypipe.batch_jobs.lock import locked

blocked_signals = partial(signal.pthread_sigmask, signal.SIG_BLOCK)


def parent_and_open_files(_):
    entries = list(Path("/proc/self/fd").iterdir())
    names = [os.readlink(entry) for entry in entries if entry.exists()]
    return os.getppid(), [name for name in names if name.endswith(".lock")]


with locked(Path(sys.argv[1])):
    workers = list(local.map_in_order(parent_and_open_files, range(9), 2, True))
assert workers == [(os.getpid(), [])] * 9, workers
masks = list(local.map_in_order(blocked_signals, [[], [], []], 2, True))
assert all(signal.SIGINT in blocked for blocked in masks)
assert signal.SIGINT not in blocked_signals([])
with closing(local.map_in_order(math.sqrt, range(100), 2, True)) as results:
    next(results)
    assert multiprocessing.active_children()
assert not multiprocessing.active_children()
try:
    list(local.map_in_order(os._exit, [1, 2, 3], 2, True))
except gp.GraypipeError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms do not fork")
def test_forked_workers_keep_the_guarantees(tmp_path):
    """Workers have no lock and no Ctrl-C, end with the job, and their death is named."""
    done = run_script(tmp_path / "script.py", FORKED_WORKERS, tmp_path / "out")
    assert done.stdout.startswith("a worker process died"), done.stderr


# In a process of its own, because pytest-xdist and other tests start threads.
START_METHODS = """
import threading
from graypipe.batch_jobs import local

def print_method(may_fork):
    print(local._worker_context(may_fork).get_start_method())

print_method(True)
print_method(False)
wait = threading.Event()
thread = threading.Thread(target=wait.wait)
thread.start()
print_method(True)
wait.set()
thread.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms do not fork")
def test_a_process_with_threads_does_not_fork_workers(tmp_path):
    done = run_script(tmp_path / "script.py", START_METHODS)
    methods = done.stdout.split()
    assert methods == ["fork", "forkserver", "forkserver"], done.stderr


def test_too_few_open_files_for_the_workers_are_named(tmp_path):
    done = run_script(tmp_path / "script.py", TOO_MANY_WORKERS)
    assert done.stdout.startswith("the limit on open files is too low for 40 workers")


# Ctrl-C arrives when the server has been asked for a worker, but before the pool knows it.
INTERRUPTED_START = """
import math
import signal
from multiprocessing import context

from graypipe.batch_jobs import local

signal.signal(signal.SIGINT, signal.default_int_handler)
popen = context.ForkServerProcess._Popen

def interrupted_popen(process):
    started = popen(process)
    signal.raise_signal(signal.SIGINT)
    return started

if __name__ == "__main__":
    context.ForkServerProcess._Popen = staticmethod(interrupted_popen)
    try:
        list(local.map_in_order(math.sqrt, range(9), 2))
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_ctrl_c_while_a_worker_starts_is_clean(tmp_path):
    done = run_script(tmp_path / "script.py", INTERRUPTED_START)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


def test_deferred_interrupts_keep_other_handlers():
    received = []
    previous = signal.signal(signal.SIGINT, lambda *_: received.append("mine"))
    try:
        with local._deferred_interrupts():
            signal.raise_signal(signal.SIGINT)
            assert received == []
        assert received == ["mine"]
    finally:
        signal.signal(signal.SIGINT, previous)
