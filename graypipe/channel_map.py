"""Channel maps: y = M · x + b over named bands, and the ways people make one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import bands as names
from . import engine, layouts, rational, serialization
from .errors import ChannelError, CopyRequiredError, DTypeError
from .validation import finite, freeze, is_sequence

Bands = str | Iterable[str]
Weights = Mapping[str, str | Mapping[str, float]]

LUMINANCE = {
    "rec601": (0.299, 0.587, 0.114),  # ITU-R BT.601, section 2.5.1
    "rec709": (0.2126, 0.7152, 0.0722),  # ITU-R BT.709, item 3.2
    "rec2020": (0.2627, 0.6780, 0.0593),  # ITU-R BT.2020, table 4
}


@dataclass(frozen=True, init=False)
class ChannelMap:
    """y = matrix · x + offset, from the bands ``inputs`` to the bands ``outputs``.

    ``matrix`` is (outputs, inputs), ``offset`` (outputs,) or None for zero; both are kept as tuples of floats. A zero
    entry is structural: that band is not read there, so its NaN does not spread. Raises ChannelError where the shapes
    do not fit the names or a number is not finite.
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
        named, made = names.parse(inputs), names.parse(outputs)
        rows = [tuple(row) for row in matrix] if _is_matrix(matrix) else []
        constants = (
            (0.0,) * len(made)
            if offset is None
            else tuple(offset)
            if is_sequence(offset)
            else ()
        )
        if [len(row) for row in rows] != [len(named)] * len(made) or len(
            constants
        ) != len(made):
            raise ChannelError(
                f"a map from {names.show(named)} to {names.show(made)} has a matrix of {len(made)} rows by "
                f"{len(named)} and an offset of {len(made)}, got rows of {[len(row) for row in rows]} and an "
                f"offset of {len(constants)}"
            )
        freeze(
            self,
            matrix=tuple(
                tuple(finite(m, "a matrix entry", ChannelError) for m in row)
                for row in rows
            ),
            offset=tuple(finite(b, "an offset", ChannelError) for b in constants),
            inputs=named,
            outputs=made,
        )

    def __rshift__(self, other: "ChannelMap") -> "ChannelMap":
        """Return the map that applies this one, then ``other``; bands are matched by name, in any order."""
        if not isinstance(other, ChannelMap):
            return NotImplemented
        return from_exact(
            rational.then(self._exact(), other._exact(inputs=self.outputs)),
            inputs=self.inputs,
            outputs=other.outputs,
        )

    def _exact(
        self,
        inputs: tuple[str, ...] | None = None,
        outputs: tuple[str, ...] | None = None,
    ) -> rational.Affine:
        """Return the map in rational numbers, its bands in the order given; ChannelError where the names differ."""
        column = self._order(self.inputs, inputs, "reads")
        row = self._order(self.outputs, outputs, "makes")
        rows = tuple(
            {
                j: Fraction(self.matrix[i][k])
                for j, k in enumerate(column)
                if self.matrix[i][k]
            }
            for i in row
        )
        return rational.Affine(
            rows, tuple(Fraction(self.offset[i]) for i in row), len(column)
        )

    @staticmethod
    def _order(
        own: tuple[str, ...], wanted: tuple[str, ...] | None, verb: str
    ) -> list[int]:
        if wanted is None:
            return list(range(len(own)))
        if set(own) != set(wanted):
            raise ChannelError(
                f"the map {verb} {names.show(own)}, but stands beside {names.show(wanted)}: the names must be the "
                f"same (only in the map {sorted(set(own) - set(wanted))}, only beside it "
                f"{sorted(set(wanted) - set(own))}); rename or pick bands with gp.select"
            )
        return [own.index(band) for band in wanted]

    def inverse(self) -> "ChannelMap":
        """Return the map back, exact in rational arithmetic (the least-squares one where outputs outnumber inputs).

        The inverse of a replication is the mean of its bands. ChannelError unless M has full column rank.
        """
        return from_exact(
            rational.left_inverse(self._exact()),
            inputs=self.outputs,
            outputs=self.inputs,
        )

    def to_json(self) -> str:
        """Return the map as canonical JSON; `from_json` gives an equal map back."""
        return serialization.to_text(self._to_record())

    def _to_record(self) -> dict[str, Any]:
        """Return the map as plain lists and numbers, a zero offset left out."""
        record = {part.name: getattr(self, part.name) for part in fields(self)}
        return (
            record
            if any(self.offset)
            else {name: held for name, held in record.items() if name != "offset"}
        )

    @classmethod
    def from_json(cls, text: str) -> "ChannelMap":
        """Return the map that `to_json` wrote; ChannelError where the text is something else."""
        return cls._from_record(serialization.from_text(text))

    @classmethod
    def _from_record(cls, record: object) -> "ChannelMap":
        """Return the map that `to_record` described; ChannelError where it is something else."""
        made: ChannelMap = serialization.from_record(
            cls, record, "matrix", "inputs", "outputs"
        )
        return made

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
        """Apply the map to ``image`` of ``layout``, in the array's own units.

        ``out_layout`` defaults to ``layout``, plus a trailing C where it had none: (H, W) -> (H, W, C). ``dtype=None``
        keeps the dtype where the map only repeats or picks bands (exact for every dtype), else gives float32 (float64
        for float64); an integer dtype rounds half to even and saturates. ``copy=True`` returns a fresh, writable,
        C-contiguous array, None a read-only view where strides can express the map, False that view or
        CopyRequiredError. ``out=`` fixes memory and dtype and excludes ``copy`` and ``dtype``.
        Raises LayoutError, ChannelError and DTypeError where the image is not what the map and the layout say.
        """
        if type(image) is not np.ndarray:
            image = engine.check_image(image)
        if out is not None:
            if copy is not True or dtype is not None:
                raise DTypeError(
                    "out= fixes both memory and dtype: leave copy= and dtype= away"
                )
            dtype = (
                out.dtype if type(out) is np.ndarray else engine.check_image(out).dtype
            )
        key = (layout, out_layout, image.dtype, dtype)
        try:
            bound = self._bound[key]
        except (
            KeyError,
            TypeError,
        ):  # a TypeError for what cannot be hashed, which is neither layout nor dtype
            bound = self._bound.setdefault(key, self._bind(*key))
        if copy is not True:
            if copy is not None and copy is not False:
                raise DTypeError(
                    f"copy is True, None (a view where possible) or False (a view or an error), got {copy!r}"
                )
            view = bound.view(image)
            if view is not None:
                return view
            if copy is False:
                raise CopyRequiredError(
                    f"{bound.why_no_view()}: pass copy=None or copy=True"
                )
        return bound(image, out)

    @cached_property
    def _bound(self) -> dict[Any, engine.Execution]:
        return {}

    def _bind(
        self,
        layout: str,
        out_layout: str | None,
        source: np.dtype[Any],
        dtype: DTypeLike | None,
    ) -> engine.Execution:
        layouts.check_bands(
            layouts.parse(layout),
            len(self.inputs),
            f"the map's input {names.show(self.inputs)}",
        )
        out_layout = (
            layouts.with_bands(layout)
            if out_layout is None
            else layouts.parse(out_layout)
        )
        layouts.check_bands(
            out_layout,
            len(self.outputs),
            f"the map's output {names.show(self.outputs)}",
        )
        spec = engine.AffineSpec(self.matrix, self.offset, (0.0,) * len(self.inputs))
        if dtype is None:
            dtype = (
                source
                if spec.picks is not None
                else "float64"
                if source.name == "float64"
                else "float32"
            )
        return engine.Execution(
            spec, layouts.conversion(layout, out_layout), source, dtype
        )

    def __getstate__(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}


