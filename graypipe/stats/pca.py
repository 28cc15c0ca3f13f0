"""Principal components of the bands of a data set, as a channel map with the statistics that a backbone expects."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bands as names
from ..channel_map import ChannelMap
from ..errors import ChannelError, DTypeError, RangeError
from ..target import Target, preset

Floats = NDArray[np.float64]

LEAST_VARIANCE = 1e-12
"""A component below this share of the first one's variance is what rounding left: whitened, it would be noise alone."""

SAME_SIZE = 1e-9
"""Loadings this close in size count as equal, so that rounding does not choose the sign of a component."""


def components(
    mean: Floats,
    covariance: Floats,
    *,
    inputs: tuple[str, ...],
    outputs: str | Iterable[str],
    like: Target | str,
) -> ChannelMap:
    """Return the map onto the first principal components, whitened, then given the mean and std of ``like``.

    ``mean`` (bands,) and ``covariance`` (bands, bands) are of unit intensities, as are the inputs of the map.
    """
    made = names.parse(outputs)
    wanted_mean, wanted_std = _statistics(like, made)
    if len(made) > len(inputs):
        raise ChannelError(
            f"{names.show(inputs)} has {len(inputs)} principal components, got {len(made)} outputs "
            f"{names.show(made)}: ask for fewer, or repeat a band with gp.replicate or gp.mix"
        )
    variance, vectors = np.linalg.eigh(covariance)
    variance, vectors = variance[::-1], vectors.T[::-1]
    _check_rank(variance, len(made), inputs)
    whitened = np.array([_signed(vector) for vector in vectors[: len(made)]])
    whitened /= np.sqrt(variance[: len(made), None])
    matrix = wanted_std[:, None] * whitened
    return ChannelMap(matrix, wanted_mean - matrix @ mean, inputs=inputs, outputs=made)


def _signed(vector: Floats) -> Floats:
    """Return ``vector`` or its negative: the largest loading is positive, of several equal ones the first."""
    sizes = np.abs(vector)
    largest = np.flatnonzero(sizes >= sizes.max() * (1 - SAME_SIZE))[0]
    return vector if vector[largest] > 0 else -vector


def _check_rank(variance: Floats, count: int, inputs: tuple[str, ...]) -> None:
    rank = int((variance > LEAST_VARIANCE * variance[0]).sum())
    if rank < count:
        raise RangeError(
            f"the bands {names.show(inputs)} vary in {rank} independent way{'s' if rank > 1 else ''}, expected at "
            f"least {count}: some are copies or mixtures of others, so ask for {rank} outputs or fewer"
        )


def _statistics(like: Any, made: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Return mean and std of ``like``, each of the bands ``made``, by name."""
    target = preset(like, bands=made) if isinstance(like, str) else like
    if not isinstance(target, Target):
        raise DTypeError(
            f"like is a gp.Target or the name of a preset, got {type(like).__name__}"
        )
    if set(target.bands) != set(made):
        raise ChannelError(
            f"like= has the statistics of {names.show(target.bands)}, but the outputs are {names.show(made)}"
        )
    if target.range != (0, 1):
        raise RangeError(
            f"like= has statistics for values from {target.range[0]:g} to {target.range[1]:g}, expected those of unit "
            f"intensities, range (0, 1): like='imagenet' also suits targets that scale them further"
        )
    order = [target.bands.index(band) for band in made]
    mean, std = (
        np.broadcast_to(np.array(stat), len(made))[order]
        for stat in (target.mean, target.std)
    )
    return mean, std
