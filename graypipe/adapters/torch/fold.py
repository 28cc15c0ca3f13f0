"""Fold a plan into the first convolution of a torch model, and compare both models."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...channel_map import Bands
from ...errors import ChannelError, LayoutError
from ...extras import require_extra
from ...plan import Plan
from .._shared import folding
from .._shared.folding import Comparison
from .declarations import check_bias_is_saved, declare_bands
from .evaluation import copy_model, evaluation_copy, match_model, run_model
from .saved_input import record_input
from .trace import CONVOLUTIONS, ImageLayer, find_image_layer
from .transfer import KERNEL_LAYOUTS, to_array, to_dtype
from .verify import check_only_reader

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn

Array = NDArray[Any]


def fold_into(
    model: nn.Module,
    plan: Plan,
    *,
    layer: str | None = None,
    exact: bool = False,
    new: str | None = None,
    of: Bands = "RGB",
) -> tuple[nn.Module, Plan]:
    """Fold a plan into the first convolution of a model.

    ``folded(feed(image))`` equals ``model(plan(image))`` up to rounding, but the folded
    model reads the bands of the plan's source instead of those of its target: one gray
    band instead of three, for example. Without ``exact`` that holds wherever no zero
    padding is involved, and approximately at zero-padded borders; `compare` measures
    the difference.

    The layer that reads the image is found by running a copy of the model, in
    evaluation mode, on noise. Operations that are active only in training, such as
    dropout on the image, are not detected. Before the result is returned, it is
    verified that the layer is the only part that reads the image, and that the folded
    layer reproduces the outputs of the original one on images of the source.

    Parameters
    ----------
    model : torch.nn.Module
        Model whose first layer is a Conv2d or Conv3d that reads the unmodified image,
        except for zero padding. The model is neither modified nor run (only copies
        run).
    plan : Plan
        Plan that converts images to the input of ``model``. Its source must declare a
        range, and its target must be floating-point. Its layouts are replaced by those
        of torch.
    layer : str, optional
        Name of the layer to fold, if several layers read the image and the others do
        not affect any output.
    exact : bool, default False
        Append a constant band "one" to the input, which makes the fold exact at
        zero-padded borders too. Required if the source has nodata.
    new : {"zero", "nearest", "mean"}, optional
        Extend the model first, to the bands of the target of ``plan``: those that it
        does not know get the kernel that `graypipe.weights.extend` describes. By
        default, the target has the bands that the model reads.
    of : str or sequence of str, default "RGB"
        With ``new``, the bands that the model reads, in order. If the source of the
        plan was made from a sensor, the target may have any of their names.

    Returns
    -------
    folded : torch.nn.Module
        Copy of ``model``. The convolution reads different bands, and has one group, and
        a bias if the plan has an offset. Stride, padding, dilation, dtype, device and
        ``requires_grad`` are unchanged. Where modules around the layer and their
        configurations declare the number of bands (``num_channels`` of Hugging Face),
        it is replaced, so that ``save_pretrained`` and ``from_pretrained`` work.
    feed : Plan
        Plan that converts images to the input of ``folded``: from the source of
        ``plan``, with its nodata and clip, to unit intensities minus a centre for each
        band, in layout CHW (or CDHW). The centres keep the error at zero padding small.
        ``feed`` depends on ``plan`` and ``exact`` alone: it is the same for every
        model, so it also fits weights that were folded earlier and are loaded. The
        state dict of ``folded`` records the bands and centres, and ``load_state_dict``
        raises a `ChannelError` if they differ from those of the model.

    Raises
    ------
    ChannelError
        If no convolution reads the unmodified image, if other parts of the model read
        it too, if the layer is not a plain convolution with its weight, if layers are
        lazy, if no output of the model is finite, so that nothing can be compared, or
        if a bias is added that `from_pretrained` would not load.
    RangeError
        If the source declares no range, if it has nodata and ``exact`` is False, or if
        a folded weight overflows the dtype of the weights.
    DTypeError
        If ``model`` is not a module, ``plan`` is not a plan, or its target is not
        floating-point.
    LayoutError
        If the model reads volumes but the source does not describe volumes.

    Notes
    -----
    The weights keep their dtype. On CUDA, convolutions in float32 may use TF32,
    depending on ``torch.backends.cudnn.allow_tf32``.

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

    The folded model reproduces the outputs of the original one:

    >>> image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> expected = model(torch.from_numpy(plan(image)[None]))
    >>> actual = folded(torch.from_numpy(feed(image)[None]))
    >>> torch.allclose(actual, expected, atol=1e-4)
    True
    """
    folding.check_foldable(plan, exact=exact)
    if new is not None:
        extension = folding.extension_plan(plan, new=new, of=of)
        model, _ = fold_into(model, extension, layer=layer)
    image_layer = find_image_layer(model, len(plan.target.bands), layer)
    convolution = image_layer.layer
    bias = None
    if convolution.bias is not None:
        bias = to_array(convolution.bias)
    kernel, bias, feed = folding.fold(
        plan.with_layouts(target=_target_layout(plan, len(image_layer.size))),
        to_array(convolution.weight),
        bias,
        layout=KERNEL_LAYOUTS[convolution.weight.ndim],
        groups=convolution.groups,
        exact=exact,
    )
    bands = len(plan.target.bands)
    if convolution.bias is None and bias is not None:
        check_bias_is_saved(model, image_layer.name, bands)
    folded = copy_model(model)
    _replace_weights(
        folded.get_submodule(image_layer.name), kernel, bias, image_layer.name
    )
    declare_bands(folded, image_layer.name, bands, len(feed.target.bands))
    record_input(folded.get_submodule(image_layer.name), feed)
    check_only_reader(model, folded, image_layer, len(feed.target.bands))
    _check_layer_outputs((model, folded), (plan, feed), image_layer, exact)
    return folded, feed


def compare(
    model: nn.Module,
    plan: Plan,
    folded: nn.Module,
    folded_plan: Plan,
    *,
    layer: str | None = None,
) -> Comparison:
    """Measure the difference between a folded model and the original one.

    Copies of both models run in evaluation mode on the same random images of the
    source, each with the output of its plan as input. The images have the first size
    that the model accepts: one that it declares, 64 x 64 pixels or a larger one. If the
    model accepts it, the same number of images with height and width increased by 7 is
    used as well, because padding may depend on the size.

    Parameters
    ----------
    model : torch.nn.Module
        The original model.
    plan : Plan
        Plan that converts images to the input of ``model``.
    folded : torch.nn.Module
        The folded model: the result of `fold_into`, or another model with a layer of
        the same name that should give the same outputs.
    folded_plan : Plan
        Plan that converts images to the input of ``folded``, from the source of
        ``plan``.
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
        If the plans have different sources, if ``folded`` has no convolution of that
        name, if the outputs of the models differ in shape, or if no convolution of
        ``model`` reads the image.
    DTypeError
        If a model is not a module.

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
    image_layer = find_image_layer(model, len(plan.target.bands), layer)
    original_run, folded_run = _run_both(
        (model, folded), (plan, folded_plan), image_layer
    )
    expected_layer, expected_outputs = original_run
    actual_layer, actual_outputs = folded_run
    expected_shapes = [array.shape for array in (expected_layer, *expected_outputs)]
    actual_shapes = [array.shape for array in (actual_layer, *actual_outputs)]
    if expected_shapes != actual_shapes:
        raise ChannelError(
            "expected models that differ only in the bands they read, but the outputs "
            f"of {image_layer.name!r} and of the model have the shapes "
            f"{expected_shapes} in the original model and {actual_shapes} in the "
            f"folded one: {folding.COMPARE_HINT}"
        )
    interior, border = folding.compare_layer_outputs(
        actual_layer, expected_layer, image_layer.taps_inside
    )
    outputs = folding.Difference.between(actual_outputs, expected_outputs)
    return Comparison(image_layer.name, interior, border, outputs)


