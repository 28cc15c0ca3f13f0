"""A lock on an output folder, so that two jobs never write to it at the same time."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import GraypipeError
from .files import write_error

LOCK_NAME = "graypipe.lock"

if sys.platform == "win32":
    import msvcrt

    # Other processes cannot read a locked byte. This one is behind the content.
    LOCKED_BYTE = 4096

    def _lock(descriptor: int) -> None:
        """Lock a file; raise BlockingIOError if another process has locked it."""
        os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None

    def _release(path: Path, descriptor: int) -> None:
        """Unlock the file, and remove it unless another process has opened it."""
        # Windows does not remove open files.
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        """Lock a file; raise BlockingIOError if another process has locked it."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _release(path: Path, descriptor: int) -> None:
        """Remove the file and unlock it."""
        # Remove it while the lock is held: nobody else can have acquired it.
        path.unlink(missing_ok=True)
        os.close(descriptor)


# The descriptors of the locks that this process holds.
_held: set[int] = set()


def _leave_to_parent() -> None:
    """Close the inherited locks in a process that was forked; the parent keeps them.

    Otherwise, a worker that outlives its killed job would hold the lock.
    """
    while _held:
        os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the lock of an output folder, which is created if it does not exist.

    The operating system releases the lock when the process ends, however it ends. The
    lock file of a job that was killed is therefore taken over.

    Parameters
    ----------
    out : Path
        The output folder.

    Raises
    ------
    GraypipeError
        If another process holds the lock, which the message names, or if the lock file
        cannot be written.
    """
    path = out / LOCK_NAME
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(path)
    except BlockingIOError:
        raise GraypipeError(
            f"{out} is in use by {_read_holder(path)}: wait until it has finished, or "
            "choose another folder"
        ) from None
    except OSError as error:
        if out.is_file():
            raise GraypipeError(
                f"{out} is not a folder: choose a new or empty folder"
            ) from None
        raise write_error(out, error) from None
    _held.add(descriptor)
    try:
        yield
    finally:
        _held.discard(descriptor)
        _release(path, descriptor)


def _acquire(path: Path) -> int:
    """Lock the file at ``path`` and return its descriptor.

    Raise BlockingIOError if another process has locked it.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            # The former holder may have removed the file after it was opened here; the
            # lock of a removed file protects nothing.
            if _is_file_at(path, descriptor):
                holder = {"pid": os.getpid(), "host": socket.gethostname()}
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, json.dumps(holder).encode())
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_file_at(path: Path, descriptor: int) -> bool:
    """Return whether ``path`` is still the file that is open as ``descriptor``."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read_holder(path: Path) -> str:
    """Describe the process that holds the lock."""
    try:
        holder = json.loads(path.read_text())
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        # The other process has not written it yet, or has just ended.
        return "another process"
