"""Tensors: plans on torch tensors (..., C, H, W), for the adapters of torch and torchvision."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...engine import Execution
from ...engine.arrays import SUPPORTED
from ...errors import DTypeError, GraypipeError, LayoutError
from ...extras import needs
from ...plan import Plan
from .._shared import elementwise
from .._shared.plan_choice import check_range_declared, choose_plan

with needs("torch", "torch"):
    import torch
    from torch import Tensor
    from torch.jit import is_tracing  # type: ignore[attr-defined]  # documented, but not in its __all__

DTYPES = {getattr(torch, name): np.dtype(name) for name in sorted(SUPPORTED)}
NAMED = {dtype.name: known for known, dtype in DTYPES.items()}


class TensorPlan:
    """A plan on tensors (..., C, H, W), whatever their leading axes. Results are fresh and C-contiguous.

    In the engine where that sees the pixels, without a copy in either direction; in elementwise operations on other
    devices, with gradients and in graphs.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan.with_layouts("CHW", "CHW")
        self.count = len(plan.source.bands)
        self._steps = dict(
            _steps(self.plan)
        )  # all of them now: a graph that is traced can look up, not prepare

    def __call__(self, x: Tensor) -> Tensor:
        """Return the result for ``x``, of the plan's band count; DTypeError or RangeError as the plan raises them."""
        if torch.compiler.is_compiling() or is_tracing():  # type: ignore[no-untyped-call]
            if torch.compiler.is_exporting():
                check_range_declared(
                    self.plan,
                    "an exported graph is fed by others, who may cast the pixels",
                )
            return self._elementwise(x)
        if x.dtype not in DTYPES:
            raise _unknown(x.dtype)
        execution = self.plan._execution(DTYPES[x.dtype])
        image = _memory(x)
        if image is not None:
            return in_engine(execution, image)
        if execution.spec.implied and x.device.type == "cpu":
            _test_implied(execution, x)
        return self._elementwise(x)

    def blank(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ``y``, made from ``x``, with 0 in the pixels where ``x`` holds nodata."""
        blank: Tensor = elementwise.zero_nodata(
            self._steps_for(x.dtype), x, y, -3, Ops(x.device)
        )
        return blank

    def _elementwise(self, x: Tensor) -> Tensor:
        y: Tensor = elementwise.run(self._steps_for(x.dtype), x, -3, Ops(x.device))
        return (
            y.clone(memory_format=torch.contiguous_format) if y is x else y.contiguous()
        )

    def _steps_for(self, dtype: torch.dtype) -> elementwise.ElementwiseSpec:
        steps = self._steps.get(dtype)
        if isinstance(steps, elementwise.ElementwiseSpec):
            return steps
        raise _unknown(dtype) if steps is None else type(steps)(*steps.args)

    def __reduce__(self) -> tuple[type["TensorPlan"], tuple[Plan]]:
        return TensorPlan, (self.plan,)


def pick(plans: Mapping[int, TensorPlan], x: Tensor) -> TensorPlan:
    """Return the plan for the bands of ``x``; DTypeError, LayoutError or ChannelError where there is none."""
    if not isinstance(x, Tensor):
        raise DTypeError(f"expected a tensor, got {type(x).__name__}")
    if x.ndim < 3:
        raise LayoutError(
            f"expected a tensor (..., C, H, W), got shape {tuple(x.shape)}: a gray image (H, W) is x[None], a batch of "
            f"them (N, H, W) is x[:, None]"
        )
    count = int(x.shape[-3])  # torch.jit.trace has a tensor there
    if count not in plans:
        choose_plan(
            {known: held.plan for known, held in plans.items()},
            count,
            f"a tensor of shape {tuple(x.shape)}",
        )
    return plans[count]


def in_engine(execution: Execution, image: NDArray[Any]) -> Tensor:
    """Return the result for ``image`` (..., C, H, W), whose shape was checked, as a tensor."""
    lead = image.ndim - 3
    bands_first = (lead, *range(lead), lead + 1, lead + 2)
    made = np.empty(
        (*image.shape[:lead], len(execution.spec.matrix), *image.shape[lead + 1 :]),
        execution.target,
    )
    execution.kernel(image.transpose(bands_first), made.transpose(bands_first))
    return torch.from_numpy(made)


def describe(plan: Plan) -> str:
    """Return source and target of ``plan`` in one line."""
    return f"{plan.source} -> {plan.target}"


def _steps(
    plan: Plan,
) -> Iterator[tuple[torch.dtype, elementwise.ElementwiseSpec | GraypipeError]]:
    """Yield the steps for each dtype, or the error that tensors of it meet."""
    for known, dtype in DTYPES.items():
        try:
            yield known, elementwise.make_spec(plan._execution(dtype))
        except GraypipeError as error:
            yield known, error


def _unknown(dtype: torch.dtype) -> DTypeError:
    return DTypeError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"expected a tensor of bool, integers of 8-64 bits or floats of 16-64 bits, got {dtype}: keep the integers of "
        f"the file up to here, also in front of a model in bfloat16, or convert with x.float()"
    )


def _memory(x: Tensor) -> NDArray[Any] | None:
    """Return the memory of ``x``, or None: on a device, with gradients, in torch.func and as a fake there is none."""
    try:
        memory: NDArray[Any] = x.numpy()
    except (RuntimeError, TypeError):
        return None
    return memory


def _test_implied(execution: Execution, x: Tensor) -> None:
    """Let the engine test the range of ``x``, where the values are at hand; what it computes has no gradient."""
    image = _memory(x.detach())
    if image is not None:
        in_engine(execution, image)


class Ops:
    """The functions of `keras.ops` that `elementwise` calls, on one device.

    Constants are filled in there: one copied to a device waits for all that was queued before.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def convert_to_tensor(self, values: list[list[list[float]]], dtype: str) -> Tensor:
        """Return (bands, 1, 1) for nested lists of that shape."""
        parts = [
            torch.full((1, 1), value, dtype=NAMED[dtype], device=self._device)
            for ((value,),) in values
        ]
        return torch.stack(parts)

    def cast(self, x: Tensor, dtype: str) -> Tensor:
        """Return ``x`` with the dtype of that name."""
        return x.to(NAMED[dtype])

    def take(self, x: Tensor, indices: int | tuple[int, ...], axis: int) -> Tensor:
        """Return the bands of ``x``; one index drops the axis."""
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