def _check_layer_outputs(
    models: tuple[nn.Module, nn.Module],
    plans: tuple[Plan, Plan],
    image_layer: ImageLayer,
    exact: bool,
) -> None:
    """Raise ChannelError unless the folded layer reproduces the original outputs.

    The noise of the other checks cannot cover every value that images of the source
    have, nor every size: a model may clamp beyond 2000, or pad with a number other than
    zero at some sizes. Here both layers run on images of the source of two sizes, each
    with the output of its plan as input. At the zero-padded border, equality is
    required only with ``exact``.
    """
    (expected, _), (actual, _) = _run_both(models, plans, image_layer, count=1)
    interior, border = folding.compare_layer_outputs(
        actual, expected, image_layer.taps_inside
    )
    differences = [interior.relative]
    if exact:
        differences.append(border.relative)
    tolerance = _tolerance(image_layer.output, plans[0])
    # ``not <=`` instead of ``>``, so that NaN counts as a difference.
    if not all(difference <= tolerance for difference in differences):
        raise ChannelError(
            f"after folding, {image_layer.name!r} does not reproduce its original "
            "outputs on images of the source: the relative L2 difference is "
            f"{np.max(differences):.1g}. The model probably changes the image before "
            "the convolution (clamping, scaling that depends on the values), or the "
            "weight during it: use a ChannelLayer in front of the model"
        )


