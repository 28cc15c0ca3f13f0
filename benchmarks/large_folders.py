"""``python -m benchmarks.large_folders``: what a file costs ``graypipe convert``.

The constants behind the table for millions of images in docs/scale.md, in seconds of
processor time and bytes. They are printed as JSON.
"""

import contextlib
import io
import json
import tempfile
import tracemalloc
from pathlib import Path
from time import process_time

from PIL import Image

from graypipe.batch_jobs.chunks import split_into_chunks
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.cli import main
from graypipe.cli.image_files import list_images

from . import photographs

LISTED_FILES = 10_000
CONVERTED_FILES = 200
SHAPE = (240, 272)
OPTIONS = ("--source", "gray", "--target", "imagenet", "--to", "npy", "--workers", "1")


def measure() -> dict[str, float]:
    """Return the constants."""
    with tempfile.TemporaryDirectory() as folder:
        return {
            **_list(Path(folder, "listed")),
            **_convert(Path(folder), "png"),
            **_convert(Path(folder), "jpg"),
        }


def _list(folder: Path) -> dict[str, float]:
    """Return the costs of a name, in folders of 1,000 files."""
    for index in range(LISTED_FILES):
        path = folder / f"{index // 1000:05}" / f"image-{index:09}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    start = process_time()
    chunks = list(split_into_chunks(list_images(folder), folder))
    seconds = process_time() - start
    del chunks
    tracemalloc.start()
    chunks = list(split_into_chunks(list_images(folder), folder))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del chunks
    return {
        "listing: seconds per file": seconds / LISTED_FILES,
        "names: bytes per file": size / LISTED_FILES,
    }


def _convert(folder: Path, suffix: str) -> dict[str, float]:
    """Return the costs of converting a file with one process, and its manifest line."""
    images, out = folder / suffix, folder / f"{suffix}-out"
    images.mkdir()
    for index, image in enumerate(photographs.crops(SHAPE, CONVERTED_FILES)):
        Image.fromarray(image).save(images / f"image-{index:09}.{suffix}")
    # The first call compiles and imports.
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["convert", str(images), f"{out}-first", *OPTIONS]) == 0
        start = process_time()
        assert main(["convert", str(images), str(out), *OPTIONS]) == 0
        seconds = process_time() - start
    lines = (out / MANIFEST_NAME).read_bytes().splitlines(keepends=True)[1:]
    return {
        f"{suffix}: files per second": CONVERTED_FILES / seconds,
        f"{suffix}: manifest bytes per file": sum(map(len, lines)) / len(lines),
    }


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
