"""Random plans on random arrays between guard pages: both engines equal float64 NumPy.

An array lies against a page of memory that cannot be read or written, before or behind it, so that a kernel which leaves
its array by one byte ends the process.
"""

# mypy: ignore-errors

import ctypes
import mmap
import os
import sys
from pathlib import Path

import numpy as np

import graypipe as gp
from graypipe import engine

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import oracle
from strategies import DTYPES

# Fewer than for sources, because every combination of dtypes is compiled.
TARGET_DTYPES = (
    "float32",
    "float32",
    "float32",
    "float16",
    "float64",
    "uint8",
    "uint16",
)
LAYOUTS = ("HW", "HWC", "CHW", "HCW", "NHW", "NHWC", "NCHW", "TCHW")

_libc = ctypes.CDLL(None, use_errno=True)
_PROT_NONE = 0


def case(random):
    """Compare a plan on an image of random shape, strides and alignment with the oracle."""
    source_dtype = np.dtype(random.choice(DTYPES))
    target_dtype = np.dtype(random.choice(TARGET_DTYPES))
    layout = str(random.choice(LAYOUTS))
    band_count = int(random.integers(1, 6)) if "C" in layout else 1
    output_count = int(random.integers(1, 5))
    source, target, via = _plan_arguments(
        random, layout, band_count, output_count, source_dtype, target_dtype
    )
    plan = gp.plan(source, target, via)
    image = _image(random, source, source_dtype)
    kept = "".join(x for x in layout if x not in target.layout + "C")
    expected = oracle.plan(
        image,
        layout=layout,
        out_layout=kept + target.layout,
        ranges=_pairs(source),
        via=via.matrix,
        mean=target.mean,
        std=target.std,
        clip=source.clip,
        nodata=source.nodata,
    )
    results = []
    for name in engine.ENGINES:
        os.environ["GRAYPIPE_ENGINE"] = name
        engine.engine.cache_clear()
        # An equal plan that has not chosen an engine yet.
        fresh = gp.Plan.from_json(plan.to_json())
        out = None
        if random.random() < 0.5:
            out = _place(random, expected[0].shape, target_dtype, swapped=False)
        if random.random() < 0.7:
            result = fresh(image, out=out)
        else:
            result = _threaded(fresh, image, out)
        assert out is None or result is out
        oracle.assert_matches(result, *expected)
        results.append(result)
    np.testing.assert_array_equal(results[0], results[1])
    assert _signs(results[0]) == _signs(results[1]), "zeros of different signs"
    return "equal"


def _plan_arguments(
    random, layout, band_count, output_count, source_dtype, target_dtype
):
    pixels = layout.replace("C", "")
    target_layout = pixels
    if output_count > 1 or random.random() < 0.5:
        at = int(random.integers(len(pixels) + 1))
        target_layout = pixels[:at] + "C" + pixels[at:]
    low, high = _limits(source_dtype)
    ranges = []
    for _ in range(band_count):
        black, white = random.uniform(low, high, 2)
        if source_dtype.kind != "f":
            black, white = round(black), round(white)
        # Integers above 2 are refused if their range is 0 to 1.
        is_taken = black != white and (
            source_dtype.kind == "f" or {black, white} != {0, 1}
        )
        ranges.append((black, white) if is_taken else (low, high))
    values = [None, None, low, float("nan")]
    nodata = random.choice(values)
    if random.random() < 0.5:
        nodata = [random.choice(values) for _ in range(band_count)]
    via = random.uniform(-1, 1, (output_count, band_count)) * random.integers(
        0, 2, (output_count, band_count)
    )
    source = gp.Source(
        tuple("RGBYN"[:band_count]),
        layout,
        range=ranges,
        clip=bool(random.integers(2)),
        nodata=nodata,
    )
    target = gp.Target(
        tuple("XYZV"[:output_count]),
        target_layout,
        target_dtype,
        mean=tuple(random.uniform(0, 1, output_count)),
        std=tuple(random.uniform(0.1, 1, output_count)),
    )
    return source, target, gp.ChannelMap(via, inputs=source.bands, outputs=target.bands)


def _pairs(source):
    """Return one (black, white) per band; equal ones are stored as one pair."""
    if isinstance(source.range[0], tuple):
        return source.range
    return [source.range] * len(source.bands)


def _limits(dtype):
    if dtype.kind == "f":
        return 0.0, 1.0
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype)
    return max(info.min, -(2**40)), min(info.max, 2**40)


def _image(random, source, dtype):
    # Blocks of kernels hold up to 4,096 pixels, so some images are longer.
    longest = 9 if random.random() < 0.8 else 5000
    sizes = {
        "N": 2,
        "T": 2,
        "H": int(random.integers(0, 7)),
        "W": int(random.integers(0, longest)),
    }
    sizes["C"] = len(source.bands)
    image = _place(random, tuple(sizes[x] for x in source.layout), dtype, swapped=True)
    low, high = _limits(dtype)
    if dtype.kind == "f":
        image[...] = random.uniform(low, high, image.shape)
        strange = random.random(image.shape) < 0.05
        image[strange] = random.choice(
            [np.nan, np.inf, -np.inf, 0.0, -0.0], int(strange.sum())
        )
    else:
        image[...] = random.integers(low, high, image.shape, endpoint=True)
        image[random.random(image.shape) < 0.1] = low
    image.flags.writeable = bool(random.integers(2))
    return image


def _place(random, shape, dtype, swapped):
    """Return an array of random strides whose first or last byte is next to a guard page."""
    if swapped and random.random() < 0.3:
        dtype = dtype.newbyteorder("S")
    order = random.permutation(len(shape))
    steps = [int(random.choice([1, 1, 1, 2])) for _ in shape]
    room = [max(1, shape[axis] * steps[axis]) for axis in order]
    # The last element of a stepped axis is the end of the memory, not the gap behind it.
    used = (
        sum(
            (shape[axis] - 1) * steps[axis] * int(np.prod(room[i + 1 :]))
            for i, axis in enumerate(order)
        )
        + 1
    )
    size = max(1, used) * dtype.itemsize
    offset = int(random.integers(dtype.itemsize)) if random.random() < 0.2 else 0
    memory = _guarded_bytes(size + offset, at_end=bool(random.integers(2)))
    memory = (
        memory[offset:] if random.random() < 0.5 else memory[: len(memory) - offset]
    )
    strides = [0] * len(shape)
    for i, axis in enumerate(order):
        strides[axis] = steps[axis] * int(np.prod(room[i + 1 :])) * dtype.itemsize
    array = np.ndarray(shape, dtype, memory.data, 0, strides)
    for axis in range(len(shape)):
        if random.random() < 0.2:
            array = np.flip(array, axis)
    return array


def _guarded_bytes(size, at_end):
    """Return bytes that end where a guard page begins, or begin where one ends."""
    page = mmap.PAGESIZE
    pages = -(-size // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    array = np.frombuffer(memory, np.uint8)
    start = array.ctypes.data
    for guard in (start, start + (pages + 1) * page):
        if _libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(page), _PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = (pages + 1) * page - size if at_end else page
    return array[first : first + size]


def _threaded(plan, image, out):
    """Convert the image as a batch of one, with two threads."""
    if "N" in plan.source.layout:
        return plan(image, out=out)
    batch = plan.batch(image[None], out=None if out is None else out[None], threads=2)
    return batch[0] if out is None else out


def _signs(array):
    """Return the signs of the zeros, which are equal as numbers."""
    return np.signbit(array[array == 0]).tolist() if array.dtype.kind == "f" else []
