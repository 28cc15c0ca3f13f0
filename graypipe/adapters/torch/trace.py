"""Find the layer of a torch model that reads the image, by running it on noise.

Hooks compare the input of every convolution with the image. A convolution reads the
image if its input is exactly the image, with nothing but zeros around it: then, and
only then, a fold into its weights has the effect of the plan. The noise is such that
operations on the way to the convolution change it, see `evaluation.noise_image`.

The zeros around the image, from padding modules or functions and from the convolution
itself, decide which taps of the kernel lie inside the image at each position of the
output. `_shared.folding` needs this, because zero padding makes a fold inexact. A
second size of image is traced because padding may depend on the size: models pad to a
multiple of their stride or patch size.
"""

from copy import deepcopy
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ChannelError
from ...extras import require_extra
from .._shared.plan_choice import format_band_count
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

# Modules that hand on the image as it is, or with zeros around it.
TRANSPARENT = (nn.Identity, nn.ZeroPad2d, nn.ZeroPad3d)

# Added to each side of the image for the second size. Odd, so that the sum is no
# multiple of strides and patch sizes, which are even.
SECOND_SIZE_MARGIN = 7


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
    inside : Tensor or None
        Result of `find_inside` for that argument.
    output : Tensor or None
        What the layer returned, if its input was the image.
    """

    name: str
    layer: nn.Module
    input_shape: tuple[int, ...]
    inside: Tensor | None
    output: Tensor | None


@dataclass(frozen=True)
class ImageLayer:
    """The convolution that reads the image, and the run that showed it.

    Attributes
    ----------
    name : str
        Name of the layer in the model.
    layer : torch.nn.Conv2d or torch.nn.Conv3d
        The layer, of a copy of the model.
    taps_by_size : dict of tuple to ndarray of bool, shape (taps, outputs)
        For each size of image, that of ``image`` first: which taps of the kernel lie
        inside the image, not in zero padding, at each position of the output.
    image : Tensor of shape (1, bands, *size)
        The image of noise.
    output : Tensor
        What the layer made of it.
    model_outputs : list of Tensor
        What the model returned for it.
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
        """``taps_by_size``, one size after the other."""
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
        Number of bands that it reads.
    layer : str, optional
        Name of the layer to return if several layers read the image.

    Raises
    ------
    ChannelError
        If no convolution reads the image as it is, if several do and ``layer`` names
        none of them, or if nothing can be folded into the weights of the layer.
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
                f"expected a model that returns tensors, alone or in lists, mappings "
                f"and objects, got one that returns {type(model(image)).__name__} "
                f"without any: without outputs to compare, a fold cannot be verified"
            )
        return image, calls, outputs
    tried = ", ".join("x".join(map(str, size)) for size in sizes)
    raise ChannelError(
        f"the plan makes {format_band_count(bands)}, and the model does not run on "
        f"images with as many, at any of the sizes {tried}; at the first of them it "
        f"raises {type(first_error).__name__}: {first_error}"
    ) from first_error


def _record_calls(
    model: nn.Module, image: Tensor
) -> tuple[list[LayerCall], list[Tensor]]:
    """Run ``model``; return the calls of its layers and the tensors it returned."""
    names = {module: name for name, module in model.named_modules()}
    calls: list[LayerCall] = []

    def record(
        layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        x = next(iter_tensors([*args, *kwargs.values()]), None)
        if x is None:
            return
        inside = find_inside(x, image)
        copied_output = None
        if inside is not None and isinstance(output, Tensor):
            copied_output = output.clone()  # a layer that works in place may follow
        shape = tuple(x.shape)
        calls.append(LayerCall(names[layer], layer, shape, inside, copied_output))

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
    """Return whether ``module`` has no submodules. The model itself is no leaf.

    Leaves are recorded to name, in an error message, what else takes the image.
    """
    if not name or any(module.children()):
        return False
    return not isinstance(module, torch.jit.ScriptModule)  # takes no hooks


def find_inside(x: Tensor, image: Tensor) -> Tensor | None:
    """Return where ``image`` lies in ``x``, if there are only zeros around it.

    Parameters
    ----------
    x : Tensor
        Any tensor.
    image : Tensor of shape (1, bands, *size)
        Noise whose outermost rows and columns are not zero.

    Returns
    -------
    Tensor of shape (1, 1, *size of x) or None
        1 inside the image and 0 around it; None if ``x`` is something else.
    """
    if x.is_quantized or x.ndim != image.ndim or x.shape[:2] != image.shape[:2]:
        return None
    if x.numel() < image.numel():
        return None
    nonzero = (x != 0).any(1, keepdim=True).nonzero()
    if not len(nonzero):
        return None
    # The bounding box of what is not zero.
    low = nonzero.amin(0).tolist()[2:]
    high = nonzero.amax(0).tolist()[2:]
    sides = [slice(first, last + 1) for first, last in zip(low, high, strict=True)]
    box: Any = (..., *sides)
    if not torch.equal(x[box], image):
        return None
    inside = torch.zeros_like(x[:1, :1])
    inside[box] = 1
    return inside


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
            f"no convolution of the model reads the image as it is: "
            f"{_explain_no_reader(model, calls)}"
        )
    names = ", ".join(map(repr, readers))
    if layer is None:
        if len(readers) > 1:
            raise ChannelError(
                f"several layers read the image, {names}: folded into one of them, "
                f"the plan would be missing in the others. If those reach no output, "
                f"name the one to fold as layer=; otherwise put a ChannelLayer before "
                f"the model"
            )
        return next(iter(readers.values()))
    if layer not in readers:
        raise ChannelError(
            f"{layer!r} does not read the image: omit layer=, or name one of {names}"
        )
    return readers[layer]


