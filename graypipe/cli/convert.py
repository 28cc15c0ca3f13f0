"""``graypipe convert``: convert all images of a folder with a plan.

    graypipe convert scans/ arrays/ --source gray:16 --target imagenet --to npy
    graypipe convert scans/ arrays/ --source gray:16 --target imagenet --to npy --resume
    graypipe convert scans/ pictures/ --plan plan.json --to png
    graypipe convert mixed/ arrays/ --source gray --source RGB --target unit --to npy
    graypipe convert scans/ shards/ --source gray --target unit --to webdataset

The output folder contains a file per image in the same subfolders as the input folder,
or one data set of all images, and a manifest of the finished files. An interrupted job
continues with ``--resume``.
"""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from ..batch_jobs import files, manifest
from ..batch_jobs.chunks import Output, file_sizes, split_outputs
from ..batch_jobs.folders import OutputFolder, open_folder
from ..batch_jobs.outputs import DEFAULT_SHARD_IMAGES, FORMATS, OutputFormat, Shards
from ..batch_jobs.outputs.output_format import DataSet, list_classes
from ..batch_jobs.remote import (
    AnyPath,
    ListedFile,
    RemotePath,
    absolute_path,
    locate,
    parse_path,
    relative_name,
)
from ..batch_jobs.stated_plans import JobPlans, StatedPlans
from ..batch_jobs.work import (
    Conversion,
    ConvertedFile,
    FailedFile,
    call_with_pixel_limit,
    convert_files,
    find_shape,
)
from ..errors import GraypipeError, ReadError
from ..serialization import to_record
from . import file_batches, path_patterns
from .advice import bit_depth_note, probable_bits
from .image_files import list_images


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "folder",
        type=parse_path,
        metavar="IMAGES",
        help="the input folder or its URL, which is not modified, for example scans/ "
        "or s3://bucket/scans",
    )
    parser.add_argument(
        "out",
        type=parse_path,
        metavar="OUT",
        help="the output folder or its URL: new, empty, or with results to --resume, "
        "for example arrays/",
    )
    file_batches.add_plan_arguments(parser)
    parser.add_argument(
        "--to",
        choices=tuple(FORMATS),
        required=True,
        help="the format of the outputs, for example npy",
    )
    parser.add_argument(
        "--shard-images",
        type=_parse_shard_images,
        metavar="N",
        help="with --to webdataset or --to parquet, the number of images in a file "
        f"(default: {DEFAULT_SHARD_IMAGES})",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted job with the same plan and options",
    )
    file_batches.add_arguments(parser)


def run(options: Namespace) -> None:
    """Convert the images that are not finished yet.

    Raises
    ------
    GraypipeError
        If another process writes to the folder, if the job cannot start, if a file
        fails, or if files were skipped. Finished outputs are kept.
    """
    # Run all checks that need no pixels before anything is written.
    file_batches.check_options(options)
    output_format = _select_format(options)
    plans = file_batches.select_plans(options)
    file_batches.check_frames(options, output_format, plans)
    output_format.check(plans)
    # Workers on a cluster may have a different working directory.
    folder = absolute_path(options.folder)
    out = absolute_path(options.out)
    selection = path_patterns.selection(options)
    images = _find_images(folder, out, output_format, selection)
    job = _describe_job(options, output_format, plans, images)
    sources = output_format.assign(list(images), job.data_set)
    if isinstance(out, Path):
        files.check_no_links_outside(out, sources)
    settings = _job_settings(plans, options)
    settings |= output_format.settings(job.data_set)

    out_folder = open_folder(out)
    with out_folder.locked():
        _convert(options, job, settings, out_folder, sources, images=images)


