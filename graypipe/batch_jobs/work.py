"""Worker functions: convert a chunk of files, or compute its statistics.

The functions take and return small picklable objects. The worker itself reads and
writes the images.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import layouts
from .. import plan as plan_for
from ..channel_map import ChannelMap
from ..errors import (
    ChannelError,
    GraypipeError,
    LayoutError,
    MissingExtraError,
    RangeError,
    ReadError,
)
from ..io import facts, read
from ..plan import Plan
from ..plans import Plans
from ..source import Source
from ..stats import BandStats
from ..target import Target
from .chunks import Output
from .folders import open_folder
from .manifest import Record, describe_source
from .outputs import OutputFormat
from .outputs.output_format import DataSet, Sample, label_of
from .remote import (
    AnyPath,
    ListedFile,
    RemotePath,
    local_file,
    locate,
    relative_name,
)
from .stated_plans import JobPlans, StatedPlans

Chunk = TypeVar("Chunk")
Result = TypeVar("Result")

# Array files do not record the meaning of their axes, so the declared layout applies to
# them. All other formats define their own layout.
ARRAY_FORMATS = ("NPY", "NPZ")


class ReadOptions(NamedTuple):
    """How to read every file: the arguments of `graypipe.read`."""

    alpha: str = "error"
    orientation: str = "error"
    frame: int | str | None = None
    select: tuple[str, ...] | None = None


class ConvertedFile(NamedTuple):
    """An output that was written: its record for the manifest, and the largest value.

    The maximum is that of its uint16 images whose bit depth nobody declares, and 0 if
    there are none.
    """

    record: Record
    maximum: int


class FailedFile(NamedTuple):
    """A file that cannot be used, and a one-line reason that contains the path."""

    path: AnyPath
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
    output_format : OutputFormat
        The format of the outputs.
    data_set : DataSet
        What the images have in common, among others the plans.
    stop_on_error : bool
        Whether to skip the rest of a chunk after the first file that fails.
    """

    folder: str
    out: str
    read_options: ReadOptions
    output_format: OutputFormat
    data_set: DataSet
    stop_on_error: bool


class ConvertedImage(NamedTuple):
    """An image as it was read, with its source, and what a plan makes of it."""

    image: NDArray[Any]
    source: Source
    converted: NDArray[Any]


class PartialStats(NamedTuple):
    """The statistics of files that have the same source and dtype."""

    stats: BandStats
    paths: list[AnyPath]


def call_with_pixel_limit(
    max_pixels: int | None,
    function: Callable[[Chunk], Result],
    chunk: Chunk,
) -> Result:
    """Call a function with a chunk of files, reading larger or only smaller images.

    Parameters
    ----------
    max_pixels : int or None
        The value of ``PIL.Image.MAX_IMAGE_PIXELS`` during the call, which the decoders
        use; None for the present one.
    function : callable
        A worker function.
    chunk : object
        Its argument.
    """
    if max_pixels is None:
        return function(chunk)
    from PIL import Image

    previous = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        return function(chunk)
    finally:
        Image.MAX_IMAGE_PIXELS = previous


