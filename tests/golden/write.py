"""Write the golden files of this release: run once per release, from the root of the repository.

``python tests/golden/write.py`` creates ``tests/golden/VERSION``, which is never changed afterwards.
``tests/test_golden.py`` reads the folders of all releases.
"""

import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

import graypipe as gp
from graypipe.cli import main

FOLDER = Path(__file__).parent

# The modification time of the images from which a folder is converted, in ns.
MTIME = 1_700_000_000_000_000_000

# The options of the command that converts the folder of images
CONVERT_OPTIONS = [
    *("--source", "gray", "--target", "imagenet"),
    *("--to", "npy", "--workers", "1"),
]

YELLOW = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}


def plans():
    """Yield (name, plan, image)."""
    levels = np.array([[0, 1, 2], [100, 254, 255]], np.uint8)
    yield "gray", gp.plan("gray", "imagenet"), levels
    yield "gray for Keras", gp.plan("gray", "keras-caffe"), levels
    deep = np.array([[0, 1, 2047], [4094, 4095, 4096]], np.uint16)
    yield "12 bits", gp.plan(gp.Source("gray", bits=12), "imagenet"), deep
    inverted = gp.Source("gray", range=(4095, 0), dtype="uint16")
    yield "MONOCHROME1", gp.plan(inverted, "openai-clip"), deep
    hounsfield = np.array([[-2000, -160, 0], [40, 240, 3000]], np.int16)
    window = gp.Source("gray", range=(-160, 240), clip=True, nodata=-2000)
    yield "CT window with nodata", gp.plan(window, "inception"), hounsfield
    floats = np.array([[0, 0.25, np.nan], [0.5, 1, 1.5]], np.float32)
    yield "NaN as nodata", gp.plan(gp.Source("gray", nodata=np.nan), "unit"), floats
    colour = np.arange(24, dtype=np.uint8).reshape(2, 3, 4) * 10
    yield "yellow shared out", gp.plan("RGBY", "imagenet", YELLOW), colour
    yield "yellow, 8 bits", gp.plan("RGBY", "rgb8", YELLOW), colour
    yield (
        "a missing band",
        gp.plan("RG", "imagenet", {"R": "R", "G": "G", "B": None}),
        colour[..., :2],
    )
    bands = gp.Source(("B02", "B03", "B04"), "CHW", range=(1000, 11000), nodata=0)
    scene = np.arange(0, 18000, 1000, dtype=np.uint16).reshape(3, 2, 3)
    yield (
        "satellite",
        gp.plan(bands, "imagenet", {"R": "B04", "G": "B03", "B": "B02"}),
        scene,
    )
    tall = gp.Target("RGB", "HWC", "float64", mean=(1, 2, 3), std=(0.5, 0.25, 2))
    yield (
        "float64",
        gp.plan(gp.Source("RGB", range=((0, 255), (0, 128), (255, 0))), tall),
        colour[..., :3],
    )


def channel_maps():
    """Yield (name, channel map)."""
    yield "replicate", gp.replicate(gains=(1, 0.5, 0.25))
    yield "select", gp.select("BGR", of="RGBY")
    yield "mix", gp.mix(YELLOW, of="RGBY")
    yield "luminance", gp.luminance()
    yield (
        "offset",
        gp.ChannelMap(
            [[1, 0], [0.1, -3]], [0.5, 1e-9], inputs=("a", "ü"), outputs=("x", "y")
        ),
    )


def statistics():
    """Yield (name, statistics)."""
    rng = np.random.default_rng(1)
    for dtype, high in (("uint8", 256), ("uint16", 65536), ("int16", 2000)):
        source = gp.Source("RG", range=(0, high - 1))
        stats = gp.BandStats(source)
        stats.update(rng.integers(0, high, (7, 5, 2)).astype(dtype))
        yield dtype, stats


def values(array):
    """Return an array as a JSON value, without losing bits."""
    text = " ".join(str(x) for x in array.ravel())
    return {"dtype": array.dtype.name, "shape": array.shape, "values": text}


def write_json(path, content):
    path.write_text(
        json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def write_converted_folder(folder):
    """Convert two small images, of which the originals are kept too."""
    images = folder / "images"
    images.mkdir()
    for number in range(2):
        pixels = np.arange(12, dtype=np.uint8).reshape(3, 4) + 100 * number
        path = images / f"{number}.pgm"
        Image.fromarray(pixels).save(path)
        os.utime(path, ns=(MTIME, MTIME))
    assert (
        main(["convert", str(images), str(folder / "converted"), *CONVERT_OPTIONS]) == 0
    )


def write(folder):
    folder.mkdir()
    try:
        write_json(
            folder / "plans.json",
            [
                {
                    "name": name,
                    "json": plan.to_json(),
                    "fingerprint": plan.fingerprint,
                    "image": values(image),
                    "result": values(plan(image)),
                }
                for name, plan, image in plans()
            ],
        )
        write_json(
            folder / "channel_maps.json",
            [
                {
                    "name": name,
                    "json": m.to_json(),
                    "matrix": m.matrix,
                    "offset": m.offset,
                }
                for name, m in channel_maps()
            ],
        )
        write_json(
            folder / "statistics.json",
            [
                {
                    "name": name,
                    "json": stats.to_json(),
                    "mean": list(stats.mean),
                    "std": list(stats.std),
                    "min": [float(x) for x in stats.min],
                    "max": [float(x) for x in stats.max],
                }
                for name, stats in statistics()
            ],
        )
        write_converted_folder(folder)
    except BaseException:
        shutil.rmtree(folder)
        raise


if __name__ == "__main__":
    write(FOLDER / version("graypipe"))