def _convert(
    options: Namespace,
    job: Conversion,
    settings: manifest.Record,
    out: OutputFolder,
    sources: dict[str, tuple[str, ...]],
    *,
    images: dict[str, ListedFile],
) -> None:
    """Convert the images that are not finished yet, with the output folder locked.

    Parameters
    ----------
    options : Namespace
        The options of the command.
    job : Conversion
        What the workers do.
    settings : dict
        The first line of the manifest.
    out : OutputFolder
        The folder of the outputs.
    sources : dict
        The images of each output. All names are relative.
    images : dict
        The file of each image, by its relative name.
    """
    finished = manifest.prepare_folder(out, settings, options.resume)
    remaining = [
        output
        for output, paths in sources.items()
        if not manifest.is_up_to_date(
            out, finished.get(output), _located(paths, images, job.folder)
        )
    ]
    orphans = finished.keys() - sources.keys()
    outdated = remaining
    if job.output_format.is_numbered:
        # Their images are now in other outputs, or were removed.
        outdated = [*remaining, *orphans]
    if outdated:
        job.output_format.start(out)
    manifest.discard_outputs(out, settings, finished, outdated)

    highest_uint16 = 0

    def collect(results: list[ConvertedFile | FailedFile]) -> list[FailedFile]:
        """Add the finished files of a chunk to the manifest; return the failed ones."""
        nonlocal highest_uint16
        failed_files = []
        records = []
        for result in results:
            if isinstance(result, FailedFile):
                failed_files.append(result)
            else:
                records.append(result.record)
                highest_uint16 = max(highest_uint16, result.maximum)
        manifest.append_records(out, records)
        return failed_files

    # A generator, because the names of a large data set take much memory.
    outputs = (
        Output(name, tuple(images[path] for path in sources[name]))
        for name in remaining
    )
    chunks = list(split_outputs(outputs, job.folder))
    files = [file for chunk in chunks for file in _source_files(chunk)]
    failures = file_batches.process_files(
        options,
        partial(convert_files, job),
        chunks,
        [len(_source_files(chunk)) for chunk in chunks],
        collect,
        sizes=file_sizes(files, job.folder),
        numba_pays_from=file_batches.NUMBA_PAYS_FOR_CONVERTING,
    )
    manifest.finish(out)
    if options.engine == "ray":
        # Ray ran tasks again whose worker was killed; their incomplete files are left.
        out.remove_unfinished()
    all_paths = [path for paths in sources.values() for path in paths]
    job.output_format.finish(out, all_paths, job.data_set, settings)
    # Files whose source was deleted are kept: the user may still need them.
    orphan_count = _count_existing(out, orphans)
    orphan_note = ""
    if orphan_count:
        orphan_note = f", {orphan_count} outputs no longer have a source image"
        if options.include or options.exclude:
            orphan_note = f", {orphan_count} outputs have none of these source images"
    print(
        f"{len(files) - len(failures)} files converted, "
        f"{len(all_paths) - len(files)} were already up to date{orphan_note}: "
        f"{options.out}"
    )
    bits = probable_bits(highest_uint16)
    if bits is not None:
        note = bit_depth_note(highest_uint16, bits)
        option = f"such as --source gray:{bits}"
        print(f"graypipe: all uint16 files: {note}, {option}", file=sys.stderr)
    file_batches.check_complete(failures, len(all_paths))


def _located(
    paths: Iterable[str], images: dict[str, ListedFile], folder: str
) -> dict[str, AnyPath]:
    """Return the file of each of some images, by its relative name."""
    return {path: locate(images[path], folder) for path in paths}


def _source_files(outputs: Iterable[Output]) -> list[ListedFile]:
    """Return the images that ``outputs`` are made of."""
    return [file for output in outputs for file in output.sources]


def _count_existing(out: OutputFolder, outputs: Iterable[str]) -> int:
    """Return how many of ``outputs`` exist."""
    return sum(out.size(name) is not None for name in outputs)


def _parse_shard_images(text: str) -> int:
    """Return the number of images in a shard."""
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"expected a positive number of images, got {text!r}")
    return int(text)


