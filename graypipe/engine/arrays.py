"""Which arrays are taken: element types, kinds of array, and memory to write into."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import DTypeError, LayoutError

SUPPORTED = frozenset(
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()  # noqa: SIM905
)

OVERLAP_WORK = 10_000
"""Bound on the search of `numpy.shares_memory`; strides it cannot decide on within that count as overlapping."""


def element_type(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as a NumPy dtype, its byte order kept; DTypeError where it is no supported number."""
    try:
        known = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):  # NumPy parses text in several ways
        known = None
    if dtype is None or known is None or known.name not in SUPPORTED:
        hint = (
            ": images of several sizes go in as a list, or are cropped first"
            if known is not None and known.kind == "O"
            else ""
        )
        raise DTypeError(
            f"expected bool, an integer of 8-64 bits or a float of 16-64 bits, got {known or dtype!r}{hint}"
        )
    return known


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the least and the greatest integer that ``dtype`` holds."""
    return (
        (0, 1)
        if dtype.kind == "b"
        else (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    )


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Whether ``value`` lies in the range of ``dtype``; floating types hold every value here."""
    if dtype.kind == "f":
        return True
    low, high = limits(dtype)
    return (
        low <= value <= float(high)
    )  # as a float, since 2**64 - 1 declared as a float is 2**64


def check_image(image: object) -> NDArray[Any]:
    """Return ``image`` as a plain ndarray (a view of it), of whatever dtype; DTypeError for anything else.

    Lists and tensors are refused rather than converted: what their axes and values mean would be a guess.
    """
    if type(image) is not np.ndarray:
        if isinstance(image, np.ma.MaskedArray):
            raise DTypeError(
                "expected a plain NumPy array, got a masked array: write image.filled(value) and declare that value "
                "as the source's nodata="
            )
        if not isinstance(image, np.ndarray) or isinstance(image, np.matrix):
            kind = type(image)
            raise DTypeError(
                f"expected a NumPy array, got {kind.__module__}.{kind.__qualname__}: convert it with np.asarray, "
                f"or use the adapter of its framework"
            )
        image = np.asarray(image)
    return image


def check_out(
    out: object, shape: tuple[int, ...], dtype: np.dtype[Any], image: NDArray[Any]
) -> None:
    """Raise unless the result can be written into ``out`` without harm.

    It must be a writable ndarray of ``shape`` and ``dtype`` that overlaps neither itself nor ``image``; strides are
    free. A wrong dtype or type is a DTypeError, the rest a LayoutError.
    """
    if type(out) is not np.ndarray and (
        not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray)
    ):
        raise DTypeError(f"out= is a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise DTypeError(f"out= must have dtype {dtype}, got {out.dtype}")
    if out.shape != shape:
        raise LayoutError(f"out= must have shape {shape}, got {out.shape}")
    flags = out.flags
    if not flags.carray:
        if not flags.writeable:
            raise LayoutError("out= is read-only: pass an array that may be written")
        if _overlaps_itself(out):
            raise LayoutError(
                f"out= overlaps itself (shape {out.shape}, strides {out.strides}): pass memory of its own"
            )
    if flags.owndata and out is not image and image.flags.owndata:
        return  # two allocations; to search for an overlap would cost as much as a small image
    if np.may_share_memory(out, image) and _overlap(out, image):
        raise LayoutError(
            "out= shares memory with the image: pass other memory, or leave out= away"
        )


def _overlaps_itself(array: NDArray[Any]) -> bool:
    """Whether two elements may share a byte: false only where the axes nest, which every ordinary slice does."""
    reach = array.itemsize
    for stride, size in sorted(
        (abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1
    ):
        if stride < reach:
            return array.size > 0
        reach += stride * (size - 1)
    return False


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> bool:
    try:
        return np.shares_memory(a, b, max_work=OVERLAP_WORK)  # type: ignore[arg-type]  # the stubs know 0 and -1 alone
    except np.exceptions.TooHardError:
        return True
