"""Write a Zarr v3 group with all images in one array.

The group ``dataset.zarr`` has the arrays ``images``, with one chunk per image;
``names``, the path of each image file; and ``labels``, the index of the class of each
image (-1 for none), if images lie in subfolders. Its attributes are the plans, their
fingerprints and the names of the classes.

The metadata is written last. Without it, the group cannot be opened, so nobody reads an
array with missing images, which Zarr would fill with zeros.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.dtypes import StringDType
from numpy.typing import NDArray

from ...errors import LayoutError
from ...extras import require_extra
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

# The settings of the job that become attributes of the group.
PLAN_SETTINGS = ("fingerprint", "fingerprints", "plan", "plans")

NO_LABEL = -1

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

    def check_shape(self, shape: tuple[int, ...], dtype: str) -> None:
        """Check that an image fits into a chunk."""
        if prod(shape) * np.dtype(dtype).itemsize > MOST_BYTES:
            raise LayoutError(
                f"an image of the shape {shape} and of dtype {dtype} is larger than "
                "2 GiB, the limit of a chunk of Zarr: use --to npy"
            )

    def settings(self, data_set: DataSet) -> dict[str, Any]:
        """Return the shape of an image, which every chunk has."""
        assert data_set.shape is not None
        return {"shape": list(data_set.shape)}

    def check_names(self, paths: Sequence[str]) -> None:
        """Check that the names can be stored."""
        check_unicode(paths)

    def assign(
        self, paths: Sequence[str], data_set: DataSet
    ) -> dict[str, tuple[str, ...]]:
        """Assign every image to a chunk."""
        assert data_set.shape is not None
        inner = ".0" * len(data_set.shape)
        return {
            f"{GROUP}/images/c.{index}{inner}": (path,)
            for index, path in enumerate(paths)
        }

    def write(
        self,
        file: BinaryIO,
        samples: Iterable[Sample],
        data_set: DataSet,  # noqa: ARG002
    ) -> None:
        """Write the chunk of the only sample."""
        (sample,) = samples
        file.write(_encode_chunk(sample.array))

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
        dtype = data_set.plans.target.dtype
        _create_images(store, len(paths), data_set.shape, dtype)
        zarr.create_array(store, name="names", data=np.array(paths, StringDType()))
        if classes:
            labels = [label_of(path, classes) for path in paths]
            numbers = [NO_LABEL if label is None else label for label in labels]
            zarr.create_array(store, name="labels", data=np.array(numbers, np.int64))
        # The group can be opened when its metadata exists.
        for name in reversed(files):
            out.write(f"{GROUP}/{name}", [files[name].to_bytes()])


def _create_images(
    store: "MemoryStore",
    count: int,
    shape: tuple[int, ...],
    dtype: str,
) -> "zarr.Array[Any]":
    """Create the array of ``count`` images, without data."""
    import zarr
    from zarr.codecs import BloscCodec

    return zarr.create_array(
        store,
        name="images",
        shape=(count, *shape),
        chunks=(1, *shape),
        dtype=dtype,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
        fill_value=np.zeros((), dtype).item(),
        # All chunks lie in one folder.
        chunk_key_encoding={"name": "default", "separator": "."},
        # Otherwise a chunk of zeros would be left out.
        config={"write_empty_chunks": True},
    )


@lru_cache(maxsize=1)
def _template(
    shape: tuple[int, ...], dtype: str
) -> tuple["zarr.Array[Any]", dict[str, Any]]:
    """Return an array of one image, and the dictionary that holds its files."""
    with require_extra("formats", "zarr"):
        from zarr.storage import MemoryStore
    from numcodecs import blosc

    # The order of the blocks in a chunk would depend on which thread is faster.
    blosc.use_threads = False
    files: dict[str, Any] = {}
    return _create_images(MemoryStore(files), 1, shape, dtype), files


def _encode_chunk(image: NDArray[Any]) -> bytes:
    """Return the chunk that Zarr writes for an image."""
    array, files = _template(image.shape, image.dtype.name)
    array[0] = image
    chunk = files.pop("images/c.0" + ".0" * image.ndim)
    return chunk.to_bytes()  # type: ignore[no-any-return]
