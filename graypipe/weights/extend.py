"""Extend a layer that reads some bands to one that reads more of them."""

from collections.abc import Iterable

from numpy.typing import ArrayLike

from ..bands import format_bands, parse_bands
from ..channel_map import ChannelMap
from ..errors import ChannelError
from ..messages import describe_value
from ..sensor import Sensor
from ..sensor import sensor as sensor_facts
from .fold import Array, fold

NEW_KERNELS = ("zero", "nearest", "mean")


def extend(
    kernel: ArrayLike,
    bias: ArrayLike | None,
    bands: str | Iterable[str],
    *,
    of: str | Iterable[str] = "RGB",
    new: str = "zero",
    layout: str,
    sensor: str | None = None,
) -> tuple[Array, Array | None]:
    """Extend the kernel of a convolution to more bands.

    The bands that the layer knows keep their kernel, wherever they are in ``bands``.
    The others are new. The layer reads normalised bands, so that each new band needs a
    mean and a standard deviation of its own.

    Parameters
    ----------
    kernel : array_like of shape (O, I, ...) or (..., I, O)
        The kernel, with the order of axes declared by ``layout``. Its input channels
        are ``of``. Any floating dtype of up to 64 bits.
    bias : array_like of shape (O,) or None
        The bias, or None for a layer without one.
    bands : str or sequence of str
        The bands that the extended layer reads, in order. They contain those of ``of``,
        under the same names, or, with ``sensor``, under any of their names.
    of : str or sequence of str, default "RGB"
        The bands that the layer reads.
    new : {"zero", "nearest", "mean"}, default "zero"
        The kernel of a new band:

        - "zero": zeros. The extended layer gives the same result as the original one,
          whatever the new bands contain.
        - "nearest": that of the known band with the closest wavelength. All bands that
          share a kernel get an equal part of it, the known one too, so that their sum
          stays. Requires ``sensor``.
        - "mean": the mean of all known kernels. Known bands keep theirs, so that the
          output of the layer grows with the number of bands.
    layout : str
        The order of the axes of the kernel, as for `fold`.
    sensor : str, optional
        Name of the `graypipe.sensor` whose bands these are: its aliases and wavelengths
        are used.

    Returns
    -------
    kernel : ndarray
        The extended kernel, a new array in the layout and dtype of ``kernel``. Its
        input channels are ``bands``.
    bias : ndarray of shape (O,) or None
        A copy of ``bias``, or None if it is None.

    Raises
    ------
    ChannelError
        If ``bands`` lacks a band of the layer or names it twice, if ``new`` is unknown,
        if the sensor is unknown or lacks a band, if a wavelength is needed and unknown,
        or if the number of channels does not match.
    DTypeError, LayoutError, RangeError
        As `fold`.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> kernel = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1) + 1  # R, G, B
    >>> bands = ("B02", "B03", "B04", "B08")
    >>> extended, bias = gp.weights.extend(
    ...     kernel, None, bands, layout="OIHW", sensor="sentinel-2-l2a"
    ... )
    >>> extended.ravel()
    array([3., 2., 1., 0.], dtype=float32)
    >>> extended, bias = gp.weights.extend(
    ...     kernel, None, bands, new="nearest", layout="OIHW", sensor="sentinel-2-l2a"
    ... )
    >>> extended.ravel()  # B08 and the red band share the kernel of red
    array([3. , 2. , 0.5, 0.5], dtype=float32)
    """
    channel_map = extension_map(bands, of=of, new=new, sensor=sensor)
    return fold(kernel, bias, channel_map, layout=layout)


def extension_map(
    bands: str | Iterable[str],
    *,
    of: str | Iterable[str],
    new: str,
    sensor: str | None,
) -> ChannelMap:
    """Return the map from ``bands`` to ``of`` whose fold extends a kernel.

    Column j of its matrix states which parts of the known kernels band j gets. The
    parameters and errors are those of `extend`.
    """
    inputs = parse_bands(bands)
    outputs = parse_bands(of)
    if not isinstance(new, str) or new not in NEW_KERNELS:
        raise ChannelError(
            f"expected new to be one of {', '.join(map(repr, NEW_KERNELS))}, got "
            f"{describe_value(new)}"
        )
    facts = None if sensor is None else sensor_facts(sensor)
    known = _known_bands(inputs, outputs, facts)
    new_bands = [band for band in inputs if band not in known.values()]
    columns = {
        band: [float(known[output] == band) for output in outputs] for band in inputs
    }
    if new == "mean":
        for band in new_bands:
            columns[band] = [1 / len(outputs)] * len(outputs)
    if new == "nearest" and new_bands:
        _share_nearest(columns, known, new_bands, facts)
    matrix = list(zip(*columns.values(), strict=True))
    return ChannelMap(matrix, inputs=inputs, outputs=outputs)


def _known_bands(
    inputs: tuple[str, ...], outputs: tuple[str, ...], facts: Sensor | None
) -> dict[str, str]:
    """Return the input that is each output: equal names, or names of one band."""
    official = {band: band for band in (*inputs, *outputs)}
    if facts is not None:
        official = {band: facts.band(band) for band in official}
    known = {}
    for output in outputs:
        matches = [band for band in inputs if official[band] == official[output]]
        if not matches:
            advice = (
                "of= names the bands of the layer in order, as the images name them; "
                "with sensor=, aliases are known, such as 'red' and 'R' for 'B04'"
            )
            if facts is not None:
                advice = "to drop a band, fold a map of gp.mix instead"
            raise ChannelError(
                f"the layer reads {format_bands(outputs)}, but {output!r} is not one "
                f"of the bands {format_bands(inputs)}: {advice}"
            )
        if len(matches) > 1:
            raise ChannelError(
                f"the bands {', '.join(map(repr, matches))} are all the band "
                f"{output!r} of the layer: name it once"
            )
        known[output] = matches[0]
    return known


def _share_nearest(
    columns: dict[str, list[float]],
    known: dict[str, str],
    new_bands: list[str],
    facts: Sensor | None,
) -> None:
    """Let each new band share the kernel of the known band of closest wavelength."""
    if facts is None:
        raise ChannelError(
            'new="nearest" needs wavelengths: pass sensor=, such as '
            "'sentinel-2-l2a', or make the source with gp.Source.from_sensor"
        )
    known_bands = list(known.values())
    lengths = {band: _wavelength(band, facts) for band in (*known_bands, *new_bands)}
    sharers = {band: [band] for band in known_bands}
    for band in new_bands:
        distances = [abs(lengths[band] - lengths[other]) for other in known_bands]
        # Of two bands at the same distance, the first in the order of the layer
        sharers[known_bands[distances.index(min(distances))]].append(band)
    for owner, sharing in sharers.items():
        part = [weight / len(sharing) for weight in columns[owner]]
        for band in sharing:
            columns[band] = part


def _wavelength(band: str, facts: Sensor) -> float:
    """Return the wavelength of a band, or raise ChannelError if it has none."""
    wavelength = facts.wavelengths[facts.bands.index(facts.band(band))]
    if wavelength is None:
        raise ChannelError(
            f'new="nearest" needs wavelengths, but that of band {band!r} of '
            f"{facts.name!r} is not known: use new='zero' or new='mean'"
        )
    return wavelength
