"""Channel maps: affine maps y = M · x + b between named bands."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import engine, layouts, rational, serialization
from .bands import format_bands, number_bands, parse_bands
from .errors import ChannelError, CopyRequiredError, DTypeError
from .messages import describe_value, did_you_mean
from .sensor import Sensor, sensor, sensors
from .validation import as_finite_float, is_ordered_iterable, set_fields

Bands = str | Iterable[str]
MixWeights = Mapping[str, str | Mapping[str, float]]
# The mapping that `plan` takes as via: None marks an output band that is missing.
ViaWeights = Mapping[str, str | Mapping[str, float] | None]

# Bands that an error message lists
MOST_SHOWN = 6

# Weights of R, G and B in the luma signal of each video standard.
LUMINANCE = {
    "rec601": (0.299, 0.587, 0.114),  # ITU-R BT.601, section 2.5.1
    "rec709": (0.2126, 0.7152, 0.0722),  # ITU-R BT.709, item 3.2
    "rec2020": (0.2627, 0.6780, 0.0593),  # ITU-R BT.2020, table 4
}


# Maximum number of coefficients of a map: a thousand bands to a thousand bands, which
# takes about a second. A hostile file could ask for billions.
MAX_COEFFICIENTS = 2**20


@dataclass(frozen=True, init=False)
class ChannelMap:
    """Affine map ``y = matrix · x + offset`` from named bands to named bands.

    Instances are immutable, hashable and picklable. Use `replicate`, `select`, `mix` or
    `luminance` to build the common maps, and ``a >> b`` to apply one map after another.

    Parameters
    ----------
    matrix : array_like of float
        Coefficients of shape ``(len(outputs), len(inputs))``. Zero entries are skipped
        rather than multiplied, so NaN in an unused band does not propagate.
    offset : array_like of float, optional
        One constant per output band. The default is zero.
    inputs, outputs : str or sequence of str
        Band names: ``"gray"``, a string of distinct capital letters (``"RGB"``), or a
        sequence of names.

    Attributes
    ----------
    matrix : tuple of tuple of float
    offset : tuple of float
    inputs, outputs : tuple of str

    Raises
    ------
    ChannelError
        If the shapes do not match the band names, if a number is not finite, or if
        there are more than 1,048,576 coefficients.

    Examples
    --------
    >>> import graypipe as gp
    >>> half = gp.ChannelMap([[0.5]], inputs="gray", outputs=("half",))
    >>> half.matrix, half.offset
    (((0.5,),), (0.0,))
    """

    matrix: tuple[tuple[float, ...], ...]
    offset: tuple[float, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(
        self,
        matrix: Sequence[Sequence[float]] | NDArray[Any],
        offset: Sequence[float] | NDArray[Any] | None = None,
        *,
        inputs: Bands,
        outputs: Bands,
    ) -> None:
        input_names = parse_bands(inputs)
        output_names = parse_bands(outputs)
        _check_size(input_names, output_names)
        rows = _rows(matrix)
        constants = _constants(offset, len(output_names))
        widths = [len(row) for row in rows]
        expected_widths = [len(input_names)] * len(output_names)
        if widths != expected_widths or len(constants) != len(output_names):
            raise ChannelError(
                f"expected a matrix of {len(output_names)} rows by {len(input_names)} "
                f"columns and an offset of {len(output_names)} for a map from "
                f"{format_bands(input_names)} to {format_bands(output_names)}, got "
                f"rows of length {widths[:8]} and an offset of {len(constants)}"
            )
        set_fields(
            self,
            matrix=tuple(_finite_row(row) for row in rows),
            offset=tuple(
                as_finite_float(b, "an offset", ChannelError) for b in constants
            ),
            inputs=input_names,
            outputs=output_names,
        )

    def __rshift__(self, other: "ChannelMap") -> "ChannelMap":
        """Compose two maps: apply this map first, then ``other``.

        Parameters
        ----------
        other : ChannelMap
            Its inputs must be the outputs of this map. Bands are matched by name, in
            any order.

        Returns
        -------
        ChannelMap
            Composed in rational arithmetic, each coefficient rounded once.

        Raises
        ------
        ChannelError
            If the band names differ.

        Examples
        --------
        >>> import graypipe as gp
        >>> (gp.luminance() >> gp.replicate("BGR")).outputs
        ('B', 'G', 'R')
        """
        if not isinstance(other, ChannelMap):
            return NotImplemented
        return from_rational(
            rational.compose(self._exact(), other._exact(inputs=self.outputs)),
            inputs=self.inputs,
            outputs=other.outputs,
        )

    def inverse(self) -> "ChannelMap":
        """Return the inverse map, from the outputs to the inputs.

        Returns
        -------
        ChannelMap
            The least-squares inverse if there are more outputs than inputs. For
            example, the inverse of a replication averages the bands. Computed in
            rational arithmetic, each coefficient rounded once.

        Raises
        ------
        ChannelError
            If the matrix does not have full column rank.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.replicate("RG").inverse().matrix
        ((0.5, 0.5),)
        """
        return from_rational(
            rational.left_inverse(self._exact()),
            inputs=self.outputs,
            outputs=self.inputs,
        )

    def to_json(self) -> str:
        """Return the map as canonical JSON.

        Returns
        -------
        str
            Text from which `from_json` builds an equal map.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.select("G", of="RG").to_json()
        '{"format":1,"inputs":["R","G"],"matrix":[[0.0,1.0]],"outputs":["G"]}'
        """
        return serialization.to_text(self._to_record())

    @classmethod
    def from_json(cls, text: str) -> "ChannelMap":
        """Build a map from the output of `to_json`.

        Parameters
        ----------
        text : str

        Returns
        -------
        ChannelMap

        Raises
        ------
        ChannelError
            If ``text`` is not the JSON of a channel map.

        Examples
        --------
        >>> import graypipe as gp
        >>> bgr = gp.select("BGR", of="RGB")
        >>> gp.ChannelMap.from_json(bgr.to_json()) == bgr
        True
        """
        return cls._from_record(serialization.from_text(text))

    def __call__(
        self,
        image: NDArray[Any],
        *,
        layout: str,
        out_layout: str | None = None,
        dtype: DTypeLike | None = None,
        copy: bool | None = True,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Apply the map to the values of an image as they are, without scaling.

        Parameters
        ----------
        image : ndarray
            Array with the axes ``layout`` and the input bands, of any strides and byte
            order. It is not modified.
        layout : str
            Axes of ``image``, such as ``"HW"`` or ``"NCHW"``.
        out_layout : str, optional
            Axes of the result. The default is ``layout``, with C appended if it has no
            band axis.
        dtype : dtype_like, optional
            Dtype of the result. By default the dtype of ``image`` (including its byte
            order) if the map only repeats or selects bands, otherwise float32, or
            float64 for float64 input. An integer dtype rounds half to even and
            saturates.
        copy : bool or None, default True
            Similar to the array API standard. True returns a new, writable,
            C-contiguous array. None returns a read-only view if the result can be
            expressed with strides, otherwise a new array. False returns the view or
            raises an exception.
        out : ndarray, optional
            Array to write into. It determines the dtype; ``copy`` and ``dtype`` must
            not be given with it. It must have the shape of the result, be writable, and
            not share memory with ``image``.

        Returns
        -------
        ndarray
            The result, or ``out``.

        Raises
        ------
        LayoutError
            If the shape of ``image`` does not match ``layout``, if the layouts cannot
            be converted, or if ``out`` cannot hold the result.
        ChannelError
            If the number of bands of ``image`` is not the number of input bands.
        DTypeError
            If ``image`` is not an ndarray, or if a dtype is not supported.
        CopyRequiredError
            If ``copy`` is False and the result cannot be expressed as a view.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> image = np.array([[1, 2]], np.uint8)
        >>> gp.replicate()(image, layout="HW").tolist()
        [[[1, 1, 1], [2, 2, 2]]]
        """
        if type(image) is not np.ndarray:
            image = engine.check_image(image)
        if out is not None:
            if copy is not True or dtype is not None:
                raise DTypeError(
                    "copy= and dtype= cannot be combined with out=, which determines "
                    "the memory and the dtype: omit them"
                )
            dtype = engine.check_image(out).dtype
        key = (layout, out_layout, image.dtype, dtype)
        try:
            execution = self._executions[key]
        except (KeyError, TypeError):
            # TypeError: an argument that is not hashable is not a valid layout or
            # dtype, and `_prepare_execution` raises an error that explains this.
            execution = self._executions.setdefault(key, self._prepare_execution(*key))
        if copy is not True:
            view = _requested_view(execution, image, copy)
            if view is not None:
                return view
        return execution(image, out)

    @cached_property
    def _executions(self) -> dict[Any, engine.Execution]:
        """Cache of `__call__`: executions, by layouts and dtypes."""
        return {}

    def _prepare_execution(
        self,
        layout: str,
        out_layout: str | None,
        source: np.dtype[Any],
        dtype: DTypeLike | None,
    ) -> engine.Execution:
        """Return the execution of the map for arrays of these layouts and dtypes."""
        layout = layouts.parse(layout)
        input_count, output_count = len(self.inputs), len(self.outputs)
        layouts.check_band_axis(
            layout, input_count, f"the input {format_bands(self.inputs)} of the map"
        )
        if out_layout is None:
            out_layout = layouts.with_bands(layout)
        else:
            out_layout = layouts.parse(out_layout)
        layouts.check_band_axis(
            out_layout,
            output_count,
            f"the output {format_bands(self.outputs)} of the map",
        )
        spec = engine.AffineSpec(self.matrix, self.offset, (0.0,) * input_count)
        if dtype is None:
            dtype = _default_dtype(spec, source)
        conversion = layouts.conversion(layout, out_layout)
        return engine.Execution(spec, conversion, source, dtype)

    def _exact(
        self,
        inputs: tuple[str, ...] | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> rational.Affine:
        """Return the map in rational numbers.

        Parameters
        ----------
        inputs, outputs : tuple of str, optional
            Order of the bands. The default is the map's own order.

        Raises
        ------
        ChannelError
            If ``inputs`` or ``outputs`` are not the bands of the map.
        """
        columns = _positions(self.inputs, inputs, "input")
        rows = []
        offset = []
        for i in _positions(self.outputs, outputs, "output"):
            coefficients = [self.matrix[i][k] for k in columns]
            rows.append({j: Fraction(m) for j, m in enumerate(coefficients) if m})
            offset.append(Fraction(self.offset[i]))
        return rational.Affine(tuple(rows), tuple(offset), len(columns))

    def _to_record(self) -> dict[str, Any]:
        """Return the fields for JSON; an all-zero offset is omitted."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        if not any(self.offset):
            del record["offset"]
        return record

    @classmethod
    def _from_record(cls, record: object) -> "ChannelMap":
        """Build the map from the fields that `_to_record` returned."""
        channel_map: ChannelMap = serialization.from_record(
            cls, record, "matrix", "inputs", "outputs"
        )
        return channel_map

    def __getstate__(self) -> dict[str, Any]:
        # Cached executions hold compiled kernels, which cannot be pickled.
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _check_size(inputs: Collection[str], outputs: Collection[str]) -> None:
    """Raise ChannelError if a map between these bands has too many coefficients."""
    if len(inputs) * len(outputs) > MAX_COEFFICIENTS:
        raise ChannelError(
            f"a map from {len(inputs)} to {len(outputs)} bands has more than "
            f"{MAX_COEFFICIENTS} coefficients: select the bands that are needed, or "
            "convert groups of bands with a plan each"
        )


def _finite_row(row: Sequence[Any]) -> tuple[float, ...]:
    """Return the entries of a matrix row as finite floats, none of them -0.0."""
    # Checking one by one takes six times as long, and a matrix can have a million.
    if all(type(entry) is float for entry in row) and isfinite(sum(map(abs, row))):
        return tuple(entry + 0.0 for entry in row)
    return tuple(
        as_finite_float(entry, "a matrix entry", ChannelError) for entry in row
    )


def _rows(matrix: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a matrix, or an empty list if it is not two-dimensional."""
    if not is_ordered_iterable(matrix):
        return []
    rows = list(matrix)  # a generator can be iterated over only once
    if not all(is_ordered_iterable(row) for row in rows):
        return []
    return [tuple(row) for row in rows]


def _constants(offset: Any, count: int) -> tuple[Any, ...]:
    """Return the entries of an offset, or an empty tuple if it is a scalar."""
    if offset is None:
        return (0.0,) * count
    if not is_ordered_iterable(offset):
        return ()
    return tuple(offset)


def _positions(
    own_bands: tuple[str, ...], requested: tuple[str, ...] | None, side: str
) -> list[int]:
    """Return the positions of ``requested`` in ``own_bands``.

    Raises
    ------
    ChannelError
        If the two do not contain the same names. ``side`` is "input" or "output", for
        the message.
    """
    if requested is None:
        return list(range(len(own_bands)))
    if set(own_bands) != set(requested):
        missing = sorted(set(requested) - set(own_bands))[:MOST_SHOWN]
        unexpected = sorted(set(own_bands) - set(requested))[:MOST_SHOWN]
        raise ChannelError(
            f"the map has the {side} bands {format_bands(own_bands)}, expected "
            f"{format_bands(requested)} (missing from the map: {missing}, unexpected "
            f"in the map: {unexpected}): rename or select bands with gp.select"
        )
    return [own_bands.index(band) for band in requested]


def _default_dtype(spec: engine.AffineSpec, source: np.dtype[Any]) -> DTypeLike:
    """Return the dtype of the result if the caller does not specify one."""
    if spec.selected_bands is not None:
        return source
    if source.name == "float64":
        return "float64"
    return "float32"


def _requested_view(
    execution: engine.Execution, image: NDArray[Any], copy: bool | None
) -> NDArray[Any] | None:
    """Return a view of ``image`` for ``copy`` None or False.

    Return None if no view is possible and ``copy`` allows a copy.
    """
    if copy is not None and copy is not False:
        raise DTypeError(
            "expected copy to be True, None (a view if possible) or False (a view or "
            f"an error), got {describe_value(copy)}"
        )
    view = execution.view(image)
    if view is None and copy is False:
        raise CopyRequiredError(
            f"{execution.why_no_view()}: pass copy=None or copy=True"
        )
    return view


def from_rational(
    affine: rational.Affine, *, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> ChannelMap:
    """Return ``affine`` as a channel map, each coefficient rounded once."""
    matrix, offset = rational.rounded(affine)
    return ChannelMap(matrix, offset, inputs=inputs, outputs=outputs)


def replicate(
    bands: Bands = "RGB", *, of: Bands = "gray", gains: Iterable[float] | None = None
) -> ChannelMap:
    """Return the map that repeats one band.

    Parameters
    ----------
    bands : str or sequence of str, default "RGB"
        The output bands.
    of : str or sequence of str, default "gray"
        The input band.
    gains : sequence of float, optional
        One factor per output band. The default is 1.

    Returns
    -------
    ChannelMap

    Raises
    ------
    ChannelError
        If ``of`` is not exactly one band, or if ``gains`` and ``bands`` differ in
        length.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.replicate("RG", gains=(1, 0.5)).matrix
    ((1.0,), (0.5,))
    """
    inputs = parse_bands(of)
    outputs = parse_bands(bands)
    if len(inputs) != 1:
        raise ChannelError(
            f"expected one band to replicate, got {format_bands(inputs)}: use "
            "gp.select or gp.mix for several bands"
        )
    factors = [1.0] * len(outputs)
    if gains is not None:
        factors = list(gains) if is_ordered_iterable(gains) else []
    if len(factors) != len(outputs):
        raise ChannelError(
            "expected gains to be a sequence with one factor per output band "
            f"{format_bands(outputs)}, got {describe_value(gains)}"
        )
    return ChannelMap([(gain,) for gain in factors], inputs=inputs, outputs=outputs)


def select(bands: Bands | Mapping[str, str], *, of: Bands) -> ChannelMap:
    """Return the map that selects bands, in any order.

    Parameters
    ----------
    bands : str, sequence of str, or mapping of str to str
        The output bands. A mapping from output to input bands also renames them:
        ``{"R": "B04"}`` returns B04 under the name R.
    of : str or sequence of str
        The input bands.

    Returns
    -------
    ChannelMap

    Raises
    ------
    ChannelError
        If a selected band is not in ``of``.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.select("BR", of="RGB").matrix
    ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    """
    if isinstance(bands, Mapping):
        return mix(bands, of=of)
    return mix({band: band for band in parse_bands(bands)}, of=of)


def mix(weights: MixWeights, *, of: Bands) -> ChannelMap:
    """Return the map whose outputs are weighted sums of the input bands.

    Parameters
    ----------
    weights : mapping
        Maps each output band to the weights of the input bands, or to the name of one
        input band, which gets weight 1.
    of : str or sequence of str
        The input bands.

    Returns
    -------
    ChannelMap

    Raises
    ------
    ChannelError
        If an input band is not in ``of``, if ``weights`` is not such a mapping, or if
        an output band has no weights: it would be black.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.mix({"R": {"R": 0.5, "Y": 0.5}, "G": "G"}, of="RGY").matrix
    ((0.5, 0.0, 0.5), (0.0, 1.0, 0.0))
    """
    inputs = parse_bands(of)
    if not isinstance(weights, Mapping):
        raise ChannelError(
            'expected a mapping such as {"R": {"R": 0.5, "Y": 0.5}, "G": "G"}, '
            f"got {describe_value(weights)}"
        )
    _check_size(inputs, weights)
    rows = [_mix_row(band, terms, inputs) for band, terms in weights.items()]
    return ChannelMap(rows, inputs=inputs, outputs=tuple(weights))


def _mix_row(band: str, terms: object, inputs: tuple[str, ...]) -> tuple[float, ...]:
    """Return the coefficients of one output band of `mix`."""
    if isinstance(terms, str):
        terms = {terms: 1.0}
    if terms is None:
        raise ChannelError(
            f"output band {band!r} has no input: None marks a missing band in the via= "
            "of gp.plan only, because its value, the mean, depends on the target"
        )
    if isinstance(terms, Mapping) and not terms:
        raise ChannelError(
            f"output band {band!r} has no weights, so it would be black: name an input "
            f"band; if it is missing, write {{{band!r}: None}} in the via= of gp.plan, "
            "which sets it to 0.0 after normalisation, the mean"
        )
    if not isinstance(terms, Mapping):
        raise ChannelError(
            f"expected a band name or a mapping of weights for output band {band!r}, "
            f"got {describe_value(terms)}"
        )
    unknown = [name for name in terms if name not in inputs]
    if unknown:
        raise ChannelError(
            f"output band {band!r} uses {describe_value(unknown[0])}, which is not one "
            f"of the input bands {format_bands(inputs)}: name one of these"
            f"{did_you_mean(unknown[0], inputs)}{_sensor_hint(unknown[0], inputs)}"
        )
    row = [0.0] * len(inputs)
    for name, weight in terms.items():
        row[inputs.index(name)] = weight
    return tuple(row)


def _sensor_hint(name: object, inputs: tuple[str, ...]) -> str:
    """Return what to do if ``name`` may be the alias of an input of a sensor, or ""."""
    are_numbered = inputs == number_bands(range(1, len(inputs) + 1))
    fitting = []
    for each in map(sensor, sensors()):
        bands = inputs
        if are_numbered and len(inputs) == len(each.bands):
            bands = each.bands
        if set(bands) <= set(each.bands) and each._find(name) in bands:
            fitting.append(each.name)
    if not fitting:
        return ""
    return (
        ", or make the source with sensor=, so that the plan takes aliases; the bands "
        f"fit {', '.join(fitting)}"
    )


def map_with_missing_bands(
    weights: ViaWeights, inputs: tuple[str, ...], levels: Mapping[str, Fraction]
) -> ChannelMap:
    """Return the map of ``weights``, in which None marks a missing output band.

    Parameters
    ----------
    weights : mapping
        The argument of `mix`, except that None is allowed.
    inputs : tuple of str
        The input bands.
    levels : mapping of str to Fraction
        Constant value of each output band if it is missing.

    Returns
    -------
    ChannelMap
        Missing bands read no input.

    Raises
    ------
    ChannelError
        As for `mix`, and if all output bands are missing.
    """
    present = {band: terms for band, terms in weights.items() if terms is not None}
    if weights and not present:
        raise ChannelError(
            f"all output bands {format_bands(tuple(weights))} are missing (None), so "
            f"no input band is used: name one of {format_bands(inputs)} for at least "
            "one of them"
        )
    mixed = mix(present, of=inputs)
    if len(present) == len(weights):
        return mixed
    exact = mixed._exact()
    rows_by_band = dict(zip(mixed.outputs, exact.rows, strict=True))
    rows = []
    offset = []
    for band in weights:
        rows.append(rows_by_band.get(band, {}))
        level = Fraction(0)
        if band not in rows_by_band:
            level = levels.get(band, level)
        offset.append(level)
    affine = rational.Affine(tuple(rows), tuple(offset), len(inputs))
    return from_rational(affine, inputs=inputs, outputs=tuple(weights))


def luminance(standard: str = "rec601", *, of: Bands = "RGB") -> ChannelMap:
    """Return the map from RGB to gray with the weights of a video standard.

    Parameters
    ----------
    standard : {"rec601", "rec709", "rec2020"}, default "rec601"
        ITU-R BT.601, BT.709 or BT.2020.
    of : str or sequence of str, default "RGB"
        The input bands. They must include R, G and B, in any order.

    Returns
    -------
    ChannelMap

    Raises
    ------
    ChannelError
        If the standard is unknown, or if R, G or B is not in ``of``.

    Notes
    -----
    The weights are applied to the unit intensities as they are. For gamma-encoded
    images, such as sRGB, the result is therefore the luma signal of the standard.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.luminance().matrix
    ((0.299, 0.587, 0.114),)
    """
    if standard not in LUMINANCE:
        raise ChannelError(
            f"expected the standard to be one of {sorted(LUMINANCE)}, got "
            f"{describe_value(standard)}{did_you_mean(standard, LUMINANCE)}"
        )
    weights = dict(zip("RGB", LUMINANCE[standard], strict=True))
    return mix({"gray": weights}, of=of)


def default_map(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> ChannelMap | None:
    """Return the map between two sets of bands, or None if it is ambiguous.

    Returns
    -------
    ChannelMap or None
        The selection by name if ``inputs`` and ``outputs`` have the same bands, a
        replication if there is one input and several outputs, otherwise None.
    """
    if set(inputs) == set(outputs):
        return select(outputs, of=inputs)
    if len(inputs) == 1 and len(outputs) > 1:
        return replicate(outputs, of=inputs)
    return None


def missing_map_message(
    inputs: tuple[str, ...], outputs: tuple[str, ...], sensor: Sensor | None = None
) -> str:
    """Return the error message for bands for which `default_map` returns None.

    It suggests a mapping in which bands with equal names are already filled in, and, if
    the inputs are bands of ``sensor``, those whose output is an alias of an input.
    """
    placeholder = "<one of " + ", ".join(inputs[:4])
    if len(inputs) > 4:
        placeholder += ", ..."
    placeholder += ">"
    origins = known_origins(inputs, outputs, sensor)
    entries = [
        f'"{band}": "{origins.get(band, (None, placeholder))[1]}"'
        for band in outputs[:MOST_SHOWN]
    ]
    complete = len(origins) == len(outputs)  # no placeholder is left
    if len(outputs) > MOST_SHOWN:
        entries.append("...")
    mapping = f"{{{', '.join(entries)}}}"
    if complete and len(outputs) > MOST_SHOWN:
        mapping = "{band: band for band in target.bands}"
    message = (
        f"cannot infer a channel map from {format_bands(inputs)} to "
        f"{format_bands(outputs)}: specify the input of each output band, "
        "for example\n"
        f"    via={mapping}\n"
    )
    used = {origin for origin, _ in origins.values()}
    unused = [band for band in inputs if band not in used]
    if unused and complete:
        message += f"This ignores the input bands {unused[:MOST_SHOWN]}. "
    message += 'A weighted sum is written as {"R": {"R": 0.5, "Y": 0.5}}'
    if complete:
        message += "."
    else:
        message += ", and None means that the band is missing."
    if outputs == ("gray",) and set("RGB") <= set(inputs):
        message += " For gray from RGB, pass via=gp.luminance()."
    joined_names = "".join(inputs)
    has_one_letter_names = len(joined_names) == len(inputs)
    if has_one_letter_names and len(inputs) > 1 and not complete:
        # A string in capitals, such as "NIR", is parsed as one band per letter.
        single_band = f"({joined_names!r},)"
        if joined_names == "GRAY":
            single_band = "'gray'"
        message += (
            f" If {joined_names!r} is the name of a single band, write {single_band}."
        )
    return message


def known_origins(
    inputs: tuple[str, ...], outputs: tuple[str, ...], sensor: Sensor | None
) -> dict[str, tuple[str, str]]:
    """Return the input of the outputs that are named like one, and the name to print.

    An input is named like an output if their names are equal, or if the output is an
    alias of the input in ``sensor``.
    """
    origins = {band: (band, band) for band in outputs if band in inputs}
    if sensor is None:
        return origins
    for band in outputs:
        origin = sensor._find(band)
        if band not in origins and origin in inputs:
            origins[band] = (origin, sensor._common_name(origin))
    return origins
