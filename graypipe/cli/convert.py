"""``graypipe convert``: put every image of a folder through a plan, into files, whatever happens on the way."""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from .. import Plan, plan
from ..batch_jobs import manifest, naming
from ..batch_jobs.converting import Conversion, convert
from ..batch_jobs.encode import SUFFIXES, check, fitting
from ..batch_jobs.loading import Failed
from ..errors import ReadError
from . import data_sets, source_syntax


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="the folder of the images, only ever read",
    )
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="a new or empty folder, or one to --resume",
    )
    parser.add_argument(
        "--source", type=source_syntax.source, help=source_syntax.SOURCE_HELP
    )
    parser.add_argument(
        "--target",
        type=source_syntax.target,
        help="a preset, such as imagenet, keras-caffe or rgb8",
    )
    parser.add_argument(
        "--via",
        type=source_syntax.via,
        help="which band feeds which: R=B04,G=B03,B=B02",
    )
    parser.add_argument(
        "--plan",
        type=source_syntax.plan_file,
        metavar="FILE",
        help="a plan as JSON, instead of the three",
    )
    parser.add_argument(
        "--to",
        choices=tuple(SUFFIXES),
        required=True,
        help="the kind of files that are written",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on where an earlier run of the same plan stopped",
    )
    data_sets.add_arguments(parser)


def run(options: Namespace) -> None:
    """Convert what is not finished; GraypipeError where anything could not be, with everything else kept."""
    data_sets.check_options(options)
    wanted = _plan(options)
    check(wanted, options.to)
    folder, out = options.folder.absolute(), options.out.absolute()
    made = {
        naming.output(path, options.to): path
        for path in _paths(folder, out, options.to)
    }
    made_by = _made_by(wanted, options)
    finished = manifest.begin(out, made_by, options.resume)
    left = {
        name: path
        for name, path in made.items()
        if not manifest.holds(out, finished.get(name), folder, path)
    }
    manifest.drop(out, made_by, finished, left)
    job = Conversion(
        str(folder),
        str(out),
        data_sets.loading(options, wanted.source),
        fitting(wanted.target, options.to),
        wanted.via,
        options.to,
        options.on_error == "fail",
    )
    failures: list[Failed] = []
    for done in data_sets.run(
        options,
        partial(convert, job),
        [folder / path for path in left.values()],
        failures,
    ):
        failures += [file for file in done if isinstance(file, Failed)]
        manifest.append(out, [file for file in done if not isinstance(file, Failed)])
    counts = f"{len(left) - len(failures)} files converted, {len(made) - len(left)} were finished before"
    print(f"{counts}{_orphans(out, finished.keys() - made.keys())}: {options.out}")
    data_sets.check_complete(failures, len(made))


def _orphans(out: Path, names: Iterable[str]) -> str:
    count = sum((out / name).exists() for name in names)
    return f", {count} outputs have no source any more" if count else ""


def _plan(options: Namespace) -> Plan:
    if options.plan is None and options.source and options.target:
        return plan(options.source, options.target, options.via)
    if options.plan is None or options.source or options.target or options.via:
        options.usage_error(
            "expected --source and --target, perhaps with --via, or --plan alone"
        )
    made: Plan = options.plan
    return made


def _paths(folder: Path, out: Path, to: str) -> list[str]:
    """Return the images in ``folder``, relative to it, after checking where each of them would go."""
    if not folder.is_dir():
        raise ReadError(f"{folder}: expected a folder of images")
    paths = [str(path.relative_to(folder)) for path in data_sets.images(folder)]
    naming.check_apart(folder, out, paths)
    naming.check_distinct(paths, to)
    naming.check_inside(out, paths)
    return paths


def _made_by(wanted: Plan, options: Namespace) -> manifest.Record:
    """Return all that the bytes of an output depend on, beside the file it is made of."""
    return {
        "format": 1,
        "fingerprint": wanted.fingerprint,
        "plan": json.loads(wanted.to_json()),
        "to": options.to,
        "alpha": options.alpha,
        "orientation": options.orientation,
        "frame": options.frame,
    }
