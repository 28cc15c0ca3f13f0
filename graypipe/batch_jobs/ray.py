"""Run a function on many tasks with Ray Data, on this machine or on a cluster.

The workers read and write the files themselves: all nodes of the cluster must see the
files under the same paths.
"""

import logging
import math
import os
import pickle
import warnings
from collections.abc import Callable, Generator, Iterable
from textwrap import shorten
from typing import Any, TypeVar

from ..errors import GraypipeError
from ..extras import require_extra

Task = TypeVar("Task")
Result = TypeVar("Result")

# Ray schedules, retries and reports blocks of tasks. It needs tens of milliseconds for
# each; with 16 chunks of 16 files, that is less than a millisecond per file.
MAX_TASKS_PER_BLOCK = 16

# A small job has smaller blocks, so that every CPU of the cluster gets some of them.
MIN_BLOCKS_PER_CPU = 4

# How often Ray runs a block again after its worker process or its node has died. Ray
# Data's default has no limit: a file that crashes the decoder would be retried forever.
MAX_RETRIES = 3

# Errors of Ray can contain the traceback of a worker.
MAX_REASON_LENGTH = 400


def map_in_order(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    address: str | None,
) -> Generator[Result, None, None]:
    """Yield ``function(task)`` for each task, in the order of the tasks.

    If a worker process or a node dies, its tasks run again, possibly while the first
    run has not ended yet.

    Parameters
    ----------
    function : callable
        A picklable function. Its exceptions are propagated. Running it twice with the
        same task must have the same effect as running it once.
    tasks : iterable
        Picklable objects. All of them are kept in memory.
    workers : int
        The number of CPUs, if a local Ray instance is started.
    address : str or None
        The address of a running cluster. With None, a local Ray instance is started,
        and stopped at the end.

    Yields
    ------
    object
        The results of ``function``.

    Raises
    ------
    GraypipeError
        If Ray cannot be started or reached, or if it fails.
    MissingExtraError
        If Ray is not installed.
    """
    # Ray reads this variable on import. 0 disables the collection of usage statistics.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with require_extra("ray", "ray", "pandas", "pyarrow"):
        import ray
        import ray.data
    try:
        _connect(ray, workers, address)
        rows = [{"task": pickle.dumps(task)} for task in tasks]
        block_count = _block_count(ray, len(rows))
        dataset = ray.data.from_items(rows, override_num_blocks=block_count)
        for row in _map_rows(dataset, _RowFunction(function)).iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, BaseException):
                raise result
            yield result
    except ray.exceptions.RayError as error:
        reason = shorten(str(error), MAX_REASON_LENGTH)
        raise GraypipeError(f"Ray failed: {reason}; finished files are kept") from None
    finally:
        ray.shutdown()


def _block_count(ray: Any, task_count: int) -> int:
    """Return the number of blocks for this number of tasks, at least 1."""
    cpus = ray.cluster_resources().get("CPU", 1)
    enough_for_all = int(cpus * MIN_BLOCKS_PER_CPU)
    small_enough = math.ceil(task_count / MAX_TASKS_PER_BLOCK)
    return max(1, min(task_count, max(enough_for_all, small_enough)))


def _map_rows(dataset: Any, function: "_RowFunction") -> Any:
    """Return the data set of the results; each block is retried `MAX_RETRIES` times."""
    # Since Ray 2.60, options of Ray tasks are deprecated here, and max_retries has no
    # replacement yet.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return dataset.map(function, max_retries=MAX_RETRIES)
        except TypeError:
            return dataset.map(function)


class _RowFunction:
    """Apply a function to the pickled task in a row of a Ray data set.

    Exceptions are returned, not raised, because Ray would wrap them in its own type.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            result = self.function(pickle.loads(row["task"]))
        except Exception as error:
            result = error
        return {"result": pickle.dumps(result)}


def _connect(ray: Any, workers: int, address: str | None) -> None:
    """Start a local Ray instance, or connect to the cluster at ``address``."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        options |= {
            "address": "local",
            "num_cpus": workers,
            "include_dashboard": False,
        }
    else:
        options["address"] = address
    try:
        ray.init(**options)
    # Ray raises a plain Exception instead of a RayError if its processes take longer
    # than 30 seconds to start.
    except Exception as error:
        action = "start Ray on this machine"
        if address:
            action = f"connect to Ray at {address}"
        raise GraypipeError(f"cannot {action}: {error}") from None
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    # The command prints its own progress and errors. Ray Data would also log the
    # traceback of an error that it raises.
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
