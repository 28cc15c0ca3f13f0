"""Write Parquet shards that Hugging Face datasets loads with its features.

The columns are ``image``; ``label``, if images lie in subfolders; and ``name``, the
path of the image file.
"""

import json
from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import LayoutError
from ...extras import require_extra
from ...target import Target
from ..stated_plans import JobPlans
from .output_format import RGB, DataSet, Sample, extra_axes
from .png import encode_png
from .shards import Shards
from .single_images import picture_layout

if TYPE_CHECKING:
    import pyarrow as pa

# Rows are written in groups of at least this size, so that a group with a few images
# fits into memory, both here and in a reader.
ROW_GROUP_BYTES = 16 << 20

# The numbers of axes of the features Array2D to Array5D.
ARRAY_FEATURES = range(2, 6)

# Lists in Arrow have offsets of 32 bits.
MOST_VALUES = 2**31 - 1


class Parquet(Shards):
    """Parquet files with a column of images.

    8-bit gray and RGB images and 16-bit gray images are stored as PNG files, in a
    feature ``Image``; all others as arrays of one shape, in a feature ``Array3D``, for
    example.
    """

    suffix = ".parquet"

    def check(self, plans: JobPlans) -> None:
        """Check that there is a feature for the axes of the target."""
        axes = len(plans.target.layout) + len(extra_axes(plans))
        if axes not in ARRAY_FEATURES:
            raise LayoutError(
                f"Parquet stores arrays of 2 to 5 axes, got {axes}: use "
                "--to webdataset or --to zarr"
            )

    def holds_stacks(self, plans: JobPlans) -> bool:
        """Return whether the images are stored as arrays."""
        return self.needs_one_shape(plans)

    def layout(self, plans: JobPlans) -> str | None:
        """Return the layout of pictures, or None for arrays."""
        if _are_pictures(plans):
            return picture_layout(plans)
        return None

    def needs_one_shape(self, plans: JobPlans) -> bool:
        """Return whether the images are stored as arrays."""
        return not _are_pictures(plans)

    def check_shape(self, shape: tuple[int, ...], target: Target) -> None:  # noqa: ARG002
        """Check that 32-bit offsets can address the values of an image."""
        if prod(shape) > MOST_VALUES:
            raise LayoutError(
                f"Parquet stores arrays of at most {MOST_VALUES:,} values, got the "
                f"shape {shape}: use --to npy or --to webdataset"
            )

    def write(
        self, file: BinaryIO, samples: Iterable[Sample], data_set: DataSet
    ) -> None:
        """Write the samples in row groups."""
        with require_extra("formats", "pyarrow"):
            import pyarrow as pa
            import pyarrow.parquet as pq
        schema = _schema(data_set)
        # PNG files are compressed.
        compression = "none" if data_set.shape is None else "zstd"
        with pq.ParquetWriter(file, schema, compression=compression) as writer:
            rows: list[pa.RecordBatch] = []
            row_bytes = 0
            for sample in samples:
                row = _row(sample, schema)
                rows.append(row)
                row_bytes += row.nbytes
                if row_bytes >= ROW_GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(rows))
                    rows.clear()
                    row_bytes = 0
            if rows:
                writer.write_table(pa.Table.from_batches(rows))


def _are_pictures(plans: JobPlans) -> bool:
    """Return whether Pillow can represent what the plans produce."""
    target = plans.target
    if extra_axes(plans):
        return False
    if len(target.bands) == 1:
        return target.dtype in ("uint8", "uint16")
    return target.bands == RGB and target.dtype == "uint8"


def _schema(data_set: DataSet) -> "pa.Schema":
    """Return the schema, with the features of Hugging Face datasets as metadata."""
    import pyarrow as pa

    features: dict[str, dict[str, Any]] = {"image": {"_type": "Image"}}
    image = pa.field("image", pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    if data_set.shape is not None:
        image, features["image"] = _array_field(
            data_set.shape, data_set.plans.target.dtype
        )
    fields = [image]
    if data_set.classes:
        fields.append(pa.field("label", pa.int64()))
        features["label"] = {"_type": "ClassLabel", "names": data_set.classes}
    fields.append(pa.field("name", pa.string()))
    features["name"] = {"_type": "Value", "dtype": "string"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(fields, metadata)


def _array_field(
    shape: tuple[int, ...], dtype: str
) -> tuple["pa.Field", dict[str, Any]]:
    """Return the field of images that are arrays, and its feature."""
    import pyarrow as pa

    arrow_type = pa.from_numpy_dtype(np.dtype(dtype))
    for _ in shape:
        arrow_type = pa.list_(arrow_type)
    name = f"Array{len(shape)}D"
    # datasets uses the feature only if the field has its extension type.
    extension = {
        "ARROW:extension:name": f"datasets.features.features.{name}ExtensionType",
        "ARROW:extension:metadata": json.dumps([shape, dtype]),
    }
    feature = {"_type": name, "shape": shape, "dtype": dtype}
    return pa.field("image", arrow_type, metadata=extension), feature


def _row(sample: Sample, schema: "pa.Schema") -> "pa.RecordBatch":
    """Return a sample as a batch of one row."""
    import pyarrow as pa

    if pa.types.is_struct(schema.field("image").type):
        picture = {"bytes": encode_png(sample.array), "path": None}
        columns = [pa.array([picture], schema.field("image").type)]
    else:
        columns = [_nested_lists(sample.array)]
    if "label" in schema.names:
        columns.append(pa.array([sample.label], pa.int64()))
    columns.append(pa.array([sample.path]))
    return pa.record_batch(columns, schema=schema)


def _nested_lists(array: NDArray[Any]) -> "pa.Array":
    """Return an Arrow array with one element, the nested lists of a NumPy array.

    The values are not copied, except those of bool.
    """
    import pyarrow as pa

    lists = pa.array(array.reshape(-1))
    for length in reversed(array.shape):
        offsets = np.arange(0, len(lists) + 1, length, dtype=np.int32)
        lists = pa.ListArray.from_arrays(offsets, lists)
    return lists