def _select_format(options: Namespace) -> OutputFormat:
    """Return the output format, after checking the options that depend on it."""
    format_class = FORMATS[options.to]
    if options.on_error == "skip" and format_class.needs_every_image:
        options.usage_error(
            f"--to {options.to} has a place for every image, so none can be skipped: "
            "use --on-error fail, or --to webdataset"
        )
    if options.shard_images is None:
        return format_class()
    if issubclass(format_class, Shards):
        return format_class(options.shard_images)
    options.usage_error("--shard-images needs --to webdataset or --to parquet")
    raise AssertionError("usage_error does not return")


def _describe_job(
    options: Namespace,
    output_format: OutputFormat,
    plans: JobPlans,
    images: dict[str, ListedFile],
) -> Conversion:
    """Return what the workers do.

    Raises
    ------
    GraypipeError
        If the first image cannot be converted, or the format cannot store its shape.
    """
    folder = str(absolute_path(options.folder))
    read_options = file_batches.read_options(options)
    stops_on_error = options.on_error == "fail"
    plans = plans._with_layouts(None, output_format.layout(plans))
    classes: tuple[str, ...] = ()
    if output_format.has_labels:
        classes = list_classes(list(images))
    shape = None
    if output_format.needs_one_shape(plans):
        shape = call_with_pixel_limit(
            options.max_pixels,
            partial(find_shape, plans, read_options, stops_on_error, folder),
            list(images.values()),
        )
        output_format.check_shape(shape, plans.target)
    return Conversion(
        folder=folder,
        out=str(absolute_path(options.out)),
        read_options=read_options,
        output_format=output_format,
        data_set=DataSet(plans, classes, shape),
        stop_on_error=stops_on_error,
    )


def _find_images(
    folder: AnyPath,
    out: AnyPath,
    output_format: OutputFormat,
    selection: path_patterns.Selection,
) -> dict[str, ListedFile]:
    """Return the images by their relative paths, after checking where outputs go."""
    if not folder.is_dir():
        got = "a file: pass its folder" if folder.exists() else "no such path"
        raise ReadError(f"{folder}: expected a folder with images, got {got}")
    images = {
        relative_name(file, folder): file for file in list_images(folder, selection)
    }
    if isinstance(folder, Path) and isinstance(out, Path):
        files.check_folders_disjoint(folder, out, images)
    if isinstance(folder, RemotePath) and isinstance(out, RemotePath):
        _check_urls_disjoint(folder, out)
    output_format.check_names(list(images))
    return images


def _check_urls_disjoint(folder: RemotePath, out: RemotePath) -> None:
    """Raise GraypipeError if an output could overwrite or become an image."""
    if folder.overlaps(out):
        raise GraypipeError(
            f"one of {folder} and {out} is inside the other: choose an output folder "
            "outside of the input folder"
        )


def _job_settings(plans: JobPlans, options: Namespace) -> manifest.Record:
    """Return everything that the outputs depend on, apart from the images."""
    described = _describe_plans(plans)
    if options.select is not None:
        described["select"] = list(options.select)
    return {
        # The version of the manifest format.
        "format": 1,
        **described,
        "to": options.to,
        "alpha": options.alpha,
        "orientation": options.orientation,
        "frame": options.frame,
    }


def _describe_plans(plans: JobPlans) -> manifest.Record:
    """Return the plans as they are recorded in the manifest."""
    if isinstance(plans, StatedPlans):
        target = json.loads(json.dumps(to_record(plans.target)))
        via = None if plans.via is None else json.loads(plans.via)
        return {"source": "stated by each file", "target": target, "via": via}
    # The fingerprints are for readers of the manifest. Unlike the plans, they do not
    # include layouts.
    fingerprints = [each.fingerprint for each in plans.plans]
    records = [json.loads(each.to_json()) for each in plans.plans]
    if len(records) == 1:
        return {"fingerprint": fingerprints[0], "plan": records[0]}
    return {"fingerprints": fingerprints, "plans": records}
