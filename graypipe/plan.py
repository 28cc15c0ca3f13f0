"""Plans: a source, a target and the map between them, composed once and executed on arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import bands as names
from . import engine, layouts, rational, serialization
from .channel_map import (
    Bands,
    ChannelMap,
    Weights,
    default_map,
    from_exact,
    missing_map_message,
    mix,
)
from .errors import ChannelError, CopyRequiredError, DTypeError, LayoutError, RangeError
from .source import Pair, Source
from .target import Target, preset
from .validation import freeze

Array = NDArray[Any]


@dataclass(frozen=True)
class Plan:
    """What `plan` returns: call it on images of ``source`` to get what ``target`` expects.

    ``via`` maps the source's bands to the target's on unit intensities. Plans are frozen, hashable and picklable, and
    equal after a JSON round trip.
    """

    source: Source
    target: Target
    via: ChannelMap

    def __post_init__(self) -> None:
        for value, kind, what in (
            (self.source, Source, "source is a gp.Source"),
            (self.target, Target, "target is a gp.Target or the name of a preset"),
            (
                self.via,
                ChannelMap,
                "via is a gp.ChannelMap or a mapping as gp.mix takes it",
            ),
        ):
            if not isinstance(value, kind):
                raise DTypeError(f"{what}, got {type(value).__name__}")
        bands, made = self.source.bands, self.target.bands
        via = from_exact(self.via._exact(bands, made), inputs=bands, outputs=made)
        freeze(
            self, via=via
        )  # its bands in the order of source and target, so that equal plans are equal
        self.unit_map, self._conversion  # noqa: B018  # layouts that do not fit are errors here, not at the first image

    def __call__(self, image: Array, *, out: Array | None = None) -> Array:
        """Return ``image``, an array of the source's layout and bands, as the target expects it.

        The result is fresh, writable and C-contiguous, in the target's dtype and layout (axes that the target lacks
        stay in front: THW under CHW gives TCHW), or is ``out``, which must match in shape and dtype and may be strided.
        The input is never modified. Raises LayoutError, ChannelError, DTypeError or RangeError where the image is not
        what the source declares; the contents of ``out`` are undefined then.
        """
        if type(image) is not np.ndarray:
            image = engine.check_image(image)
        execution = self._executions.get(image.dtype) or self._execution(image.dtype)
        return execution(image, out)

    def batch(
        self,
        images: Array | Sequence[Array],
        *,
        out: Array | None = None,
        threads: int = 1,
    ) -> Array:
        """Return a batch: an array with a leading N, or a list of equal-sized images written straight into the output.

        Equals the stacked results of the single images bit for bit, for any number of ``threads``. Raises LayoutError
        where the source's layout has an N already, where sizes differ, and for an empty list.
        """
        if "N" in self._conversion.target:
            raise LayoutError(
                f"the layout {self._conversion.source!r} has an N already: call the plan itself"
            )
        engine.check_threads(threads)
        if isinstance(images, list | tuple):
            return _stack(self, images, out, threads)
        image = engine.check_image(images)
        return self._batched._execution(image.dtype)(image, out, threads)

    def view(self, image: Array) -> Array:
        """Return the result as a read-only view of ``image``, 0 bytes copied, or raise CopyRequiredError.

        There is one where the plan only repeats or picks bands in arithmetic progression, keeps the dtype, and has
        neither nodata nor clip. An implied range is not tested here, since nothing is read.
        """
        image = engine.check_image(image)
        execution = self._execution(image.dtype)
        view = execution.view(image)
        if view is None:
            raise CopyRequiredError(f"{execution.why_no_view()}: call the plan itself")
        return view

    def invert(self, x: Array, *, dtype: DTypeLike | None = None) -> Array:
        """Return stored values for ``x``, an array in the target's layout and units: the affine part undone.

        Guards are not undone (what was clipped or nodata stays lost). ``dtype=None`` gives float32 (float64 for
        float64), an integer dtype rounds and saturates. Where the source declares neither range nor dtype, ``dtype``
        says which stored values are meant. ChannelError where the plan loses bands; RangeError where the range is open.
        """
        x = engine.check_image(x)
        pairs = _stored_range(
            self.source, None if dtype is None else engine.element_type(dtype)
        )
        if pairs not in self._inverses:
            self._inverses[pairs] = self._stored_map(pairs).inverse()
        return self._inverses[pairs](
            x,
            layout=self._conversion.target,
            out_layout=self.source.layout,
            dtype=dtype,
        )

    @cached_property
    def _inverses(self) -> dict[tuple[Pair, ...], ChannelMap]:
        return {}

    def explain(
        self, shape: tuple[int, ...] | None = None, dtype: DTypeLike | None = None
    ) -> str:
        """Return, as text, how an image of ``shape`` and ``dtype`` will be read and what will be done.

        Axes, range, M and b, guards, execution, engine, bytes; without shape and dtype the text stays general.
        LayoutError, ChannelError, DTypeError or RangeError where such an image would be refused.
        """
        from . import explain

        return explain.explain(self, shape, dtype)

    def with_layouts(
        self, source: str | None = None, target: str | None = None
    ) -> "Plan":
        """Return the plan with other layouts, everything else the same."""
        return replace(
            self,
            source=self.source
            if source is None
            else replace(self.source, layout=source),
            target=self.target
            if target is None
            else replace(self.target, layout=target),
        )

    @cached_property
    def unit_map(self) -> ChannelMap:
        """``via`` and the target, on unit intensities (0 black, 1 white)."""
        return from_exact(
            self._unit, inputs=self.source.bands, outputs=self.target.bands
        )

    @cached_property
    def map(self) -> ChannelMap:
        """The whole affine part, from stored values; RangeError unless range, bits or dtype is declared."""
        return self._stored_map(self.source._pairs(None))

    def to_json(self) -> str:
        """Return the plan as canonical JSON, statistics written out as numbers; `from_json` gives an equal plan."""
        return serialization.to_text(self._record())

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Return the plan that `to_json` wrote; ValueError where the text is something else."""
        record = serialization.from_text(text)
        if not {"source", "target"} <= set(record) <= {"source", "target", "via"}:
            raise ChannelError(
                f"expected source, target and perhaps via in the JSON of a plan, got {sorted(record)}"
            )
        via = ChannelMap._from_record(record["via"]) if "via" in record else None
        return plan(
            serialization.from_record(Source, record["source"], "bands"),
            serialization.from_record(Target, record["target"], "bands"),
            via,
        )

    @property
    def fingerprint(self) -> str:
        """The sha256 of the JSON without the layouts, to store with a checkpoint (it does not care how pixels lay)."""
        from hashlib import sha256  # milliseconds that `import graypipe` need not pay

        return sha256(
            serialization.to_text(self._record("layout")).encode()
        ).hexdigest()

    def _record(self, *without: str) -> dict[str, Any]:
        parts = {
            "source": serialization.to_record(self.source),
            "target": serialization.to_record(self.target),
        }
        parts = {
            name: {key: held for key, held in part.items() if key not in without}
            for name, part in parts.items()
        }
        if self.via != default_map(self.source.bands, self.target.bands):
            parts["via"] = self.via._to_record()
        return parts

    @cached_property
    def _unit(self) -> rational.Affine:
        return rational.then(self.via._exact(), self.target._affine())

    @cached_property
    def _conversion(self) -> layouts.LayoutConversion:
        return layouts.conversion(self.source.layout, self.target.layout)

    @cached_property
    def _batched(self) -> "Plan":
        return self.with_layouts(
            "N" + self._conversion.source, "N" + self._conversion.target
        )

    @cached_property
    def _executions(self) -> dict[np.dtype[Any], engine.Execution]:
        return {}

    def _execution(self, dtype: np.dtype[Any]) -> engine.Execution:
        """Return the pass for images of ``dtype``, prepared at the first of them."""
        try:
            return self._executions[dtype]
        except KeyError:
            return self._executions.setdefault(dtype, self._bind(dtype))

    def _bind(self, dtype: np.dtype[Any]) -> engine.Execution:
        source, pairs = self.source, self.source._pairs(dtype)
        matrix, offset = rational.rounded(self._stored(pairs))
        spec = engine.AffineSpec(matrix, offset, (0.0,) * len(pairs))
        if (
            spec.picks is None
        ):  # then the centred form, which keeps the digits of a narrow range far from zero
            spec = engine.AffineSpec(
                matrix, self.unit_map.offset, tuple(black for black, _ in pairs)
            )
        bounds = (
            tuple((min(pair), max(pair)) for pair in pairs) if source.clip else None
        )
        spec = replace(
            spec,
            clip=bounds,
            nodata=source.nodata,
            implied=not source._declares_range and dtype.kind == "f",
        )
        return engine.Execution(spec, self._conversion, dtype, self.target.dtype)

    def _stored(self, pairs: tuple[Pair, ...]) -> rational.Affine:
        return rational.then(rational.to_unit(pairs), self._unit)

    def _stored_map(self, pairs: tuple[Pair, ...]) -> ChannelMap:
        return from_exact(
            self._stored(pairs), inputs=self.source.bands, outputs=self.target.bands
        )

    def __getstate__(self) -> dict[str, Any]:
        return {part.name: getattr(self, part.name) for part in fields(self)}


