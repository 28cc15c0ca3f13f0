"""Accepted arrays: dtypes, kinds of array, and memory to write into."""

from contextlib import suppress
from functools import cache
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import DTypeError, LayoutError
from ..messages import LONGEST_VALUE, describe_value

INTEGERS = {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
SUPPORTED = frozenset({"bool", *INTEGERS, "float16", "float32", "float64"})

# Bound on the search of `numpy.shares_memory`, which is exponential in the worst case.
# If it takes more steps than this, the arrays count as overlapping.
MAX_OVERLAP_WORK = 10_000


def supported_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return ``dtype`` as a NumPy dtype in its byte order.

    Raises
    ------
    DTypeError
        If it is not one of the numeric types in `SUPPORTED`.
    """
    parsed = None
    # NumPy parses strings in several ways, each with errors of its own. None would
    # mean float64.
    if dtype is not None:
        with suppress(TypeError, ValueError, SyntaxError):
            parsed = np.dtype(dtype)
    if parsed is not None and _is_supported(parsed):
        return parsed
    hint = ""
    if parsed is not None and parsed.kind == "O":
        hint = ": pass images of several sizes as a list, or crop them first"
    described = describe_value(dtype)
    if parsed is not None:
        described = str(parsed)[:LONGEST_VALUE]
    raise DTypeError(
        "expected bool, an integer of 8-64 bits or a float of 16-64 bits, "
        f"got {described}{hint}"
    )


@cache
def _is_supported(dtype: np.dtype[Any]) -> bool:
    """Return whether ``dtype`` is supported; cached, as NumPy builds names slowly."""
    return dtype.name in SUPPORTED


@cache
def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Return the lowest and highest integer of ``dtype``, (0, 1) for bool."""
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def holds(dtype: np.dtype[Any], value: float) -> bool:
    """Return whether ``dtype`` can represent ``value``; true for any floating dtype."""
    if dtype.kind == "f":
        return True
    low, high = limits(dtype)
    # Compare with the limit as a float: 2**64 - 1 becomes 2**64 when a caller passes it
    # as a float64, and must be accepted.
    return low <= value <= float(high)


def check_image(image: object) -> NDArray[Any]:
    """Return ``image`` as a plain ndarray, a view of the same memory.

    Lists and tensors are refused rather than converted, because the meaning of their
    axes and values would be a guess.

    Raises
    ------
    DTypeError
        If ``image`` is not an ndarray, or is a masked array or a matrix.
    """
    if type(image) is not np.ndarray:
        if isinstance(image, np.ma.MaskedArray):
            raise DTypeError(
                "expected a plain NumPy array, got a masked array: pass "
                "image.filled(value) and declare nodata=value in the source"
            )
        if not isinstance(image, np.ndarray) or isinstance(image, np.matrix):
            kind = type(image)
            raise DTypeError(
                f"expected a NumPy array, got {kind.__module__}.{kind.__qualname__}: "
                f"{_array_advice(image)}"
            )
        image = np.asarray(image)
    return image


# What converts the images of a framework, by the first part of the module of their type
ADAPTERS = {
    "torch": "ToBackbone(plan) of graypipe.adapters.torchvision",
    "torchvision": "ToBackbone(plan) of graypipe.adapters.torchvision",
    "tensorflow": "ToBackbone(plan) of graypipe.adapters.tf_data",
    "keras": "ChannelLayer(plan) of graypipe.adapters.keras",
}


def _array_advice(image: object) -> str:
    """Return what to do with an image that is no array."""
    if isinstance(image, str | bytes | PathLike):
        return (
            "read the file first with image, source = gp.read(path), and build the "
            "plan from that source"
        )
    package = type(image).__module__.split(".")[0]
    if package in ADAPTERS:
        return (
            f"use {ADAPTERS[package]}, or convert it with np.asarray, in the layout of "
            "the source"
        )
    if isinstance(image, dict) or hasattr(image, "_fields"):
        return (
            "pass the image of the sample; for datasets, ToBackbone of the adapters "
            "finds the image: graypipe.adapters.torchvision, or "
            "graypipe.adapters.tf_data with key="
        )
    if isinstance(image, list | tuple):
        return "convert it with np.asarray; plan.batch takes a list of images"
    return "convert it with np.asarray, or use the adapter of its framework"


def check_out(
    out: object, shape: tuple[int, ...], dtype: np.dtype[Any], image: NDArray[Any]
) -> None:
    """Raise an error unless the result for ``image`` can be written into ``out``.

    Parameters
    ----------
    out : object
        A writable ndarray of any strides that overlaps neither itself nor ``image``.
    shape, dtype
        Shape and dtype of the result.
    image : numpy.ndarray
        The input.

    Raises
    ------
    DTypeError
        If ``out`` is not an ndarray, or of another dtype.
    LayoutError
        If its shape or its memory does not fit.
    """
    if type(out) is not np.ndarray and (
        not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray)
    ):
        raise DTypeError(f"out= must be a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise DTypeError(f"out= must have dtype {dtype}, got {out.dtype}")
    if out.shape != shape:
        raise LayoutError(f"out= must have shape {shape}, got {out.shape}")
    flags = out.flags
    if not flags.carray:
        if not flags.writeable:
            raise LayoutError("out= is read-only: pass a writable array")
        if _overlaps_itself(out):
            raise LayoutError(
                f"out= overlaps itself (shape {out.shape}, strides {out.strides}): "
                "pass an array whose elements do not share memory"
            )
    # Arrays that own their memory cannot overlap. The search would take as long as a
    # small image.
    if flags.owndata and out is not image and image.flags.owndata:
        return
    if np.may_share_memory(out, image) and _overlap(out, image):
        raise LayoutError(
            "out= shares memory with the image: pass another array, or omit out="
        )


def _overlaps_itself(array: NDArray[Any]) -> bool:
    """Return whether two elements of ``array`` may share a byte.

    False only if the stride of each axis exceeds the extent of all axes of smaller
    strides, as in every slice of a contiguous array.
    """
    axes = []
    for stride, size in zip(array.strides, array.shape, strict=True):
        if size > 1:
            axes.append((abs(stride), size))
    extent = array.itemsize
    for stride, size in sorted(axes):
        if stride < extent:
            return array.size > 0
        extent += stride * (size - 1)
    return False


def _overlap(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two arrays share a byte; true if deciding takes too long."""
    try:
        # NumPy's type hints allow only the values 0 and -1.
        return np.shares_memory(a, b, max_work=MAX_OVERLAP_WORK)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True
