"""Running a torch model on images of any number of bands, and leaving it as it was."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..extras import needs

with needs("torch", "torch"):
    import torch
    from torch import Tensor, nn

NAMED_SIZES = ("img_size", "image_size", "pretrained_cfg")
"""Where modules of torchvision, timm and transformers keep the size of the image they take."""

SIZES = (64, 224, 256, 299, 384, 512)
"""Heights and widths that are tried after those."""

DEPTH = 32
"""Of volumes, which no model names."""


@contextmanager
def evaluated(model: nn.Module) -> Iterator[None]:
    """Put ``model`` into evaluation mode, without gradients; modes and random numbers are restored."""
    modes = {module: module.training for module in model.modules()}
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())), torch.no_grad():
            model.eval()
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


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
    held = next((parameter for parameter in model.parameters() if parameter.is_floating_point()), x)
    return x.to(held.device, held.dtype)


def tensors(held: Any) -> Iterator[Tensor]:
    """Yield the tensors in ``held``, which may nest mappings, lists and tuples."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, Mapping | list | tuple):
        for part in held.values() if isinstance(held, Mapping) else held:
            yield from tensors(part)


def sizes(model: nn.Module) -> list[tuple[int, ...]]:
    """Return sizes of images to try, (H, W) or (D, H, W): those that ``model`` names first."""
    own = [_size(getattr(module, name, None)) for module in model.modules() for name in NAMED_SIZES]
    planes = [*filter(None, own), *((side, side) for side in SIZES)]
    depth = (DEPTH,) if any(isinstance(module, nn.Conv3d) for module in model.modules()) else ()
    return list(dict.fromkeys((*depth, *plane) for plane in planes))


def _size(named: Any) -> tuple[int, int] | None:
    if isinstance(named, Mapping):
        named = (named.get("input_size") or ())[-2:]
    if isinstance(named, int):
        named = (named, named)
    return tuple(named) if isinstance(named, list | tuple) and len(named) == 2 else None
