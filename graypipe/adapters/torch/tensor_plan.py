"""Run plans on torch tensors (..., C, H, W), for the adapters of torch and torchvision.

A tensor in host memory shares it with NumPy, so the engine reads and writes it without
a copy. All other tensors run in elementwise operations of torch.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine import Execution
from ...engine.arrays import SUPPORTED
from ...errors import DTypeError, GraypipeError, LayoutError
from ...extras import require_extra
from ...plan import Plan
from .._shared import elementwise
from .._shared.elementwise import ElementwiseSpec
from .._shared.plan_choice import check_range_declared, choose_plan

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor
    from torch.jit import is_tracing  # type: ignore[attr-defined]  # documented, but not in its __all__

# The dtypes that plans take, in NumPy by that of torch, and in torch by name.
NUMPY_DTYPES = {getattr(torch, name): np.dtype(name) for name in sorted(SUPPORTED)}
TORCH_DTYPES = {dtype.name: torch_dtype for torch_dtype, dtype in NUMPY_DTYPES.items()}


class TensorPlan:
    """Run a plan on tensors of shape (..., C, H, W).

    Results are fresh and C-contiguous. The plan runs in the engine if NumPy can see
    the memory of the tensor, and otherwise, on devices, with gradients and in graphs,
    in elementwise operations.

    Parameters
    ----------
    plan : Plan
        Its layouts are replaced by CHW.

    Attributes
    ----------
    plan : Plan
    band_count : int
        Number of bands of the source.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan.with_layouts("CHW", "CHW")
        self.band_count = len(plan.source.bands)
        # Made now, because while torch traces a graph it can follow a look-up in a
        # dict, but not the code that makes these.
        self._specs = _make_specs(self.plan)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the result for ``x``, which has the band count of the plan.

        Raises
        ------
        DTypeError, RangeError
            As the plan itself, and for dtypes that NumPy lacks. RangeError also if
            the source of an exported graph declares no range.
        """
        in_graph = torch.compiler.is_compiling()
        if in_graph or is_tracing():  # type: ignore[no-untyped-call]
            if torch.compiler.is_exporting():
                check_range_declared(
                    self.plan,
                    "an exported graph is fed by others, who may cast the pixels",
                )
            return self._run_elementwise(x)
        if x.dtype not in NUMPY_DTYPES:
            raise _unsupported_dtype(x.dtype)
        execution = self.plan._execution(NUMPY_DTYPES[x.dtype])
        image = _as_numpy(x)
        if image is not None:
            return run_engine(execution, image)
        if execution.spec.implied and x.device.type == "cpu":
            _check_implied_range(execution, x)
        return self._run_elementwise(x)

    def zero_nodata(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``y`` with 0 in the pixels where a band of ``x`` is nodata."""
        result: Tensor = elementwise.zero_nodata(
            self._spec_for(x.dtype), x, y, -3, TorchOps(x.device)
        )
        return result

    def _run_elementwise(self, x: Tensor) -> Tensor:
        """Return the result for ``x`` in operations of torch."""
        spec = self._spec_for(x.dtype)
        y: Tensor = elementwise.run(spec, x, -3, TorchOps(x.device))
        if y is x:  # a plan that changes nothing still returns fresh memory
            return y.clone(memory_format=torch.contiguous_format)
        return y.contiguous()

    def _spec_for(self, dtype: torch.dtype) -> ElementwiseSpec:
        """Return the spec for tensors of ``dtype``, or raise the error of it."""
        spec = self._specs.get(dtype)
        if isinstance(spec, ElementwiseSpec):
            return spec
        if spec is None:
            raise _unsupported_dtype(dtype)
        # A new exception: raising the stored one again would collect tracebacks in it.
        raise type(spec)(*spec.args)


def choose_tensor_plan(plans: Mapping[int, TensorPlan], x: Tensor) -> TensorPlan:
    """Return the plan for the bands of ``x``.

    Parameters
    ----------
    plans : mapping of int to TensorPlan
        Plans by band count.
    x : Tensor of shape (..., C, H, W)

    Raises
    ------
    DTypeError
        If ``x`` is not a tensor.
    LayoutError
        If it has fewer than three axes.
    ChannelError
        If no plan takes its band count.
    """
    if not isinstance(x, Tensor):
        raise DTypeError(f"expected a tensor, got {type(x).__name__}")
    if x.ndim < 3:
        raise LayoutError(
            f"expected a tensor (..., C, H, W), got shape {tuple(x.shape)}: pass "
            f"x[None] for a gray image (H, W), x[:, None] for a batch of them (N, H, W)"
        )
    count = int(x.shape[-3])  # torch.jit.trace has a tensor there
    if count not in plans:
        by_count = {number: choice.plan for number, choice in plans.items()}
        choose_plan(by_count, count, f"a tensor of shape {tuple(x.shape)}")  # raises
    return plans[count]


