"""Run a copy of a model in evaluation mode, on noise that shows what is done to it.

Folding has to find out which layer reads the image. A torch model is arbitrary Python
code, so it is run, not analysed. The model of the user is never run: buffers, such as
running statistics, may change with every run.
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
# transformers ("image_size") keep the size of the image that they take.
SIZE_ATTRIBUTES = ("img_size", "image_size", "pretrained_cfg")

# Heights and widths to try if the model names no size, or fails at it. Small images
# are fast; the others are the usual sizes of pretrained models.
FALLBACK_SIDES = (64, 224, 256, 299, 384, 512)

# Number of slices of a volume. No model names it. 32 survives five halvings.
VOLUME_DEPTH = 32


@contextmanager
def evaluation_copy(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a copy of ``model`` in evaluation mode, for runs without gradients.

    The state of the random number generators is restored afterwards. A copy also
    because a model may override ``train`` to do more than to set the mode.

    Raises
    ------
    DTypeError
        If ``model`` is not a `torch.nn.Module`.
    ChannelError
        If a lazy layer has no shape yet: running the copy would not give one to the
        model itself.
    """
    if not isinstance(model, nn.Module):
        raise DTypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ChannelError(
                f"{name!r} of the model has no shape yet: run it once on an image of "
                f"the size it is for"
            )
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices), torch.no_grad():
        copy = copy_model(model)
        copy.eval()
        yield copy


def copy_model(model: nn.Module) -> nn.Module:
    """Return a deep copy of ``model``.

    `copy.deepcopy` refuses tensors that are results of a computation. Pruning, for
    example, keeps such a tensor as an attribute, so these are detached.
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
    ``ancestors`` holds the ids of the objects around ``value``.
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
    if callable(value):  # modules, classes and functions are no containers of results
        return ()
    if dataclasses.is_dataclass(value):  # may have slots and no __dict__
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return getattr(value, "__dict__", {}).values()


def to_model(x: Tensor, model: nn.Module) -> Tensor:
    """Return ``x`` on the device and in the dtype of the parameters of ``model``."""
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return x.to(parameter.device, parameter.dtype)
    return x


def noise_image(
    model: nn.Module, bands: int, size: tuple[int, ...], seed: int = 0
) -> Tensor:
    """Return an image of noise that any operation except the identity changes.

    - Magnitudes are spread evenly on a logarithmic scale from 0.1 to 300. Clamping to
      [0, 1], [-2, 2] or [0, 255] changes some of them, and a model that tests whether
      pixels are 0-255 or 0-1, to scale them, sees 0-255.
    - Both signs occur, so that ReLU and absolute values show.
    - A tenth of the pixels is zero in all bands, so that special treatment of zeros
      shows, such as filling them or masking them out.
    - The outermost rows and columns have no zeros, so that the image can be told from
      zero padding around it.

    Parameters
    ----------
    model : torch.nn.Module
        The image is on its device and in its dtype.
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
    return to_model(image, model)


def candidate_sizes(model: nn.Module) -> list[tuple[int, ...]]:
    """Return sizes to try, (H, W) or (D, H, W), those that ``model`` names first."""
    planes: list[tuple[int, ...]] = []
    reads_volumes = False
    for module in model.modules():
        reads_volumes = reads_volumes or isinstance(module, nn.Conv3d)
        for name in SIZE_ATTRIBUTES:
            size = _parse_size(getattr(module, name, None))
            if size is not None:
                planes.append(size)
    planes += [(side, side) for side in FALLBACK_SIDES]
    depth = (VOLUME_DEPTH,) if reads_volumes else ()
    # dict.fromkeys drops repetitions and keeps the order.
    return list(dict.fromkeys((*depth, *plane) for plane in planes))


def _parse_size(value: Any) -> tuple[int, int] | None:
    """Return (H, W) from a side, a pair of sides or a config of timm, else None."""
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
