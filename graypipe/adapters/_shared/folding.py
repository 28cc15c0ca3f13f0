"""Folding plans into models: what the layer that reads the image becomes, the plan that feeds it, how far they differ.

What the adapters of torch and Keras share, framework-free.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import weights
from ...channel_map import ChannelMap
from ...engine import limits
from ...errors import ChannelError, DTypeError, RangeError
from ...plan import Plan
from ...plan import plan as build_plan
from ...source import Source
from ...target import Target
from .plan_choice import check_range_declared, index_by_band_count

Array = NDArray[Any]

CONSTANT_BAND = "one"
"""The name of the band that is one inside the image, and zero in the padding around it."""

COMPARE_HINT = "compare a model with what fold_into made of it"


def check_foldable(plan: Plan, *, exact: bool) -> None:
    """Raise RangeError, DTypeError or ChannelError unless ``plan`` can be folded."""
    index_by_band_count((plan,))
    check_range_declared(
        plan, "a folded model is fed by others, who may cast the pixels"
    )
    if np.dtype(plan.target.dtype).kind != "f":
        raise DTypeError(
            f"weights do not round: expected a target of floats, got {plan.target.dtype}; give the target "
            f"dtype='float32'"
        )
    if plan.source.nodata is not None and not exact:
        raise RangeError(
            f"pixels of nodata={plan.source.nodata:g} are zero in every band that the model reads, but would be a gray "
            f"level to the folded one: fold with exact=True, which keeps them zero"
        )
    if exact and CONSTANT_BAND in plan.source.bands:
        raise ChannelError(
            f"exact=True appends a band {CONSTANT_BAND!r}, and the source has one of that name: rename it"
        )


def fold(
    plan: Plan,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    seen: Array,
    *,
    layout: str,
    groups: int = 1,
    exact: bool,
) -> tuple[Array, Array | None, Plan]:
    """Return (kernel', bias', feed): the layer with ``plan`` folded into it, and the plan that feeds it.

    Kernel, bias, layout and groups are those of `graypipe.weights.fold`. ``seen`` (taps, outputs), of bool, says which
    taps of the kernel lie inside the image, not in zero padding, at each position of the output; taps in C order.

    ``feed`` has the source of ``plan``, and layout and dtype of its target: unit intensities, less a centre c for each
    band. With x those intensities and M, b the plan's map, zero padding stands for x = c in the folded layer and for
    M·x + b = 0 in the original one. At an output whose taps P lie in the padding they differ by

        e[o] = sum over k in P, i of W[o, i, k] (M·c + b)[i]

    and c minimises the sum of e² over all outputs (least squares; singular values below a hundredth of the largest are
    left out, so that c stays near the intensities). Without padding it is 0. With ``exact`` it is 0 as well, and a
    last band, "one", makes e zero.
    """
    check_foldable(plan, exact=exact)
    if exact:
        folded = weights.fold_exact(
            kernel, bias, plan.unit_map, layout=layout, groups=groups
        )
        return *folded, _with_one(plan)
    feed = _centred(plan, _centre(kernel, plan.unit_map, seen, layout, groups))
    rest = feed.unit_map.inverse() >> plan.unit_map
    return *weights.fold(kernel, bias, rest, layout=layout, groups=groups), feed


def _centre(
    kernel: ArrayLike, channel_map: ChannelMap, seen: Array, layout: str, groups: int
) -> list[float]:
    """Return c, to four digits, which a reader can take in and the fold takes as they are."""
    split, _ = weights.fold_exact(
        kernel, None, channel_map, layout=layout, groups=groups
    )  # W·M, and W·b as last band
    taps = np.moveaxis(split, (layout.index("O"), layout.index("I")), (0, 1)).astype(
        np.float64
    )
    padded, counts = np.unique(~seen, axis=1, return_counts=True)
    lost = np.einsum(
        "ojk,kp->poj", taps.reshape(*taps.shape[:2], -1), padded * np.sqrt(counts)
    )
    rows = lost.reshape(-1, taps.shape[1])
    return [
        round(float(c), 4)
        for c in np.linalg.lstsq(rows[:, :-1], -rows[:, -1], rcond=0.01)[0]
    ]


def _centred(plan: Plan, centre: list[float]) -> Plan:
    target = Target(
        plan.source.bands,
        plan.target.layout,
        plan.target.dtype,
        mean=centre if any(centre) else 0,
    )
    return build_plan(plan.source, target)


def _with_one(plan: Plan) -> Plan:
    bands, count = plan.source.bands, len(plan.source.bands)
    rows = [*np.eye(count), np.zeros(count)]
    via = ChannelMap(
        rows, [0] * count + [1], inputs=bands, outputs=(*bands, CONSTANT_BAND)
    )
    return build_plan(
        plan.source,
        Target((*bands, CONSTANT_BAND), plan.target.layout, plan.target.dtype),
        via,
    )


@dataclass(frozen=True)
class Difference:
    """How far one array is from another: ``largest`` of the absolute values, and ``relative``, L2 by L2."""

    largest: float
    relative: float

    @classmethod
    def between(
        cls, found: Iterable[ArrayLike], expected: Iterable[ArrayLike]
    ) -> "Difference":
        """Return the difference of arrays from ``expected``, pair by pair of equal shapes; zero where there is none.

        Equal infinities do not differ, and do not count in the length of what is expected; a NaN makes both NaN.
        ChannelError where the shapes differ.
        """
        arrays = [[np.asarray(array) for array in part] for part in (found, expected)]
        shapes = [[array.shape for array in part] for part in arrays]
        if shapes[0] != shapes[1]:
            raise ChannelError(
                f"expected outputs of shapes {shapes[1]}, got {shapes[0]}: {COMPARE_HINT}"
            )
        made, wanted = (
            np.concatenate([np.zeros(0), *map(np.ravel, part)]).astype(np.float64)
            for part in arrays
        )
        with np.errstate(invalid="ignore"):
            off = np.where(made == wanted, 0, made - wanted)
        length = float(np.linalg.norm(wanted[np.isfinite(wanted)]))
        return cls(
            float(np.max(np.abs(off), initial=0)),
            float(np.linalg.norm(off)) / length if length else 0.0,
        )


@dataclass(frozen=True)
class Comparison:
    """How far a folded model is from the original one on the same images; printed, it is a table.

    Of the ``layer`` that was folded: the outputs whose window lies inside the image, and those at its ``border``,
    where it reaches into zero padding. ``model``: all that the model returns.
    """

    layer: str
    interior: Difference
    border: Difference
    model: Difference

    def __str__(self) -> str:
        rows = {
            f"{self.layer}, interior": self.interior,
            f"{self.layer}, border": self.border,
            "model": self.model,
        }
        width = max(map(len, rows))
        head = f"{'':<{width}}  {'largest':>9}  {'relative L2':>11}"
        return "\n".join(
            [
                head,
                *(
                    f"{what:<{width}}  {held.largest:9.2e}  {held.relative:11.2e}"
                    for what, held in rows.items()
                ),
            ]
        )


def compare_layer_outputs(
    found: Array, expected: Array, seen: Array
) -> tuple[Difference, Difference]:
    """Return the differences (interior, border) of a layer's outputs (N, outputs..., channels).

    ``seen`` as for `fold`, its positions those of the outputs in C order.
    """
    if found.shape != expected.shape:
        raise ChannelError(
            f"expected a layer that makes {expected.shape[1:]}, got {found.shape[1:]}: {COMPARE_HINT}"
        )
    inside = seen.all(axis=0)
    found, expected = (
        array.reshape(len(array), inside.size, -1) for array in (found, expected)
    )
    interior, border = (
        Difference.between([found[:, part]], [expected[:, part]])
        for part in (inside, ~inside)
    )
    return interior, border


def sample_inputs(
    plans: Iterable[Plan], size: tuple[int, ...], count: int = 2, seed: int = 0
) -> list[Array]:
    """Return what each of ``plans``, all of one source, makes of the same ``count`` random images, N in front.

    Uniform between black and white; a tenth of that beyond where the source clips; a pixel in fifty is nodata where
    it has that. ``size`` is that of the targets' layouts without C, (H, W) or (T, H, W).
    """
    plans = list(plans)
    source = plans[0].source
    for plan in plans[1:]:
        if plan.with_layouts(source.layout).source != source:
            raise ChannelError(
                f"expected plans of one source, got {source} and {plan.source}: compare with the plan that fold_into "
                f"returned"
            )
    images = _random_images(source, (count, *size), np.random.default_rng(seed))
    layouts = [plan.target.layout.replace("C", "") + "C" for plan in plans]
    return [
        plan.with_layouts(layout).batch(images)
        for plan, layout in zip(plans, layouts, strict=True)
    ]


def _random_images(
    source: Source, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    """Return stored values (*shape, bands)."""
    dtype = np.dtype(source.dtype or "float64")
    black, white = np.array(source._pairs(dtype)).T
    beyond = 0.1 if source.clip else 0.0
    values = black + (white - black) * rng.uniform(
        -beyond, 1 + beyond, (*shape, len(source.bands))
    )
    if dtype.kind != "f":
        values = np.clip(np.rint(values), *limits(dtype))
    images: Array = values.astype(dtype)
    if source.nodata is not None:
        images[rng.random(shape) < 0.02] = source.nodata
    return images
