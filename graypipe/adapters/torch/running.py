"""Running a torch model, a copy of it, on images of any number of bands."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from ...errors import ChannelError, DTypeError
from ...extras import needs

with needs("torch", "torch"):
    import torch
    from torch import Tensor, nn
    from torch.nn.parameter import is_lazy

NAMED_SIZES = ("img_size", "image_size", "pretrained_cfg")
"""Where modules of torchvision, timm and transformers keep the size of the image they take."""

SIZES = (64, 224, 256, 299, 384, 512)
"""Heights and widths that are tried after those."""

DEPTH = 32
"""Of volumes, which no model names."""


@contextmanager
def evaluated(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of ``model`` in evaluation mode, to run without gradients; random numbers are restored.

    A copy, because buffers may change with every run, and eval() may do more than set a mode.
    """
    if not isinstance(model, nn.Module):
        raise DTypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    for name, held in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(held):
            raise ChannelError(
                f"{name!r} of the model has no shape yet: run it once on an image of the size it is for"
            )
    with torch.random.fork_rng(range(torch.cuda.device_count())), torch.no_grad():
        probe = copied(model)
        probe.eval()
        yield probe


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of ``model``, also where it keeps tensors that were computed, as pruning does."""
    kept = (
        part
        for module in model.modules()
        for part in vars(module).values()
        if isinstance(part, Tensor)
    )
    return deepcopy(
        model, {id(part): part.detach().clone() for part in kept if not part.is_leaf}
    )


def run(model: nn.Module, image: Tensor) -> list[Tensor]:
    """Return all tensors that ``model`` returns for ``image``, in their order, whatever holds them."""
    torch.manual_seed(0)
    return list(tensors(model(image.clone())))


def noise(model: nn.Module, bands: int, size: tuple[int, ...], seed: int = 0) -> Tensor:
    """Return an image (1, bands, *size) of ±0.1 to ±300 with zeros off its edges, where the model is and in its dtype.

    Whatever is not the identity shows on it: activations, clamps, what asks for the range or for zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    image = 0.1 * 3000 ** torch.rand(1, bands, *size, generator=generator)
    image *= torch.where(torch.rand(image.shape, generator=generator) < 0.5, -1, 1)
    inner = image[..., 1:-1, 1:-1]
    inner *= torch.rand(1, 1, *inner.shape[2:], generator=generator) > 0.1
    return placed(image, model)


def placed(x: Tensor, model: nn.Module) -> Tensor:
    """Return ``x`` where the model is and in its dtype."""
    held = next(
        (
            parameter
            for parameter in model.parameters()
            if parameter.is_floating_point()
        ),
        x,
    )
    return x.to(held.device, held.dtype)


def tensors(held: Any, around: tuple[int, ...] = ()) -> Iterator[Tensor]:
    """Yield the tensors in ``held``, which may nest mappings, lists, tuples, dataclasses and other objects."""
    if isinstance(held, Tensor):
        yield held
    elif id(held) not in around:  # objects may lead back to what they lie in
        for part in _parts(held):
            yield from tensors(part, (*around, id(held)))


def _parts(held: Any) -> Iterable[Any]:
    if isinstance(held, Mapping):
        return held.values()
    if isinstance(held, list | tuple):
        return held
    if callable(held):  # modules, classes, functions
        return ()
    if dataclasses.is_dataclass(held):
        return [getattr(held, field.name) for field in dataclasses.fields(held)]
    return getattr(held, "__dict__", {}).values()


def sizes(model: nn.Module) -> list[tuple[int, ...]]:
    """Return sizes of images to try, (H, W) or (D, H, W): those that ``model`` names first."""
    own = [
        _size(getattr(module, name, None))
        for module in model.modules()
        for name in NAMED_SIZES
    ]
    planes = [*filter(None, own), *((side, side) for side in SIZES)]
    depth = (
        (DEPTH,)
        if any(isinstance(module, nn.Conv3d) for module in model.modules())
        else ()
    )
    return list(dict.fromkeys((*depth, *plane) for plane in planes))


def _size(named: Any) -> tuple[int, int] | None:
    if isinstance(named, Mapping):
        named = (named.get("input_size") or ())[-2:]
    if isinstance(named, int):
        named = (named, named)
    if not isinstance(named, list | tuple) or len(named) != 2:
        return None
    return (
        tuple(named)
        if all(isinstance(side, int) and side > 0 for side in named)
        else None
    )
