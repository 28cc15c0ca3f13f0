"""The reference: what a plan means, in plain float64 NumPy, written without the package."""

import numpy as np


def planes(image, layout):
    """Return ``image`` with its bands first, in float64."""
    image = np.asarray(image)
    first = (
        image[None] if "C" not in layout else np.moveaxis(image, layout.index("C"), 0)
    )
    return first.astype(np.float64)


def arrange(bands_first, layout):
    """Return (bands, *pixels) with the bands where ``layout`` says."""
    return (
        bands_first[0]
        if "C" not in layout
        else np.moveaxis(bands_first, 0, layout.index("C"))
    )


def equals(stored, nodata):
    """Return where stored values equal nodata, which may be NaN."""
    return np.isnan(stored) if np.isnan(nodata) else stored == nodata


def affine(x, matrix, offset, centre=None):
    """Return (y, scale): M · (x - c) + b over bands-first ``x``; a zero in M is not read. `allowed` takes ``scale``."""
    matrix, offset = np.asarray(matrix, np.float64), np.asarray(offset, np.float64)
    centre = np.zeros(len(x)) if centre is None else np.asarray(centre, np.float64)
    y = np.zeros((len(matrix), *x.shape[1:]))
    scale = np.zeros_like(y)
    for i, row in enumerate(matrix):
        for j, m in enumerate(row):
            if m != 0:
                y[i] += m * (x[j] - centre[j])
                scale[i] += np.abs(m * (x[j] - centre[j]))
        y[i] += offset[i]
        scale[i] += abs(offset[i])
    return y, scale


def plan(
    image,
    *,
    layout,
    out_layout,
    ranges,
    via,
    mean,
    std,
    target_range=(0, 1),
    clip=False,
    nodata=None,
):
    """Return (y, scale) in ``out_layout`` for a stored image: nodata, clip, unit intensity, via, statistics."""
    stored = planes(image, layout)
    black = np.array([pair[0] for pair in ranges], np.float64)
    white = np.array([pair[1] for pair in ranges], np.float64)
    empty = np.zeros((len(via), *stored.shape[1:]), bool)
    if isinstance(nodata, tuple):
        for i, row in enumerate(np.asarray(via)):
            for j, factor in enumerate(row):
                if factor != 0 and nodata[j] is not None:
                    empty[i] |= equals(stored[j], nodata[j])
    elif nodata is not None:
        empty[:] = equals(stored, nodata).any(axis=0)
    x = stored.copy()
    if clip:
        for j, pair in enumerate(ranges):
            x[j] = np.clip(x[j], min(pair), max(pair))
    gain = (
        (target_range[1] - target_range[0])
        / np.asarray(std, np.float64)
        * np.ones(len(via))
    )
    matrix = gain[:, None] * np.asarray(via, np.float64) / (white - black)
    offset = (
        (target_range[0] - np.asarray(mean, np.float64))
        / np.asarray(std, np.float64)
        * np.ones(len(via))
    )
    with np.errstate(invalid="ignore"):
        y, scale = affine(x, matrix, offset, black)
    y[empty], scale[empty] = 0, 0
    return arrange(y, out_layout), arrange(scale, out_layout)


def store(y, dtype):
    """Return float64 ``y`` as ``dtype``: integers round half to even, saturate, and take 0 for NaN."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return y.astype(dtype)
    low, high = (
        (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    whole = np.where(np.isnan(y), 0, np.rint(y))
    flat = [
        min(max(int(v), low), high) if np.isfinite(v) else (high if v > 0 else low)
        for v in whole.ravel()
    ]
    return np.array(flat, dtype=dtype).reshape(y.shape)


def allowed(y, scale, dtype):
    """Return how far a floating result may lie from ``y``: 8 eps of what was added up, and half an ulp."""
    dtype = np.dtype(dtype)
    eps = np.finfo(np.float32 if dtype.itemsize < 8 else np.float64).eps
    with np.errstate(over="ignore", invalid="ignore"):
        ulp = np.spacing(np.abs(y).astype(dtype)).astype(np.float64)
    return 8 * eps * scale + 0.5 * ulp


def assert_matches(result, y, scale):
    """Assert that ``result`` is ``y`` within the tolerance of the package, or exactly where it is of integers."""
    assert result.shape == y.shape, (result.shape, y.shape)
    if result.dtype.kind in "iub":
        np.testing.assert_array_equal(result, store(y, result.dtype))
        return
    got = result.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(y))
    with np.errstate(invalid="ignore"):
        overflown = np.isinf(
            y.astype(result.dtype)
            if result.dtype.itemsize == 8
            else store(y, result.dtype)
        )
        wrong = (
            ~(np.abs(got - y) <= allowed(y, scale, result.dtype))
            & ~np.isnan(y)
            & ~(overflown & np.isinf(got))
        )
    assert not wrong.any(), (
        f"{wrong.sum()} off: got {got[wrong][:3]}, expected {y[wrong][:3]}"
    )
