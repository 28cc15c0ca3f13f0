"""Fold a plan into the first layer of a model: the part that torch and Keras share.

The last step of a plan is an affine map y = M·x + b, where x are unit intensities. A
convolution that reads y has a bias β and a kernel W, with the weight W[k] at tap k. Let
y[k] be the value under tap k. Where its window lies inside the image, it computes

    Σ_k (W[k]·y[k]) + β = Σ_k ((W[k]·M)·x[k]) + (β + Σ_k (W[k]·b))

which is a convolution of x with kernel W' = W·M and bias β' = β + Σ_k (W[k]·b).
Replacing W and β by W' and β' folds the plan into the layer: the model reads x, and
the multiplications by M happen inside a layer that the model runs anyway.

**Zero padding.** A model pads y, not x. At a tap in the padding the original layer
reads y = 0, so W[k]·b must not be added there, but β' contains it. Two remedies:

- Pass x - c to the model instead of x, with one centre c per source band. Then
  W[k]·y[k] = (W[k]·M)·(x[k] - c) + W[k]·(M·c + b): the kernel remains W·M and the bias
  becomes β + Σ_k (W[k]·(M·c + b)). Padding x - c with zeros is equivalent to padding x
  with the intensity c. At an output position where the taps P lie in the padding, the
  folded layer differs from the original one by

      e = Σ_{k in P} (W[k]·(M·c + b))

  with one component per output channel. e is small if M·c + b is, so least squares
  gives the c that minimises the sum of (M·c + b)² over the target bands: close to the
  mean that the plan subtracts. One number per band cannot make M·c + b zero in every
  target band. Kernels that weight the target bands unequally have a slightly better c
  of their own, but a centre that depends on the plan alone means that all models
  folded with a plan have the same feed: the weights of one, loaded into another, get
  the input that they were folded for.
- Append a constant band "one" to x: 1 inside the image, and 0 in the padding like
  every band. W·b becomes the kernel of that band instead of a part of the bias, so it
  is added exactly at the taps inside the image. e is zero, at the cost of one band.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import weights
from ...channel_map import Bands, ChannelMap
from ...engine import limits
from ...errors import ChannelError, DTypeError, RangeError
from ...plan import Plan
from ...plan import plan as build_plan
from ...plans import check_plan
from ...source import Source
from ...target import Target
from ...weights.extend import extension_map
from .declared_range import check_range_declared

Array = NDArray[Any]

# The band that is 1 inside the image and 0 in the padding around it.
CONSTANT_BAND = "one"

# Advice for errors about models that cannot be compared.
COMPARE_HINT = "compare a model with the result of fold_into for that model"


def check_foldable(plan: Plan, *, exact: bool) -> None:
    """Check that ``plan`` can be folded.

    Raises
    ------
    DTypeError
        If ``plan`` is not a plan, or its target is not floating-point: folded weights
        cannot round.
    RangeError
        If the source does not declare its range, or if it has nodata and ``exact`` is
        False.
    ChannelError
        If ``exact`` is True and the source already has a band named "one".
    """
    check_plan(plan)
    check_range_declared(
        plan,
        "the input of a folded model comes from other code, which may have cast the "
        "pixels",
    )
    if np.dtype(plan.target.dtype).kind != "f":
        raise DTypeError(
            "expected a plan with a floating-point target, because folded weights "
            f"cannot round, got {plan.target.dtype}: use dtype='float32' for the target"
        )
    if isinstance(plan.source.nodata, tuple):
        raise RangeError(
            "the plan sets single output bands to zero where a band that they read is "
            "nodata, which weights cannot: keep the plan in front of the original "
            "model, or declare one nodata value for all bands"
        )
    if plan.source.nodata is not None and not exact:
        # At nodata pixels the original model reads y = 0. In general no x has
        # M·x + b = 0 in all bands, but a constant band can be 0 at these pixels, as in
        # the padding.
        raise RangeError(
            f"the plan sets pixels with nodata={plan.source.nodata:g} to zero in every "
            "band, but the folded model would read them as an ordinary gray level: "
            "pass exact=True, which keeps them zero"
        )
    if exact and CONSTANT_BAND in plan.source.bands:
        raise ChannelError(
            f"exact=True appends a band {CONSTANT_BAND!r}, but the source already has "
            "a band of that name: rename the band of the source"
        )


def extension_plan(plan: Plan, *, new: str, of: Bands) -> Plan:
    """Return a plan whose fold extends a model to the bands that ``plan`` produces.

    Parameters
    ----------
    plan : Plan
        Plan that converts images to the input of the extended model.
    new, of
        The kernels of new bands, and the bands that the model reads, as for
        `graypipe.weights.extend`.

    Returns
    -------
    Plan
        From the bands of the target of ``plan``, unchanged, to those of the model.

    Raises
    ------
    ChannelError
        As for `graypipe.weights.extend`.
    """
    bands = plan.target.bands
    extension = extension_map(bands, of=of, new=new, sensor=plan.source.sensor)
    return build_plan(
        Source(bands, plan.target.layout, range=(0, 1)),
        Target(extension.outputs, plan.target.layout, plan.target.dtype),
        extension,
    )


def fold(
    plan: Plan,
    kernel: ArrayLike,
    bias: ArrayLike | None,
    *,
    layout: str,
    groups: int = 1,
    exact: bool,
) -> tuple[Array, Array | None, Plan]:
    """Fold ``plan`` into a convolution; return its weights and the plan for its input.

    The module docstring derives the formulas.

    Parameters
    ----------
    plan : Plan
        Plan that converts images to the input of the original layer.
    kernel, bias, layout, groups
        The original layer, as for `graypipe.weights.fold`.
    exact : bool
        Append a constant band instead of centring the bands.

    Returns
    -------
    kernel, bias : ndarray, ndarray or None
        Weights of the folded layer, which has one group.
    feed : Plan
        Plan from the same source (including its nodata and clip) to unit intensities
        minus a centre per band, in the layout and dtype of the target of ``plan``.
        With ``exact`` the centres are 0 and "one" is the last band. It depends on
        ``plan`` and ``exact`` alone.

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
    feed = _plan_to_centred_units(plan, _least_error_centre(plan.unit_map))
    # What remains for the model: undo the centring, then apply the map of the plan.
    remaining_map = feed.unit_map.inverse() >> plan.unit_map
    folded_kernel, folded_bias = weights.fold(
        kernel, bias, remaining_map, layout=layout, groups=groups
    )
    return folded_kernel, folded_bias, feed


