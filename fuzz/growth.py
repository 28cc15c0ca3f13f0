"""Many calls and many opened files: neither memory nor file descriptors grow.

A case is 10,000 calls of plans and 100 opened files, so a thousand cases are ten million
calls. The plans see ever new shapes, and the files are partly damaged.
"""

# mypy: ignore-errors

import os
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

import graypipe as gp

from .files import FORMATS, damaged, written

CALLS, OPENS = 10_000, 100

# Caches fill during the first cases.
WARM_UP_CASES = 4

# Fragmentation of the heap, and the largest images of the formats.
TOLERANCE_BYTES = 48 * 2**20

# Memory and descriptors after the warm-up, and the number of cases since the start.
baseline = {}


@cache
def plans():
    """Return plans of every kernel with images that they take."""
    random = np.random.default_rng(0)
    gray = random.integers(0, 256, (9, 11), np.uint8)
    color = random.integers(0, 256, (9, 11, 3), np.uint8)
    guarded = gp.Source("gray", clip=True, nodata=0)
    return [
        (gp.plan("gray", "imagenet"), gray),
        (gp.plan("gray", "rgb8"), gray),
        (gp.plan("RGB", "imagenet"), color),
        (gp.plan(guarded, "imagenet"), gray),
    ]


def case(random: np.random.Generator) -> str:
    """Call plans and open files; compare memory and descriptors with the first cases."""
    for plan, image in plans():
        out = plan(image)
        for _ in range(CALLS // 10):
            plan(image)
            plan(image, out=out)
        # Every shape is bound and cached anew.
        rows = random.integers(1, 10_000)
        memory = np.zeros((rows, *image.shape[1:]), np.uint8)
        for length in range(CALLS // 20):
            plan(memory[: length % rows + 1])
    _open_files(random)
    baseline["cases"] = baseline.get("cases", 0) + 1
    if baseline["cases"] < WARM_UP_CASES:
        return "warm-up"
    memory, descriptors = _resident_bytes(), _open_descriptors()
    baseline.setdefault("memory", memory)
    baseline.setdefault("descriptors", descriptors)
    grown = memory - baseline["memory"]
    assert grown < TOLERANCE_BYTES, f"{grown / 2**20:.1f} MiB more than at the start"
    assert descriptors <= baseline["descriptors"], f"{descriptors} open files"
    return "no growth"


def _open_files(random):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "image")
        names = list(FORMATS)
        for index in range(OPENS):
            content = written(names[random.integers(len(names))])
            if index % 10 == 0:
                content = damaged(content, random)
            path.write_bytes(content)
            try:
                gp.read(path)
            except gp.ReadError:
                continue


def _open_descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _resident_bytes():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
