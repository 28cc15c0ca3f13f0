"""Find the layer of a torch model that reads the image, by running it on noise.

Hooks compare the input of every convolution with the image. A convolution reads the
image if its input is exactly the image, with nothing but zeros around it: then, and
only then, a fold into its weights is equivalent to the plan. The noise is such that
any operation before the convolution changes it, see `evaluation.noise_image`.

The zeros around the image, from padding modules or functions and from the convolution
itself, determine which taps of the kernel lie inside the image for each output
position. `_shared.folding` needs this, because zero padding makes a fold inexact. A
second image size is traced because padding may depend on the size: models pad to a
multiple of their stride or patch size.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from math import prod
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...bands import format_band_count
from ...errors import ChannelError
from ...extras import require_extra
from ...messages import describe_value
from .evaluation import (
    candidate_sizes,
    evaluation_copy,
    iter_tensors,
    noise_image,
    run_model,
)

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn

Size = tuple[int, ...]

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)

# Modules that pass on the image unchanged, or with zeros around it.
TRANSPARENT = (nn.Identity, nn.ZeroPad2d, nn.ZeroPad3d)

# Added to height, width and depth for the second size. It is odd, so that the sum is
# not a multiple of strides and patch sizes, which are usually even.
SECOND_SIZE_MARGIN = 7

# Advice for errors about models into which nothing can be folded.
CHANNEL_LAYER_ADVICE = "Use a ChannelLayer in front of the model"


@dataclass(frozen=True)
class LayerCall:
    """One call of a layer.

    Attributes
    ----------
    name : str
        Name of the layer in the model.
    layer : torch.nn.Module
        The layer.
    input_shape : tuple of int
        Shape of its first tensor argument.
    image_mask : Tensor or None
        Result of `locate_image` for that argument.
    output : Tensor or None
        Output of the layer, if its input was the image.
    """

    name: str
    layer: nn.Module
    input_shape: tuple[int, ...]
    image_mask: Tensor | None
    output: Tensor | None


@dataclass(frozen=True)
class ImageLayer:
    """The convolution that reads the image, and the run in which it was found.

    Attributes
    ----------
    name : str
        Name of the layer in the model.
    layer : torch.nn.Conv2d or torch.nn.Conv3d
        The layer in a copy of the model.
    taps_by_size : dict of tuple to ndarray of bool, shape (taps, outputs)
        By image size, starting with the size of ``image``: which taps of the kernel lie
        inside the image rather than in zero padding, for each output position.
    image : Tensor of shape (1, bands, *size)
        The noise image.
    output : Tensor
        Output of the layer for ``image``.
    model_outputs : list of Tensor
        Outputs of the model for ``image``.
    """

    name: str
    layer: nn.Conv2d | nn.Conv3d
    taps_by_size: dict[Size, NDArray[np.bool_]]
    image: Tensor
    output: Tensor
    model_outputs: list[Tensor]

    @property
    def size(self) -> Size:
        """(H, W) of the image, or (D, H, W)."""
        return tuple(self.image.shape[2:])

    @property
    def taps_inside(self) -> NDArray[np.bool_]:
        """The arrays of ``taps_by_size``, concatenated along the axis of outputs."""
        return np.concatenate(list(self.taps_by_size.values()), axis=1)


def find_image_layer(
    model: nn.Module, bands: int, layer: str | None = None
) -> ImageLayer:
    """Return the convolution of ``model`` that reads the image.

    Parameters
    ----------
    model : torch.nn.Module
        The model. A copy of it runs.
    bands : int
        Number of bands that the model reads.
    layer : str, optional
        Name of the layer to return if several layers read the image.

    Raises
    ------
    ChannelError
        If no convolution reads the unmodified image, if several convolutions do and
        ``layer`` is not the name of one of them, or if nothing can be folded into the
        weights of the layer.
    DTypeError
        If ``model`` is not a `torch.nn.Module`.
    """
    with evaluation_copy(model) as copy:
        image, calls, model_outputs = _run_at_first_size(copy, bands)
        call = _choose_call(copy, calls, layer)
        _check_owns_weights(copy, call, calls)
        taps_by_size = {tuple(image.shape[2:]): _find_taps_inside(call)}
        taps_by_size |= _find_taps_at_second_size(copy, call, image)
        return ImageLayer(
            call.name,
            call.layer,  # type: ignore[arg-type]  # _choose_call returns convolutions
            taps_by_size,
            image,
            call.output,  # type: ignore[arg-type]  # ... that read the image
            model_outputs,
        )


def _run_at_first_size(
    model: nn.Module, bands: int
) -> tuple[Tensor, list[LayerCall], list[Tensor]]:
    """Run ``model`` on noise of the first size that it accepts.

    Returns the image, the calls of layers and the tensors that the model returned.
    """
    first_error: Exception | None = None
    sizes = candidate_sizes(model)
    for size in sizes:
        image = noise_image(model, bands, size)
        try:
            calls, outputs = _record_calls(model, image)
        except Exception as error:  # a model may raise anything for a wrong size
            first_error = first_error or error
            continue
        if not outputs:
            raise ChannelError(
                "expected a model whose output contains tensors (alone or nested in "
                "lists, mappings or objects), but its output, of type "
                f"{type(model(image)).__name__}, contains none: without outputs to "
                "compare, a fold cannot be verified"
            )
        return image, calls, outputs
    tried = ", ".join("x".join(map(str, size)) for size in sizes)
    raise ChannelError(
        f"the model does not accept images of {format_band_count(bands)} (the output "
        f"of the plan) at any of the sizes {tried}; for the first size it raises "
        f"{type(first_error).__name__}: {shorten(str(first_error), 200)}. To extend a "
        'model to bands that it does not know, pass new="zero" to fold_into'
    ) from first_error


def _record_calls(
    model: nn.Module, image: Tensor
) -> tuple[list[LayerCall], list[Tensor]]:
    """Run ``model``; return the calls of its layers and its output tensors."""
    names = {module: name for name, module in model.named_modules()}
    calls: list[LayerCall] = []

    def record(
        layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        x = next(iter_tensors([*args, *kwargs.values()]), None)
        if x is None:
            return
        mask = locate_image(x, image)
        copied_output = None
        if mask is not None and isinstance(output, Tensor):
            copied_output = output.clone()  # the next layer may modify it in place
        shape = tuple(x.shape)
        calls.append(LayerCall(names[layer], layer, shape, mask, copied_output))

    hooks = []
    for module, name in names.items():
        if isinstance(module, CONVOLUTIONS) or _is_leaf(module, name):
            hooks.append(module.register_forward_hook(record, with_kwargs=True))
    try:
        return calls, run_model(model, image)
    finally:
        for hook in hooks:
            hook.remove()


def _is_leaf(module: nn.Module, name: str) -> bool:
    """Return whether ``module`` has no submodules and supports hooks.

    The model itself does not count as a leaf. Leaves are recorded so that error
    messages can name what else reads the image.
    """
    if not name or any(module.children()):
        return False
    return not isinstance(module, torch.jit.ScriptModule)  # does not support hooks


def locate_image(x: Tensor, image: Tensor) -> Tensor | None:
    """Return a mask of the position of ``image`` in ``x``.

    Parameters
    ----------
    x : Tensor
        Any tensor.
    image : Tensor of shape (1, bands, *size)
        Noise whose outermost rows and columns are not zero.

    Returns
    -------
    Tensor of shape (1, 1, *size of x) or None
        1 inside the image and 0 around it; None if ``x`` contains anything but the
        image and zeros around it.
    """
    if x.is_quantized or x.ndim != image.ndim or x.shape[:2] != image.shape[:2]:
        return None
    if x.numel() < image.numel():
        return None
    nonzero = (x != 0).any(1, keepdim=True).nonzero()
    if not len(nonzero):
        return None
    # Bounding box of the nonzero elements.
    low = nonzero.amin(0).tolist()[2:]
    high = nonzero.amax(0).tolist()[2:]
    sides = [slice(first, last + 1) for first, last in zip(low, high, strict=True)]
    box: Any = (..., *sides)
    if not torch.equal(x[box], image):
        return None
    mask = torch.zeros_like(x[:1, :1])
    mask[box] = 1
    return mask


def _choose_call(
    model: nn.Module, calls: list[LayerCall], layer: str | None
) -> LayerCall:
    """Return the call of the one convolution that read the image, or of ``layer``."""
    readers = {}
    for call in calls:
        if call.output is not None and isinstance(call.layer, CONVOLUTIONS):
            readers[call.name] = call
    if not readers:
        raise ChannelError(
            "no convolution of the model reads the unmodified image: "
            f"{_explain_no_reader(model, calls)}"
        )
    names = ", ".join(map(repr, readers))
    if layer is None:
        if len(readers) > 1:
            raise ChannelError(
                f"several layers read the image ({shorten(names, 200)}), and a plan "
                "folded into one of them would not be applied in the others. If the "
                "others do not affect the output, pass the name of the layer to fold "
                "as layer=. If they are branches that the model can fuse, as "
                "timm.utils.reparameterize_model does, fuse them first. Otherwise put "
                "a ChannelLayer in front of the model"
            )
        return next(iter(readers.values()))
    if not isinstance(layer, str) or layer not in readers:
        raise ChannelError(
            f"{describe_value(layer)} does not read the image: omit layer=, or pass "
            f"one of {names}"
        )
    return readers[layer]


def _explain_no_reader(model: nn.Module, calls: list[LayerCall]) -> str:
    """Return what happens to the image instead of a convolution that reads it."""
    # Inception and GoogLeNet of torchvision.
    if any(getattr(module, "transform_input", False) for module in model.modules()):
        return (
            "the model normalises the image itself (transform_input=True). Set "
            "transform_input to False and fold a plan with the target 'inception', "
            "which is equivalent"
        )
    first_convolution = None
    for call in calls:
        if call.image_mask is not None and not isinstance(call.layer, TRANSPARENT):
            return (
                f"the layer {call.name!r} ({type(call.layer).__name__}) reads it "
                f"instead. {CHANNEL_LAYER_ADVICE}"
            )
        if first_convolution is None and isinstance(call.layer, CONVOLUTIONS):
            first_convolution = call
    if first_convolution is None:
        return (
            "the model calls no convolution layer. If it is compiled or scripted, pass "
            "the original module; functional convolutions cannot be replaced"
        )
    return (
        f"the input of the first convolution, {first_convolution.name!r}, is a tensor "
        f"of shape {first_convolution.input_shape} that was computed from the image. "
        f"{CHANNEL_LAYER_ADVICE}"
    )


def _check_owns_weights(
    model: nn.Module, call: LayerCall, calls: list[LayerCall]
) -> None:
    """Raise ChannelError if new weights would affect anything but reading the image."""
    layer = call.layer
    parameters = layer._parameters
    for name in ("weight", "bias"):
        if getattr(layer, name) is not None and parameters.get(name) is None:
            raise ChannelError(
                f"the {name} of {call.name!r} is computed from other tensors "
                "(weight_norm, parametrize, pruning), so nothing can be folded into "
                "it: remove the parametrization first, for example with "
                "torch.nn.utils.parametrize.remove_parametrizations"
            )
    if any(other.layer is layer and other.output is None for other in calls):
        raise ChannelError(
            f"{call.name!r} reads the image but is also called with other inputs, for "
            f"which the folded weights would be wrong. {CHANNEL_LAYER_ADVICE}"
        )
    parameter_ids = {id(parameter) for parameter in parameters.values()}
    for module_name, module in model.named_modules():
        if module is layer:
            continue
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) in parameter_ids:
                raise ChannelError(
                    f"{call.name!r} shares a parameter with {module_name!r}, so "
                    "folding would change both layers: untie them first"
                )


def _find_taps_inside(call: LayerCall) -> NDArray[np.bool_]:
    """Return which taps lie inside the image, as a bool array of shape (taps, outputs).

    Runs the layer on ``call.image_mask`` with one output channel per tap, whose kernel
    is 1 at that tap and 0 elsewhere: the output is the value that the tap reads. This
    needs no formula for stride, padding, dilation or padding modes.

    It also shows whether the layer is a plain convolution with its weight. A subclass
    may standardise or mask its weight, or change its input; then a value is neither 0
    nor 1, or a negative multiple of the input does not give that multiple of the
    output.
    """
    probe: Any = deepcopy(call.layer)
    count = prod(probe.kernel_size)
    probe.in_channels = 1
    probe.out_channels = count
    probe.groups = 1
    probe.bias = None
    kernel = torch.eye(count).reshape(count, 1, *probe.kernel_size)
    probe.weight = nn.Parameter(kernel.to(probe.weight))
    mask: Any = call.image_mask
    try:
        # Call forward directly, so that hooks, which expect the outputs for images, do
        # not run.
        taps = probe.forward(mask)
        # -256 is negative, far from 1, and exact in every floating-point dtype.
        is_linear = torch.equal(probe.forward(mask * -256), taps * -256)
        is_0_or_1 = bool(((taps == 0) | (taps == 1)).all())
        is_read_somewhere = bool((taps[0] == 1).flatten(1).any(1).all())
        is_plain = is_linear and is_0_or_1 and is_read_somewhere
    except Exception:  # a subclass may raise anything for a kernel that is not its own
        is_plain = False
    if not is_plain:
        raise ChannelError(
            f"{call.name!r} ({type(probe).__name__}) does not apply its weight "
            "unchanged (StdConv2d, for example, standardises it), so nothing can be "
            f"folded into it. {CHANNEL_LAYER_ADVICE}"
        )
    taps_inside: NDArray[np.bool_] = (taps[0] == 1).reshape(count, -1).cpu().numpy()
    return taps_inside


def _find_taps_at_second_size(
    model: nn.Module, first_call: LayerCall, image: Tensor
) -> dict[Size, NDArray[np.bool_]]:
    """Return the taps inside an image of another size, keyed by that size.

    The result is empty if the model does not accept the size or does not call the
    layer.
    """
    size = tuple(side + SECOND_SIZE_MARGIN for side in image.shape[2:])
    try:
        calls, _ = _record_calls(model, noise_image(model, image.shape[1], size))
    except Exception:  # a model may raise anything for a wrong size
        return {}
    layer_calls = [call for call in calls if call.layer is first_call.layer]
    if not layer_calls:
        return {}
    call = layer_calls[0]
    if call.output is None:
        # At this size the layer does not read the unmodified image, for example because
        # the model resizes it. Assume that the input of the layer has no padding;
        # whether the fold is correct in this case is verified later by running the
        # folded model.
        ones = image.new_ones(1, 1, *call.input_shape[2:])
        call = replace(call, image_mask=ones)
    return {size: _find_taps_inside(call)}
