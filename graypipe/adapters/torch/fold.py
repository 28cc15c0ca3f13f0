"""Folding into torch: a copy of a model whose first convolution does what a plan did, and how far the two differ."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ChannelError, LayoutError
from ...extras import needs
from ...plan import Plan
from .._shared import folding
from .._shared.folding import Comparison
from .running import copied, evaluated, placed, run
from .trace import CONVOLUTIONS, Reading, trace
from .transfer import KERNELS, in_dtype, to_array
from .verify import check_sole

with needs("torch", "torch"):
    import torch
    from torch import Tensor, nn

Array = NDArray[Any]


def fold_into(
    model: nn.Module, plan: Plan, *, layer: str | None = None, exact: bool = False
) -> tuple[nn.Module, Plan]:
    """Return (folded, feed): a copy of ``model`` that does what ``plan`` does, and the plan that feeds it.

    ``folded(feed(image))`` is ``model(plan(image))``, with one band read where the model read three: exact where no
    zero padding is involved, close to it at padded borders (`compare` says how close), and exact there too with
    ``exact=True``, which feeds a constant band "one" beside the others. Up to rounding in the dtype of the weights, on
    CUDA to TF32 where torch.backends.cudnn.allow_tf32 says so.

    The layer that reads the image, a Conv2d or Conv3d, is found by running the model on noise in evaluation mode (what
    acts in training alone, such as dropout of the image, is not seen). Its input must be the tensor that the model is
    given, at most padded with zeros, and nothing else may read that: ChannelError with the reason else, and with the
    candidates where there are several, of which ``layer`` names one; ChannelError too for layers that are lazy still,
    for outputs without a tensor or a finite number, and where, on images of the source, the folded layer does not make
    what it made before. It keeps stride, padding, dilation, dtype, device, bias and requires_grad, and has one group;
    where the plan has an offset it gets a bias. The centre is that of two sizes, one odd, where the model takes it. The
    model is not changed: copies of it run.

    ``feed`` has the plan's source, and unit intensities less a centre for each band as target, (C, H, W): see
    `folding.fold`. RangeError where the source declares no range, for nodata without ``exact``, and where the dtype of
    the weights cannot hold a folded one; DTypeError for a target of integers.
    """
    folding.check_foldable(plan, exact=exact)
    reading = trace(model, len(plan.target.bands), layer)
    conv = reading.layer
    kernel, bias, feed = folding.fold(
        plan.with_layouts(target=_layout(plan, len(reading.size))),
        to_array(conv.weight),
        None if conv.bias is None else to_array(conv.bias),
        reading.positions,
        layout=KERNELS[conv.weight.ndim],
        groups=conv.groups,
        exact=exact,
    )
    folded = copied(model)
    _replace(folded.get_submodule(reading.name), kernel, bias, reading.name)
    check_sole(folded, reading, len(feed.target.bands))
    _check_equal((model, folded), (plan, feed), reading, exact)
    return folded, feed


def compare(
    model: nn.Module,
    plan: Plan,
    folded: nn.Module,
    folded_plan: Plan,
    *,
    layer: str | None = None,
) -> Comparison:
    """Return how far ``folded`` is from ``model``, each fed by its plan with the same random images of the source.

    Of the layer that was folded, apart for the interior and the zero-padded border, and of all that the models return;
    copies of both run in evaluation mode. The images have a size that the model names, or 64 x 64, and as many again 7
    pixels more on each side where the model takes that: padding may depend on the size. ``layer`` as for `fold_into`.
    ChannelError where the plans have different sources, or the models different layers or outputs.
    """
    reading = trace(model, len(plan.target.bands), layer)
    (expected, returned), (found, others) = _run_both(
        (model, folded), (plan, folded_plan), reading
    )
    shapes = [
        [held.shape for held in arrays]
        for arrays in ((expected, *returned), (found, *others))
    ]
    if shapes[0] != shapes[1]:
        raise ChannelError(
            f"expected models that differ in the bands they read alone, but {reading.name!r} and what is returned have "
            f"the shapes {shapes[0]} in one, {shapes[1]} in the other: compare a model with what fold_into made of it"
        )
    interior, border = folding.compare_layer_outputs(found, expected, reading.positions)
    return Comparison(
        reading.name, interior, border, folding.Difference.between(others, returned)
    )


def _check_equal(
    models: tuple[nn.Module, ...],
    plans: tuple[Plan, ...],
    reading: Reading,
    exact: bool,
) -> None:
    """Raise ChannelError unless the layer of ``reading`` makes the same in both models, each fed by its plan.

    Up to rounding, at its padded border with ``exact`` alone: the proof that nothing but the convolution met the image.
    """
    (expected, _), (found, _) = _run_both(models, plans, reading, count=1)
    interior, border = folding.compare_layer_outputs(found, expected, reading.positions)
    off = np.array([interior.relative, border.relative if exact else 0])
    if not (
        off <= _tolerance(reading.made, plans[0])
    ).all():  # NaN is no equality either
        raise ChannelError(
            f"{reading.name!r}, folded, does not make of the source's images what it made of the plan's: the relative "
            f"L2 difference is {off.max():.1g}. The model does more to the image than convolve it (clamps it, scales "
            f"it by its values, changes the weight): use a ChannelLayer in front of the model"
        )


def _tolerance(made: Tensor, plan: Plan) -> float:
    """Return half the digits of the coarser of what the plan makes and what the layer ``made``, as under autocast."""
    tf32 = (
        made.is_cuda and made.dtype == torch.float32 and torch.backends.cudnn.allow_tf32
    )
    computed = 2**-10 if tf32 else torch.finfo(made.dtype).eps
    return float(max(computed, float(np.finfo(plan.target.dtype).eps)) ** 0.5)


def _run_both(
    models: tuple[nn.Module, ...],
    plans: tuple[Plan, ...],
    reading: Reading,
    count: int = 2,
) -> list[tuple[Array, list[Array]]]:
    """Return what `_run` returns of each model, fed by its plan with ``count`` images of each size of ``reading``."""
    fed = [plan.with_layouts(target=_layout(plan, len(reading.size))) for plan in plans]
    images = zip(
        *(folding.sample_inputs(fed, size, count) for size in reading.seen), strict=True
    )
    return [
        _run(model, reading.name, sizes)
        for model, sizes in zip(models, images, strict=True)
    ]


def _layout(plan: Plan, axes: int) -> str:
    """Return the layout of a target that torch's convolutions of that many axes take."""
    spatial = plan.source.layout.replace("C", "").replace("N", "")
    if len(spatial) < axes:
        raise LayoutError(
            f"the model reads volumes, (C, D, H, W), and the layout of the source is {plan.source.layout!r}: declare "
            f"that of its volumes, such as layout='DHW' or 'THW'"
        )
    return "C" + spatial[len(spatial) - axes :]


