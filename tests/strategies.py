"""What property tests draw: images of every dtype, layout and stride, and plans for them."""

import numpy as np
import oracle
from hypothesis import strategies as st

import graypipe as gp

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

NAMES = "RGBYN"

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


def ranges_for(data, dtype, count, rng):
    """Draw one (black, white) per band that ``dtype`` can hold, reversed at times."""
    info = (
        None
        if np.dtype(dtype).kind == "f"
        else np.iinfo(dtype)
        if dtype != "bool"
        else None
    )
    low, high = (
        (0.0, 1.0)
        if info is None
        else (float(max(info.min, -(2**40))), float(min(info.max, 2**40)))
    )
    pairs = []
    for _ in range(count):
        a, b = sorted(rng.uniform(low, high, 2))
        a, b = (round(a), round(b)) if info is not None else (a, b)
        pairs.append((b, a) if data.draw(st.booleans()) else (a, b))
    return [pair if pair[0] != pair[1] else (low, high) for pair in pairs]


@st.composite
def cases(draw, dtypes=DTYPES, target_dtypes=DTYPES):
    """Draw a source, a target, the map between them and an image."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from(dtypes))
    layout = draw(st.sampled_from(LAYOUTS))
    count = draw(st.integers(1, 5)) if "C" in layout else 1
    made = draw(st.integers(1, 4))
    out_layout = draw(target_layouts(layout, made > 1))
    bands, outputs = tuple(NAMES[:count]), tuple("XYZV"[:made])
    via = rng.uniform(-1, 1, (made, count)) * rng.integers(0, 2, (made, count))
    ranges = ranges_for(_Drawn(draw), dtype, count, rng)
    shape = shape_of(layout, count, rng)
    low, high = min(map(min, ranges)), max(map(max, ranges))
    image = stored(rng, shape, dtype, low, high)
    values = [None, None, image.ravel()[0].item(), float("nan")]
    nodata = draw(st.sampled_from(values))
    if draw(st.booleans()):
        nodata = tuple(draw(st.sampled_from(values)) for _ in range(count))
    if np.dtype(dtype).kind == "f" and draw(st.booleans()):
        image.ravel()[rng.integers(0, image.size)] = np.nan
    image = strided(
        image, draw(st.sampled_from(STRIDES)), draw(st.sampled_from(ORDERS))
    )
    source = gp.Source(
        bands, layout, range=ranges, clip=draw(st.booleans()), nodata=nodata
    )
    target = gp.Target(
        outputs,
        out_layout,
        draw(st.sampled_from(target_dtypes)),
        range=draw(st.sampled_from([(0, 1), (0, 255), (-1, 1), (1, 0)])),
        mean=draw(st.sampled_from([0, 0.5, tuple(rng.uniform(0, 1, made))])),
        std=draw(st.sampled_from([1, 0.5, tuple(rng.uniform(0.1, 1, made))])),
    )
    return image, source, target, gp.ChannelMap(via, inputs=bands, outputs=outputs)


class _Drawn:
    def __init__(self, draw):
        self.draw = draw


def expected(image, source, target, via):
    """Return (y, scale) of the oracle for a case."""
    kept = "".join(
        letter for letter in source.layout if letter not in target.layout + "C"
    )
    return oracle.plan(
        image,
        layout=source.layout,
        out_layout=kept + target.layout,
        ranges=source.range
        if isinstance(source.range[0], tuple)
        else [source.range] * len(source.bands),
        via=via.matrix,
        mean=target.mean,
        std=target.std,
        target_range=target.range,
        clip=source.clip,
        nodata=source.nodata,
    )
