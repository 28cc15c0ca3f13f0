"""Files through a plan into files: what a worker does with a chunk of them."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..channel_map import ChannelMap
from ..errors import GraypipeError
from ..plan import Plan
from ..source import Source
from ..target import Target
from .encode import encode
from .loading import Failed, Loading, failed, load
from .manifest import Record, read_state
from .naming import output
from .writing import write


class Conversion(NamedTuple):
    """Which files become what: from ``folder`` into ``out``, as files of the kind ``to``.

    ``stops`` at the first file that cannot be taken, or goes on with the next.
    """

    folder: str
    out: str
    how: Loading
    target: Target
    via: ChannelMap
    to: str
    stops: bool


def convert(job: Conversion, paths: Sequence[Path]) -> list[Record | Failed]:
    """Return what the manifest says of each of ``paths``, or why a file cannot be taken.

    GraypipeError where an output cannot be written, which no other file would help.
    """
    done: list[Record | Failed] = []
    for path in paths:
        done.append(_convert(job, path))
        if job.stops and isinstance(done[-1], Failed):
            break
    return done


def _convert(job: Conversion, source: Path) -> Record | Failed:
    try:
        size, changed = read_state(source)
        image, found = load(job.how, source)
        made = _plan(found, job.target, job.via)(image)
    except (GraypipeError, OSError) as error:
        return failed(source, error)
    path = str(source.relative_to(job.folder))
    name = output(path, job.to)
    written = write(Path(job.out, name), encode(made, job.target.bands, job.to))
    return {
        "source": path,
        "size": size,
        "mtime_ns": changed,
        "output": name,
        "bytes": written,
    }


@lru_cache(maxsize=64)
def _plan(source: Source, target: Target, via: ChannelMap) -> Plan:
    """Return the plan for files that state ``source``, prepared once for all of them."""
    return Plan(source, target, via)