def _replace(conv: Any, kernel: Array, bias: Array | None, name: str) -> None:
    old = conv.weight
    conv.in_channels, conv.groups = kernel.shape[1], 1
    conv.weight = nn.Parameter(
        in_dtype(kernel, old.dtype, f"{name}.weight").to(old),
        requires_grad=old.requires_grad,
    )
    if bias is not None:
        trained = old.requires_grad if conv.bias is None else conv.bias.requires_grad
        conv.bias = nn.Parameter(
            in_dtype(bias, old.dtype, f"{name}.bias").to(old), requires_grad=trained
        )


def _run(
    model: nn.Module, layer: str, batches: tuple[Array, ...]
) -> tuple[Array, list[Array]]:
    """Return what ``layer`` made of ``batches``, (N, outputs of all, channels), and what ``model`` returned."""
    made: list[Tensor] = []
    last: list[Tensor] = []
    returned: list[Tensor] = []
    with evaluated(model) as probe:
        if not isinstance(dict(probe.named_modules()).get(layer), CONVOLUTIONS):
            raise ChannelError(
                f"the folded model has no convolution {layer!r}, which reads the image in the original one: compare a "
                f"model with what fold_into made of it, both wrapped or neither"
            )
        probe.get_submodule(layer).register_forward_hook(
            lambda *held: made.append(held[-1].clone())
        )
        for images in batches:
            returned += run(probe, placed(torch.from_numpy(images), probe))
            last.append(made[-1].flatten(2))
    outputs: Array = torch.cat(last, 2).movedim(1, -1).double().cpu().numpy()
    return outputs, [_reals(held).double().cpu().numpy() for held in returned]


def _reals(held: Tensor) -> Tensor:
    return torch.view_as_real(held.resolve_conj()) if held.is_complex() else held
