"""Transferring: weights go into a torch model, in place, from another one or from a file, by name and shape."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import weights
from ...errors import ChannelError, DTypeError, RangeError, ReadError
from ...extras import needs
from ...weights import Report
from ...weights.transfer import Adapt, Rename, resolve_tied_weights
from .._shared.transfer import resolve_adapt

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

    Names of one tensor, tied weights, share what becomes of it. ChannelError where the source has two weights for it,
    and for what cannot be written: expanded parameters, and copies that a hook puts into the state dict. Other errors
    as `graypipe.weights.transfer`; DTypeError for weights that NumPy cannot take (lazy, meta, sparse, quantised);
    ReadError for files that are no weights, or a part of them.
    """
    if not isinstance(model, nn.Module):
        raise DTypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    held = _state(model)
    made, report = weights.transfer(
        {name: to_array(weight) for name, weight in held.items()},
        {name: to_array(weight) for name, weight in _weights(source).items()},
        rename=rename,
        adapt=resolve_adapt(adapt, held, KERNELS, "weight"),
    )
    written = {
        name: in_dtype(made[name], held[name].dtype, name)
        for name in (*report.copied, *report.adapted)
    }
    report = resolve_tied_weights(
        report, made, {name: _place(weight) for name, weight in held.items()}
    )
    _check_writable(model, {name: held[name] for name in written})
    with torch.no_grad():
        for name, weight in written.items():
            held[name].copy_(weight)
    if freeze:
        places = {_place(held[name]) for name in written}
        for parameter in model.parameters():
            parameter.requires_grad_(
                parameter.requires_grad and _place(parameter) not in places
            )
    return report


def _place(weight: Tensor) -> tuple[Any, ...]:
    """Return what tied weights have in common."""
    return weight.device, weight.data_ptr(), weight.shape, weight.stride()


def _check_writable(model: nn.Module, held: Mapping[str, Tensor]) -> None:
    """Raise ChannelError unless what is written to ``held`` reaches the model, each value in a place of its own."""
    own = {
        part.untyped_storage().data_ptr()
        for part in (*model.parameters(), *model.buffers())
    }
    for name, weight in held.items():
        if weight.untyped_storage().data_ptr() not in own:
            raise ChannelError(
                f"{name!r} in the state dict of the model is a copy, made by a hook, so what is written there does not "
                f"reach it: pass the part of the model that holds it, or rename it to None, which leaves it out"
            )
        if any(
            step == 0 and side > 1
            for step, side in zip(weight.stride(), weight.shape, strict=True)
        ):
            raise ChannelError(
                f"{name!r} of shape {tuple(weight.shape)} is expanded, several of its values are one in memory: make "
                f"it a parameter of its own (contiguous()), or rename it to None, which leaves it out"
            )


def _state(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: held
        for name, held in model.state_dict().items()
        if isinstance(held, Tensor)
    }


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
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ReadError(
                f"{path} {_broken(path)} ({error}): fetch it again"
            ) from error
    if path.suffix not in PICKLES:
        raise ReadError(
            f"{path} is neither .safetensors nor {', '.join(PICKLES)}: save model.state_dict() as one"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever torch raises for bytes that are no state dict
        raise ReadError(f"{path} {_flaw(path, error)}") from error


def _flaw(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that torch.load refuses by ``error``, and what to do."""
    if "TorchScript" in str(error):
        return "is a TorchScript archive, which is a program: pass torch.jit.load(path) where you trust it"
    if isinstance(error, UnpicklingError) and _start(path).startswith((b"PK", b"\x80")):
        return (
            "holds more than weights, and to unpickle that runs whatever it says: where the file was made, save "
            "model.state_dict(), best with safetensors"
        )
    return f"{_broken(path)}: fetch it again"


def _broken(path: Path) -> str:
    return f"is no {path.suffix} file, or a part of one: {path.stat().st_size} bytes, which start with {_start(path)!r}"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def to_array(weight: Any) -> Any:
    """Return a tensor as an array, in float32 where NumPy has no such floats; anything else as it is.

    So is a tensor that NumPy cannot take (lazy, meta, sparse, quantised): who needs it refuses it, by its name.
    """
    if not isinstance(weight, Tensor):
        return weight
    known = not weight.is_floating_point() or weight.dtype in (
        torch.float16,
        torch.float32,
        torch.float64,
    )
    try:
        return (weight.detach() if known else weight.detach().float()).cpu().numpy()
    except (TypeError, ValueError, RuntimeError):
        return weight


def in_dtype(array: NDArray[Any], dtype: torch.dtype, name: str) -> Tensor:
    """Return ``array`` as a tensor of ``dtype``; RangeError where a finite number is beyond the greatest of those."""
    weight = torch.from_numpy(array)
    if weight.dtype != dtype:
        greatest = float(np.max(np.abs(array), where=np.isfinite(array), initial=0))
        if greatest > torch.finfo(dtype).max:
            raise RangeError(
                f"{name!r} holds ±{greatest:g}, which {dtype} cannot: convert the model to float32 first"
            )
    return weight.to(dtype)
