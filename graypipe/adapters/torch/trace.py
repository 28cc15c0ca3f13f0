"""Tracing: which layer of a torch model reads the image, found by running the model on noise."""

from copy import deepcopy
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ChannelError
from ...extras import needs
from .running import evaluated, noise, run, sizes, tensors

with needs("torch", "torch"):
    import torch
    from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Call:
    """A layer that was called. Where its input was the image, ``inside`` is 1 there and 0 in the zeros around it."""

    name: str
    layer: nn.Module
    shape: tuple[int, ...]
    inside: Tensor | None
    made: Tensor | None


@dataclass(frozen=True)
class Reading:
    """The ``layer`` that read ``image``, what it ``made`` of it, and all tensors that the model ``returned``.

    ``seen`` says for each size, (H, W) or (D, H, W), that the model ran on, that of ``image`` first, which taps of the
    layer's kernel lay inside the image, not in zero padding: (taps, outputs).
    """

    name: str
    layer: nn.Conv2d | nn.Conv3d
    seen: dict[tuple[int, ...], NDArray[np.bool_]]
    image: Tensor
    made: Tensor
    returned: list[Tensor]

    @property
    def size(self) -> tuple[int, ...]:
        """(H, W) of the image, or (D, H, W)."""
        return tuple(self.image.shape[2:])

    @property
    def positions(self) -> NDArray[np.bool_]:
        """``seen`` of all sizes, one after the other."""
        return np.concatenate(list(self.seen.values()), axis=1)


def trace(model: nn.Module, bands: int, layer: str | None = None) -> Reading:
    """Return the convolution whose input is the image, at most zero-padded on the way; ChannelError where none is.

    ``layer`` chooses one by name where there are several. A copy of the model runs on noise of ``bands`` bands, in
    evaluation mode and without gradients; the layer is that of the copy.
    """
    with evaluated(model) as probe:
        image, calls, returned = _first_run(probe, bands)
        call = _choose(probe, calls, layer)
        _check_plain(probe, call, calls)
        seen = {
            tuple(image.shape[2:]): _seen(call),
            **_seen_elsewhere(probe, call, image),
        }
        return Reading(call.name, call.layer, seen, image, call.made, returned)  # type: ignore[arg-type]


def _first_run(model: nn.Module, bands: int) -> tuple[Tensor, list[Call], list[Tensor]]:
    """Return an image of a size that the model takes, the calls of its layers, and what it returned."""
    first: Exception | None = None
    for size in sizes(model):
        image = noise(model, bands, size)
        try:
            calls, returned = _watched(model, image)
        except (
            Exception
        ) as error:  # whatever a model raises for a size that it does not take
            first = first or error
            continue
        if not returned:
            raise ChannelError(
                f"expected a model that returns tensors, alone or in lists, mappings and objects, got one that returns "
                f"{type(model(image)).__name__} without any: what cannot be compared cannot be proved equal"
            )
        return image, calls, returned
    tried = ", ".join("x".join(map(str, size)) for size in sizes(model))
    raise ChannelError(
        f"the plan makes {bands} band{'s' if bands > 1 else ''}, and the model does not run on images of that many, in "
        f"none of the sizes {tried}; at the first it raises {type(first).__name__}: {first}"
    ) from first


def _watched(model: nn.Module, image: Tensor) -> tuple[list[Call], list[Tensor]]:
    names = {module: name for name, module in model.named_modules()}
    calls: list[Call] = []

    def note(
        layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any
    ) -> None:
        x = next(tensors([*args, *kwargs.values()]), None)
        if x is not None:
            inside = inside_of(x, image)
            kept = (
                made.clone()
                if inside is not None and isinstance(made, Tensor)
                else None
            )
            calls.append(Call(names[layer], layer, tuple(x.shape), inside, kept))

    hooks = [
        layer.register_forward_hook(note, with_kwargs=True)
        for layer, name in names.items()
        if isinstance(layer, CONVOLUTIONS)
        or (
            name
            and not any(layer.children())
            and not isinstance(layer, torch.jit.ScriptModule)
        )  # those take no hooks
    ]
    try:
        return calls, run(model, image)
    finally:
        for hook in hooks:
            hook.remove()


def inside_of(x: Tensor, image: Tensor) -> Tensor | None:
    """Return where ``image`` lies in ``x``, (1, 1, *size) of ones with zeros around them; None where it does not."""
    if (
        x.is_quantized
        or x.shape[:2] != image.shape[:2]
        or x.ndim != image.ndim
        or x.numel() < image.numel()
    ):
        return None
    corners = (x != 0).any(1, keepdim=True).nonzero()
    if not len(corners):
        return None
    low, high = corners.amin(0).tolist(), corners.amax(0).tolist()
    box: Any = (
        ...,
        *(
            slice(first, last + 1)
            for first, last in zip(low[2:], high[2:], strict=True)
        ),
    )
    inside = torch.zeros_like(x[:1, :1])
    inside[box] = 1
    return inside if torch.equal(x[box], image) else None


