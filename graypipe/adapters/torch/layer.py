"""torch: the plan as a layer, which executes it where the model is, and the weight side of it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ...errors import RangeError
from ...extras import needs
from ...plan import Plan
from .._shared.layer import (
    MAX_EXACT_INTEGER,
    check_layer,
    initial_weights,
    largest_level,
    unit_plan,
)
from .tensor_plan import NAMED, TensorPlan, describe, pick

with needs("torch", "torch"):
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import conv2d


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

    def __init__(
        self, plan: Plan, *, trainable: bool = False, kernel_size: int = 1
    ) -> None:
        super().__init__()
        why = "a layer takes what a model hands it, pixels that were cast included"
        check_layer(
            plan, trainable, kernel_size, why=why, instead="call the plan itself"
        )
        self.plan = plan.with_layouts("CHW", "CHW")
        self.trainable = trainable
        self.kernel_size = kernel_size
        executed = TensorPlan(unit_plan(self.plan) if trainable else self.plan)
        self._plans = {executed.count: executed}
        self._greatest = largest_level(plan)
        if trainable:
            self.weight, self.bias = (
                nn.Parameter(torch.from_numpy(part))
                for part in initial_weights(plan, kernel_size)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the result for ``x``; LayoutError, ChannelError or DTypeError where it is not what the plan takes.

        RangeError for float16 that cannot hold the levels the source declares, unless it declares that dtype too.
        """
        plan = pick(self._plans, x)
        if (
            x.dtype == torch.float16
            and self.plan.source.dtype is None
            and self._greatest > MAX_EXACT_INTEGER["float16"]
        ):
            raise RangeError(
                f"float16 does not hold every number up to {self._greatest:g}, which the source declares, and the "
                f"images arrived as float16: cast the model, not its input, which stays in the integers of the file. "
                f"Where the file itself stores such floats, declare dtype='float16'"
            )
        y = plan(x)
        return (
            plan.blank(x, self._convolved(y)).to(NAMED[self.plan.target.dtype])
            if self.trainable
            else y
        )

    def _convolved(self, u: Tensor) -> Tensor:
        images = u.flatten(0, -4) if u.ndim > 4 else u
        with _no_autocast(u.device.type):
            y = conv2d(
                images,
                self.weight.to(u.dtype),
                self.bias.to(u.dtype),
                padding=self.kernel_size // 2,
            )
        return y.reshape(*u.shape[:-3], *y.shape[-3:])

    def extra_repr(self) -> str:
        """Return source and target, for the repr."""
        return describe(self.plan) + (
            f"\ntrainable=True, kernel_size={self.kernel_size}"
            if self.trainable
            else ""
        )


def _no_autocast(device: str) -> AbstractContextManager[Any]:
    known = torch.amp.is_autocast_available(device)  # "meta" is not
    return torch.autocast(device, enabled=False) if known else nullcontext()