def _least_error_centre(channel_map: ChannelMap) -> list[float]:
    """Return the centre c of each band that minimises the sum of (M·c + b)²."""
    # rcond: a band with little influence on the output has a singular value near 0.
    # Dividing by it would move the centre of that band far outside the range of
    # intensities for a negligible reduction of the error. The centre therefore stays at
    # 0 in directions with less than a hundredth of the largest singular value.
    matrix = np.array(channel_map.matrix)
    solution = np.linalg.lstsq(matrix, -np.array(channel_map.offset), rcond=0.01)[0]
    # Round to four decimals so that the repr of the plan is readable. The fold uses the
    # rounded centres, so e changes slightly and the result inside the image does not.
    # Adding 0 turns -0.0 into 0.0.
    return [round(float(value), 4) + 0.0 for value in solution]


def _plan_to_centred_units(plan: Plan, centre: list[float]) -> Plan:
    """Return a plan to unit intensities minus ``centre``.

    Its source is the source of ``plan``.
    """
    mean: list[float] | float = 0
    if any(centre):
        mean = centre
    target = Target(plan.source.bands, plan.target.layout, plan.target.dtype, mean=mean)
    return build_plan(plan.source, target)


def _plan_with_constant_band(plan: Plan) -> Plan:
    """Return a plan to unit intensities and a constant band.

    Its source is the source of ``plan``.
    """
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
        L2 norm of the differences, divided by the L2 norm of the finite expected
        values; 0 if the latter norm is 0.
    """

    largest: float
    relative: float

    @classmethod
    def between(
        cls, actual: Iterable[ArrayLike], expected: Iterable[ArrayLike]
    ) -> "Difference":
        """Return the difference of the arrays ``actual`` from the arrays ``expected``.

        Infinities of the same sign count as equal. Expected values that are not finite
        are left out of the norm by which ``relative`` is divided. A NaN in any array
        makes ``largest`` NaN, and ``relative`` too unless that norm is 0. Both measures
        are 0 if there are no arrays.

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
    """Return the elements of ``arrays`` as one float64 vector."""
    # The empty array lets np.concatenate accept an empty list.
    vectors = [np.zeros(0), *map(np.ravel, arrays)]
    return np.concatenate(vectors).astype(np.float64)


@dataclass(frozen=True)
class Comparison:
    """Difference between a folded model and the original one for the same images.

    Printing it shows a table.

    Attributes
    ----------
    layer : str
        Name of the layer that was folded.
    interior : Difference
        Difference of the layer's outputs whose window lies inside the image.
    border : Difference
        Difference of the layer's outputs whose window reaches into zero padding.
    model : Difference
        Difference of all outputs of the model.
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
    actual, expected : ndarray of shape (N, *spatial, channels)
        Outputs of the folded and of the original layer.
    taps_inside : ndarray of bool, shape (taps, outputs)
        Which taps of the kernel lie inside the image rather than in zero padding, for
        each output position. Taps and positions are in C order.

    Raises
    ------
    ChannelError
        If the shapes differ.
    """
    if actual.shape != expected.shape:
        raise ChannelError(
            f"expected a layer with outputs of shape {expected.shape[1:]}, got "
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
    """Return the results of all plans for the same random images of their source.

    Parameters
    ----------
    plans : iterable of Plan
        Plans with the same source.
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
                f"expected plans with the same source, got {source} and "
                f"{plan.source}: compare with the plan that fold_into returned"
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

    If the source clips, the values extend beyond its range by a tenth of the range on
    each side. If it has nodata, one pixel in fifty is nodata.
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
