"""Worker functions: convert a chunk of files, or compute its statistics.

The functions take and return small picklable objects. The worker itself reads and
writes the images.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import layouts
from ..channel_map import ChannelMap
from ..errors import GraypipeError, MissingExtraError, ReadError
from ..io import facts, read
from ..plan import Plan
from ..plans import Plans
from ..source import Source
from ..stats import BandStats
from ..target import Target
from .encode import encode
from .files import output_name
from .folders import open_folder
from .manifest import Record, describe_source

Result = TypeVar("Result")

# Array files do not record the meaning of their axes, so the declared layout applies to
# them. All other formats define their own layout.
ARRAY_FORMATS = ("NPY", "NPZ")


class ReadOptions(NamedTuple):
    """How to read every file: the arguments of `graypipe.read`."""

    alpha: str = "error"
    orientation: str = "error"
    frame: int | str | None = None


class ConvertedFile(NamedTuple):
    """A file that was converted: its record for the manifest, and its largest value.

    The maximum is that of a uint16 image whose bit depth nobody declares, and 0 for
    other images.
    """

    record: Record
    maximum: int


class FailedFile(NamedTuple):
    """A file that cannot be used, and a one-line reason that contains the path."""

    path: Path
    reason: str


class Conversion(NamedTuple):
    """A job that converts images to files.

    Parameters
    ----------
    folder : str
        The folder of the images.
    out : str
        The output folder.
    read_options : ReadOptions
        How to read the images.
    plans : Plans
        The plans, of which each image selects one. Their target is in the layout of
        ``file_format``.
    file_format : {"png", "tiff", "npy"}
        The format of the outputs.
    stop_on_error : bool
        Whether to skip the rest of a chunk after the first file that fails.
    """

    folder: str
    out: str
    read_options: ReadOptions
    plans: Plans
    file_format: str
    stop_on_error: bool


class ConvertedImage(NamedTuple):
    """An image as it was read, with its source, and what a plan makes of it."""

    image: NDArray[Any]
    source: Source
    converted: NDArray[Any]


class PartialStats(NamedTuple):
    """The statistics of files that have the same source and dtype."""

    stats: BandStats
    paths: list[Path]


def call_with_pixel_limit(
    max_pixels: int | None,
    function: Callable[[Sequence[Path]], Result],
    paths: Sequence[Path],
) -> Result:
    """Call a function with a chunk of files, reading larger or only smaller images.

    Parameters
    ----------
    max_pixels : int or None
        The value of ``PIL.Image.MAX_IMAGE_PIXELS`` during the call, which the decoders
        use; None for the present one.
    function : callable
        A worker function.
    paths : sequence of Path
        Its argument.
    """
    if max_pixels is None:
        return function(paths)
    from PIL import Image

    previous = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        return function(paths)
    finally:
        Image.MAX_IMAGE_PIXELS = previous


def load_image(
    source: Source, options: ReadOptions, path: Path
) -> tuple[NDArray[Any], Source]:
    """Read one file as declared.

    Parameters
    ----------
    source : Source
        What the file is declared to contain.
    options : ReadOptions
        How to read it.
    path : Path
        The file.

    Returns
    -------
    image : numpy.ndarray
        The pixels, in the layout of the returned source.
    source : Source
        The declared source, completed with the metadata of the file.

    Raises
    ------
    GraypipeError
        If the file cannot be read, or does not match the declared source.
    """
    _check_is_file(path)
    declared = _declared_fields(source, path)
    return read(
        path,
        alpha=options.alpha,
        orientation=options.orientation,
        frame=options.frame,
        **declared,
    )


def _check_is_file(path: Path) -> None:
    """Raise ReadError if a path exists but is not a file."""
    # Opening a named pipe would wait for a process that writes to it.
    if path.exists() and not path.is_file():
        raise ReadError(
            f"{path}: expected an image file, got a pipe, a device or a folder that "
            "cannot be listed"
        )


def choose_plan(plans: Plans, path: Path) -> Plan:
    """Return the plan that takes the image in a file, chosen by its headers."""
    if len(plans.plans) == 1:
        return plans.plans[0]  # reading the file checks that the plan takes it
    _check_is_file(path)
    header = facts(path)
    dtype = np.dtype(header["dtype"])
    if "shape" in header:
        return plans._choose_by_shape(header["shape"], dtype, f"{path}: an array")
    count = header["bands"]
    if header["alpha"] and count + 1 in plans._alpha_band_counts:
        count += 1
    return plans._choose(count, dtype, f"{path}")


def _declared_fields(source: Source, path: Path) -> dict[str, Any]:
    """Return the fields of ``source`` that are declared, as arguments of `read`."""
    declared = {}
    for field in fields(source):
        value = getattr(source, field.name)
        if field.name != "layout" and value is not None:
            declared[field.name] = value
    default_layout = Source(source.bands).layout
    if source.layout != default_layout and facts(path)["format"] in ARRAY_FORMATS:
        declared["layout"] = source.layout
    return declared


def make_failed_file(path: Path, error: Exception) -> FailedFile:
    """Return a `FailedFile` for an error.

    Raises
    ------
    MissingExtraError
        If ``error`` is a MissingExtraError: it concerns all files.
    """
    if isinstance(error, MissingExtraError):
        raise error
    message = str(error)
    if isinstance(error, OSError) and error.strerror:
        message = error.strerror
    reason = " ".join(message.split())
    if str(path) not in reason:
        reason = f"{path}: {reason}"
    return FailedFile(path, reason)


def convert_files(
    job: Conversion, paths: Sequence[Path]
) -> list[ConvertedFile | FailedFile]:
    """Convert a chunk of images.

    Parameters
    ----------
    job : Conversion
        What to do.
    paths : sequence of Path
        The images, below ``job.folder``.

    Returns
    -------
    list of ConvertedFile or FailedFile
        The result for each image.

    Raises
    ------
    GraypipeError
        If an output cannot be written. Other files would fail for the same reason.
    """
    results: list[ConvertedFile | FailedFile] = []
    for path in paths:
        result = _convert_file(job, path)
        results.append(result)
        if job.stop_on_error and isinstance(result, FailedFile):
            break
    return results


def _convert_file(job: Conversion, source_path: Path) -> ConvertedFile | FailedFile:
    """Convert one image."""
    path = str(source_path.relative_to(job.folder))
    try:
        # Stat before reading, so that a later change makes the record stale.
        described = describe_source(path, source_path)
        result = convert_image(job.plans, job.read_options, source_path)
    except (GraypipeError, OSError) as error:
        return make_failed_file(source_path, error)
    output = output_name(path, job.file_format)
    content = encode(result.converted, job.plans.target.bands, job.file_format)
    output_size = open_folder(job.out).write(output, content)
    record = {**described, "output": output, "bytes": output_size}
    return ConvertedFile(record, _undeclared_maximum(result.image, result.source))


def _undeclared_maximum(image: NDArray[Any], source: Source) -> int:
    """Return the maximum of a uint16 image without bit depth, and 0 for others."""
    if image.dtype != np.uint16 or source._declares_range:
        return 0
    return int(image.max(initial=0))


def convert_image(plans: Plans, options: ReadOptions, path: Path) -> ConvertedImage:
    """Read an image and convert it with the plan that takes it.

    Parameters
    ----------
    plans : Plans
        The plans, of which the image selects one.
    options : ReadOptions
        How to read the image.
    path : Path
        The file.

    Returns
    -------
    ConvertedImage

    Raises
    ------
    GraypipeError, OSError
        If the file cannot be read, or no plan takes the image.
    """
    plan = choose_plan(plans, path)
    image, source = load_image(plan.source, options, path)
    converted = _cached_plan(source, plan.target, plan.via)(image)
    return ConvertedImage(image, source, converted)


@lru_cache(maxsize=64)
def _cached_plan(source: Source, target: Target, via: ChannelMap) -> Plan:
    """Return the plan; files usually share one source, so each plan is built once."""
    return Plan(source, target, via)


def compute_stats(
    declared: Source, options: ReadOptions, stop_on_error: bool, paths: Sequence[Path]
) -> list[PartialStats | FailedFile]:
    """Compute the statistics of a chunk of images.

    Parameters
    ----------
    declared : Source
        What the files are declared to contain.
    options : ReadOptions
        How to read the images.
    stop_on_error : bool
        Whether to skip the rest of the chunk after the first file that fails.
    paths : sequence of Path
        The images.

    Returns
    -------
    list of PartialStats or FailedFile
        The statistics for each combination of dtype and source, in the order of their
        first files, followed by the files that failed.
    """
    groups: dict[tuple[str, Source], PartialStats] = {}
    failures: list[FailedFile] = []
    for path in paths:
        try:
            image, source = load_image(declared, options, path)
            image, source = _in_declared_layout(image, source, declared)
            key = (image.dtype.name, source)
            group = groups.setdefault(key, PartialStats(BandStats(source), []))
            group.stats.update(image)
            group.paths.append(path)
        except GraypipeError as error:
            failures.append(make_failed_file(path, error))
            if stop_on_error:
                break
    # A group has no files if the update with its first file failed.
    return [*(group for group in groups.values() if group.paths), *failures]


def _in_declared_layout(
    image: NDArray[Any], source: Source, declared: Source
) -> tuple[NDArray[Any], Source]:
    """Return a view of ``image`` in the declared layout, and its source.

    Statistics can be merged only if layout and declared dtype are the same.
    """
    conversion = layouts.conversion(source.layout, declared.layout)
    image = conversion.from_planes(conversion.source_planes(image))
    return image, _redeclare(source, conversion.target_layout, declared.dtype)


@lru_cache(maxsize=64)
def _redeclare(source: Source, layout: str, dtype: str | None) -> Source:
    """Return the source with another layout and dtype; files usually share one."""
    return replace(source, layout=layout, dtype=dtype)


def merge_stats(
    total: BandStats | None, results: Iterable[PartialStats | FailedFile]
) -> tuple[BandStats | None, list[FailedFile]]:
    """Add the results of a chunk to the statistics of the preceding chunks.

    Parameters
    ----------
    total : BandStats or None
        The statistics so far, updated in place; None for the first chunk. The first
        statistics determine the source and dtype that all other files must have.
    results : iterable of PartialStats or FailedFile
        The results of `compute_stats`.

    Returns
    -------
    total : BandStats or None
        The new statistics; None if no file could be read yet.
    failures : list of FailedFile
        The files that failed, and the files with a different source or dtype.
    """
    failures = []
    for result in results:
        if isinstance(result, FailedFile):
            failures.append(result)
        elif total is None:
            total = result.stats
        else:
            try:
                total.merge(result.stats)
            except GraypipeError as error:
                failures += [make_failed_file(path, error) for path in result.paths]
    return total, failures
