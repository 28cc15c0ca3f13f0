"""Transferring: weights go into a torch model, in place, from another one or from a file, by name and shape."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from .. import weights
from ..errors import DTypeError, ReadError
from ..extras import needs
from ..weights import Report
from ..weights.transferring import Adapt, Rename
from . import folding

with needs("torch", "torch"):
    import torch
    from torch import Tensor, nn

KERNELS = {3: "OIW", 4: "OIHW", 5: "OIDHW"}
"""The layouts of kernels by their number of axes."""

PICKLES = (".pt", ".pth", ".bin", ".ckpt")


def transfer_into(
    model: nn.Module,
    source: nn.Module | Mapping[str, Any] | str | PathLike[str],
    *,
    rename: Rename | None = None,
    freeze: bool = False,
    adapt: Adapt | None = None,
) -> Report:
    """Copy weights of ``source`` into ``model``, in place, by name and shape; return what became of each.

    ``source``: a model, a state dict, or the path of a .safetensors file or of a pickle (.pt, .pth, .bin, .ckpt) that
    holds weights alone. ``rename`` and ``adapt`` as for `graypipe.weights.transfer`, whose arrays are (O, I, H, W); a
    ChannelMap in ``adapt`` folds itself: ``adapt={"conv1.weight": gp.replicate()}``. ``freeze`` sets requires_grad to
    False for what was copied or adapted; running statistics of a batch normalisation are no parameters, and stay
    where they are only in evaluation mode. Nothing is written unless everything fits.
    """
    if not isinstance(model, nn.Module):
        raise DTypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    held = _state(model)
    made, report = weights.transfer(
        {name: to_array(weight) for name, weight in held.items()},
        {name: to_array(weight) for name, weight in _weights(source).items()},
        rename=rename,
        adapt=folding.adapting(adapt, held, KERNELS, "weight"),
    )
    written = {*report.copied, *report.adapted}
    with torch.no_grad():
        for name in written:
            held[name].copy_(torch.from_numpy(made[name]))
    if freeze:
        for name, parameter in model.named_parameters(remove_duplicate=False):
            parameter.requires_grad_(parameter.requires_grad and name not in written)
    return report


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {name: held for name, held in model.state_dict().items() if isinstance(held, Tensor)}


def _weights(source: Any) -> Mapping[str, Any]:
    """Return names and weights of ``source``; DTypeError or ReadError where it holds something else."""
    if isinstance(source, nn.Module):
        return _state(source)
    held = _load(Path(source)) if isinstance(source, str | PathLike) else source
    if not isinstance(held, Mapping):
        raise DTypeError(
            f"expected a model, a state dict or the path of a file that holds one, got {type(held).__name__}"
        )
    for name, part in held.items():
        if isinstance(part, Mapping):
            raise DTypeError(
                f"{name!r} of the source is itself a mapping, so this is a checkpoint around a state dict: pass "
                f"checkpoint[{name!r}], a file loaded by torch.load(path, weights_only=True)"
            )
    return held


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        with needs("torch", "safetensors"):
            from safetensors import torch as files
        return files.load_file(path)
    if path.suffix not in PICKLES:
        raise ReadError(f"{path} is neither .safetensors nor {', '.join(PICKLES)}: save model.state_dict() as one")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ReadError(
            f"{path} holds more than weights, and to unpickle that runs whatever it says: where the file was made, "
            f"save model.state_dict(), best with safetensors"
        ) from error


def to_array(weight: Any) -> Any:
    """Return a tensor as an array, in float32 where NumPy has no such floats; anything else as it is."""
    if not isinstance(weight, Tensor):
        return weight
    known = not weight.is_floating_point() or weight.dtype in (torch.float16, torch.float32, torch.float64)
    return (weight.detach() if known else weight.detach().float()).cpu().numpy()
