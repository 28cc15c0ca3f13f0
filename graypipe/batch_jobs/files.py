"""Output files: their names, checks that nothing is overwritten, and atomic writes.

The names of all outputs are checked before the first one is written.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import GraypipeError

# Files are written under a temporary name with this suffix. A process that is killed
# leaves such files behind; their content is incomplete.
UNFINISHED_SUFFIX = ".graypipe-unfinished"

# Disk full, quota exceeded, or file too large.
OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_folders_disjoint(folder: Path, out: Path, paths: Iterable[str]) -> None:
    """Check that no image can be overwritten by an output.

    Symbolic links below ``folder`` may point anywhere except into ``out``.

    Parameters
    ----------
    folder : Path
        The folder of the images.
    out : Path
        The output folder.
    paths : iterable of str
        The images, relative to ``folder``.

    Raises
    ------
    GraypipeError
        If ``out`` is inside ``folder``, or if an image is inside ``out``.
    """
    real_out = resolve_path(out)
    real_folder = resolve_path(folder)
    if real_out.is_relative_to(real_folder):
        raise GraypipeError(
            f"{out} is inside {folder}, the input folder, which must not be modified: "
            "choose an output folder outside of it"
        )
    # Resolving a path is slow: resolve each folder once, and only files that are links.
    sources = {real_folder}
    for path in paths:
        image = folder / path
        sources.add(image.parent)
        if image.is_symlink():
            sources.add(image)
    for source in sources:
        if resolve_path(source).is_relative_to(real_out):
            raise GraypipeError(
                f"{source} is inside {out}, where the outputs are written: choose "
                "another output folder"
            )


def check_no_links_outside(out: Path, paths: Iterable[str]) -> None:
    """Check that symbolic links below ``out`` do not point outside of it.

    Parameters
    ----------
    out : Path
        The output folder.
    paths : iterable of str
        The relative paths of the outputs, of which only the folders are used.

    Raises
    ------
    GraypipeError
        If an output would be written outside of ``out``.
    """
    real_out = resolve_path(out)
    folders = {Path(path).parent for path in paths}
    for folder in folders:
        real_folder = resolve_path(real_out / folder)
        if real_folder != real_out / folder:
            raise GraypipeError(
                f"{out / folder} is a link to {real_folder}, outside of {out}: remove "
                "the link"
            )


def resolve_path(path: Path) -> Path:
    """Return the absolute path without symbolic links and ``..``."""
    # Path.resolve raises an error if links form a cycle.
    return Path(os.path.realpath(path))


@contextmanager
def create_file(path: Path) -> Iterator[BinaryIO]:
    """Open a new file for writing; after the block it is complete or does not exist.

    The data goes to a temporary file in the same folder, which is then renamed.

    Parameters
    ----------
    path : Path
        The file, which is replaced if it exists. Missing folders are created.

    Yields
    ------
    binary file object
        The temporary file.

    Raises
    ------
    GraypipeError
        If the file cannot be written. An existing file is unchanged.
    """
    unfinished = path.with_name(os.urandom(8).hex() + UNFINISHED_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("xb") as file:
            yield file
        unfinished.replace(path)
    except GraypipeError:  # from the block; a ReadError is an OSError, too
        raise
    except OSError as error:
        raise write_error(path, error) from None
    finally:
        # After a successful rename there is no temporary file.
        with suppress(OSError):
            unfinished.unlink()


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> int:
    """Write a file atomically, as `create_file` does.

    Parameters
    ----------
    path : Path
        The file, which is replaced if it exists. Missing folders are created.
    parts : iterable of bytes or memoryview
        The content.

    Returns
    -------
    int
        The size of the file in bytes.

    Raises
    ------
    GraypipeError
        If the file cannot be written. An existing file is unchanged.
    """
    with create_file(path) as file:
        return sum(file.write(part) for part in parts)


def write_error(path: Path, error: OSError) -> GraypipeError:
    """Return an error that says why ``path`` cannot be written, and what to do."""
    advice = "choose another location"
    if error.errno in OUT_OF_SPACE:
        advice = "free some space and continue, finished files are kept"
    message = f"cannot write {path}: {error.strerror or error}; {advice}"
    # mypy infers Any, because __init__ is assigned from Exception.
    return GraypipeError(message)  # type: ignore[no-any-return]


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files in ``folder`` and its subfolders.

    Symbolic links to folders are not followed.
    """
    for subfolder, _, names in os.walk(folder):
        for name in names:
            if name.endswith(UNFINISHED_SUFFIX):
                Path(subfolder, name).unlink(missing_ok=True)
