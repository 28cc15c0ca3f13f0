"""Fold a plan into the first convolution of a torch model, and compare the two."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ChannelError, LayoutError
from ...extras import require_extra
from ...plan import Plan
from .._shared import folding
from .._shared.folding import Comparison
from .evaluation import copy_model, evaluation_copy, run_model, to_model
from .trace import CONVOLUTIONS, ImageLayer, find_image_layer
from .transfer import KERNEL_LAYOUTS, to_array, to_dtype
from .verify import check_only_reader

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn

Array = NDArray[Any]


def fold_into(
    model: nn.Module, plan: Plan, *, layer: str | None = None, exact: bool = False
) -> tuple[nn.Module, Plan]:
    """Fold a plan into the first convolution of a model.

    ``folded(feed(image))`` equals ``model(plan(image))`` up to rounding, but the model
    reads the bands of the plan's source instead of those of its target: one gray band
    instead of three, for example. Without ``exact`` that holds wherever no zero
    padding is involved, and approximately at zero-padded borders; `compare` measures
    the difference.

    The layer that reads the image is found by running a copy of the model, in
    evaluation mode, on noise. What acts in training only, such as dropout of the
    image, is not seen. Before the result is returned, it is verified that the layer is
    the only part that reads the image, and that the folded layer gives the outputs
    of the original one on images of the source.

    Parameters
    ----------
    model : torch.nn.Module
        Model whose first layer is a Conv2d or Conv3d that reads the image as it is
        given, at most padded with zeros. It is neither changed nor run.
    plan : Plan
        Plan that feeds ``model``. Its source declares its range, and its target is
        floating. Its layouts are replaced by those of torch.
    layer : str, optional
        Name of the layer to fold, if several read the image and the others reach no
        output.
    exact : bool, default False
        Feed a constant band "one" beside the others, which makes the fold exact at
        zero-padded borders too. Required if the source has nodata.

    Returns
    -------
    folded : torch.nn.Module
        Copy of ``model``. The convolution has other input bands and one group, and a
        bias if the plan has an offset. Stride, padding, dilation, dtype, device and
        ``requires_grad`` stay.
    feed : Plan
        Plan that feeds ``folded``: from the source of ``plan``, with its nodata and
        clip, to unit intensities less a centre for each band, in layout CHW (or CDHW).
        The centres minimise the error at zero padding.

    Raises
    ------
    ChannelError
        If no convolution reads the image as it is, if the model reads it elsewhere
        too, if the layer computes more than a convolution by its weight, if layers are
        lazy, or if the model returns no finite number that could be compared.
    RangeError
        If the source declares no range, if it has nodata and ``exact`` is False, or if
        the dtype of the weights cannot hold a folded weight.
    DTypeError
        If ``model`` is no module, ``plan`` is no plan, or its target is not floating.
    LayoutError
        If the model reads volumes and the source is no volume.

    Notes
    -----
    The weights keep their dtype. On CUDA, convolutions in float32 may round to TF32,
    as ``torch.backends.cudnn.allow_tf32`` says.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import graypipe as gp
    >>> from graypipe.adapters.torch import fold_into
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten())
    >>> plan = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
    >>> folded, feed = fold_into(model, plan)
    >>> folded[0]
    Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))
    >>> feed.target.bands
    ('gray',)

    The folded model gives the outputs of the original one:

    >>> image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> expected = model(torch.from_numpy(plan(image)[None]))
    >>> actual = folded(torch.from_numpy(feed(image)[None]))
    >>> torch.allclose(actual, expected, atol=1e-4)
    True
    """
    folding.check_foldable(plan, exact=exact)
    reader = find_image_layer(model, len(plan.target.bands), layer)
    convolution = reader.layer
    bias = None
    if convolution.bias is not None:
        bias = to_array(convolution.bias)
    kernel, bias, feed = folding.fold(
        plan.with_layouts(target=_target_layout(plan, len(reader.size))),
        to_array(convolution.weight),
        bias,
        reader.taps_inside,
        layout=KERNEL_LAYOUTS[convolution.weight.ndim],
        groups=convolution.groups,
        exact=exact,
    )
    folded = copy_model(model)
    _replace_weights(folded.get_submodule(reader.name), kernel, bias, reader.name)
    check_only_reader(folded, reader, len(feed.target.bands))
    _check_layer_outputs((model, folded), (plan, feed), reader, exact)
    return folded, feed


def compare(
    model: nn.Module,
    plan: Plan,
    folded: nn.Module,
    folded_plan: Plan,
    *,
    layer: str | None = None,
) -> Comparison:
    """Measure how far a folded model is from the original one.

    Copies of both models run in evaluation mode on the same random images of the
    source, each fed by its plan. The images have a size that the model names, or 64 by
    64 pixels, and as many more are 7 pixels larger on each side if the model accepts
    that, because padding may depend on the size.

    Parameters
    ----------
    model : torch.nn.Module
        The original model.
    plan : Plan
        Plan that feeds it.
    folded : torch.nn.Module
        The folded model: the result of `fold_into`, or another model with a layer of
        the same name that should give the same outputs.
    folded_plan : Plan
        Plan that feeds it, from the source of ``plan``.
    layer : str, optional
        Name of the folded layer, as for `fold_into`.

    Returns
    -------
    Comparison
        Largest and relative L2 difference of the folded layer's outputs, separately
        for the ``interior`` and the zero-padded ``border``, and of the outputs of the
        ``model``. Printing it shows a table.

    Raises
    ------
    ChannelError
        If the plans have different sources, if the models differ in their layers or
        the shapes of their outputs, or if no convolution of ``model`` reads the image.
    DTypeError
        If a model is no module.

    Examples
    --------
    >>> import torch
    >>> import graypipe as gp
    >>> from graypipe.adapters.torch import compare, fold_into
    >>> convolution = torch.nn.Conv2d(3, 8, 3, padding=1)
    >>> model = torch.nn.Sequential(convolution, torch.nn.ReLU())
    >>> plan = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
    >>> comparison = compare(model, plan, *fold_into(model, plan))
    >>> comparison.layer
    '0'
    >>> comparison.interior.relative < 1e-5
    True

    With ``exact=True`` the zero-padded border is exact too:

    >>> comparison = compare(model, plan, *fold_into(model, plan, exact=True))
    >>> comparison.border.relative < 1e-5
    True
    """
    reader = find_image_layer(model, len(plan.target.bands), layer)
    original_run, folded_run = _run_both((model, folded), (plan, folded_plan), reader)
    expected_layer, expected_outputs = original_run
    actual_layer, actual_outputs = folded_run
    expected_shapes = [array.shape for array in (expected_layer, *expected_outputs)]
    actual_shapes = [array.shape for array in (actual_layer, *actual_outputs)]
    if expected_shapes != actual_shapes:
        raise ChannelError(
            f"expected models that differ only in the bands they read, but "
            f"{reader.name!r} and the outputs have the shapes {expected_shapes} in one "
            f"model, {actual_shapes} in the other: {folding.COMPARE_HINT}"
        )
    interior, border = folding.compare_layer_outputs(
        actual_layer, expected_layer, reader.taps_inside
    )
    outputs = folding.Difference.between(actual_outputs, expected_outputs)
    return Comparison(reader.name, interior, border, outputs)


def _check_layer_outputs(
    models: tuple[nn.Module, nn.Module],
    plans: tuple[Plan, Plan],
    reader: ImageLayer,
    exact: bool,
) -> None:
    """Raise ChannelError unless the folded layer gives the outputs of the original.

    The noise of the other checks cannot cover every value that images of the source
    have, nor every size: a model may clamp beyond 2000, or pad by a number other than
    zero at some sizes. Here the layers run on images of the source, in two sizes, each
    fed by its plan. At the padded border they are equal with ``exact`` only.
    """
    (expected, _), (actual, _) = _run_both(models, plans, reader, count=1)
    interior, border = folding.compare_layer_outputs(
        actual, expected, reader.taps_inside
    )
    differences = [interior.relative]
    if exact:
        differences.append(border.relative)
    tolerance = _tolerance(reader.output, plans[0])
    # "not <=" rather than ">": NaN is a difference too.
    if not all(difference <= tolerance for difference in differences):
        raise ChannelError(
            f"{reader.name!r}, folded, does not make of the source's images what it "
            f"made of the plan's: the relative L2 difference is "
            f"{np.max(differences):.1g}. The model does more to the image than "
            f"convolve it (clamps it, scales it by its values, changes the weight): "
            f"use a ChannelLayer in front of the model"
        )


def _tolerance(output: Tensor, plan: Plan) -> float:
    """Return the relative difference of ``output`` that rounding may cause.

    The square root of the machine epsilon, which is half the digits, of the less
    precise of the plan and the layer. The dtype of ``output`` is that of the layer,
    also under autocast.
    """
    is_float32_on_cuda = output.is_cuda and output.dtype == torch.float32
    if is_float32_on_cuda and torch.backends.cudnn.allow_tf32:
        layer_epsilon = 2**-10  # TF32 has 10 bits of mantissa
    else:
        layer_epsilon = torch.finfo(output.dtype).eps
    plan_epsilon = float(np.finfo(plan.target.dtype).eps)
    return float(max(layer_epsilon, plan_epsilon) ** 0.5)


def _run_both(
    models: tuple[nn.Module, nn.Module],
    plans: tuple[Plan, Plan],
    reader: ImageLayer,
    count: int = 2,
) -> list[tuple[Array, list[Array]]]:
    """Run both models on the same ``count`` images of each size of ``reader``.

    Returns the results of `_run_on_batches`, for each model.
    """
    axes = len(reader.size)
    feeds = [plan.with_layouts(target=_target_layout(plan, axes)) for plan in plans]
    # For each size, the inputs of the original model and those of the folded one.
    inputs = [folding.sample_inputs(feeds, size, count) for size in reader.taps_by_size]
    results = []
    for model, batches in zip(models, zip(*inputs, strict=True), strict=True):
        results.append(_run_on_batches(model, reader.name, batches))
    return results


def _run_on_batches(
    model: nn.Module, layer: str, batches: tuple[Array, ...]
) -> tuple[Array, list[Array]]:
    """Run a copy of ``model`` on ``batches``.

    Returns what ``layer`` made of them, (N, outputs of all sizes, channels), and all
    tensors that the model returned.
    """
    layer_calls: list[Tensor] = []

    def record(_layer: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        layer_calls.append(output.clone())  # a layer that works in place may follow

    layer_outputs: list[Tensor] = []
    model_outputs: list[Tensor] = []
    with evaluation_copy(model) as copy:
        if not isinstance(dict(copy.named_modules()).get(layer), CONVOLUTIONS):
            raise ChannelError(
                f"the folded model has no convolution {layer!r}, which reads the image "
                f"in the original one: {folding.COMPARE_HINT}, both wrapped or neither"
            )
        copy.get_submodule(layer).register_forward_hook(record)
        for images in batches:
            model_outputs += run_model(copy, to_model(torch.from_numpy(images), copy))
            layer_outputs.append(layer_calls[-1].flatten(2))
    channels_last: Array = (
        torch.cat(layer_outputs, 2).movedim(1, -1).double().cpu().numpy()
    )
    return channels_last, [_to_float64(output) for output in model_outputs]


def _to_float64(tensor: Tensor) -> Array:
    """Return ``tensor`` as an array of float64; a complex one as pairs of them."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    array: Array = tensor.double().cpu().numpy()
    return array


