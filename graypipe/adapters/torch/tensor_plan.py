"""Run plans on torch tensors (..., C, H, W), for the torch and torchvision adapters.

A CPU tensor can share its memory with NumPy, so the engine reads it without a copy. All
other tensors are computed with elementwise operations of torch.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ...engine import Execution
from ...engine.arrays import SUPPORTED
from ...errors import DTypeError, GraypipeError, LayoutError
from ...extras import require_extra
from ...plan import Plan
from ...plans import no_dtype_error, no_plan_error
from .._shared import elementwise
from .._shared.declared_range import check_range_declared
from .._shared.elementwise import ElementwiseSpec

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn
    from torch.autograd import forward_ad
    from torch.fx import Proxy
    from torch.fx.experimental.proxy_tensor import get_proxy_mode
    from torch.jit import is_tracing  # type: ignore[attr-defined]  # documented, but not in its __all__

# Dtypes that plans accept: the NumPy dtype by torch dtype, and the torch dtype by NumPy
# name.
NUMPY_DTYPES = {getattr(torch, name): np.dtype(name) for name in sorted(SUPPORTED)}
TORCH_DTYPES = {dtype.name: torch_dtype for torch_dtype, dtype in NUMPY_DTYPES.items()}


class TensorPlan:
    """Run a plan on tensors of shape (..., C, H, W).

    Results are new tensors. They are in channels_last memory format if the input is,
    otherwise C-contiguous. The engine computes them if the tensor can be viewed as a
    NumPy array. Otherwise (on other devices, with gradients, in graphs, for
    subclasses) they are computed with elementwise operations of torch.

    Parameters
    ----------
    plan : Plan
        The plan to run. Its layouts are replaced by CHW.

    Attributes
    ----------
    plan : Plan
        The plan with the layouts CHW.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan.with_layouts("CHW", "CHW")
        # Built here, because torch can trace a dict lookup but not the code that builds
        # the specs.
        self._specs = _make_specs(self.plan)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the result for ``x``, which has the band count of the plan.

        Raises
        ------
        DTypeError, RangeError
            As for the plan itself; DTypeError also for dtypes that NumPy lacks, and
            RangeError if the graph is exported and the source declares no range.
        """
        in_graph = torch.compiler.is_compiling()
        if in_graph or is_tracing():  # type: ignore[no-untyped-call]
            if _is_exporting():
                check_range_declared(
                    self.plan,
                    "the input of an exported graph comes from other code, which may "
                    "have cast the pixels",
                )
            return self._run_elementwise(x)
        if x.dtype not in NUMPY_DTYPES:
            raise _unsupported_dtype(x.dtype)
        execution = self.plan._execution(NUMPY_DTYPES[x.dtype])
        image = _as_numpy(x)
        if image is not None:
            return run_engine(execution, image)
        if execution.spec.tests_values and x.device.type == "cpu":
            _check_values(execution, x)
        return self._run_elementwise(x)

    def accepts(self, dtype: torch.dtype) -> bool:
        """Return whether the source of the plan accepts images of ``dtype``."""
        return isinstance(self._specs.get(dtype), ElementwiseSpec)

    def zero_nodata(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``y``, set to 0 in the pixels where any band of ``x`` is nodata."""
        result: Tensor = elementwise.zero_nodata(
            self._spec_for(x.dtype), x, y, -3, TorchOps(x.device)
        )
        return result

    def _run_elementwise(self, x: Tensor) -> Tensor:
        """Return the result for ``x``, computed with torch operations."""
        spec = self._spec_for(x.dtype)
        y: Tensor = elementwise.run(spec, x, -3, TorchOps(x.device))
        if y is x:  # a plan that changes nothing still returns a new tensor
            y = y.clone()
        if _is_channels_last(x):
            # Inside torch.vmap, memory_format=torch.channels_last is not supported.
            return y.movedim(-3, -1).contiguous().movedim(-1, -3)
        return y.contiguous()

    def _spec_for(self, dtype: torch.dtype) -> ElementwiseSpec:
        """Return the spec for ``dtype``, or raise the error recorded for that dtype."""
        spec = self._specs.get(dtype)
        if isinstance(spec, ElementwiseSpec):
            return spec
        if spec is None:
            raise _unsupported_dtype(dtype)
        # Raise a new exception: the traceback of the recorded one would grow each time.
        raise type(spec)(*spec.args)


