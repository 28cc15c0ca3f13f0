"""Ray Data: the same work on a Ray that is started here, or on a cluster that is there.

Workers read and write files themselves, so a cluster needs the same folders under the same names on every machine.
"""

import logging
import os
import pickle
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from ..errors import GraypipeError
from ..extras import needs

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    address: str | None,
) -> Generator[Result, None, None]:
    """Yield ``work(task)`` for each of ``tasks``, in their order.

    ``address`` names a cluster; None starts Ray on this machine with ``workers`` processors, and stops it at the end.
    Whatever ``work`` raises is raised here. MissingExtraError without the extra ``ray``.
    """
    os.environ.setdefault(
        "RAY_USAGE_STATS_ENABLED", "0"
    )  # nothing is reported to anybody
    with needs("ray", "ray", "pandas", "pyarrow"):
        import ray
        import ray.data
    try:
        _start(ray, workers, address)
        rows = ray.data.from_items([{"task": pickle.dumps(task)} for task in tasks])
        for row in rows.map(_Step(work)).iter_rows():
            result = pickle.loads(row["result"])
            if isinstance(result, BaseException):
                raise result
            yield result
    except ray.exceptions.RayError as error:
        raise GraypipeError(f"Ray gave up: {error}") from None
    finally:
        ray.shutdown()


class _Step:
    """``work`` on a row; what it raises is returned, since Ray would wrap it in errors of its own."""

    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            result = self.work(pickle.loads(row["task"]))
        except Exception as error:
            result = error
        return {"result": pickle.dumps(result)}


def _start(ray: Any, workers: int, address: str | None) -> None:
    """Start Ray or join it; let results come in the order of the rows, and leave the terminal to the command."""
    own = {"num_cpus": workers, "include_dashboard": False} if address is None else {}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **own,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise GraypipeError(
            f"Ray is not to be had{f' at {address}' if address else ''}: {error}"
        ) from None
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