def _target_layout(plan: Plan, axes: int) -> str:
    """Return the target layout for a convolution over ``axes`` spatial axes."""
    spatial = plan.source.layout.replace("C", "").replace("N", "")
    if len(spatial) < axes:
        raise LayoutError(
            f"the model reads volumes, (C, D, H, W), and the layout of the source is "
            f"{plan.source.layout!r}: declare that of its volumes, such as "
            f"layout='DHW' or 'THW'"
        )
    return "C" + spatial[len(spatial) - axes :]


def _replace_weights(
    convolution: Any, kernel: Array, bias: Array | None, name: str
) -> None:
    """Give ``convolution``, called ``name`` in its model, folded weights."""
    old_weight = convolution.weight
    old_bias = convolution.bias
    convolution.in_channels = kernel.shape[1]
    convolution.groups = 1
    weight = to_dtype(kernel, old_weight.dtype, f"{name}.weight").to(old_weight)
    convolution.weight = nn.Parameter(weight, requires_grad=old_weight.requires_grad)
    if bias is None:
        return
    # A layer without a bias gets one that trains if its weight does.
    requires_grad = old_weight.requires_grad
    if old_bias is not None:
        requires_grad = old_bias.requires_grad
    new_bias = to_dtype(bias, old_weight.dtype, f"{name}.bias").to(old_weight)
    convolution.bias = nn.Parameter(new_bias, requires_grad=requires_grad)