def run_engine(execution: Execution, image: NDArray[Any]) -> Tensor:
    """Return the result of the engine for ``image`` as a tensor that owns its memory.

    Parameters
    ----------
    execution : Execution
        What to compute.
    image : ndarray of shape (..., C, H, W)
        Stored values, whose shape was checked.
    """
    lead = image.ndim - 3
    lead_shape = image.shape[:lead]
    spatial_shape = image.shape[lead + 1 :]
    result = np.empty(
        (*lead_shape, len(execution.spec.matrix), *spatial_shape), execution.target
    )
    # Kernels take the bands on the first axis, and any number of axes after it.
    bands_first = (lead, *range(lead), lead + 1, lead + 2)
    execution.run(image.transpose(bands_first), result.transpose(bands_first))
    return torch.from_numpy(result)


def describe_plan(plan: Plan) -> str:
    """Return source and target of ``plan`` in one line."""
    return f"{plan.source} -> {plan.target}"


def _make_specs(plan: Plan) -> dict[torch.dtype, ElementwiseSpec | GraypipeError]:
    """Return the spec for tensors of each dtype, or the error to raise for them."""
    specs: dict[torch.dtype, ElementwiseSpec | GraypipeError] = {}
    for torch_dtype, dtype in NUMPY_DTYPES.items():
        try:
            specs[torch_dtype] = elementwise.make_spec(plan._execution(dtype))
        except GraypipeError as error:
            specs[torch_dtype] = error
    return specs


def _unsupported_dtype(dtype: torch.dtype) -> DTypeError:
    """Return the error for dtypes that NumPy lacks."""
    return DTypeError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"expected a tensor of bool, integers of 8-64 bits or floats of 16-64 bits, "
        f"got {dtype}: pass the integers of the file, also in front of a model in "
        f"bfloat16, or convert with x.float()"
    )


def _as_numpy(x: Tensor) -> NDArray[Any] | None:
    """Return an array that shares the memory of ``x``, or None.

    None on a device, with gradients, inside torch.func and for fake tensors.
    """
    try:
        array: NDArray[Any] = x.numpy()
    except (RuntimeError, TypeError):
        return None
    return array


def _check_implied_range(execution: Execution, x: Tensor) -> None:
    """Raise RangeError if the values of ``x`` are not in the implied range.

    Elementwise operations do not test that. For a tensor with gradients the values
    are at hand, so the engine runs for its test; its result has no gradient.
    """
    image = _as_numpy(x.detach())
    if image is not None:
        run_engine(execution, image)


class TorchOps:
    """The functions of `keras.ops` that `elementwise` calls, on one device.

    Constants are filled in on the device. Copying them there would wait for all
    operations that were queued before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def convert_to_tensor(self, values: list[list[list[float]]], dtype: str) -> Tensor:
        """Return (bands, 1, 1) for nested lists of that shape."""
        parts = []
        for ((value,),) in values:
            parts.append(
                torch.full(
                    (1, 1), value, dtype=TORCH_DTYPES[dtype], device=self._device
                )
            )
        return torch.stack(parts)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Return ``x`` with the dtype of that name."""
        return x.to(TORCH_DTYPES[dtype])

    def take(self, x: Tensor, indices: int | tuple[int, ...], axis: int) -> Tensor:
        """Return the bands ``indices`` of ``x``; a single integer drops the axis."""
        if isinstance(indices, int):
            return x.select(axis, indices)
        return torch.stack([x.select(axis, index) for index in indices], axis)

    stack = staticmethod(torch.stack)
    any = staticmethod(torch.any)
    zeros_like = staticmethod(torch.zeros_like)
    where = staticmethod(torch.where)
    isnan = staticmethod(torch.isnan)
    clip = staticmethod(torch.clamp)
    round = staticmethod(torch.round)
