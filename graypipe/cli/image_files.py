"""Find the image files in folders."""

import os
import sys
from collections.abc import Container, Iterator
from pathlib import Path

from ..batch_jobs.remote import AnyPath, ListedFile, RemotePath, locate, relative_name
from ..errors import ReadError
from .path_patterns import EVERYTHING, Selection

# Files with these suffixes are meant to be images: if one cannot be read, that is an
# error. The list includes formats that are not supported, so that such files are
# reported instead of ignored.
IMAGE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".gif",
    ".bmp",
    ".webp",
    ".npy",
    ".npz",
    ".pbm",
    ".pgm",
    ".ppm",
    ".pnm",
    ".pfm",
    ".jp2",
    ".j2k",
    ".jxl",
    ".jls",
    ".avif",
    ".heic",
    ".heif",
    ".exr",
    ".psd",
    ".dcm",
)

# Names of hidden files and folders begin with it. Among them are the files "._..." that
# macOS writes beside images on disks of other file systems.
HIDDEN_PREFIX = "."

# Most names in a note about files that are left out.
MOST_SHOWN = 5


def has_image_suffix(path: AnyPath) -> bool:
    """Return whether the file name has the suffix of an image format."""
    return path.suffix.lower() in IMAGE_SUFFIXES and _is_visible(path.name)


def list_images(path: AnyPath, selection: Selection = EVERYTHING) -> list[ListedFile]:
    """Return the images in a folder and its subfolders, sorted by name.

    Other files are counted and named on stderr, except hidden ones and those that
    ``selection`` leaves out.

    Parameters
    ----------
    path : Path or RemotePath
        A folder, in which images are recognised by their suffix; or a single file.
    selection : Selection, optional
        Which files of the folder are used; all images by default.

    Raises
    ------
    ReadError
        If the folder has no images.
    """
    if not path.is_dir():
        if isinstance(path, RemotePath):
            return [*path.list_files()]
        return [path]
    files: list[ListedFile] = []
    for found in list_files(path):
        is_remote = isinstance(found, RemotePath)
        files.append(found if is_remote else relative_name(found, path))
    selected = selection.select(files, path)
    images, others = [], []
    for file in selected:
        if has_image_suffix(locate(file, path)) or selection.names(file, path):
            images.append(file)
        else:
            others.append(file)
    if files and not selected:
        raise ReadError(
            f"--include and --exclude select none of the {len(files)} files in {path}: "
            "a pattern is compared with the path in this folder, such as "
            f"{relative_name(files[0], path)}"
        )
    if not images:
        raise ReadError(
            f"{path} contains no image files: expected names that end in "
            f"{', '.join(IMAGE_SUFFIXES)}"
        )
    if others:
        note = " ".join(_left_out(others, path).split())  # names may contain line feeds
        print("graypipe:", note, file=sys.stderr)
    return images


def _left_out(files: list[ListedFile], folder: AnyPath) -> str:
    """Return a note about the ``files`` of a folder that are not taken for images."""
    names = [relative_name(file, folder) for file in files[:MOST_SHOWN]]
    if len(files) > MOST_SHOWN:
        names.append("...")
    noun = "1 file is" if len(files) == 1 else f"{len(files)} files are"
    return (
        f"{noun} left out, because the name is not that of an image: {', '.join(names)}"
    )


def list_files(*paths: AnyPath) -> Iterator[AnyPath]:
    """Yield all files in folders and their subfolders, sorted within each folder.

    Symbolic links to folders are followed, unless they point to a parent of the folder
    that was passed. Every folder is visited once, so link cycles are safe. Hidden files
    and folders are left out, unless they are passed.

    Parameters
    ----------
    *paths : Path or RemotePath
        Folders or files. A path that cannot be listed, such as a file or a folder
        without permission, is yielded as is, so that the caller reports the error.
    """
    roots: dict[str, Path] = {}
    for path in paths:
        if isinstance(path, RemotePath):
            yield from _list_remote(path)
        else:
            roots.setdefault(os.path.realpath(path), path)
    visited: set[str] = set()
    for real_root, root in roots.items():
        yield from _walk(root, real_root, roots, visited)


def _list_remote(root: RemotePath) -> Iterator[RemotePath]:
    """Yield the files below a URL that are not hidden, or the file itself."""
    for file in root.list_files():
        is_root = file.url == root.url
        if is_root or all(map(_is_visible, file.relative_to(root.url).parts)):
            yield file


def _walk(
    root: Path, real_root: str, roots: Container[str], visited: set[str]
) -> Iterator[Path]:
    """Yield the files below ``root`` that are not in ``roots``; update ``visited``."""
    unlisted: list[Path] = []

    def collect_unlisted(error: OSError) -> None:
        unlisted.append(Path(error.filename))

    for folder, subfolders, names in os.walk(
        root, onerror=collect_unlisted, followlinks=True
    ):
        real_folder = os.path.realpath(folder)
        is_above_root = real_folder != real_root and Path(real_root).is_relative_to(
            real_folder
        )
        if real_folder in visited or is_above_root:
            # os.walk does not descend into folders that are removed from the list.
            subfolders.clear()
            continue
        visited.add(real_folder)
        subfolders[:] = sorted(filter(_is_visible, subfolders))
        for name in sorted(filter(_is_visible, names)):
            # A file that was passed as a root is yielded separately.
            if str(Path(real_folder, name)) not in roots:
                yield Path(folder, name)
    yield from unlisted


def _is_visible(name: str) -> bool:
    """Return whether a file or folder with this name is not hidden."""
    return not name.startswith(HIDDEN_PREFIX)


def printable(text: str) -> str:
    """Escape characters that cannot be shown, for example in the names of files."""
    escaped = ""
    for character in text:
        if character.isprintable():
            escaped += character
        else:
            escaped += ascii(character)[1:-1]
    return escaped
