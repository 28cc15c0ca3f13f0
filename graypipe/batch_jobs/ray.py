"""Run a function on many tasks with Ray Data, on this machine or on a cluster.

The workers read and write the files themselves: all nodes of the cluster must see the
files under the same paths.
"""

import logging
import os
import pickle
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from ..errors import GraypipeError
from ..extras import require_extra

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_in_order(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    address: str | None,
) -> Generator[Result, None, None]:
    """Yield ``function(task)`` for each task, in the order of the tasks.

    Parameters
    ----------
    function : callable
        A picklable function. Its exceptions are propagated.
    tasks : iterable
        Picklable objects.
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
        rows = ray.data.from_items([{"task": pickle.dumps(task)} for task in tasks])
        for row in rows.map(_RowFunction(function)).iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, BaseException):
                raise result
            yield result
    except ray.exceptions.RayError as error:
        raise GraypipeError(f"Ray failed: {error}") from None
    finally:
        ray.shutdown()


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
    # The command prints its own progress and errors.
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
