"""Write a Zarr v3 group with all images in one array.

The group ``dataset.zarr`` has the arrays ``images``, with one file per image;
``names``, the path of each image file; and ``labels``, the index of the class of each
image (-1 for none), if images lie in subfolders. Its attributes are the plans and their
fingerprints, or the target if every file states its source, and the names of the
classes.

The metadata is written last. Without it, the group cannot be opened, so nobody reads an
array with missing images, which Zarr would fill with zeros.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import ceil, prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.dtypes import StringDType
from numpy.typing import NDArray

from ...errors import LayoutError
from ...extras import require_extra
from ...target import Target
from ..stated_plans import JobPlans
from .output_format import (
    DataSet,
    OutputFormat,
    Sample,
    check_unicode,
    label_of,
)

if TYPE_CHECKING:
    import zarr
    from zarr.storage import MemoryStore

    from ..folders import OutputFolder

GROUP = "dataset.zarr"

# All files of the group except the chunks of images.
FINISHING_FILES = (
    "zarr.json",
    "images/zarr.json",
    "names/zarr.json",
    "names/c/0",
    "labels/zarr.json",
    "labels/c/0",
)

# The settings of the job that become attributes of the group: one plan, several plans,
# or what the manifest has instead if every file states its source.
PLAN_SETTINGS = (
    *("fingerprint", "plan"),
    *("fingerprints", "plans"),
    *("source", "select", "target", "via"),
)

NO_LABEL = -1

# A larger image is a shard of several chunks of whole rows, so that a part of it can be
# read without the rest.
MAX_CHUNK_BYTES = 64 << 20

# The size of a buffer that Blosc can compress.
MOST_BYTES = 2**31 - 17


class Zarr(OutputFormat):
    """One array of all images."""

    has_labels = True
    is_numbered = True
    needs_every_image = True

    def check(self, plans: JobPlans) -> None:
        """Accept everything: Zarr stores any array."""

    def layout(self, plans: JobPlans) -> str | None:  # noqa: ARG002
        """Return None, for the layout of the target."""
        return None

    def needs_one_shape(self, plans: JobPlans) -> bool:  # noqa: ARG002
        """Return True."""
        return True

    def check_shape(self, shape: tuple[int, ...], target: Target) -> None:
        """Check that a row of an image fits into a chunk."""
        if _byte_count(_chunk_shape(shape, target), target) > MOST_BYTES:
            raise LayoutError(
                f"a row of images of the shape {shape} and of dtype {target.dtype} is "
                "larger than 2 GiB, the limit of a chunk of Zarr: use --to npy"
            )

    def settings(self, data_set: DataSet) -> dict[str, Any]:
        """Return the shape of every image."""
        assert data_set.shape is not None
        return {"shape": list(data_set.shape)}

    def check_names(self, paths: Sequence[str]) -> None:
        """Check that the names can be stored."""
        check_unicode(paths)

    def assign(
        self, paths: Sequence[str], data_set: DataSet
    ) -> dict[str, tuple[str, ...]]:
        """Assign every image to a file."""
        assert data_set.shape is not None
        inner = ".0" * len(data_set.shape)
        return {
            f"{GROUP}/images/c.{index}{inner}": (path,)
            for index, path in enumerate(paths)
        }

    def write(
        self, file: BinaryIO, samples: Iterable[Sample], data_set: DataSet
    ) -> None:
        """Write the only sample."""
        (sample,) = samples
        file.write(_encode_image(sample.array, data_set.plans.target))

    def start(self, out: "OutputFolder") -> None:
        """Remove the metadata, first that of the group."""
        for name in FINISHING_FILES:
            out.remove(f"{GROUP}/{name}")

    def finish(
        self,
        out: "OutputFolder",
        paths: Sequence[str],
        data_set: DataSet,
        settings: dict[str, Any],
    ) -> None:
        """Write the metadata, the names and the labels."""
        with require_extra("formats", "zarr"):
            import zarr
            from zarr.storage import MemoryStore
        assert data_set.shape is not None
        files: dict[str, Any] = {}
        store = MemoryStore(files)
        classes = data_set.classes
        plans = {key: settings[key] for key in PLAN_SETTINGS if key in settings}
        zarr.create_group(store, attributes={**plans, "classes": list(classes)})
        target = data_set.plans.target
        _create_images(store, len(paths), data_set.shape, target)
        zarr.create_array(store, name="names", data=np.array(paths, StringDType()))
        if classes:
            labels = [label_of(path, classes) for path in paths]
            numbers = [NO_LABEL if label is None else label for label in labels]
            zarr.create_array(store, name="labels", data=np.array(numbers, np.int64))
        # The group can be opened when its metadata exists.
        for name in reversed(files):
            out.write(f"{GROUP}/{name}", [files[name].to_bytes()])


def _byte_count(shape: tuple[int, ...], target: Target) -> int:
    """Return the size of an array with the dtype of the target."""
    return prod(shape) * np.dtype(target.dtype).itemsize


def _chunk_shape(shape: tuple[int, ...], target: Target) -> tuple[int, ...]:
    """Return the shape of a chunk: that of an image, or of some of its rows."""
    size = _byte_count(shape, target)
    if size <= MAX_CHUNK_BYTES:
        return shape
    # Axes that the target does not have, such as frames, come first.
    axis = len(shape) - len(target.layout) + target.layout.index("H")
    rows = max(1, MAX_CHUNK_BYTES * shape[axis] // size)
    return (*shape[:axis], rows, *shape[axis + 1 :])


def _create_images(
    store: "MemoryStore", count: int, shape: tuple[int, ...], target: Target
) -> "zarr.Array[Any]":
    """Create the array of ``count`` images, without data."""
    import zarr
    from zarr.codecs import BloscCodec

    chunk = _chunk_shape(shape, target)
    shards = None
    if chunk != shape:
        # The shape of a shard is a multiple of that of its chunks.
        counts = [ceil(size / part) for size, part in zip(shape, chunk, strict=True)]
        shards = (1, *(count * part for count, part in zip(counts, chunk, strict=True)))
    return zarr.create_array(
        store,
        name="images",
        shape=(count, *shape),
        chunks=(1, *chunk),
        shards=shards,
        dtype=target.dtype,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        fill_value=np.zeros((), target.dtype).item(),
        # All files lie in one folder.
        chunk_key_encoding={"name": "default", "separator": "."},
        # Otherwise an image of zeros would be left out.
        config={"write_empty_chunks": True},
    )


@lru_cache(maxsize=1)
def _template(
    shape: tuple[int, ...], target: Target
) -> tuple["zarr.Array[Any]", dict[str, Any]]:
    """Return an array of one image, and the dictionary that holds its files."""
    with require_extra("formats", "zarr"):
        from zarr.storage import MemoryStore
    from numcodecs import blosc

    # The order of the blocks in a chunk would depend on which thread is faster.
    blosc.use_threads = False
    files: dict[str, Any] = {}
    return _create_images(MemoryStore(files), 1, shape, target), files


def _encode_image(image: NDArray[Any], target: Target) -> bytes:
    """Return the file that Zarr writes for an image."""
    array, files = _template(image.shape, target)
    array[0] = image
    content = files.pop("images/c.0" + ".0" * image.ndim)
    return content.to_bytes()  # type: ignore[no-any-return]
