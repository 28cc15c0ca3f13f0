"""``graypipe show``: draw what a plan does to images of yours.

    graypipe show scan.png --source gray:12 --target imagenet
    graypipe show a.tif b.tif --source RGB --source gray:16 --target imagenet

For every file, a picture shows the stored bands, the output as the backbone sees it,
histograms of both, and what wrong choices would have given. The command also prints the
code that gives the same output.
"""

from argparse import ArgumentParser, Namespace
from io import BytesIO
from pathlib import Path

from ..batch_jobs.files import resolve_path, write_file
from ..batch_jobs.stated_plans import JobPlans
from ..batch_jobs.work import plan_and_image
from ..drawing import draw
from ..errors import GraypipeError
from ..source_code import code_of
from . import file_batches

# What the name of a picture has behind the name of its image.
SUFFIX = "-graypipe.png"

DOTS_PER_INCH = 100


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="an image file, for example scan.png",
    )
    file_batches.add_plan_arguments(parser)
    file_batches.add_reading_arguments(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PNG",
        help="the picture of a single file (default: in the current folder, with the "
        f"name of the file and {SUFFIX})",
    )
    parser.set_defaults(usage_error=parser.error)


def run(options: Namespace) -> None:
    """Draw every file, and print its picture and its code.

    Raises
    ------
    GraypipeError
        If a file cannot be read or converted, or if a picture cannot be written or
        would replace an image. Earlier pictures are kept.
    """
    if options.owns_process:
        file_batches.prefer_numpy_engine()
    plans = file_batches.select_plans(options)
    pictures = _picture_paths(options)
    for file, picture in zip(options.files, pictures, strict=True):
        code = _show(plans, options, file, picture)
        print(f"{file}: wrote {picture}")
        print(f"    x = {code}(image)")


def _picture_paths(options: Namespace) -> list[Path]:
    """Return the path of the picture of every file."""
    if options.out is not None:
        if len(options.files) > 1:
            options.usage_error("--out takes one file: leave it out for several")
        pictures = [options.out]
    else:
        pictures = [Path(file.stem + SUFFIX) for file in options.files]
    images = {resolve_path(file) for file in options.files}
    for index, picture in enumerate(pictures):
        if resolve_path(picture) in images:
            raise GraypipeError(f"{picture} is the image itself: choose another --out")
        if picture in pictures[:index]:
            raise GraypipeError(
                f"two of the files would be drawn to {picture}: draw them one by one, "
                "each with an --out of its own"
            )
    return pictures


def _show(plans: JobPlans, options: Namespace, file: Path, picture: Path) -> str:
    """Write the picture of a file; return the code of the plan that takes it."""
    read_options = file_batches.read_options(options)
    plan, image, _ = plan_and_image(plans, read_options, file)
    content = BytesIO()
    draw(plan, image).savefig(content, format="png", dpi=DOTS_PER_INCH)
    write_file(resolve_path(picture), [content.getbuffer()])
    return code_of(plan)