def load_image(
    source: Source, options: ReadOptions, path: AnyPath
) -> tuple[NDArray[Any], Source]:
    """Read one file as declared.

    Parameters
    ----------
    source : Source
        What the file is declared to contain.
    options : ReadOptions
        How to read it.
    path : Path or RemotePath
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
        local_file(path),
        alpha=options.alpha,
        orientation=options.orientation,
        frame=options.frame,
        **declared,
    )


def _check_is_file(path: AnyPath) -> None:
    """Raise ReadError if a path exists but is not a file."""
    if isinstance(path, RemotePath):
        return
    # Opening a named pipe would wait for a process that writes to it.
    if path.exists() and not path.is_file():
        raise ReadError(
            f"{path}: expected an image file, got a pipe, a device or a folder that "
            "cannot be listed"
        )


def choose_plan(plans: Plans, path: AnyPath) -> Plan:
    """Return the plan that takes the image in a file, chosen by its headers."""
    if len(plans.plans) == 1:
        return plans.plans[0]  # reading the file checks that the plan takes it
    _check_is_file(path)
    header = facts(local_file(path))
    dtype = np.dtype(header["dtype"])
    if "shape" in header:
        return plans._choose_by_shape(header["shape"], dtype, f"{path}: an array")
    count = header["bands"]
    if header["alpha"] and count + 1 in plans._alpha_band_counts:
        count += 1
    return plans._choose(count, dtype, f"{path}")


def _declared_fields(source: Source, path: AnyPath) -> dict[str, Any]:
    """Return the fields of ``source`` that are declared, as arguments of `read`."""
    declared = {}
    for field in fields(source):
        value = getattr(source, field.name)
        if field.name != "layout" and value is not None:
            declared[field.name] = value
    default_layout = Source(source.bands).layout
    if (
        source.layout != default_layout
        and facts(local_file(path))["format"] in ARRAY_FORMATS
    ):
        declared["layout"] = source.layout
    return declared


def make_failed_file(path: AnyPath, error: Exception) -> FailedFile:
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


def find_shape(
    plans: JobPlans,
    options: ReadOptions,
    stop_on_error: bool,
    folder: str,
    files: Sequence[ListedFile],
) -> tuple[int, ...]:
    """Return the shape of the first image after its conversion.

    Parameters
    ----------
    plans : Plans
        The plans, of which the image selects one.
    options : ReadOptions
        How to read the image.
    stop_on_error : bool
        Whether the first image has to be usable. Otherwise, the first usable image is
        taken.
    folder : str
        The folder of the images.
    files : sequence of ListedFile
        All images.

    Raises
    ------
    ReadError
        If no image is usable.
    """
    for listed in files:
        file = locate(listed, folder)
        try:
            return convert_image(plans, options, file).converted.shape
        except (GraypipeError, OSError) as error:
            failure = make_failed_file(file, error)
            if stop_on_error:
                raise ReadError(failure.reason) from None
    raise ReadError(f"none of the {len(files)} files can be converted")


class _IncompleteOutputError(GraypipeError):
    """Raised to discard an output because of files that failed."""


def convert_files(
    job: Conversion, outputs: Sequence[Output]
) -> list[ConvertedFile | FailedFile]:
    """Convert the images of a chunk of outputs.

    Parameters
    ----------
    job : Conversion
        What to do.
    outputs : sequence of Output
        The outputs; their images are below ``job.folder``.

    Returns
    -------
    list of ConvertedFile or FailedFile
        For each output, a `FailedFile` for each of its images that failed, and a
        `ConvertedFile` if it has been written.

    Raises
    ------
    GraypipeError
        If an output cannot be written. Others would fail for the same reason.
    """
    results: list[ConvertedFile | FailedFile] = []
    for output in outputs:
        failures: list[FailedFile] = []
        converted = _write_output(job, output, failures)
        results += failures
        if converted is not None:
            results.append(converted)
        if failures and job.stop_on_error:
            break
    return results


def _write_output(
    job: Conversion, output: Output, failures: list[FailedFile]
) -> ConvertedFile | None:
    """Write an output, and add the images that failed to ``failures``.

    Return None if it could not be written because of the images that failed.
    """
    converted: list[ConvertedFile] = []
    samples = _convert_sources(job, output, converted, failures)
    out = open_folder(job.out)
    try:
        # Convert the first image before a file is created.
        samples = chain((next(samples),), samples)
        with out.create(output.name) as file:
            job.output_format.write(file, samples, job.data_set)
    except _IncompleteOutputError:
        return None
    sources = [image.record for image in converted]
    record: Record = {"sources": sources}
    if len(output.sources) == 1:
        [record] = sources
    record = {**record, "output": output.name, "bytes": out.size(output.name)}
    return ConvertedFile(record, max(image.maximum for image in converted))


def _convert_sources(
    job: Conversion,
    output: Output,
    converted: list[ConvertedFile],
    failures: list[FailedFile],
) -> Iterator[Sample]:
    """Yield the converted images of an output, one at a time.

    Parameters
    ----------
    job : Conversion
        What to do.
    output : Output
        The output that the images belong to.
    converted : list of ConvertedFile
        The state and the maximum of each image that was converted are appended.
    failures : list of FailedFile
        Each image that failed is appended.

    Yields
    ------
    Sample
        Each image that was converted.

    Raises
    ------
    _IncompleteOutputError
        If an image failed and ``job.stop_on_error`` is true, or if all images failed.
    """
    data_set = job.data_set
    for listed in output.sources:
        file = locate(listed, job.folder)
        path = relative_name(listed, job.folder)
        try:
            # Stat before reading, so that a later change makes the record stale.
            described = describe_source(path, file)
            result = convert_image(data_set.plans, job.read_options, file)
            _check_shape(result.converted, data_set.shape, file)
        except (GraypipeError, OSError) as error:
            failures.append(make_failed_file(file, error))
            if job.stop_on_error:
                raise _IncompleteOutputError from None
            continue
        maximum = _undeclared_maximum(result.image, result.source)
        converted.append(ConvertedFile(described, maximum))
        sample = Sample(path, result.converted, label_of(path, data_set.classes))
        # The image that was read is not needed while the output is written, and the
        # converted one is not needed while the next image is read.
        del result
        yield sample
        del sample
    if not converted:
        raise _IncompleteOutputError


def _undeclared_maximum(image: NDArray[Any], source: Source) -> int:
    """Return the maximum of a uint16 image without bit depth, and 0 for others."""
    if image.dtype != np.uint16 or source._declares_range:
        return 0
    return int(image.max(initial=0))


def _check_shape(
    array: NDArray[Any], shape: tuple[int, ...] | None, file: AnyPath
) -> None:
    """Raise LayoutError if a converted image does not have the shape of the first."""
    if shape is not None and array.shape != shape:
        raise LayoutError(
            f"{file}: expected the shape {shape} of the first image, got "
            f"{array.shape}: resize the images to one size before, or use --to "
            "webdataset, which stores images of any size"
        )


def convert_image(
    plans: JobPlans, options: ReadOptions, path: AnyPath
) -> ConvertedImage:
    """Read an image and convert it with the plan that takes it.

    Parameters
    ----------
    plans : Plans or StatedPlans
        The plans, of which the image selects one.
    options : ReadOptions
        How to read the image.
    path : Path or RemotePath
        The file.

    Returns
    -------
    ConvertedImage

    Raises
    ------
    GraypipeError, OSError
        If the file cannot be read, or no plan takes the image.
    """
    plan, image, source = plan_and_image(plans, options, path)
    return ConvertedImage(image, source, plan(image))


def plan_and_image(
    plans: JobPlans, options: ReadOptions, path: AnyPath
) -> tuple[Plan, NDArray[Any], Source]:
    """Read an image; return the plan for it, the image and its source.

    Parameters and errors are those of `convert_image`.
    """
    if isinstance(plans, StatedPlans):
        return _stated_plan_and_image(plans, options, path)
    plan = choose_plan(plans, path)
    image, source = load_image(plan.source, options, path)
    return _cached_plan(source, plan.target, plan.via), image, source


def _stated_plan_and_image(
    plans: StatedPlans, options: ReadOptions, path: AnyPath
) -> tuple[Plan, NDArray[Any], Source]:
    """Read an image; return the plan for the source that its file states."""
    _check_is_file(path)
    try:
        image, source = read(local_file(path), **options._asdict())
        plan = _stated_plan(source, plans.target, plans.via)
    except (ChannelError, LayoutError, RangeError, ReadError) as error:
        raise type(error)(
            f"{error} (no --source is given: it declares what a file does not state)"
        ) from None
    return plan, image, source


@lru_cache(maxsize=64)
def _stated_plan(source: Source, target: Target, via: str | None) -> Plan:
    """Return the plan; ``via`` is that of `StatedPlans`."""
    return plan_for(source, target, None if via is None else json.loads(via))


@lru_cache(maxsize=64)
def _cached_plan(source: Source, target: Target, via: ChannelMap) -> Plan:
    """Return the plan; files usually share one source, so each plan is built once."""
    return Plan(source, target, via)


def compute_stats(
    declared: Source,
    options: ReadOptions,
    stop_on_error: bool,
    folder: str,
    files: Sequence[ListedFile],
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
    folder : str
        The folder of the images.
    files : sequence of ListedFile
        The images.

    Returns
    -------
    list of PartialStats or FailedFile
        The statistics for each combination of dtype and source, in the order of their
        first files, followed by the files that failed.
    """
    groups: dict[tuple[str, Source], PartialStats] = {}
    failures: list[FailedFile] = []
    for file in files:
        path = locate(file, folder)
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
