"""Write WebDataset shards: tar files with the members of each sample in a row.

A sample has the members ``key.npy``, the array, and ``key.cls``, the index of its class
in decimal digits, if it has one.
"""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, BinaryIO

from ...errors import GraypipeError
from ..stated_plans import JobPlans
from .npy import npy_parts
from .output_format import DataSet, Sample
from .shards import Shards

if TYPE_CHECKING:
    import tarfile

# The webdataset library skips files in such a folder, which it takes for metadata.
METADATA_FOLDER = re.compile(r"__[^/]*__/")


class WebDataset(Shards):
    """Tar files that the webdataset library reads."""

    suffix = ".tar"

    def check(self, plans: JobPlans) -> None:
        """Accept everything: .npy members store any array."""

    def layout(self, plans: JobPlans) -> str | None:  # noqa: ARG002
        """Return None, for the layout of the target."""
        return None

    def check_names(self, paths: Sequence[str]) -> None:
        """Check that the webdataset library reads every image as a separate sample."""
        super().check_names(paths)
        keys: dict[str, str] = {}
        for path in paths:
            if "\n" in path or METADATA_FOLDER.match(path):
                raise GraypipeError(
                    f"{path!r}: the webdataset library skips names with line breaks, "
                    "and folders such as __name__: rename it, or use --to npy"
                )
            key = sample_key(path)
            first_path = keys.setdefault(key, path)
            if first_path != path:
                raise GraypipeError(
                    f"{first_path} and {path} would both have the key {key}: rename "
                    "one of them, or convert them from separate folders"
                )

    def write(
        self,
        file: BinaryIO,
        samples: Iterable[Sample],
        data_set: DataSet,  # noqa: ARG002
    ) -> None:
        """Write the members of all samples."""
        import tarfile

        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for sample in samples:
                _add_sample(tar, sample)
                del sample  # while the next image is converted


def _add_sample(tar: "tarfile.TarFile", sample: Sample) -> None:
    """Add the members of a sample."""
    key = sample_key(sample.path)
    _add_member(tar, f"{key}.npy", npy_parts(sample.array))
    if sample.label is not None:
        _add_member(tar, f"{key}.cls", [memoryview(b"%d" % sample.label)])


def _add_member(tar: "tarfile.TarFile", name: str, parts: Sequence[memoryview]) -> None:
    """Add a member. The times and owners of all members are the same."""
    import tarfile

    member = tarfile.TarInfo(name)
    member.size = sum(part.nbytes for part in parts)
    tar.addfile(member, io.BufferedReader(_JoinedParts(parts)))


class _JoinedParts(io.RawIOBase):
    """A file whose content is that of several buffers, without a copy of them."""

    def __init__(self, parts: Sequence[memoryview]) -> None:
        self._parts = [part for part in parts if part.nbytes]

    def readable(self) -> bool:
        """Return True: the file can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes of the next part as there are, or fit in ``buffer``."""
        if not self._parts:
            return 0
        part = self._parts[0]
        count = min(len(buffer), len(part))
        buffer[:count] = part[:count]
        self._parts[0] = part[count:]
        if count == len(part):
            del self._parts[0]
        return count


def sample_key(path: str) -> str:
    """Return the key of an image: its path without the suffix.

    WebDataset splits the name of a member at its first dot, so dots in the name of the
    file become underscores.
    """
    file = PurePath(path)
    return str(file.with_name(file.stem.replace(".", "_")))