def plan(
    source: Source | Bands,
    target: Target | str,
    via: ChannelMap | Weights | None = None,
) -> Plan:
    """Return the plan from ``source`` (a Source or band names) to ``target`` (a Target or a preset's name).

    Without ``via`` one band is repeated into many, and the same bands in another order are picked by name; anything
    else is a ChannelError that shows a mapping, because a band must never be dropped or invented by accident. ``via``
    is a ChannelMap on unit intensities or the mapping that `gp.mix` takes.
    """
    source = source if isinstance(source, Source) else Source(source)
    target = preset(target) if isinstance(target, str) else target
    if isinstance(via, Mapping):
        via = mix(via, of=source.bands)
    if via is None and isinstance(target, Target):
        via = default_map(source.bands, target.bands)
        if via is None:
            raise ChannelError(missing_map_message(source.bands, target.bands))
    return Plan(source, target, via)


def _stack(
    plan: Plan, images: Sequence[Array], out: Array | None, threads: int
) -> Array:
    """Return what ``plan`` makes of ``images``, N in front, or ``out``; LayoutError where there is no one size."""
    arrays = [engine.check_image(image) for image in images]
    if not arrays:
        raise LayoutError(
            "an empty list has no image size: pass at least one image, or an array of shape (0, ...)"
        )
    shapes = sorted({image.shape for image in arrays})
    if len(shapes) > 1:
        raise LayoutError(
            f"images of one batch have one size, got {shapes}: crop or resize them first"
        )
    runs = [plan._execution(image.dtype) for image in arrays]
    shape = (len(arrays), *runs[0].shape(shapes[0]))
    if out is None:
        out = np.empty(shape, plan.target.dtype)
    else:
        for image in arrays:
            engine.check_out(out, shape, np.dtype(plan.target.dtype), image)
    jobs = list(zip(runs, arrays, out, strict=True))
    if len(arrays) < threads:
        for run, image, part in jobs:
            run.into(image, part, threads)
    else:
        engine.in_threads(lambda job: job[0].into(*job[1:]), jobs, threads)
    return out


def _stored_range(source: Source, dtype: np.dtype[Any] | None) -> tuple[Pair, ...]:
    """Return (black, white) per band of the stored values of ``source`` that ``dtype``, where given, must hold.

    RangeError where neither the source nor ``dtype`` says which values are meant, and where ``dtype`` is too narrow.
    """
    source = replace(source, nodata=None)
    if not source._declares_range and source.dtype is None and dtype is None:
        raise RangeError(
            "stored values in which range? Declare range=, bits= or dtype= in the source, or pass dtype="
        )
    pairs = source._pairs(source.dtype or dtype)
    levels = [level for pair in pairs for level in pair]
    if dtype is not None and not all(engine.holds(dtype, level) for level in levels):
        raise RangeError(
            f"the stored values range from {min(levels):g} to {max(levels):g}, which {dtype} cannot hold: leave "
            f"dtype= away, or, to show an image, invert with a plan whose source declares no range, "
            f"gp.plan({names.show(source.bands)}, plan.target).invert(x, dtype='uint8')"
        )
    return pairs