def _choose(model: nn.Module, calls: list[Call], layer: str | None) -> Call:
    found = {
        call.name: call
        for call in calls
        if call.made is not None and isinstance(call.layer, CONVOLUTIONS)
    }
    if not found:
        raise ChannelError(
            f"no convolution of the model reads the image as it is: {_instead(model, calls)}"
        )
    shown = ", ".join(f"{name!r}" for name in found)
    if layer is None and len(found) > 1:
        raise ChannelError(
            f"several layers read the image, {shown}: folded into one of them, the plan would be missing in the "
            f"others. Where those reach no output, name the one as layer=; else put a ChannelLayer before the model"
        )
    if layer is not None and layer not in found:
        raise ChannelError(
            f"{layer!r} does not read the image: leave layer= away, or name one of {shown}"
        )
    return next(iter(found.values())) if layer is None else found[layer]


def _instead(model: nn.Module, calls: list[Call]) -> str:
    """Return what becomes of the image where no convolution reads it."""
    if any(getattr(module, "transform_input", False) for module in model.modules()):
        return (
            "transform_input of this model normalises it once more. Set that to False and fold a plan whose target is "
            "'inception', which comes to the same"
        )
    passed = (nn.Identity, nn.ZeroPad2d, nn.ZeroPad3d)
    takers = [
        call
        for call in calls
        if call.inside is not None and not isinstance(call.layer, passed)
    ]
    if takers:
        return f"{takers[0].name!r} takes it, a layer {type(takers[0].layer).__name__}"
    first = next((call for call in calls if isinstance(call.layer, CONVOLUTIONS)), None)
    if first is None:
        return (
            "the model called none (a compiled or scripted one hides its layers: pass the plain model; a convolution "
            "that is a function and no layer cannot be replaced)"
        )
    return f"the first, {first.name!r}, is given a tensor of shape {first.shape} that was computed from it"


def _check_plain(model: nn.Module, call: Call, calls: list[Call]) -> None:
    """Raise ChannelError where the weight of the layer is not its own, or serves more than the image."""
    layer, own = call.layer, call.layer._parameters
    for what in ("weight", "bias"):
        if getattr(layer, what) is not None and own.get(what) is None:
            raise ChannelError(
                f"the {what} of {call.name!r} is computed from others (weight_norm, parametrize, pruning), so nothing "
                f"can be folded into it: remove that first, as torch.nn.utils.parametrize.remove_parametrizations does"
            )
    if any(other.layer is layer and other.made is None for other in calls):
        raise ChannelError(
            f"{call.name!r} reads the image, and is called with something else as well: it cannot be both"
        )
    for name, module in model.named_modules():
        held = {
            id(weight) for weight in module._parameters.values() if weight is not None
        }
        if module is not layer and held & {id(weight) for weight in own.values()}:
            raise ChannelError(
                f"{call.name!r} shares its weight with {name!r}, which does not read the image: untie them"
            )


def _seen(call: Call) -> NDArray[np.bool_]:
    """Return (taps, outputs) by running the layer with a kernel that looks at one tap for each output."""
    look: Any = deepcopy(call.layer)
    count = prod(look.kernel_size)
    look.in_channels, look.out_channels, look.groups, look.bias = 1, count, 1, None
    look.weight = nn.Parameter(
        torch.eye(count).reshape(count, 1, *look.kernel_size).to(look.weight)
    )
    inside: Any = call.inside
    try:
        taps = look.forward(
            inside
        )  # past hooks, which are for what the layer makes of images
        linear = torch.equal(look.forward(inside * -256), taps * -256)
        plain = linear and bool(
            ((taps == 0) | (taps == 1)).all() and (taps[0] == 1).flatten(1).any(1).all()
        )
    except (
        Exception
    ):  # whatever a layer of someone's own raises for a kernel that is not his
        plain = False
    if not plain:
        raise ChannelError(
            f"{call.name!r}, a layer {type(look).__name__}, does not convolve by its weight as it is (StdConv2d "
            f"standardises it, for example), so nothing can be folded into it: use a ChannelLayer in front of the model"
        )
    seen: NDArray[np.bool_] = (taps[0] == 1).reshape(count, -1).cpu().numpy()
    return seen


def _seen_elsewhere(
    model: nn.Module, read: Call, image: Tensor
) -> dict[tuple[int, ...], NDArray[np.bool_]]:
    """Return what the layer of ``read`` sees of an image of another size: padding may depend on that.

    Odd, and no multiple of strides and patches; empty where the model takes no such size. What the layer is given
    instead of the image there (it may be resized) counts as one: whether a fold is right for it is seen when it is run.
    """
    size = tuple(side + 7 for side in image.shape[2:])
    try:
        calls, _ = _watched(model, noise(model, image.shape[1], size))
    except Exception:  # whatever a model raises for a size that it does not take
        return {}
    call = next((call for call in calls if call.layer is read.layer), None)
    if call is None:
        return {}
    return {
        size: _seen(
            call
            if call.made is not None
            else replace(call, inside=image.new_ones(1, 1, *call.shape[2:]))
        )
    }
