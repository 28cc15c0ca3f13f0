"""The formats of the outputs: one module per value of ``graypipe convert --to``.

`output_format` defines what every format does. The workers pass converted images, and
the formats write them to open files with the library of each format.
"""

from .npy import Npy
from .output_format import OutputFormat
from .parquet import Parquet
from .png import Png
from .shards import DEFAULT_SHARD_IMAGES, Shards
from .tiff import Tiff
from .webdataset import WebDataset
from .zarr import Zarr

FORMATS: dict[str, type[OutputFormat]] = {
    "npy": Npy,
    "tiff": Tiff,
    "png": Png,
    "webdataset": WebDataset,
    "parquet": Parquet,
    "zarr": Zarr,
}

__all__ = ["DEFAULT_SHARD_IMAGES", "FORMATS", "OutputFormat", "Shards"]
