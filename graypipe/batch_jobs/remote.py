"""Folders and files that fsspec reaches by a URL, such as ``s3://bucket/scans``.

Object stores make an object visible when all of it has arrived, but cannot append to
one, and have no locks.
"""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from ..errors import GraypipeError, MissingExtraError, ReadError
from ..extras import require_extra

# Paths with these prefixes are those of the file system.
LOCAL_PREFIXES = ("file://", "local://")

# What a file system says of a file, if it says so: something that changes with it.
VERSION_KEYS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "created")

# The lines appended to a file are stored in objects of up to this size beside it. Each
# append writes the last of them again, so this also limits what is written twice.
PART_BYTES = 1 << 16

MAX_REASON_LENGTH = 300


class RemotePath(NamedTuple):
    """A file or a folder at a URL, with the methods of `pathlib.Path` that jobs use.

    Parameters
    ----------
    url : str
        The URL, with "://".
    size : int, optional
        The size of a listed file in bytes.
    version : str, optional
        The ETag of a listed file, or else its modification time; None if unknown.
    """

    url: str
    size: int = 0
    version: str | None = None

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._pure_path.name

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return self._pure_path.suffix

    @property
    def _pure_path(self) -> PurePosixPath:
        return PurePosixPath(self.url.partition("::")[0])

    def relative_to(self, folder: str) -> PurePosixPath:
        """Return the path of the file in a folder.

        Raises
        ------
        ReadError
            If an object has a name that no file can have, such as "a//b".
        """
        start = folder.partition("::")[0].rstrip("/") + "/"
        path = self.url.partition("::")[0].removeprefix(start)
        if not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise ReadError(
                f"{self}: expected names between slashes, got an empty one, '.' or "
                "'..': rename the object"
            )
        return PurePosixPath(path)

    def is_dir(self) -> bool:
        """Return whether there is a folder, or are objects below it."""
        with errors_of("read", self.url):
            filesystem, path = _connect(self.url)
            return bool(filesystem.isdir(path))

    def exists(self) -> bool:
        """Return whether there is a file or folder."""
        with errors_of("read", self.url):
            filesystem, path = _connect(self.url)
            return bool(filesystem.exists(path))

    def list_files(self) -> list["RemotePath"]:
        """Return all files below a folder, or the file itself, with their states.

        The files of a folder come before those of its subfolders, both sorted by name.
        """
        with errors_of("read", self.url):
            filesystem, path = _connect(self.url)
            filesystem.invalidate_cache()
            # The name of an object may also be the start of others.
            if not filesystem.isdir(path):
                return [_with_state(self.url, filesystem.info(path))]
            found = filesystem.find(path, detail=True)
        head, separator, rest = self.url.partition("::")
        files = []
        for name in sorted(_relative_names(found, path), key=_walk_order):
            url = f"{head.rstrip('/')}/{name}{separator}{rest}"
            files.append(_with_state(url, found[_join(path, name)]))
        return files

    def overlaps(self, other: "RemotePath") -> bool:
        """Return whether one of two folders is inside the other, or both are one."""
        with errors_of("use", self.url):
            own, own_path = _connect(self.url.rpartition("::")[2])
            others, other_path = _connect(other.url.rpartition("::")[2])
        own_parts = PurePosixPath(own_path).parts
        other_parts = PurePosixPath(other_path).parts
        shared = min(len(own_parts), len(other_parts))
        is_same = own_parts[:shared] == other_parts[:shared]
        return type(own) is type(others) and is_same


AnyPath: TypeAlias = Path | RemotePath

# A file in the list of a folder. A local file is its path in the folder, as text: with
# a Path for each, the names of a large data set would take several times the memory.
ListedFile: TypeAlias = str | AnyPath


def locate(file: ListedFile, folder: str | AnyPath) -> AnyPath:
    """Return the path of a file in the list of a folder."""
    if isinstance(file, str):
        return Path(str(folder), file)
    return file