def _is_matrix(matrix: Any) -> bool:
    return is_sequence(matrix) and all(is_sequence(row) for row in matrix)


def from_exact(
    affine: rational.Affine, *, inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> ChannelMap:
    """Return the channel map of a rational one, each entry rounded once."""
    matrix, offset = rational.rounded(affine)
    return ChannelMap(matrix, offset, inputs=inputs, outputs=outputs)


def replicate(
    bands: Bands = "RGB", *, of: Bands = "gray", gains: Iterable[float] | None = None
) -> ChannelMap:
    """Return the map from the one band ``of`` to each of ``bands``, times ``gains`` (one factor per output band)."""
    inputs, outputs = names.parse(of), names.parse(bands)
    if len(inputs) != 1:
        raise ChannelError(
            f"replicate repeats one band, got {names.show(inputs)}: use gp.select or gp.mix"
        )
    factors = (
        [1.0] * len(outputs)
        if gains is None
        else list(gains)
        if is_sequence(gains)
        else []
    )
    if len(factors) != len(outputs):
        raise ChannelError(
            f"gains is a sequence of one factor per output band {names.show(outputs)}, got {gains!r}"
        )
    return ChannelMap(
        tuple((gain,) for gain in factors), inputs=inputs, outputs=outputs
    )


def select(bands: Bands | Mapping[str, str], *, of: Bands) -> ChannelMap:
    """Return the map that picks ``bands`` out of the bands ``of``, in the order given.

    A mapping renames on the way: ``{"R": "B04"}`` makes R from B04. ChannelError for a band that ``of`` lacks.
    """
    if isinstance(bands, Mapping):
        return mix(bands, of=of)
    return mix({band: band for band in names.parse(bands)}, of=of)


def mix(weights: Weights, *, of: Bands) -> ChannelMap:
    """Return the map whose output bands are weighted sums of the bands ``of``; a bare name means weight 1.

    ``gp.mix({"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"}, of="RGBY")``. ChannelError for an unknown band.
    """
    inputs = names.parse(of)
    if not isinstance(weights, Mapping):
        raise ChannelError(
            f'expected a mapping such as {{"R": {{"R": 0.5, "Y": 0.5}}, "G": "G"}}, got {weights!r}'
        )
    rows = []
    for band, terms in weights.items():
        row = {terms: 1.0} if isinstance(terms, str) else terms
        if not isinstance(row, Mapping):
            raise ChannelError(
                f"band {band!r} is made from a band name or a mapping of weights, got {terms!r}"
            )
        unknown = [name for name in row if name not in inputs]
        if unknown:
            raise ChannelError(
                f"band {band!r} reads {unknown[0]!r}, but the bands are {names.show(inputs)}"
            )
        rows.append(tuple(row.get(name, 0.0) for name in inputs))
    return ChannelMap(tuple(rows), inputs=inputs, outputs=tuple(weights))


def luminance(standard: str = "rec601", *, of: Bands = "RGB") -> ChannelMap:
    """Return the map from R, G and B (found by name in ``of``) to gray, with the weights of a video standard."""
    if standard not in LUMINANCE:
        raise ChannelError(
            f"expected a standard out of {sorted(LUMINANCE)}, got {standard!r}"
        )
    return mix({"gray": dict(zip("RGB", LUMINANCE[standard], strict=True))}, of=of)


def default_map(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> ChannelMap | None:
    """Return the map that needs no words, or None: the same bands by name, or one band repeated into many."""
    if set(inputs) == set(outputs):
        return select(outputs, of=inputs)
    if len(inputs) == 1 and len(outputs) > 1:
        return replicate(outputs, of=inputs)
    return None


def missing_map_message(inputs: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    """Return what to say where there is none: the mapping to paste, filled in as far as the names decide it."""
    choice = f"<one of {', '.join(inputs[:4])}{', ...' if len(inputs) > 4 else ''}>"
    mapping = {band: band if band in inputs else choice for band in outputs}
    weights = (
        "{"
        + ", ".join(f'"{band}": "{origin}"' for band, origin in mapping.items())
        + "}"
    )
    unread = [band for band in inputs if band not in outputs]
    dropped = (
        f"which does not read {unread}; " if unread and choice not in weights else ""
    )
    gray = (
        " For gray from RGB, via=gp.luminance()."
        if outputs == ("gray",) and set("RGB") <= set(inputs)
        else ""
    )
    word = "".join(inputs)
    one = (
        f" One band called {word} is written ({word!r},)."
        if len(word) == len(inputs) > 1 and choice in weights
        else ""
    )
    return (
        f"the way from {names.show(inputs)} to {names.show(outputs)} is open: say which band feeds which, for example\n"
        f"    via={weights}\n"
        f'{dropped}a merge is written {{"R": {{"R": 0.5, "Y": 0.5}}}}.{gray}{one}'
    )