def _tolerance(output: Tensor, plan: Plan) -> float:
    """Return the relative difference that rounding may cause in ``output``.

    It is the square root of the larger machine epsilon of plan and layer, that is,
    agreement in half of the digits. ``output`` has the dtype in which the layer
    computes, also under autocast.
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
    image_layer: ImageLayer,
    count: int = 2,
) -> list[tuple[Array, list[Array]]]:
    """Run both models on the same ``count`` images of each size of ``image_layer``.

    Returns the results of `_run_on_batches`, for each model.
    """
    spatial_ndim = len(image_layer.size)
    input_plans = [
        plan.with_layouts(target=_target_layout(plan, spatial_ndim)) for plan in plans
    ]
    # For each size, the inputs of the original model and those of the folded one.
    inputs = [
        folding.sample_inputs(input_plans, size, count)
        for size in image_layer.taps_by_size
    ]
    results = []
    for model, batches in zip(models, zip(*inputs, strict=True), strict=True):
        results.append(_run_on_batches(model, image_layer.name, batches))
    return results


def _run_on_batches(
    model: nn.Module, layer: str, batches: tuple[Array, ...]
) -> tuple[Array, list[Array]]:
    """Run a copy of ``model`` on ``batches``.

    Returns the outputs of ``layer``, of shape (N, output positions of all sizes,
    channels), and all tensors that the model returned.
    """
    layer_calls: list[Tensor] = []

    def record(_layer: nn.Module, _args: tuple[Any, ...], output: Tensor) -> None:
        layer_calls.append(output.clone())  # the next layer may modify it in place

    layer_outputs: list[Tensor] = []
    model_outputs: list[Tensor] = []
    with evaluation_copy(model) as copy:
        if not isinstance(dict(copy.named_modules()).get(layer), CONVOLUTIONS):
            raise ChannelError(
                f"the folded model has no convolution {layer!r}, the one that reads "
                f"the image in the original model: {folding.COMPARE_HINT}, and wrap "
                "either both models or neither"
            )
        copy.get_submodule(layer).register_forward_hook(record)
        for images in batches:
            x = match_model(torch.from_numpy(images), copy)
            model_outputs += run_model(copy, x)
            layer_outputs.append(layer_calls[-1].flatten(2))
    channels_last: Array = (
        torch.cat(layer_outputs, 2).movedim(1, -1).double().cpu().numpy()
    )
    return channels_last, [_to_float64(output) for output in model_outputs]


def _to_float64(tensor: Tensor) -> Array:
    """Return ``tensor`` as a float64 array.

    Complex values become pairs along a new last axis.
    """
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    array: Array = tensor.double().cpu().numpy()
    return array


def _target_layout(plan: Plan, spatial_ndim: int) -> str:
    """Return the target layout for a convolution over ``spatial_ndim`` axes."""
    spatial = plan.source.layout.replace("C", "").replace("N", "")
    if len(spatial) < spatial_ndim:
        raise LayoutError(
            "the model reads volumes (C, D, H, W), but the source has the layout "
            f"{plan.source.layout!r}: declare a source of volumes, such as "
            "layout='DHW' or 'THW'"
        )
    return "C" + spatial[len(spatial) - spatial_ndim :]


def _replace_weights(
    convolution: Any, kernel: Array, bias: Array | None, name: str
) -> None:
    """Replace the weights of ``convolution``, named ``name`` in the model."""
    old_weight = convolution.weight
    old_bias = convolution.bias
    convolution.in_channels = kernel.shape[1]
    convolution.groups = 1
    weight = to_dtype(kernel, old_weight.dtype, f"{name}.weight").to(old_weight)
    convolution.weight = nn.Parameter(weight, requires_grad=old_weight.requires_grad)
    if bias is None:
        return
    # A layer without a bias gets one that is trainable if the weight is.
    requires_grad = old_weight.requires_grad
    if old_bias is not None:
        requires_grad = old_bias.requires_grad
    new_bias = to_dtype(bias, old_weight.dtype, f"{name}.bias").to(old_weight)
    convolution.bias = nn.Parameter(new_bias, requires_grad=requires_grad)
