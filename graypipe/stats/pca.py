"""Principal components of the bands of a data set, as a channel map."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bands import format_bands, parse_bands
from ..channel_map import ChannelMap
from ..errors import ChannelError, DTypeError, RangeError
from ..target import Target, preset

Floats = NDArray[np.float64]

# Components whose variance is less than this fraction of the largest one are considered
# rounding errors, which whitening would amplify to noise.
MIN_VARIANCE_RATIO = 1e-12

# Loadings whose magnitudes differ by less than this relative tolerance count as equal,
# so that rounding does not determine the sign of a component.
LOADING_TOLERANCE = 1e-9


def principal_components(
    mean: Floats,
    covariance: Floats,
    *,
    inputs: tuple[str, ...],
    outputs: str | Iterable[str],
    like: Target | str,
) -> ChannelMap:
    """Return the map onto the first principal components, scaled as ``like`` expects.

    Parameters
    ----------
    mean : ndarray of float64, shape (inputs,)
        The mean of the unit intensities of each band.
    covariance : ndarray of float64, shape (inputs, inputs)
        The covariance of the unit intensities.
    inputs : tuple of str
        The names of the bands.
    outputs : str or iterable of str
        The names of the components, in descending order of variance.
    like : Target or str
        The target, or the name of the preset, whose mean and std the outputs get.

    Returns
    -------
    ChannelMap
        A map from unit intensities to outputs that are uncorrelated and have the mean
        and the std of ``like``.

    Raises
    ------
    ChannelError
        If there are more outputs than inputs, or ``like`` has no statistics for an
        output.
    DTypeError
        If ``like`` is neither a target nor the name of a preset.
    RangeError
        If fewer components than outputs have nonzero variance, or ``like`` has a range
        other than (0, 1).
    """
    outputs = parse_bands(outputs)
    output_mean, output_std = _statistics(like, outputs)
    count = len(outputs)
    if count > len(inputs):
        raise ChannelError(
            f"expected at most {len(inputs)} outputs for the bands "
            f"{format_bands(inputs)}, got {count}, {format_bands(outputs)}: "
            "request fewer, or repeat a band with gp.replicate or gp.mix"
        )
    # eigh returns eigenvalues in ascending order and eigenvectors as columns.
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    variances = eigenvalues[::-1]
    eigenvectors = eigenvectors.T[::-1]
    _check_rank(variances, count, inputs)
    components = np.array([_fix_sign(component) for component in eigenvectors[:count]])
    whitened = components / np.sqrt(variances[:count, None])
    matrix = output_std[:, None] * whitened
    offset = output_mean - matrix @ mean
    return ChannelMap(matrix, offset, inputs=inputs, outputs=outputs)


def _fix_sign(component: Floats) -> Floats:
    """Return the component with the sign that makes its largest loading positive.

    The largest loading is the one of largest magnitude, or the first one if several
    have the same magnitude.
    """
    magnitudes = np.abs(component)
    threshold = magnitudes.max() * (1 - LOADING_TOLERANCE)
    largest = np.flatnonzero(magnitudes >= threshold)[0]
    if component[largest] > 0:
        return component
    return -component


def _check_rank(variances: Floats, count: int, inputs: tuple[str, ...]) -> None:
    """Raise RangeError if fewer than ``count`` components have nonzero variance."""
    rank = int((variances > MIN_VARIANCE_RATIO * variances[0]).sum())
    if rank < count:
        raise RangeError(
            f"expected at least {count} independent components of the bands "
            f"{format_bands(inputs)}, got {rank}: some bands are linear "
            f"combinations of others, so request at most {rank} outputs"
        )


def _statistics(like: Any, outputs: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Return the mean and the std that ``like`` has for each of the outputs."""
    target = like
    if isinstance(like, str):
        target = preset(like, bands=outputs)
    if not isinstance(target, Target):
        raise DTypeError(
            "expected like= to be a gp.Target or the name of a preset, got "
            f"{type(like).__name__}"
        )
    if set(target.bands) != set(outputs):
        raise ChannelError(
            f"like= has the statistics of {format_bands(target.bands)}, but the "
            f"outputs are {format_bands(outputs)}: pass a target with the bands of "
            "the outputs"
        )
    if target.range != (0, 1):
        raise RangeError(
            "expected like= to have statistics of unit intensities, with range "
            f"(0, 1), got range ({target.range[0]:g}, {target.range[1]:g}): for a "
            "target that scales to another range, such as 'keras-caffe', pass "
            "like='imagenet'"
        )
    # Statistics are matched by name: the target may list the bands in another order.
    indices = [target.bands.index(band) for band in outputs]
    mean = np.broadcast_to(np.array(target.mean), len(outputs))
    std = np.broadcast_to(np.array(target.std), len(outputs))
    return mean[indices], std[indices]
