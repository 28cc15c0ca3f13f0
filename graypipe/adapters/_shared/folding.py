"""Fold a plan into the first layer of a model: the part that torch and Keras share.

A plan ends in an affine map y = M·x + b on unit intensities x. A convolution with
kernel W and bias β that reads y computes, where its window lies inside the image,

    sum over taps k of W[k]·y[k] + β = sum over k of (W[k]·M)·x[k] + (β + sum W[k]·b)

which is a convolution of x with kernel W' = W·M and bias β' = β + sum over k of W[k]·b.
Replacing W and β by W' and β' folds the plan into the layer: the model reads x, and
the multiplications by M happen inside a layer that it runs anyway.

**Zero padding.** A model pads y, not x. At a tap in the padding the original layer
reads y = 0, so W[k]·b must not be added there, but β' contains it. Two remedies:

- Feed x - c instead of x, with one centre c per source band. The identity then reads
  W[k]·y[k] = (W[k]·M)·(x[k] - c) + W[k]·(M·c + b): the kernel stays W·M and the bias
  becomes β + sum of W[k]·(M·c + b). Padding x - c with 0 stands for pixels of
  intensity c. The folded layer differs from the original one, at an output o whose
  taps P lie in the padding, by

      e[o] = sum over k in P of W[o, k]·(M·c + b)

  which is linear in c. Least squares gives the c that minimises the sum of e² over
  all outputs. One number per band cannot make e zero in every output channel, but it
  makes it small: M·c + b is close to zero if c is the mean that the plan subtracts.
- Feed a constant band "one" beside x: 1 inside the image, and 0 in the padding like
  every band. W·b becomes the kernel of that band instead of a part of the bias, so it
  is added exactly at the taps inside the image. e is zero, at the cost of one band.
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

# The band that is 1 inside the image and 0 in the padding around it.
CONSTANT_BAND = "one"

# The cure in error messages about models that do not belong together.
COMPARE_HINT = "compare a model with what fold_into made of it"


def check_foldable(plan: Plan, *, exact: bool) -> None:
    """Check that ``plan`` can be folded.

    Raises
    ------
    DTypeError
        If ``plan`` is not a plan, or its target is not floating: weights do not round.
    RangeError
        If the source does not declare its range, or has nodata without ``exact``.
    ChannelError
        If ``exact`` would append a band of a name that the source has.
    """
    index_by_band_count((plan,))
    check_range_declared(
        plan, "a folded model is fed by others, who may cast the pixels"
    )
    if np.dtype(plan.target.dtype).kind != "f":
        raise DTypeError(
            f"weights do not round: expected a target of floats, got "
            f"{plan.target.dtype}; give the target dtype='float32'"
        )
    if plan.source.nodata is not None and not exact:
        # The original model reads y = 0 there. In general no x has M·x + b = 0 in all
        # bands. Only a constant band can express it: 0 there, as in the padding.
        raise RangeError(
            f"pixels of nodata={plan.source.nodata:g} are zero in every band that the "
            f"model reads, but would be a gray level to the folded model: fold with "
            f"exact=True, which keeps them zero"
        )
    if exact and CONSTANT_BAND in plan.source.bands:
        raise ChannelError(
            f"exact=True appends a band {CONSTANT_BAND!r}, and the source already has "
            f"a band of that name: rename it"
        )


def fold(
    plan: Plan,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    taps_inside: Array,
    *,
    layout: str,
    groups: int = 1,
    exact: bool,
) -> tuple[Array, Array | None, Plan]:
    """Fold ``plan`` into a convolution; return its weights and the plan that feeds it.

    The module docstring derives the formulas.

    Parameters
    ----------
    plan : Plan
        Plan that feeds the original layer.
    kernel, bias, layout, groups
        The original layer, as for `graypipe.weights.fold`.
    taps_inside : ndarray of bool, shape (taps, outputs)
        Which taps of the kernel lie inside the image, not in zero padding, at each
        position of the output. Taps and positions in C order.
    exact : bool
        Append a constant band instead of centring the bands.

    Returns
    -------
    kernel, bias : ndarray, ndarray or None
        Weights of the folded layer, which has one group.
    feed : Plan
        Plan from the same source, with its guards, to unit intensities less a centre
        per band, in the layout and dtype of the target of ``plan``. With ``exact`` the
        centres are 0 and "one" is the last band; without padding they are 0 too.

    Raises
    ------
    DTypeError, RangeError, ChannelError
        As for `check_foldable` and `graypipe.weights.fold`.
    """
    check_foldable(plan, exact=exact)
    if exact:
        folded_kernel, folded_bias = weights.fold_exact(
            kernel, bias, plan.unit_map, layout=layout, groups=groups
        )
        return folded_kernel, folded_bias, _plan_with_constant_band(plan)
    centre = _least_error_centre(kernel, plan.unit_map, taps_inside, layout, groups)
    feed = _plan_to_centred_units(plan, centre)
    # What the model still has to do: undo the centring, then apply the map of the plan.
    remaining_map = feed.unit_map.inverse() >> plan.unit_map
    folded_kernel, folded_bias = weights.fold(
        kernel, bias, remaining_map, layout=layout, groups=groups
    )
    return folded_kernel, folded_bias, feed


def _least_error_centre(
    kernel: ArrayLike,
    channel_map: ChannelMap,
    taps_inside: Array,
    layout: str,
    groups: int,
) -> list[float]:
    """Return the centre c of each band that minimises the sum of e² over outputs.

    e[o] = A[o]·c + r[o], where A[o] is the sum of (W·M)[o, k] over the taps k in the
    padding and r[o] that of (W·b)[o, k]. There is one such row for every output
    channel and every position of the output.
    """
    # Its bands are those of W·M and, as the last one, W·b.
    split, _ = weights.fold_exact(
        kernel, None, channel_map, layout=layout, groups=groups
    )
    channels_first = np.moveaxis(split, (layout.index("O"), layout.index("I")), (0, 1))
    by_tap = channels_first.astype(np.float64).reshape(*channels_first.shape[:2], -1)
    # Positions with the same taps in the padding give the same row. A row that occurs
    # n times has the weight of one row times sqrt(n): all interior positions, for
    # example, become one row of zeros.
    padded, counts = np.unique(~taps_inside, axis=1, return_counts=True)
    rows = np.einsum("ojk,kp->poj", by_tap, padded * np.sqrt(counts))
    rows = rows.reshape(-1, by_tap.shape[1])
    # rcond: a band that hardly reaches the output has a singular value near 0, and
    # dividing by it would move its centre far from the intensities for next to no
    # gain. Directions below a hundredth of the largest singular value stay at 0.
    solution = np.linalg.lstsq(rows[:, :-1], -rows[:, -1], rcond=0.01)[0]
    # Four digits are readable where the plan is shown. The fold uses the same digits,
    # so rounding changes e slightly, and nothing inside the image.
    return [round(float(value), 4) for value in solution]


def _plan_to_centred_units(plan: Plan, centre: list[float]) -> Plan:
    """Return the plan to unit intensities less ``centre``, instead of to the target."""
    mean: list[float] | float = 0
    if any(centre):
        mean = centre
    target = Target(plan.source.bands, plan.target.layout, plan.target.dtype, mean=mean)
    return build_plan(plan.source, target)


def _plan_with_constant_band(plan: Plan) -> Plan:
    """Return the plan to unit intensities and a constant band, not to the target."""
    bands = plan.source.bands
    outputs = (*bands, CONSTANT_BAND)
    # The constant band reads no band (a row of zeros) and has the offset 1.
    matrix = [*np.eye(len(bands)), np.zeros(len(bands))]
    offset = [0] * len(bands) + [1]
    append_one = ChannelMap(matrix, offset, inputs=bands, outputs=outputs)
    target = Target(outputs, plan.target.layout, plan.target.dtype)
    return build_plan(plan.source, target, append_one)


@dataclass(frozen=True)
class Difference:
    """Difference between two sets of arrays.

    Attributes
    ----------
    largest : float
        Largest absolute difference of two elements.
    relative : float
        L2 norm of the differences, divided by the L2 norm of the expected values.
    """

    largest: float
    relative: float

    @classmethod
    def between(
        cls, actual: Iterable[ArrayLike], expected: Iterable[ArrayLike]
    ) -> "Difference":
        """Return the difference of the arrays ``actual`` from the arrays ``expected``.

        Equal infinities do not differ, and no infinity counts in the norm of the
        expected values. A NaN makes both measures NaN. Both are 0 without arrays.

        Raises
        ------
        ChannelError
            If the shapes differ.
        """
        actual_arrays = [np.asarray(array) for array in actual]
        expected_arrays = [np.asarray(array) for array in expected]
        actual_shapes = [array.shape for array in actual_arrays]
        expected_shapes = [array.shape for array in expected_arrays]
        if actual_shapes != expected_shapes:
            raise ChannelError(
                f"expected outputs of shapes {expected_shapes}, got {actual_shapes}: "
                f"{COMPARE_HINT}"
            )
        actual_values = _concatenated(actual_arrays)
        expected_values = _concatenated(expected_arrays)
        with np.errstate(invalid="ignore"):  # infinity - infinity
            equal = actual_values == expected_values
            difference = np.where(equal, 0, actual_values - expected_values)
        largest = float(np.max(np.abs(difference), initial=0))
        finite = expected_values[np.isfinite(expected_values)]
        norm = float(np.linalg.norm(finite))
        relative = 0.0
        if norm:
            relative = float(np.linalg.norm(difference)) / norm
        return cls(largest, relative)


def _concatenated(arrays: list[Array]) -> Array:
    """Return the elements of ``arrays`` as one vector of float64."""
    # The empty array lets np.concatenate accept an empty list.
    vectors = [np.zeros(0), *map(np.ravel, arrays)]
    return np.concatenate(vectors).astype(np.float64)


@dataclass(frozen=True)
class Comparison:
    """Difference of a folded model from the original one on the same images.

    Printing it shows a table.

    Attributes
    ----------
    layer : str
        Name of the layer that was folded.
    interior : Difference
        Outputs of that layer whose window lies inside the image.
    border : Difference
        Outputs of that layer whose window reaches into zero padding.
    model : Difference
        All that the model returns.
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
        lines = [f"{'':<{width}}  {'largest':>9}  {'relative L2':>11}"]
        for name, difference in rows.items():
            lines.append(
                f"{name:<{width}}  {difference.largest:9.2e}  "
                f"{difference.relative:11.2e}"
            )
        return "\n".join(lines)


