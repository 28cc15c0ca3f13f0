"""What property tests draw: images of every dtype, layout and stride, and plans for them."""

import numpy as np
from hypothesis import strategies as st

DTYPES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
]
INTEGERS = [name for name in DTYPES if "float" not in name and name != "bool"]
FLOATS = ["float16", "float32", "float64"]
ORDERS = ["=", ">"]
STRIDES = ["contiguous", "fortran", "crop", "flip", "every other", "read-only"]

LAYOUTS = ["HW", "HWC", "CHW", "HCW", "NHW", "NHWC", "NCHW", "NTHW", "NDHWC", "TCHW"]


def stored(rng, shape, dtype, low=None, high=None):
    """Return an array of ``dtype`` whose values spread over [low, high], or over the whole type."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        values = rng.uniform(
            0.0 if low is None else low, 1.0 if high is None else high, shape
        )
        return values.astype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype)
    low = info.min if low is None else max(int(low), info.min)
    high = info.max if high is None else min(int(high), info.max)
    return rng.integers(low, high, shape, dtype=dtype, endpoint=True)


def strided(image, how, order="="):
    """Return an array equal to ``image`` that lies in memory as ``how`` says."""
    image = image.astype(image.dtype.newbyteorder(order))
    if how == "fortran":
        return np.asfortranarray(image)
    if how == "crop":
        room = np.zeros([size + 3 for size in image.shape], image.dtype)
        window = room[tuple(slice(1, 1 + size) for size in image.shape)]
        window[...] = image
        return window
    if how == "flip":
        every = (slice(None, None, -1),) * image.ndim
        return image[every].copy()[every]
    if how == "every other":
        room = np.zeros([2 * size for size in image.shape], image.dtype)
        window = room[(slice(None, None, 2),) * image.ndim]
        window[...] = image
        return window
    image = image.copy()
    image.flags.writeable = how != "read-only"
    return image


@st.composite
def target_layouts(draw, layout, several):
    """Draw a layout that ``layout`` may become: C anywhere, leading letters kept or left out."""
    pixels = layout.replace("C", "")
    dropped = draw(st.integers(0, len(pixels) - 2))
    kept = pixels[dropped:]
    if not several and draw(st.booleans()):
        return kept
    at = draw(st.integers(0, len(kept)))
    return kept[:at] + "C" + kept[at:]


def shape_of(layout, count, rng):
    """Return a small, non-square shape for ``layout`` with ``count`` bands."""
    sizes = {
        "N": 2,
        "T": 3,
        "D": 2,
        "H": int(rng.integers(1, 7)),
        "W": int(rng.integers(1, 9)),
        "C": count,
    }
    return tuple(sizes[letter] for letter in layout)
