"""Transfer weights into a torch model, in place, from a model or a file."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import weights
from ...errors import ChannelError, DTypeError, RangeError, ReadError
from ...extras import require_extra
from ...messages import describe_value
from ...weights import Report
from ...weights.transfer import Adapt, Rename, resolve_tied_weights
from .._shared.transfer import resolve_adapt

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn

# Layouts of kernels by their number of axes.
KERNEL_LAYOUTS = {3: "OIW", 4: "OIHW", 5: "OIDHW"}

# Suffixes of files that torch.load reads.
PICKLE_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


def transfer_into(
    model: nn.Module,
    source: nn.Module | Mapping[str, Any] | str | PathLike[str],
    *,
    rename: Rename | None = None,
    freeze: bool = False,
    adapt: Adapt | None = None,
) -> Report:
    """Copy weights into a model, in place, by name and shape.

    A weight is copied if the model has one with the same name and shape. The model is
    modified only if all weights to be written fit.

    Parameters
    ----------
    model : torch.nn.Module
        Model to write to. Its parameters keep their dtype, device and memory.
    source : torch.nn.Module, mapping or path
        A model, a state dict, or the path of a file: .safetensors, or a pickle (.pt,
        .pth, .bin, .ckpt) that contains only weights.
    rename : mapping or callable, optional
        Mapping from names in the source to names in the model, as for
        `graypipe.weights.transfer`. None as the new name omits a weight.
    freeze : bool, default False
        Set ``requires_grad`` to False for all weights that were copied or adapted. The
        running statistics of batch normalisation are buffers, not parameters, and
        remain fixed in evaluation mode only.
    adapt : mapping, optional
        Mapping from names in the model to functions, as for
        `graypipe.weights.transfer`. The functions receive arrays; kernels of 2-D
        convolutions have the layout (O, I, H, W). A ChannelMap is folded into the
        weight: ``adapt={"conv1.weight": gp.replicate()}``. A Plan is folded by its
        ``unit_map``: the model then reads the unit intensities of its source, which
        ``gp.plan(plan.source, gp.Target(plan.source.bands))`` returns.

    Returns
    -------
    Report
        The copied, adapted, skipped and untouched weights. All names of a tied weight
        are reported in the same category.

    Raises
    ------
    DTypeError
        If ``model`` or ``source`` is of an unsupported type, if a weight to transfer
        cannot be converted to an array (lazy, meta, sparse or quantised tensors), or if
        the target of a plan in ``adapt`` is not floating-point.
    ReadError
        If a file contains objects other than weights, or is truncated.
    ChannelError
        If the source has different weights for one tied weight, if weights of the model
        cannot be written in place (expanded parameters, copies in the state dict), or
        if names in ``rename`` or ``adapt`` do not exist.
    LayoutError
        If an adapted weight has a shape that does not fit.
    RangeError
        If a value is beyond the range of the model's dtype, or if a plan in ``adapt``
        has nodata.

    Examples
    --------
    >>> import torch
    >>> import graypipe as gp
    >>> from graypipe.adapters.torch import transfer_into
    >>> rgb = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1))
    >>> gray = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Conv2d(8, 2, 1))
    >>> print(transfer_into(gray, rgb, adapt={"0.weight": gp.replicate()}))
    copied 1, adapted 1, skipped 2, untouched 2
    copied     0.bias
    adapted    0.weight
    skipped    1.weight  shape (4, 8, 1, 1), the target's is (2, 8, 1, 1)
    skipped    1.bias    shape (4,), the target's is (2,)
    untouched  1.weight
    untouched  1.bias
    """
    if not isinstance(model, nn.Module):
        raise DTypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    state = _tensors_of(model)
    new_weights, report = weights.transfer(
        {name: to_array(weight) for name, weight in state.items()},
        {name: to_array(weight) for name, weight in _source_weights(source).items()},
        rename=rename,
        adapt=resolve_adapt(adapt, state, KERNEL_LAYOUTS, "weight"),
    )
    written = {}
    for name in (*report.copied, *report.adapted):
        written[name] = to_dtype(new_weights[name], state[name].dtype, name)
    locations = {name: _memory_location(weight) for name, weight in state.items()}
    report = resolve_tied_weights(report, new_weights, locations)
    _check_writable(model, {name: state[name] for name in written})
    with torch.no_grad():
        for name, weight in written.items():
            state[name].copy_(weight)
    if freeze:
        _freeze(model, {locations[name] for name in written})
    return report


def _memory_location(weight: Tensor) -> tuple[Any, ...]:
    """Return a key that is equal for two tensors if they are the same weight."""
    return weight.device, weight.data_ptr(), weight.shape, weight.stride()


def _freeze(model: nn.Module, locations: set[tuple[Any, ...]]) -> None:
    """Set ``requires_grad`` of the parameters at ``locations`` to False."""
    # Match by memory location, not by name: a hook may have renamed the weights in the
    # state dict.
    for parameter in model.parameters():
        if _memory_location(parameter) in locations:
            parameter.requires_grad_(False)


def _check_writable(model: nn.Module, targets: Mapping[str, Tensor]) -> None:
    """Raise ChannelError unless writing to ``targets`` modifies the model."""
    storages = set()
    for tensor in (*model.parameters(), *model.buffers()):
        storages.add(tensor.untyped_storage().data_ptr())
    for name, weight in targets.items():
        if weight.untyped_storage().data_ptr() not in storages:
            raise ChannelError(
                f"{name!r} in the state dict of the model is a copy made by a hook, so "
                "writing to it would not change the model: pass the submodule that "
                "contains it, or omit it by renaming it to None"
            )
        axes = zip(weight.stride(), weight.shape, strict=True)
        if any(stride == 0 and length > 1 for stride, length in axes):
            raise ChannelError(
                f"{name!r} of shape {tuple(weight.shape)} is an expanded tensor, whose "
                "elements share memory: replace it by a contiguous parameter, or omit "
                "it by renaming it to None"
            )


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors in the state dict of ``model``."""
    state = model.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _source_weights(source: Any) -> Mapping[str, Any]:
    """Return the names and weights of ``source``."""
    if isinstance(source, nn.Module):
        return _tensors_of(source)
    if isinstance(source, str | PathLike):
        source = _load(Path(source))
    if not isinstance(source, Mapping):
        raise DTypeError(
            "expected a model, a state dict or the path of a file that contains a "
            f"state dict, got {type(source).__name__}"
        )
    for name, value in source.items():
        if isinstance(value, Mapping):
            raise DTypeError(
                f"{name!r} of the source is itself a mapping, so the source is a "
                f"checkpoint that contains a state dict: pass checkpoint[{name!r}] "
                "(load a file with torch.load(path, weights_only=True) first)"
            )
    return source


