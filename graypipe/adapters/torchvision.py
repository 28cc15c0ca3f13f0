"""torchvision: plans as a transform, for `torchvision.transforms.v2` and v1 pipelines."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import bands as names
from ..errors import ChannelError, DTypeError
from ..extras import needs
from ..plan import Plan
from ._shared.pil import open_picture, planes
from ._shared.plan_choice import choose_plan, index_by_band_count
from .torch.tensor_plan import TensorPlan, describe, in_engine, pick

with needs("torch", "torch", "torchvision"):
    import torch
    from PIL.Image import Image as Picture
    from torchvision import tv_tensors
    from torchvision.transforms import v2
    from torchvision.transforms.v2.functional import is_pure_tensor
    from torchvision.tv_tensors import Image, Video

__all__ = ["ToBackbone", "open_picture"]

Array = NDArray[Any]

IMAGES = (Image, Video, Picture)


def _is_taken(leaf: Any) -> bool:
    return isinstance(leaf, IMAGES) or is_pure_tensor(leaf)


class ToBackbone(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """The images of a sample as the backbone expects them: (..., C, H, W) in the target's dtype, fresh memory.

    Takes PIL images (gray, palette and RGB modes, every level kept; alpha has to be opaque, or a band A of the plan),
    plain tensors, ``tv_tensors.Image`` and ``Video``, in samples of any nesting, and a NumPy array in the plan's own
    layout as the whole sample. Masks, boxes, labels and every other leaf stay as they are; as everywhere in v2, a plain
    tensor is the image where no leaf says that it is one, and then the first of them. A tensor stays of its type; PIL
    images and arrays become ``tv_tensors.Image``. EXIF orientation is not applied: masks and boxes would no longer fit.

    Several plans with one target serve a mixed folder: the band count of each image picks one. CPU tensors are read
    without a copy, on one thread; those on a device, with gradients or in a graph run in elementwise operations, where
    an implied range is not tested, and torch.export takes declared ranges only.

    Raises DTypeError, which is a TypeError, for samples without an image and for arrays inside a sample; LayoutError,
    ChannelError, DTypeError and RangeError for images that are not what the plans take; DTypeError and ReadError for
    PIL images that know their file and are less than that holds, see `open_picture`.
    """

    _transformed_types = (_is_taken,)

    def __init__(self, *plans: Plan) -> None:
        super().__init__()
        self._plans = {
            count: TensorPlan(plan)
            for count, plan in index_by_band_count(plans).items()
        }
        self._own = tuple(plan.with_layouts(target="CHW") for plan in plans)
        self._takes_alpha = {
            len(plan.source.bands) for plan in plans if "A" in plan.source.bands
        }

    def forward(self, *inputs: Any) -> Any:
        """Return the sample with its images transformed."""
        if len(inputs) == 1 and isinstance(inputs[0], np.ndarray):
            return torch.from_numpy(self._plan_of(inputs[0])(inputs[0])).as_subclass(
                Image
            )
        if len(inputs) == 1 and _is_taken(inputs[0]):
            return self.transform(
                inputs[0], {}
            )  # without a walk through the sample, which costs a quarter of the time
        return super().forward(*inputs)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Raise DTypeError for a sample that holds an array, or nothing to transform."""
        if any(isinstance(leaf, np.ndarray) for leaf in flat_inputs):
            raise DTypeError(
                "got a NumPy array inside a sample, which may be an image or a label: put v2.ToImage() first for "
                "images, torch.as_tensor for the rest"
            )
        if not any(map(_is_taken, flat_inputs)):
            kinds = sorted({type(leaf).__name__ for leaf in flat_inputs})
            raise DTypeError(
                f"expected a PIL image, a tensor, a tv_tensors.Image or Video in the sample, got {', '.join(kinds)}"
            )

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ARG002  # the signature of v2
        """Return one image, transformed."""
        if isinstance(inpt, Picture):
            return self._from_picture(inpt).as_subclass(Image)
        if is_pure_tensor(inpt):
            return pick(self._plans, inpt)(inpt)
        x = inpt.as_subclass(torch.Tensor)
        return tv_tensors.wrap(pick(self._plans, x)(x), like=inpt)

    def extra_repr(self) -> str:
        """Return source and target of each plan, for the repr."""
        return "\n".join(describe(held.plan) for held in self._plans.values())

    def _plan_of(self, image: Array) -> Plan:
        if len(self._own) == 1:
            return self._own[0]
        fitting = [plan for plan in self._own if _fits(plan, image.shape)]
        if len(fitting) == 1:
            return fitting[0]
        raise ChannelError(
            f"expected an array of one of the layouts {', '.join(_reading(plan) for plan in self._own)}, got shape "
            f"{image.shape}, which fits {len(fitting)} of them: "
            f"{'say v2.ToImage() first' if fitting else 'add a plan for such images'}"
        )

    def _from_picture(self, picture: Picture) -> torch.Tensor:
        what = f"a picture of mode {picture.mode!r}"
        pixels, bands = planes(picture, self._takes_alpha)
        if picture.mode in ("LA", "RGBA") and len(bands) != len(picture.getbands()):
            what += " without its alpha, which is a band only where a plan calls it 'A'"
        elif bands == tuple("RGB") and 3 not in self._plans:
            raise ChannelError(
                f"expected a band count of {' or '.join(map(str, self._plans))}, got {what}. Where the file is gray, "
                'its loader converted it: ImageFolder calls convert("RGB") unless it is given loader=PIL.Image.open, '
                "or loader=open_picture of graypipe.adapters.torchvision, which checks the file too. Where it is not "
                "gray, add a plan for RGB"
            )
        plan = choose_plan(
            {count: held.plan for count, held in self._plans.items()}, len(bands), what
        )
        if any(
            name in bands and name != there
            for name, there in zip(plan.source.bands, bands, strict=True)
        ):
            raise ChannelError(
                f"the plan takes {names.show(plan.source.bands)} in this order, {what} holds {names.show(bands)}: "
                f"declare what is there, a plan puts bands into another order"
            )
        return in_engine(plan._execution(pixels.dtype), pixels)


def _fits(plan: Plan, shape: tuple[int, ...]) -> bool:
    layout = plan.source.layout
    return len(shape) == len(layout) and (
        "C" not in layout or shape[layout.index("C")] == len(plan.source.bands)
    )


def _reading(plan: Plan) -> str:
    return f"{plan.source.layout} of {names.show(plan.source.bands)}"