# The plans for each band count. Several of them accept different dtypes.
TensorPlans = Mapping[int, Sequence[TensorPlan]]


def make_tensor_plans(plans: Sequence[Plan]) -> TensorPlans:
    """Return the tensor plans of ``plans``, by band count."""
    by_count: dict[int, list[TensorPlan]] = {}
    for plan in plans:
        by_count.setdefault(len(plan.source.bands), []).append(TensorPlan(plan))
    return by_count


def choose_tensor_plan(plans: TensorPlans, x: Tensor) -> TensorPlan:
    """Return the plan that takes the number of bands and the dtype of ``x``.

    Parameters
    ----------
    plans : mapping of int to sequence of TensorPlan
        Result of `make_tensor_plans`.
    x : Tensor of shape (..., C, H, W)

    Raises
    ------
    DTypeError
        If ``x`` is not a tensor, or if several plans take its band count, but none of
        them its dtype.
    LayoutError
        If ``x`` has fewer than three axes.
    ChannelError
        If no plan takes the band count of ``x``.
    """
    if not isinstance(x, Tensor):
        raise DTypeError(
            f"expected a tensor, got {type(x).__name__}: convert an array with "
            "torch.from_numpy"
        )
    if x.ndim < 3:
        raise LayoutError(
            f"expected a tensor of shape (..., C, H, W), got {tuple(x.shape)}: pass "
            "x[None] for a gray image of shape (H, W), or x[:, None] for a batch of "
            "gray images of shape (N, H, W)"
        )
    count = int(x.shape[-3])  # x.shape[-3] is a tensor under torch.jit.trace
    if count not in plans:
        every_plan = [each.plan for group in plans.values() for each in group]
        description = f"a tensor of shape {tuple(x.shape)}"
        if x.ndim == 3 and 1 in plans:
            description += " (a batch of gray images of shape (N, H, W) is x[:, None])"
        raise no_plan_error(every_plan, count, description)
    candidates = plans[count]
    if len(candidates) == 1:
        return candidates[0]  # it raises its own error for other dtypes
    for candidate in candidates:
        if candidate.accepts(x.dtype):
            return candidate
    raise no_dtype_error(
        [each.plan for each in candidates],
        str(x.dtype).removeprefix("torch."),
        f"a tensor of shape {tuple(x.shape)}",
    )


def run_engine(execution: Execution, image: NDArray[Any]) -> Tensor:
    """Return the result of the engine for ``image`` as a tensor that owns its memory.

    It is in channels_last memory format if ``image`` is, otherwise C-contiguous.

    Parameters
    ----------
    execution : Execution
        What to compute.
    image : ndarray of shape (..., C, H, W)
        Stored values, whose shape was checked.
    """
    leading_shape = image.shape[:-3]
    if len(leading_shape) > 1:
        # The engine takes one axis of images, each of which it tests by itself.
        images = image.reshape(prod(leading_shape), *image.shape[-3:])
        converted = run_engine(execution, images)
        return converted.reshape(*leading_shape, *converted.shape[1:])
    leading_ndim = len(leading_shape)
    spatial_shape = image.shape[-2:]
    bands = len(execution.spec.matrix)
    if (
        image.ndim == 4
        and not image.flags.c_contiguous
        and image.transpose(0, 2, 3, 1).flags.c_contiguous
    ):
        memory = np.empty(
            (*leading_shape, *spatial_shape, bands), execution.target_dtype
        )
        result = np.moveaxis(memory, -1, -3)
    else:
        result = np.empty(
            (*leading_shape, bands, *spatial_shape), execution.target_dtype
        )
    # Kernels take the bands on the first axis, and any number of axes after it.
    bands_first = (-3, *range(leading_ndim), -2, -1)
    execution.run(
        image.transpose(bands_first), result.transpose(bands_first), leading_ndim
    )
    return torch.from_numpy(result)


