"""Run a copy of a model in evaluation mode on noise, to observe how it uses its input.

Folding has to find out which layer reads the image. A torch model is arbitrary Python
code, so it is run, not analysed. The model of the user itself is never run: its
buffers, such as running statistics, may change with every run.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from ...errors import ChannelError, DTypeError
from ...extras import require_extra

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn
    from torch.nn.parameter import is_lazy

# Attributes in which modules of timm ("img_size", "pretrained_cfg"), torchvision and
# transformers ("image_size") store the image size that they expect.
SIZE_ATTRIBUTES = ("img_size", "image_size", "pretrained_cfg")

# Heights and widths to try if the model declares no size, or fails with it. The first
# one is small and therefore fast; the others are usual sizes of pretrained models.
FALLBACK_SIDES = (64, 224, 256, 299, 384, 512)

# Depth of trial volumes; models do not declare it. 32 can be halved five times.
VOLUME_DEPTH = 32


@contextmanager
def evaluation_copy(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of ``model`` in evaluation mode, for runs without gradients.

    The state of the random number generators is restored afterwards. A copy is needed
    not only because of buffers, but also because a model may override ``train`` to do
    more than set the mode.

    Raises
    ------
    DTypeError
        If ``model`` is not a `torch.nn.Module`.
    ChannelError
        If a lazy layer is uninitialised: running the copy would not initialise the
        model itself.
    """
    if not isinstance(model, nn.Module):
        raise DTypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ChannelError(
                f"{name!r} of the model is not initialised (lazy layer): run the model "
                "once on an image of the intended size"
            )
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices), torch.no_grad():
        copy = copy_model(model)
        copy.eval()
        yield copy


def copy_model(model: nn.Module) -> nn.Module:
    """Return a deep copy of ``model``.

    `copy.deepcopy` refuses non-leaf tensors. Pruning, for example, stores such a tensor
    as an attribute, so these are detached.
    """
    memo: dict[int, Any] = {}
    for module in model.modules():
        for value in vars(module).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    return deepcopy(model, memo)


def run_model(model: nn.Module, image: Tensor) -> list[Tensor]:
    """Return all tensors that ``model`` returns for ``image``, in order.

    Every run starts from the same random numbers, and ``image`` is not modified even
    if the model works in place.
    """
    torch.manual_seed(0)
    return list(iter_tensors(model(image.clone())))


def iter_tensors(value: Any, ancestors: tuple[int, ...] = ()) -> Iterator[Tensor]:
    """Yield the tensors in ``value``, however they are nested.

    Looks into mappings, lists, tuples, dataclasses and attributes of other objects.
    ``ancestors`` are the ids of the objects that contain ``value``.
    """
    if isinstance(value, Tensor):
        yield value
    elif id(value) not in ancestors:  # an object may refer to itself
        for part in _parts(value):
            yield from iter_tensors(part, (*ancestors, id(value)))


def _parts(value: Any) -> Iterable[Any]:
    """Return the objects that ``value`` contains."""
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple):
        return value
    if callable(value):  # modules, classes and functions do not contain results
        return ()
    if dataclasses.is_dataclass(value):  # may have slots and no __dict__
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return getattr(value, "__dict__", {}).values()


def match_model(x: Tensor, model: nn.Module) -> Tensor:
    """Return ``x`` on the device and in the dtype of ``model``.

    The first floating-point parameter of the model determines both.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return x.to(parameter.device, parameter.dtype)
    return x


def noise_image(
    model: nn.Module, bands: int, size: tuple[int, ...], seed: int = 0
) -> Tensor:
    """Return a noise image that every operation other than the identity changes.

    - Magnitudes are log-uniformly distributed from 0.1 to 300. Clamping to [0, 1],
      [-2, 2] or [0, 255] changes some of them, and a model that decides by the values
      whether pixels are 0-255 or 0-1, to scale them, decides for 0-255.
    - Both signs occur, so that ReLU and absolute values are detected.
    - A tenth of the pixels is zero in all bands, so that special treatment of zeros is
      detected, such as filling them or masking them out.
    - The outermost rows and columns have no zeros, so that the image can be
      distinguished from zero padding around it.

    Parameters
    ----------
    model : torch.nn.Module
        The model whose device and dtype the image gets.
    bands : int
        Number of bands.
    size : tuple of int
        (H, W) or (D, H, W).
    seed : int, default 0
        Seed of the random numbers.

    Returns
    -------
    Tensor of shape (1, bands, *size)
    """
    generator = torch.Generator().manual_seed(seed)
    image = 0.1 * 3000 ** torch.rand(1, bands, *size, generator=generator)
    image *= torch.where(torch.rand(image.shape, generator=generator) < 0.5, -1, 1)
    inner = image[..., 1:-1, 1:-1]
    inner *= torch.rand(1, 1, *inner.shape[2:], generator=generator) > 0.1
    return match_model(image, model)


def candidate_sizes(model: nn.Module) -> list[tuple[int, ...]]:
    """Return sizes to try, (H, W) or (D, H, W).

    The list starts with the sizes that ``model`` declares.
    """
    sizes: list[tuple[int, ...]] = []
    reads_volumes = False
    for module in model.modules():
        reads_volumes = reads_volumes or isinstance(module, nn.Conv3d)
        for name in SIZE_ATTRIBUTES:
            size = _parse_size(getattr(module, name, None))
            if size is not None:
                sizes.append(size)
    sizes += [(side, side) for side in FALLBACK_SIDES]
    if reads_volumes:
        sizes = [(VOLUME_DEPTH, *size) for size in sizes]
    # dict.fromkeys drops repetitions and keeps the order.
    return list(dict.fromkeys(sizes))


def _parse_size(value: Any) -> tuple[int, int] | None:
    """Return (H, W) from an int, a pair of ints or a timm config, or None."""
    if isinstance(value, Mapping):
        value = (value.get("input_size") or ())[-2:]  # (C, H, W)
    if isinstance(value, int):
        value = (value, value)
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    height, width = value
    if not (isinstance(height, int) and isinstance(width, int)):
        return None
    if height <= 0 or width <= 0:
        return None
    return height, width