def _load(path: Path) -> Any:
    """Return the contents of a file of weights, without running code from the file."""
    if path.suffix == ".safetensors":
        with require_extra("torch", "safetensors"):
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ReadError(
                f"{path} {_describe_broken(path)} ({error}): download it again"
            ) from error
    if path.suffix not in PICKLE_SUFFIXES:
        *others, last = (".safetensors", *PICKLE_SUFFIXES)
        raise ReadError(
            f"expected a file with suffix {', '.join(others)} or {last}, got "
            f"{describe_value(str(path))}: save model.state_dict() in one of these "
            "formats"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch raises many types for files it cannot read
        raise ReadError(f"{path} {_explain_load_error(path, error)}") from error


def _explain_load_error(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that torch.load refuses, and what to do."""
    if "TorchScript" in str(error):
        return (
            "is a TorchScript archive, which is a program: pass torch.jit.load(path) "
            "if you trust it"
        )
    # torch also raises UnpicklingError for files that are not pickles. Files saved by
    # torch start like a zip archive or, from old versions, like a pickle.
    is_pickle = _first_bytes(path).startswith((b"PK", b"\x80"))
    if isinstance(error, UnpicklingError) and is_pickle:
        return (
            "contains objects other than weights, and unpickling them could run "
            "arbitrary code: save model.state_dict() where the file was created, "
            "preferably with safetensors"
        )
    return f"{_describe_broken(path)}: download it again"


def _describe_broken(path: Path) -> str:
    """Return the size and first bytes of a file, which show what it actually is."""
    return (
        f"is not a valid {path.suffix} file, or is truncated (size "
        f"{path.stat().st_size} bytes, first bytes {_first_bytes(path)!r})"
    )


def _first_bytes(path: Path) -> bytes:
    """Return the first 16 bytes of a file."""
    with path.open("rb") as file:
        return file.read(16)


def to_array(weight: Any) -> Any:
    """Return a tensor as an array, and anything else unchanged.

    Floats that NumPy lacks, such as bfloat16, become float32. A tensor that cannot be
    converted to an array (lazy, meta, sparse, quantised) is returned unchanged: this
    matters only if the tensor is to be transferred, and the transfer then raises an
    error that names the tensor.
    """
    if not isinstance(weight, Tensor):
        return weight
    numpy_floats = (torch.float16, torch.float32, torch.float64)
    needs_cast = weight.is_floating_point() and weight.dtype not in numpy_floats
    try:
        detached = weight.detach()
        if needs_cast:
            detached = detached.float()
        return detached.cpu().numpy()
    except (TypeError, ValueError, RuntimeError):
        return weight


def to_dtype(array: NDArray[Any], dtype: torch.dtype, name: str) -> Tensor:
    """Return ``array``, the weight ``name``, as a tensor of ``dtype``.

    Raises
    ------
    RangeError
        If a finite value exceeds the maximum of ``dtype``.
    """
    weight = torch.from_numpy(array)
    if weight.dtype != dtype:
        finite = np.isfinite(array)
        largest = float(np.max(np.abs(array), where=finite, initial=0))
        if largest > torch.finfo(dtype).max:
            raise RangeError(
                f"{name!r} contains a value of magnitude {largest:g}, which overflows "
                f"{dtype}: convert the model to float32 first"
            )
    return weight.to(dtype)
