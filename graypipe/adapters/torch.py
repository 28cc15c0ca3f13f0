"""torch: the plan as a layer, which executes it where the model is, and the weight side of it."""

from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import numpy as np

from .. import planning
from ..errors import DTypeError, LayoutError, RangeError
from ..extras import needs
from ..planning import Plan
from ..targets import Target
from .choosing import by_band_count, check_declared
from .tensors import NAMED, TensorPlan, describe, pick
from .torch_transfer import transfer_into
from .torch_weights import compare, fold_into

with needs("torch", "torch"):
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import conv2d

__all__ = ["ChannelLayer", "compare", "fold_into", "transfer_into"]

HALF = 2048
"""The greatest whole number up to which float16 holds all: 2 to the bits of its significand."""


class ChannelLayer(nn.Module):
    """The plan as a layer: (..., C, H, W) as stored in, (..., C, H, W) as the backbone expects it out.

    For late expansion, where one band of integers crosses the bus instead of three of floats. The source declares its
    range (RangeError else), because a layer cannot know who cast the pixels before it; the target is floating
    (DTypeError else). The result is fresh and of the target's dtype, also under autocast and after ``half()``.

    ``trainable=True`` makes the affine part a convolution on unit intensities, with parameters ``weight``
    (bands out, bands in, k, k) and ``bias`` (bands out,), k = ``kernel_size``, an odd number (LayoutError else). It
    starts as the plan, on the centre tap. nodata and clip stay guards before it: a pixel of nodata is black to its
    neighbours and 0 itself. A NaN that is not nodata spreads as far as the kernel. On CUDA the convolution may round to
    TF32, as torch.backends.cudnn.allow_tf32 says; a layer that is not trainable never does.
    """

    def __init__(self, plan: Plan, *, trainable: bool = False, kernel_size: int = 1) -> None:
        super().__init__()
        by_band_count((plan,))
        check_declared(plan, "a layer takes what a model hands it, pixels that were cast included")
        _check_layer(plan, trainable, kernel_size)
        self.plan = plan.with_layouts("CHW", "CHW")
        self.trainable = trainable
        self.kernel_size = kernel_size
        executed = TensorPlan(_to_units(self.plan) if trainable else self.plan)
        self._plans = {executed.count: executed}
        self._greatest = _greatest(self.plan)
        if trainable:
            self.weight, self.bias = map(nn.Parameter, _start(self.plan, kernel_size))

    def forward(self, x: Tensor) -> Tensor:
        """Return the result for ``x``; LayoutError, ChannelError or DTypeError where it is not what the plan takes.

        RangeError for float16 that cannot hold the levels the source declares, unless it declares that dtype too.
        """
        plan = pick(self._plans, x)
        if x.dtype == torch.float16 and self.plan.source.dtype is None and self._greatest > HALF:
            raise RangeError(
                f"float16 does not hold every number up to {self._greatest:g}, which the source declares, and the "
                f"images arrived as float16: cast the model, not its input, which stays in the integers of the file. "
                f"Where the file itself stores such floats, declare dtype='float16'"
            )
        y = plan(x)
        return plan.blank(x, self._convolved(y)).to(NAMED[self.plan.target.dtype]) if self.trainable else y

    def _convolved(self, u: Tensor) -> Tensor:
        images = u.flatten(0, -4) if u.ndim > 4 else u
        with _no_autocast(u.device.type):
            y = conv2d(images, self.weight.to(u.dtype), self.bias.to(u.dtype), padding=self.kernel_size // 2)
        return y.reshape(*u.shape[:-3], *y.shape[-3:])

    def extra_repr(self) -> str:
        """Return source and target, for the repr."""
        return describe(self.plan) + (f"\ntrainable=True, kernel_size={self.kernel_size}" if self.trainable else "")


def _check_layer(plan: Plan, trainable: bool, kernel_size: int) -> None:
    if np.dtype(plan.target.dtype).kind != "f":
        raise DTypeError(
            f"a layer does not round: expected a target of floats, got {plan.target.dtype}; call the plan itself, or "
            f"give the target dtype='float32'"
        )
    if isinstance(kernel_size, bool) or not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
        raise LayoutError(f"kernel_size is an odd positive integer, so that H and W stay, got {kernel_size!r}")
    if kernel_size > 1 and not trainable:
        raise LayoutError(f"only a trainable layer looks at neighbours: kernel_size={kernel_size} needs trainable=True")


def _greatest(plan: Plan) -> float:
    """Return the greatest magnitude among the levels that the source of ``plan`` declares."""
    levels = [*chain.from_iterable(plan.source.pairs(None)), plan.source.nodata or 0]
    return float(np.nanmax(np.abs(levels)))


def _to_units(plan: Plan) -> Plan:
    """Return what stands before the affine part of ``plan``: its guards, and stored values as unit intensities."""
    dtype = "float64" if plan.target.dtype == "float64" else "float32"
    return planning.plan(plan.source, Target(plan.source.bands, "CHW", dtype))


def _start(plan: Plan, kernel_size: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution on unit intensities that is the affine part of ``plan``."""
    matrix = torch.tensor(plan.unit_map.matrix, dtype=torch.float64)
    weight = torch.zeros(*matrix.shape, kernel_size, kernel_size, dtype=torch.float64)
    weight[:, :, kernel_size // 2, kernel_size // 2] = matrix
    dtype = torch.float64 if plan.target.dtype == "float64" else torch.float32
    return weight.to(dtype), torch.tensor(plan.unit_map.offset, dtype=dtype)


def _no_autocast(device: str) -> AbstractContextManager[Any]:
    known = torch.amp.is_autocast_available(device)  # "meta" is not
    return torch.autocast(device, enabled=False) if known else nullcontext()