def _explain_no_reader(model: nn.Module, calls: list[LayerCall]) -> str:
    """Return what happens to the image instead of a convolution that reads it."""
    # Inception and GoogLeNet of torchvision.
    if any(getattr(module, "transform_input", False) for module in model.modules()):
        return (
            "transform_input of this model normalises it once more. Set that to False "
            "and fold a plan whose target is 'inception', which is equivalent"
        )
    first_convolution = None
    for call in calls:
        if call.inside is not None and not isinstance(call.layer, TRANSPARENT):
            kind = type(call.layer).__name__
            return f"{call.name!r} takes it, a layer {kind}"
        if first_convolution is None and isinstance(call.layer, CONVOLUTIONS):
            first_convolution = call
    if first_convolution is None:
        return (
            "the model called none (a compiled or scripted one hides its layers: pass "
            "the plain model; a convolution that is a function and not a layer cannot "
            "be replaced)"
        )
    return (
        f"the first one, {first_convolution.name!r}, is given a tensor of shape "
        f"{first_convolution.input_shape} that was computed from it"
    )


def _check_owns_weights(
    model: nn.Module, call: LayerCall, calls: list[LayerCall]
) -> None:
    """Raise ChannelError if replacing the weights would change more than the image."""
    layer = call.layer
    own = layer._parameters
    for what in ("weight", "bias"):
        if getattr(layer, what) is not None and own.get(what) is None:
            raise ChannelError(
                f"the {what} of {call.name!r} is computed from others (weight_norm, "
                f"parametrize, pruning), so nothing can be folded into it: remove that "
                f"first, as torch.nn.utils.parametrize.remove_parametrizations does"
            )
    if any(other.layer is layer and other.output is None for other in calls):
        raise ChannelError(
            f"{call.name!r} reads the image, and is called with something else as "
            f"well: folded, it would be wrong for that"
        )
    own_ids = {id(parameter) for parameter in own.values()}
    for name, module in model.named_modules():
        if module is layer:
            continue
        for parameter in module._parameters.values():
            if parameter is not None and id(parameter) in own_ids:
                raise ChannelError(
                    f"{call.name!r} shares its weight with {name!r}, which does not "
                    f"read the image: untie them"
                )


def _find_taps_inside(call: LayerCall) -> NDArray[np.bool_]:
    """Return which taps lie inside the image at each output: (taps, outputs) of bool.

    Runs the layer on ``call.inside`` with one output channel per tap, whose kernel is
    1 at that tap and 0 elsewhere: the output is the value that the tap reads. This
    needs no formula for stride, padding, dilation or modes of padding.

    It also shows whether the layer convolves by its weight at all. A subclass may
    standardise or mask its weight, or change its input; then a value is neither 0 nor
    1, or a negative multiple of the input does not give that multiple of the output.
    """
    probe: Any = deepcopy(call.layer)
    count = prod(probe.kernel_size)
    probe.in_channels = 1
    probe.out_channels = count
    probe.groups = 1
    probe.bias = None
    kernel = torch.eye(count).reshape(count, 1, *probe.kernel_size)
    probe.weight = nn.Parameter(kernel.to(probe.weight))
    inside: Any = call.inside
    try:
        # forward, not a call: hooks expect what the layer makes of images.
        taps = probe.forward(inside)
        # -256: negative and far from 1, and exact in every floating dtype.
        is_linear = torch.equal(probe.forward(inside * -256), taps * -256)
        is_0_or_1 = bool(((taps == 0) | (taps == 1)).all())
        is_read_somewhere = bool((taps[0] == 1).flatten(1).any(1).all())
        is_plain = is_linear and is_0_or_1 and is_read_somewhere
    except Exception:  # a subclass may raise anything for a kernel that is not its own
        is_plain = False
    if not is_plain:
        raise ChannelError(
            f"{call.name!r}, a layer {type(probe).__name__}, does not convolve by its "
            f"weight as it is (StdConv2d standardises it, for example), so nothing can "
            f"be folded into it: use a ChannelLayer in front of the model"
        )
    taps_inside: NDArray[np.bool_] = (taps[0] == 1).reshape(count, -1).cpu().numpy()
    return taps_inside


def _find_taps_at_second_size(
    model: nn.Module, first_call: LayerCall, image: Tensor
) -> dict[Size, NDArray[np.bool_]]:
    """Return the taps inside an image of another size, by that size.

    Empty if the model does not accept the size, or does not call the layer.
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
        # At this size the layer does not read the image as it is, because the model
        # resizes it, for example. Assume no padding around what it reads: whether the
        # fold is right for it is checked by running the folded model.
        ones = image.new_ones(1, 1, *call.input_shape[2:])
        call = replace(call, inside=ones)
    return {size: _find_taps_inside(call)}