def relative_name(file: ListedFile, folder: str | AnyPath) -> str:
    """Return the path of a file in the folder that was listed."""
    if isinstance(file, str):
        return file
    return str(file.relative_to(str(folder)))


def parse_path(text: str) -> AnyPath:
    """Return what a user means by a path or URL."""
    # A Path would turn "//" into "/".
    for prefix in LOCAL_PREFIXES:
        if text.startswith(prefix):
            return Path(text.removeprefix(prefix))
    if "://" in text:
        return RemotePath(text)
    return Path(text)


def absolute_path(path: AnyPath) -> AnyPath:
    """Return an absolute path; a URL is one."""
    if isinstance(path, RemotePath):
        return path
    return path.absolute()


class _NamedBytes(BytesIO):
    """A file in memory, which messages call by its URL."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def local_file(path: AnyPath) -> Path | BinaryIO:
    """Return what `graypipe.read` reads: a path, or the downloaded content of a URL.

    Raises
    ------
    ReadError
        If the file cannot be downloaded.
    """
    if isinstance(path, Path):
        return path
    return _NamedBytes(_download(path), path.url)


# The headers of a file are read before its pixels: download it only once.
@lru_cache(maxsize=1)
def _download(path: RemotePath) -> bytes:
    with errors_of("read", path.url):
        filesystem, name = _connect(path.url)
        return bytes(filesystem.cat_file(name))


class RemoteFolder:
    """An output folder at a URL.

    The lines that are appended to a file go to parts beside it, because an object
    cannot grow. `finish` joins them.

    Parameters
    ----------
    url : str
        The URL of the folder, which need not exist.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if "::" in url:
            raise GraypipeError(
                f"{url}: expected the URL of a folder to write to, got a chain of "
                "URLs: choose another folder"
            )
        with errors_of("write", self.url):
            self._filesystem, self._root = _connect(self.url)
        self._listed: dict[str, int] | None = None
        self._written: dict[str, int] = {}
        self._part = b""
        self._part_name = ""

    def __str__(self) -> str:
        return self.url

    def locked(self) -> AbstractContextManager[None]:
        """Do nothing: there are no folders and no locks."""
        return nullcontext()

    def names(self) -> Iterator[str]:
        """Yield the names of the files and subfolders."""
        for name in dict.fromkeys(path.partition("/")[0] for path in self._sizes()):
            is_part = name.removesuffix(".parts") in self._sizes()
            if name in self._sizes() or not is_part:
                yield name

    def remove_unfinished(self) -> None:
        """Do nothing: there are no incomplete objects."""

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """Open a temporary local file, which is uploaded when the block succeeds."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file")
            with path.open("xb") as file:
                yield file
            size = path.stat().st_size
            with errors_of("write", f"{self}/{name}"):
                self._make_parent(name)
                self._filesystem.put_file(str(path), self._path(name))
        self._remember(name, size)

    def write(self, name: str, parts: Iterable[bytes | memoryview]) -> int:
        """Write an object and return its size."""
        content = b"".join(parts)
        with errors_of("write", f"{self}/{name}"):
            self._make_parent(name)
            self._filesystem.pipe_file(self._path(name), content)
        self._remember(name, len(content))
        return len(content)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with errors_of("read", f"{self}/{name}"):
            return bytes(self._filesystem.cat_file(self._path(name)))

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        if name not in self._sizes():
            return
        with errors_of("remove", f"{self}/{name}"):
            self._filesystem.rm_file(self._path(name))
        del self._sizes()[name]
        self._written.pop(name, None)

    def size(self, name: str) -> int | None:
        """Return the size of a file when this folder was listed or wrote it."""
        # A worker need not list the folder for the size of what it has just written.
        if name in self._written:
            return self._written[name]
        return self._sizes().get(name)

    def read_lines(self, name: str) -> list[bytes] | None:
        """Return the lines of a file and of its parts.

        A job that was killed while it joined them leaves lines in both.
        """
        if name not in self._sizes():
            return None
        lines = []
        for part in (name, *self._parts(name)):
            lines += self.read(part).split(b"\n")[:-1]
        return list(dict.fromkeys(lines))

    def write_lines(self, name: str, lines: Iterable[bytes]) -> None:
        """Write a file of terminated lines in place of the file and its parts."""
        self.write(name, lines)
        for part in self._parts(name):
            self.remove(part)
        self._part = b""
        self._part_name = ""

    def append(self, name: str, lines: Iterable[bytes]) -> None:
        """Add terminated lines to the last part of a file."""
        content = b"".join(lines)
        if not content:
            return
        if not self._part_name or len(self._part) >= PART_BYTES:
            number = len(self._parts(name)) + 1
            self._part = b""
            self._part_name = f"{name}.parts/{number:08}"
        self._part += content
        self.write(self._part_name, [self._part])

    def finish(self, name: str) -> None:
        """Join a file and its parts."""
        lines = self.read_lines(name)
        if lines is not None and self._parts(name):
            self.write_lines(name, [line + b"\n" for line in lines])

    def _parts(self, name: str) -> list[str]:
        """Return the parts of a file in order."""
        start = f"{name}.parts/"
        return sorted(path for path in self._sizes() if path.startswith(start))

    def _path(self, name: str) -> str:
        return _join(self._root, name)

    def _make_parent(self, name: str) -> None:
        """Create the folder of a file where files need one."""
        # Object stores need none, and may take the first name for a new bucket.
        if not hasattr(self._filesystem, "_pipe_file"):
            parent = self._path(name).rpartition("/")[0]
            self._filesystem.makedirs(parent, exist_ok=True)

    def _remember(self, name: str, size: int) -> None:
        """Update the list of files, if there is one."""
        self._written[name] = size
        if self._listed is not None:
            self._listed[name] = size

    def _sizes(self) -> dict[str, int]:
        """Return the size of each file by its name; the files are listed once."""
        if self._listed is None:
            with errors_of("read", self.url):
                self._filesystem.invalidate_cache()
                found = self._filesystem.find(self._root, detail=True)
            if self._root in found:
                raise GraypipeError(
                    f"{self} is not a folder: choose a new or empty folder"
                )
            self._listed = {
                name: found[self._path(name)]["size"]
                for name in _relative_names(found, self._root)
            }
        return self._listed


@contextmanager
def errors_of(action: str, url: str) -> Iterator[None]:
    """Raise a GraypipeError of one line for any error of a remote file system."""
    try:
        yield
    except GraypipeError:
        raise
    except ImportError as error:  # the package of the protocol, such as s3fs
        raise MissingExtraError(f"{url}: {error}") from None
    # Each file system raises errors of its own, among them those of its network client.
    except Exception as error:
        reason = " ".join(str(error).split())[:MAX_REASON_LENGTH]
        message = f"cannot {action} {url}: {reason or type(error).__name__}"
        if action == "read":
            raise ReadError(message) from None
        raise GraypipeError(
            f"{message}; check the URL and the credentials, then continue with "
            "--resume: finished files are kept"
        ) from None


def _connect(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it without a slash at its end.

    File systems are created once per process and URL.
    """
    with require_extra("io", "fsspec"):
        import fsspec
    filesystem, path = fsspec.core.url_to_fs(url)
    return filesystem, path.rstrip("/")


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}"


def _relative_names(paths: Iterable[str], folder: str) -> list[str]:
    """Return the names of files below a folder, without the markers of folders."""
    names = (path.removeprefix(f"{folder}/") for path in paths)
    return [name for name in names if name and not name.endswith("/")]


def _walk_order(name: str) -> list[tuple[bool, str]]:
    """Return a key that sorts the files of a folder before those of its subfolders."""
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]


def _with_state(url: str, details: dict[str, Any]) -> RemotePath:
    """Return a file with its size and version."""
    versions = (details.get(key) for key in VERSION_KEYS)
    version = next((str(value) for value in versions if value), None)
    return RemotePath(url, details.get("size") or 0, version)
