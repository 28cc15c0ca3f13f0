"""Memory that a call allocates beyond its input, as seen by Python and by the system."""

import ctypes
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .scale import Scale
from .timing import Figure, no_collection

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


def held(contenders: dict[str, Callable[[], Any]], scale: Scale) -> dict[str, Figure]:  # noqa: ARG001
    """Return the bytes of array data that the result keeps alive."""
    with no_collection():
        return {name: _figure(_held(run)) for name, run in contenders.items()}


def extra(contenders: dict[str, Callable[[], Any]], scale: Scale) -> dict[str, Figure]:  # noqa: ARG001
    """Return the bytes a call allocates at its peak beyond its result: arrays and Python objects."""
    with no_collection():
        return {name: _figure(_extra(run)) for name, run in contenders.items()}


def resident(
    contenders: dict[str, Callable[[], Any]],
    scale: Scale,  # noqa: ARG001
) -> dict[str, Figure]:
    """Return the bytes by which the process grows at the peak of a call (Linux only)."""
    # Objects that are alive now are ignored by the collections between the contenders,
    # which take most of a second each where all frameworks are loaded.
    gc.collect()
    gc.freeze()
    try:
        return {name: _figure(_resident(run)) for name, run in contenders.items()}
    finally:
        gc.unfreeze()


def _held(run: Callable[[], Any]) -> int:
    run()
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    tracemalloc.start()
    try:
        result = run()
        snapshot = tracemalloc.take_snapshot().filter_traces([arrays])
    finally:
        tracemalloc.stop()
    del result
    return sum(trace.size for trace in snapshot.traces)


def _extra(run: Callable[[], Any]) -> int:
    run()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        result = run()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    grown = peak - before
    # A result in reused memory was allocated before the call.
    if after - before >= result.nbytes:
        grown -= result.nbytes
    return max(0, grown)


def _resident(run: Callable[[], Any]) -> int:
    run()
    gc.collect()
    # Freed pages that are still resident would hide the growth.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    CLEAR.write_text("5", encoding="ascii")  # reset the high-water mark
    before = _status("VmRSS")
    result = run()
    peak = _status("VmHWM")
    del result
    return max(0, peak - before)


def _status(field: str) -> int:
    """Return a field of the process's status in bytes; the file has it in KiB."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(f"{STATUS} has no {field}")


def _figure(count: int) -> Figure:
    return Figure(count, count, count, 1, 1)
