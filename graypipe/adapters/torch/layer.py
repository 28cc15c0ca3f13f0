"""The torch layer that executes a plan on the device of the model."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

from ...errors import RangeError
from ...extras import require_extra
from ...plan import Plan
from .._shared.layer import (
    MAX_EXACT_INTEGER,
    check_layer,
    initial_weights,
    largest_magnitude,
    unit_plan,
)
from .tensor_plan import (
    TORCH_DTYPES,
    TensorPlan,
    choose_tensor_plan,
    describe_plan,
    refuse_scripting,
    trace_as_module,
)

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn
    from torch.fx import Proxy
    from torch.nn.functional import conv2d


class ChannelLayer(nn.Module):
    """Execute a plan as a layer of a model.

    In front of a backbone, it expands the bands after the transfer to the device, so
    that one band of integers is transferred instead of three bands of floats.

    The layer takes tensors of stored values of shape (..., C, H, W), with any number of
    leading axes, and returns a new tensor of shape (..., bands out, H, W) in the dtype
    of the plan's target, also under autocast and after ``half()`` on the model.

    Parameters
    ----------
    plan : Plan
        Plan to execute. Its source must declare a range, because the pixels may have
        been cast before they reach the layer, and its target must be floating-point.
        Its layouts are replaced by CHW.
    trainable : bool, default False
        Make the affine part of the plan a convolution on unit intensities (0 for
        black, 1 for white) with the parameters ``weight``, of shape
        (bands out, bands in, kernel_size, kernel_size), and ``bias``, of shape
        (bands out,). Initially the layer equals the plan: its matrix is at the centre
        tap and all other taps are 0.
    kernel_size : int, default 1
        Odd number of taps on each axis of a trainable layer.
    device : torch.device, optional
        Device of the parameters. A layer on "meta" is materialised by ``to_empty`` and
        `reset_parameters`.
    dtype : torch.dtype, optional
        Dtype of the parameters, by default float32, or float64 if the target is. The
        result has the dtype of the target in any case.

    Raises
    ------
    RangeError
        If the source declares no range.
    DTypeError
        If ``plan`` is not a plan, or its target is not floating-point.
    LayoutError
        If ``kernel_size`` is not an odd positive integer, or is not 1 in a layer that
        is not trainable.

    Notes
    -----
    In a trainable layer, nodata and clip are applied before the convolution. A nodata
    pixel is 0 in the result, and counts as black (0) in the windows of its neighbours.
    NaN that is not declared as nodata spreads to all pixels within reach of the kernel.

    A batch in channels_last memory format stays in it.

    On CUDA, the convolution of a trainable layer may use TF32, depending on
    ``torch.backends.cudnn.allow_tf32``. A layer that is not trainable never uses it.

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

    >>> trainable = ChannelLayer(plan, trainable=True, kernel_size=3)
    >>> torch.allclose(trainable(images.reshape(1, 1, 2, 2)), y)
    True
    >>> trainable.weight.shape
    torch.Size([3, 1, 3, 3])
    """

    def __init__(
        self,
        plan: Plan,
        *,
        trainable: bool = False,
        kernel_size: int = 1,
        device: torch.types.Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_layer(
            plan,
            trainable,
            kernel_size,
            reason="a model may cast the pixels before a layer receives them",
            alternative="call the plan itself",
        )
        self.plan = plan.with_layouts("CHW", "CHW")
        self.trainable = trainable
        self.kernel_size = kernel_size
        self._largest_magnitude = largest_magnitude(plan)
        self._make_tensor_plans()
        if trainable:
            weight, bias = self._initial_parameters()
            self.weight = nn.Parameter(weight.to(device, dtype))
            self.bias = nn.Parameter(bias.to(device, dtype))

    def reset_parameters(self) -> None:
        """Set the parameters to those of the plan, if the layer is trainable.

        Call it after ``to_empty``, or to undo the training of the layer.

        Examples
        --------
        >>> import graypipe as gp
        >>> from graypipe.adapters.torch import ChannelLayer
        >>> plan = gp.plan(gp.Source("gray", range=(0, 255)), "unit")
        >>> layer = ChannelLayer(plan, trainable=True, device="meta")
        >>> layer.to_empty(device="cpu").reset_parameters()
        >>> layer.bias.tolist()
        [0.0, 0.0, 0.0]
        """
        if not self.trainable:
            return
        weight, bias = self._initial_parameters()
        with torch.no_grad():
            self.weight.copy_(weight)
            self.bias.copy_(bias)

    def _initial_parameters(self) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias that equal the affine part of the plan."""
        kernel, bias = initial_weights(self.plan, self.kernel_size)
        return torch.from_numpy(kernel), torch.from_numpy(bias)

    def _make_tensor_plans(self) -> None:
        """Set the tensor plans, which are derived from the plan.

        In a trainable layer, the one that runs first computes unit intensities, and the
        convolution follows; the other one knows which results are 0 because pixels have
        no data.
        """
        self._whole_plan = TensorPlan(self.plan)
        first = self._whole_plan
        if self.trainable:
            first = TensorPlan(unit_plan(self.plan))
        self._tensor_plans = {len(self.plan.source.bands): (first,)}

    def __getstate__(self) -> dict[str, Any]:
        # Tensor plans are left out, so that saved layers refer only to public import
        # paths.
        state = self.__dict__.copy()
        del state["_tensor_plans"]
        del state["_whole_plan"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._make_tensor_plans()

    def forward(self, x: Tensor) -> Tensor:
        """Return the result of the plan for ``x``.

        Parameters
        ----------
        x : Tensor of shape (..., C, H, W)
            Stored values, in the dtype of the file or in another dtype that represents
            them exactly.

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
            If ``x`` is float16, which cannot represent the levels that the source
            declares, and the source does not declare that dtype.
        """
        if isinstance(x, Proxy):
            return trace_as_module(self, x)
        tensor_plan = choose_tensor_plan(self._tensor_plans, x)
        self._check_half_precision(x)
        y = tensor_plan(x)
        if not self.trainable:
            return y
        y = self._whole_plan.zero_nodata(x, self._convolve(y))
        return y.to(TORCH_DTYPES[self.plan.target.dtype])

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse `torch.jit.script`, which calls this method."""
        refuse_scripting(type(self).__name__)

    def _check_half_precision(self, x: Tensor) -> None:
        """Raise RangeError if ``x`` is float16 and the source has larger levels."""
        if x.dtype != torch.float16 or self.plan.source.dtype is not None:
            return
        if self._largest_magnitude > MAX_EXACT_INTEGER["float16"]:
            raise RangeError(
                "the input is float16, which cannot represent every integer up to "
                f"{self._largest_magnitude:g}, the largest magnitude that the source "
                "declares: cast the model only, and pass the stored integers as "
                "input. If the file itself stores float16, declare dtype='float16' in "
                "the source"
            )

    def _convolve(self, unit_intensities: Tensor) -> Tensor:
        """Return the convolution of unit intensities of shape (..., C, H, W)."""
        dtype = unit_intensities.dtype
        images = unit_intensities
        if images.ndim > 4:  # conv2d takes (C, H, W) or (N, C, H, W)
            images = images.flatten(0, -4)
        with _without_autocast(images.device.type):
            y = conv2d(
                images,
                self.weight.to(dtype),
                self.bias.to(dtype),
                padding=self.kernel_size // 2,
            )
        return y.reshape(*unit_intensities.shape[:-3], *y.shape[-3:])

    def extra_repr(self) -> str:
        """Return source and target of the plan, for the repr."""
        description = describe_plan(self.plan)
        if self.trainable:
            description += f"\ntrainable=True, kernel_size={self.kernel_size}"
        return description


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    """Return a context in which autocast does not lower the precision."""
    if _has_autocast(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


# Dynamo of some releases of torch cannot trace the function of torch.
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _has_autocast(device: str) -> bool:
    """Return whether torch has autocast for ``device``: not for "meta", for example."""
    return torch.amp.is_autocast_available(device)