def compare_layer_outputs(
    actual: Array, expected: Array, taps_inside: Array
) -> tuple[Difference, Difference]:
    """Return the differences of a layer's outputs in the interior and at the border.

    Parameters
    ----------
    actual, expected : ndarray of shape (N, outputs..., channels)
        Outputs of the folded and of the original layer.
    taps_inside : ndarray of bool, shape (taps, outputs)
        As for `fold`.

    Raises
    ------
    ChannelError
        If the shapes differ.
    """
    if actual.shape != expected.shape:
        raise ChannelError(
            f"expected a layer that makes {expected.shape[1:]}, got "
            f"{actual.shape[1:]}: {COMPARE_HINT}"
        )
    is_interior = taps_inside.all(axis=0)
    shape = (len(expected), is_interior.size, -1)
    actual = actual.reshape(shape)
    expected = expected.reshape(shape)
    interior, border = (
        Difference.between([actual[:, part]], [expected[:, part]])
        for part in (is_interior, ~is_interior)
    )
    return interior, border


def sample_inputs(
    plans: Iterable[Plan], size: tuple[int, ...], count: int = 2, seed: int = 0
) -> list[Array]:
    """Return what each plan makes of the same random images of the source.

    Parameters
    ----------
    plans : iterable of Plan
        Plans from one source.
    size : tuple of int
        Size of the images, in the order of the target layouts without C: (H, W) or
        (T, H, W).
    count : int, default 2
        Number of images, the first axis of each result.
    seed : int, default 0
        Seed of the random numbers.

    Raises
    ------
    ChannelError
        If the sources differ.
    """
    plans = list(plans)
    source = plans[0].source
    for plan in plans[1:]:
        if plan.with_layouts(source.layout).source != source:
            raise ChannelError(
                f"expected plans of one source, got {source} and {plan.source}: "
                f"compare with the plan that fold_into returned"
            )
    images = _random_images(source, (count, *size), np.random.default_rng(seed))
    inputs = []
    for plan in plans:
        # The random images have their bands last.
        layout = plan.target.layout.replace("C", "") + "C"
        inputs.append(plan.with_layouts(layout).batch(images))
    return inputs


def _random_images(
    source: Source, shape: tuple[int, ...], rng: np.random.Generator
) -> Array:
    """Return stored values of shape (*shape, bands), uniform from black to white.

    A source that clips gets values beyond its range too, a tenth of it on each side.
    Where the source has nodata, one pixel in fifty holds it.
    """
    dtype = np.dtype(source.dtype or "float64")
    black, white = np.array(source._pairs(dtype)).T
    margin = 0.0
    if source.clip:
        margin = 0.1
    unit = rng.uniform(-margin, 1 + margin, (*shape, len(source.bands)))
    values = black + (white - black) * unit
    if dtype.kind != "f":
        values = np.clip(np.rint(values), *limits(dtype))
    images: Array = values.astype(dtype)
    if source.nodata is not None:
        images[rng.random(shape) < 0.02] = source.nodata
    return images
