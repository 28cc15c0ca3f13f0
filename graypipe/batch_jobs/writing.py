"""Files that are there whole or not at all: written under another name in the same folder, then renamed."""

import errno
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from ..errors import GraypipeError

UNFINISHED = ".graypipe-unfinished"
"""How the names of files end that are being written; what a killed process leaves of them is of no use to anybody."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Bytes = bytes | memoryview


def write(path: Path, parts: Iterable[Bytes]) -> int:
    """Write ``parts`` to ``path``, in place of what is there, and return how many bytes they are.

    GraypipeError where that fails, with nothing left behind and ``path`` as it was.
    """
    unfinished = path.with_name(token_hex(8) + UNFINISHED)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("xb") as file:
            size = sum(file.write(part) for part in parts)
        unfinished.replace(path)
    except OSError as error:
        raise unwritten(path, error) from None
    finally:
        with suppress(OSError):  # which renaming has made the rule
            unfinished.unlink()
    return size


def unwritten(path: Path, error: OSError) -> GraypipeError:
    """Return the error that says that ``path`` cannot be written, and what to do."""
    no_room = error.errno in NO_ROOM
    cure = (
        "What is finished stays: make room, then go on"
        if no_room
        else "Choose a place that can be written"
    )
    return GraypipeError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"{path}: cannot be written: {error.strerror or error}. {cure}"
    )


def sweep(folder: Path) -> None:
    """Remove what a killed process left unfinished in ``folder`` and below; links are not followed."""
    for below, _, names in os.walk(folder):
        for name in names:
            if name.endswith(UNFINISHED):
                Path(below, name).unlink(missing_ok=True)
