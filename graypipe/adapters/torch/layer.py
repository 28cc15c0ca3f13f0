"""The torch layer that executes a plan where the model is."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ...errors import RangeError
from ...extras import require_extra
from ...plan import Plan
from .._shared.layer import (
    MAX_EXACT_INTEGER,
    check_layer,
    initial_weights,
    largest_level,
    unit_plan,
)
from .tensor_plan import TORCH_DTYPES, TensorPlan, choose_tensor_plan, describe_plan

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn
    from torch.nn.functional import conv2d


class ChannelLayer(nn.Module):
    """Execute a plan as a layer of a model.

    Put in front of a backbone, it moves the expansion of bands behind the transfer to
    the device: one band of integers crosses the bus instead of three of floats.

    The layer takes tensors of stored values of shape (..., C, H, W), any number of
    leading axes, and returns (..., bands out, H, W): fresh memory, in the dtype of the
    plan's target, also under autocast and after ``half()`` on the model.

    Parameters
    ----------
    plan : Plan
        Plan to execute. Its source declares its range, because a layer cannot know
        whether pixels were cast before they reach it, and its target is floating. Its
        layouts are replaced by CHW.
    trainable : bool, default False
        Make the affine part of the plan a convolution on unit intensities (0 for
        black, 1 for white) with the parameters ``weight``, of shape
        (bands out, bands in, kernel_size, kernel_size), and ``bias``, of shape
        (bands out,). It starts as the plan, at the centre tap.
    kernel_size : int, default 1
        Odd number of taps on each axis of a trainable layer.

    Raises
    ------
    RangeError
        If the source declares no range.
    DTypeError
        If ``plan`` is not a plan, or its target is not floating.
    LayoutError
        If ``kernel_size`` is not an odd positive integer, or is not 1 in a layer that
        is not trainable.

    Notes
    -----
    nodata and clip stay guards in front of the convolution of a trainable layer. A
    pixel of nodata is 0 in the result, and black (0) to its neighbours. NaN that is
    not declared as nodata spreads as far as the kernel.

    On CUDA, the convolution of a trainable layer may round to TF32, as
    ``torch.backends.cudnn.allow_tf32`` says. A layer that is not trainable never does.

    Examples
    --------
    >>> import torch
    >>> import graypipe as gp
    >>> from graypipe.adapters.torch import ChannelLayer
    >>> plan = gp.plan(gp.Source("gray", range=(0, 255)), "unit")
    >>> layer = ChannelLayer(plan)
    >>> images = torch.tensor([[0, 51], [102, 255]], dtype=torch.uint8)
    >>> y = layer(images.reshape(1, 1, 2, 2))
    >>> y.shape, y.dtype
    (torch.Size([1, 3, 2, 2]), torch.float32)
    >>> y[0, 2]
    tensor([[0.0000, 0.2000],
            [0.4000, 1.0000]])

    A trainable layer starts with the same result:

    >>> trained = ChannelLayer(plan, trainable=True, kernel_size=3)
    >>> torch.allclose(trained(images.reshape(1, 1, 2, 2)), y)
    True
    >>> trained.weight.shape
    torch.Size([3, 1, 3, 3])
    """

    def __init__(
        self, plan: Plan, *, trainable: bool = False, kernel_size: int = 1
    ) -> None:
        super().__init__()
        check_layer(
            plan,
            trainable,
            kernel_size,
            why="a layer takes what a model hands it, pixels that were cast included",
            instead="call the plan itself",
        )
        self.plan = plan.with_layouts("CHW", "CHW")
        self.trainable = trainable
        self.kernel_size = kernel_size
        self._largest_level = largest_level(plan)
        self._tensor_plans = self._make_tensor_plans()
        if trainable:
            kernel, bias = initial_weights(plan, kernel_size)
            self.weight = nn.Parameter(torch.from_numpy(kernel))
            self.bias = nn.Parameter(torch.from_numpy(bias))

    def _make_tensor_plans(self) -> dict[int, TensorPlan]:
        """Return what runs before the convolution, or instead of it, by band count."""
        plan = unit_plan(self.plan) if self.trainable else self.plan
        tensor_plan = TensorPlan(plan)
        return {tensor_plan.band_count: tensor_plan}

    def __getstate__(self) -> dict[str, Any]:
        # Tensor plans are derived from the plan. Without them, saved layers name only
        # public import paths.
        state = self.__dict__.copy()
        del state["_tensor_plans"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._tensor_plans = self._make_tensor_plans()

    def forward(self, x: Tensor) -> Tensor:
        """Return the result of the plan for ``x``.

        Parameters
        ----------
        x : Tensor of shape (..., C, H, W)
            Stored values, in the dtype of the file or cast to another that holds them.

        Returns
        -------
        Tensor of shape (..., bands out, H, W)

        Raises
        ------
        LayoutError
            If ``x`` has fewer than three axes.
        ChannelError
            If the band count is not that of the source.
        DTypeError
            If ``x`` is not a tensor, or has a dtype that the plan does not take.
        RangeError
            If ``x`` is float16, which cannot hold the levels that the source declares,
            and the source does not declare that dtype.
        """
        tensor_plan = choose_tensor_plan(self._tensor_plans, x)
        self._check_half_precision(x)
        y = tensor_plan(x)
        if not self.trainable:
            return y
        y = tensor_plan.zero_nodata(x, self._convolve(y))
        return y.to(TORCH_DTYPES[self.plan.target.dtype])

    def _check_half_precision(self, x: Tensor) -> None:
        """Raise RangeError if the levels of the source do not survive float16."""
        if x.dtype != torch.float16 or self.plan.source.dtype is not None:
            return
        if self._largest_level > MAX_EXACT_INTEGER["float16"]:
            raise RangeError(
                f"float16 does not hold every number up to {self._largest_level:g}, "
                f"which the source declares, and the images arrived as float16: cast "
                f"the model, not its input, which stays in the integers of the file. "
                f"If the file itself stores such floats, declare dtype='float16'"
            )

    def _convolve(self, units: Tensor) -> Tensor:
        """Return the convolution of unit intensities (..., C, H, W)."""
        # conv2d takes (C, H, W) or (N, C, H, W).
        images = units.flatten(0, -4) if units.ndim > 4 else units
        with _without_autocast(units.device.type):
            y = conv2d(
                images,
                self.weight.to(units.dtype),
                self.bias.to(units.dtype),
                padding=self.kernel_size // 2,
            )
        return y.reshape(*units.shape[:-3], *y.shape[-3:])

    def extra_repr(self) -> str:
        """Return source and target of the plan, for the repr."""
        description = describe_plan(self.plan)
        if self.trainable:
            description += f"\ntrainable=True, kernel_size={self.kernel_size}"
        return description


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context in which autocast does not lower the precision."""
    if torch.amp.is_autocast_available(device):  # not on "meta", for example
        return torch.autocast(device, enabled=False)
    return nullcontext()