def trace_as_module(layer: nn.Module, x: Proxy) -> Proxy:
    """Return the proxy of a call of ``layer`` in a graph of `torch.fx`.

    The operations depend on the dtype of the pixels, which symbolic tracing does not
    know, so the graph contains a call of the entire layer, as it does for layers of
    torch. `make_fx`, which knows the dtype, records the operations.

    Raises
    ------
    DTypeError
        If ``layer`` is the root of the graph, which cannot call itself.
    """
    path = x.tracer.path_of_module(layer)  # type: ignore[attr-defined]  # every Tracer has it
    if not path:
        raise DTypeError(
            f"torch.fx records a {type(layer).__name__} as one call in the graph of a "
            "model, got the layer without a model: trace "
            "torch.nn.Sequential(layer), or use make_fx(layer)(x), which records the "
            "operations"
        )
    return x.tracer.create_proxy("call_module", path, (x,), {})


def refuse_scripting(name: str) -> NoReturn:
    """Raise the error for `torch.jit.script`."""
    raise DTypeError(
        f"torch.jit.script compiles Python code, but {name} chooses its operations by "
        "the dtype and the bands of the pixels: use torch.jit.trace(model, example), "
        "which records them for an example of the stored pixels, or "
        "torch.export.export(model, (example,))"
    )


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


# Dynamo of some releases of torch takes it for true in torch.compile too.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _is_exporting() -> bool:
    """Return whether torch exports a graph."""
    return torch.compiler.is_exporting()


def _unsupported_dtype(dtype: torch.dtype) -> DTypeError:
    """Return the error for dtypes that NumPy lacks."""
    return DTypeError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        "expected a tensor of bool, of integers of 8 to 64 bits or of floats of 16 to "
        f"64 bits, got {dtype}: pass the stored integers (also if the model is "
        "bfloat16), or convert with x.float()"
    )


def _as_numpy(x: Tensor) -> NDArray[Any] | None:
    """Return an array that shares the memory of ``x``, or None.

    The result is None for tensors on another device, tensors that require gradients,
    tensors inside torch.func, and fake tensors. It is also None where the memory is
    accessible but does not suffice:

    - Subclasses of tensors may carry more than pixels, and define what operations do.
    - In forward-mode automatic differentiation, a tensor carries a tangent.
    - Operations are recorded, and the result of the engine would be a constant.
    """
    if type(x) not in (Tensor, nn.Parameter) or _is_recorded(x):
        return None
    try:
        array: NDArray[Any] = x.numpy()
    except (RuntimeError, TypeError):
        return None
    if forward_ad.unpack_dual(x).tangent is not None:  # type: ignore[no-untyped-call]
        return None
    return array


def _is_recorded(x: Tensor) -> bool:
    """Return whether make_fx or functionalize records the operations on ``x``.

    Within functionalize, ``x.numpy()`` would return memory that was never initialised.
    """
    return get_proxy_mode() is not None or torch._is_functional_tensor(x)


def _is_channels_last(x: Tensor) -> bool:
    """Return whether ``x`` is in channels_last memory format, and not contiguous.

    With one band or one pixel it is both, and operations of torch return contiguous
    tensors.
    """
    if x.ndim != 4 or x.is_contiguous():
        return False
    # Inside torch.vmap, is_contiguous does not take a memory format.
    return x.movedim(-3, -1).is_contiguous()


def _check_values(execution: Execution, x: Tensor) -> None:
    """Raise RangeError if the values of ``x`` contradict the source.

    Elementwise operations do not test values. The values of a CPU tensor that
    requires gradients, has a tangent or is of a subclass are accessible, so the engine
    runs for the check only; its result is discarded.
    """
    if _is_recorded(x):  # graphs do not test values
        return
    try:
        image = x.detach().as_subclass(Tensor).numpy()
    except (RuntimeError, TypeError):
        return
    run_engine(execution, image)


class TorchOps:
    """The functions of `keras.ops` that `elementwise` calls, for one torch device.

    Constants are created on the device. Copying them from the host would wait for all
    queued operations.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def convert_to_tensor(self, values: list[list[list[float]]], dtype: str) -> Tensor:
        """Return a tensor of shape (bands, 1, 1) from nested lists of that shape."""
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
