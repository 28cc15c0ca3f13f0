"""``graypipe convert``: convert all images of a folder with a plan.

    graypipe convert scans/ arrays/ --source gray:16 --target imagenet --to npy
    graypipe convert scans/ arrays/ --source gray:16 --target imagenet --to npy --resume
    graypipe convert scans/ pictures/ --plan plan.json --to png
    graypipe convert mixed/ arrays/ --source gray --source RGB --target unit --to npy

The output folder has the same subfolders as the input folder, and a manifest of the
finished files. An interrupted job continues with ``--resume``.
"""

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from .. import Plans
from ..batch_jobs import files, manifest
from ..batch_jobs.encode import SUFFIXES, check_encodable, file_layout
from ..batch_jobs.folders import OutputFolder, open_folder
from ..batch_jobs.work import Conversion, ConvertedFile, FailedFile, convert_files
from ..errors import ReadError
from . import file_batches, path_patterns
from .advice import bit_depth_note, probable_bits
from .image_files import list_images


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="IMAGES",
        help="the input folder, which is not modified, for example scans/",
    )
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="the output folder: new, empty, or with results to --resume, for example "
        "arrays/",
    )
    file_batches.add_plan_arguments(parser)
    parser.add_argument(
        "--to",
        choices=tuple(SUFFIXES),
        required=True,
        help="the format of the output files, for example npy",
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
    plans = file_batches.select_plans(options)
    for each in plans.plans:
        check_encodable(each, options.to)
    # Workers on a cluster may have a different working directory.
    folder = options.folder.absolute()
    out = options.out.absolute()
    sources = {}
    selection = path_patterns.selection(options)
    for path in _find_images(folder, out, options.to, selection):
        sources[files.output_name(path, options.to)] = path

    out_folder = open_folder(out)
    with out_folder.locked():
        _convert(options, plans, folder, out_folder, sources)


def _convert(
    options: Namespace,
    plans: Plans,
    folder: Path,
    out: OutputFolder,
    sources: dict[str, str],
) -> None:
    """Convert the images that are not finished yet, with the output folder locked.

    Parameters
    ----------
    options : Namespace
        The options of the command.
    plans : Plans
        The plans, of which each image selects one.
    folder : Path
        The absolute path of the images.
    out : OutputFolder
        The folder of the outputs.
    sources : dict
        The path of the image of each output, both relative.
    """
    settings = _job_settings(plans, options)
    finished = manifest.prepare_folder(out, settings, options.resume)
    remaining = {
        output: path
        for output, path in sources.items()
        if not manifest.is_up_to_date(out, finished.get(output), {path: folder / path})
    }
    manifest.discard_outputs(out, settings, finished, remaining)

    job = Conversion(
        folder=str(folder),
        out=str(out),
        read_options=file_batches.read_options(options),
        plans=plans._with_layouts(None, file_layout(plans.target, options.to)),
        file_format=options.to,
        stop_on_error=options.on_error == "fail",
    )

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

    failures = file_batches.process_files(
        options,
        partial(convert_files, job),
        [folder / path for path in remaining.values()],
        collect,
        file_batches.NUMBA_PAYS_FOR_CONVERTING,
    )
    if options.engine == "ray":
        # Ray ran tasks again whose worker was killed; their incomplete files are left.
        out.remove_unfinished()
    # Outputs whose source was deleted are kept: the user may still need them.
    orphans = _count_existing(out, finished.keys() - sources.keys())
    orphan_note = ""
    if orphans:
        orphan_note = f", {orphans} outputs no longer have a source image"
        if options.include or options.exclude:
            orphan_note = f", {orphans} outputs have none of these source images"
    print(
        f"{len(remaining) - len(failures)} files converted, "
        f"{len(sources) - len(remaining)} were already up to date{orphan_note}: "
        f"{options.out}"
    )
    bits = probable_bits(highest_uint16)
    if bits is not None:
        note = bit_depth_note(highest_uint16, bits)
        option = f"such as --source gray:{bits}"
        print(f"graypipe: all uint16 files: {note}, {option}", file=sys.stderr)
    file_batches.check_complete(failures, len(sources))


def _count_existing(out: OutputFolder, outputs: Iterable[str]) -> int:
    """Return how many of ``outputs`` exist."""
    return sum(out.size(name) is not None for name in outputs)


def _find_images(
    folder: Path, out: Path, file_format: str, selection: path_patterns.Selection
) -> list[str]:
    """Return the images relative to ``folder``, after checking where outputs go."""
    if not folder.is_dir():
        got = "a file: pass its folder" if folder.exists() else "no such path"
        raise ReadError(f"{folder}: expected a folder with images, got {got}")
    paths = [str(path.relative_to(folder)) for path in list_images(folder, selection)]
    files.check_folders_disjoint(folder, out, paths)
    files.check_output_names(paths, file_format)
    files.check_no_links_outside(out, paths)
    return paths


def _job_settings(plans: Plans, options: Namespace) -> manifest.Record:
    """Return everything that the outputs depend on, apart from the images."""
    # The fingerprints are for readers of the manifest. Unlike the plans, they do not
    # include layouts.
    fingerprints = [each.fingerprint for each in plans.plans]
    records = [json.loads(each.to_json()) for each in plans.plans]
    described: manifest.Record = {"fingerprints": fingerprints, "plans": records}
    if len(records) == 1:
        described = {"fingerprint": fingerprints[0], "plan": records[0]}
    return {
        # The version of the manifest format.
        "format": 1,
        **described,
        "to": options.to,
        "alpha": options.alpha,
        "orientation": options.orientation,
        "frame": options.frame,
    }
