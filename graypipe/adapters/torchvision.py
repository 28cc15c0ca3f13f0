"""Adapter for torchvision: plans as a transform of `torchvision.transforms`."""

from os import PathLike
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..bands import format_band_count
from ..errors import ChannelError, DTypeError, GraypipeError
from ..extras import require_extra
from ..io.pil_images import check_file, to_planes
from ..messages import describe_value
from ..plan import Plan
from ..plans import Plans
from .torch.tensor_plan import (
    TensorPlans,
    choose_tensor_plan,
    describe_plan,
    make_tensor_plans,
    refuse_scripting,
    run_engine,
    trace_as_module,
)

with require_extra("torch", "torch", "torchvision"):
    import PIL.Image
    import torch
    from PIL.Image import Image as PILImage
    from torch.fx import Proxy
    from torchvision import tv_tensors
    from torchvision.transforms import v2
    from torchvision.transforms.v2.functional import is_pure_tensor
    from torchvision.tv_tensors import Image, Video

__all__ = ["ToBackbone", "open_picture"]

Array = NDArray[Any]

IMAGE_TYPES = (Image, Video, PILImage)


def open_picture(path: "str | PathLike[str]") -> PILImage:
    """Open an image file unconverted, after checking that Pillow decodes it losslessly.

    Use it as the loader of `torchvision.datasets.ImageFolder`, whose default loader
    converts every image to 8-bit RGB.

    Parameters
    ----------
    path : str or path-like
        Image file of a format that Pillow reads.

    Returns
    -------
    PIL.Image.Image
        The loaded image. The file is closed, and EXIF orientation is not applied.

    Raises
    ------
    DTypeError
        If Pillow would truncate, wrap, scale or invert values of the file (as for
        16-bit colour), or does not report the bit depth of the format.
    ReadError
        If the file contains several frames.
    OSError
        If the file does not exist or is not an image, as raised by `PIL.Image.open`.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import PIL.Image
    >>> from graypipe.adapters.torchvision import open_picture
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "deep.png")
    >>> PIL.Image.fromarray(np.full((4, 6), 40_000, np.uint16)).save(path)
    >>> picture = open_picture(path)
    >>> picture.mode, picture.size, np.asarray(picture).max().item()
    ('I;16', (6, 4), 40000)
    >>> folder.cleanup()
    """
    if not isinstance(path, str | bytes | PathLike) and not hasattr(path, "read"):
        raise DTypeError(
            f"expected the path of a file, got {describe_value(path)}: pass it to "
            "ToBackbone if it is an image"
        )
    with PIL.Image.open(path) as picture:
        try:
            check_file(picture)
        except GraypipeError as error:
            raise type(error)(f"{path}: {error}") from None
        picture.load()
        # A copy does not refer to the file, which is closed here. The copy can be
        # pickled, and later checks do not look for the file again.
        return picture.copy()


def _is_image(leaf: Any) -> bool:
    """Return whether a value in a sample is an image or may be an image."""
    return isinstance(leaf, IMAGE_TYPES) or is_pure_tensor(leaf)


class ToBackbone(v2.Transform):  # type: ignore[misc]  # torchvision has no types
    """Convert the images of a sample to the input that a backbone expects.

    Works in `torchvision.transforms.v2` and v1 pipelines. It converts

    - gray, RGB and palette PIL images, without loss of levels. Alpha must be opaque and
      is dropped, unless a plan takes it as a band "A". EXIF orientation is not applied:
      masks and boxes would no longer fit.
    - ``tv_tensors.Image`` and ``tv_tensors.Video``, of shape (..., C, H, W), and plain
      tensors. As everywhere in v2, plain tensors are ignored if the sample contains
      another image; otherwise only the first plain tensor is converted.
    - NumPy arrays, if the array is the entire sample; arrays have the source layout of
      their plan.

    Masks, boxes, labels and everything else in the sample are returned unchanged.

    Parameters
    ----------
    *plans : Plan
        Plans that share one target, as in `graypipe.Plans`: each image selects the plan
        that takes its band count and its dtype. Except for arrays, the layouts of the
        plans are replaced by those of the images.

    Raises
    ------
    ChannelError
        If there is no plan, if two plans take images of the same number of bands and
        the same dtype, or if the targets differ.
    DTypeError
        If an argument is not a plan.

    Notes
    -----
    The engine converts CPU tensors, without copying the input and on one thread.
    Tensors on other devices, with gradients or in a graph are converted by elementwise
    operations of torch. An implied range is checked only for CPU tensors outside graphs
    and `torch.func` transforms, and `torch.export` requires a declared range.

    Examples
    --------
    >>> import numpy as np
    >>> import PIL.Image
    >>> import graypipe as gp
    >>> from graypipe.adapters.torchvision import ToBackbone
    >>> to_backbone = ToBackbone(gp.plan("gray", "unit"), gp.plan("RGB", "unit"))
    >>> gray = PIL.Image.fromarray(np.full((4, 6), 51, np.uint8))
    >>> image, label = to_backbone(gray, 7)
    >>> image.shape, image.dtype, label
    (torch.Size([3, 4, 6]), torch.float32, 7)
    >>> round(image.max().item(), 6)
    0.2

    Images of several bit depths, gray and colour, form one batch:

    >>> deep = PIL.Image.fromarray(np.full((4, 6), 13107, np.uint16))
    >>> colour = PIL.Image.fromarray(np.full((4, 6, 3), 51, np.uint8))
    >>> import torch
    >>> batch = torch.stack([to_backbone(picture) for picture in (gray, deep, colour)])
    >>> batch.shape, round(batch.min().item(), 6)
    (torch.Size([3, 3, 4, 6]), 0.2)
    """

    # v2 transforms the values of a sample for which one of these predicates holds.
    _transformed_types = (_is_image,)

    def __init__(self, *plans: Plan) -> None:
        super().__init__()
        # Arrays keep the source layout of their plan.
        self._array_plans = Plans(*plans)._with_layouts(None, "CHW")
        self._plans = self._array_plans._with_layouts("CHW", "CHW")
        self._tensor_plans: TensorPlans = make_tensor_plans(self._plans.plans)

    def __getstate__(self) -> dict[str, Any]:
        # Tensor plans are derived from the plans. They are left out, so that saved
        # pipelines refer only to public import paths.
        state = self.__dict__.copy()
        del state["_tensor_plans"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._tensor_plans = make_tensor_plans(self._plans.plans)

    def forward(self, *inputs: Any) -> Any:
        """Return the sample with its images converted.

        Parameters
        ----------
        *inputs : Any
            A sample: images and other values, in any nesting of lists, tuples and
            dicts.

        Returns
        -------
        Any
            The sample in the same structure. Images are new tensors of shape
            (..., bands out, H, W) in the dtype of the target. A tensor keeps its type;
            PIL images and arrays become ``tv_tensors.Image``.

        Raises
        ------
        DTypeError
            If the sample contains no image, or an array among other values, or if the
            plan does not take the dtype or mode of an image.
        LayoutError, ChannelError, RangeError
            If an image does not have the axes, bands or range that the plans take.
        ReadError
            If a PIL image comes from a file that contains several frames.
        """
        if len(inputs) == 1:
            sample = inputs[0]
            if isinstance(sample, np.ndarray):
                return self._transform_array(sample)
            if isinstance(sample, Proxy):
                return trace_as_module(self, sample)
            if _is_image(sample):
                # Skip flattening the sample, which would take a quarter of the total
                # time for a single image.
                return self.transform(sample, {})
        return super().forward(*inputs)

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse `torch.jit.script`, which calls this method."""
        refuse_scripting(type(self).__name__)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Check that a flattened sample contains images and no array.

        Raises
        ------
        DTypeError
            If the sample contains an array, or no image.
        """
        if any(isinstance(leaf, np.ndarray) for leaf in flat_inputs):
            raise DTypeError(
                "got a NumPy array inside a sample, which may be an image or a label: "
                "convert images with v2.ToImage() and other arrays with "
                "torch.as_tensor before this transform"
            )
        if not any(map(_is_image, flat_inputs)):
            kinds = sorted({type(leaf).__name__ for leaf in flat_inputs})
            advice = ""
            if any(isinstance(leaf, str | PathLike) for leaf in flat_inputs):
                advice = (
                    ": open files with open_picture of graypipe.adapters.torchvision"
                )
            raise DTypeError(
                "expected a PIL image, a tensor, a tv_tensors.Image or Video in the "
                f"sample, got {', '.join(kinds)}{advice}"
            )

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ARG002  # the signature of v2
        """Return the result for one image. Called by `torchvision.transforms.v2`."""
        if isinstance(inpt, PILImage):
            return self._transform_pil_image(inpt)
        if is_pure_tensor(inpt):
            return choose_tensor_plan(self._tensor_plans, inpt)(inpt)
        x = inpt.as_subclass(torch.Tensor)
        y = choose_tensor_plan(self._tensor_plans, x)(x)
        return tv_tensors.wrap(y, like=inpt)

    def extra_repr(self) -> str:
        """Return source and target of each plan, for the repr."""
        return "\n".join(map(describe_plan, self._plans.plans))

    def _transform_array(self, image: Array) -> Image:
        """Return the result for an array in the source layout of its plan."""
        return torch.from_numpy(self._array_plans(image)).as_subclass(Image)

    def _transform_pil_image(self, picture: PILImage) -> Image:
        """Return the result for a PIL image."""
        pixels, bands = to_planes(picture, self._plans._alpha_band_counts)
        self._check_not_converted(picture, bands)
        plan = self._plans._choose_for_picture(picture, bands, pixels.dtype)
        y = run_engine(plan._execution(pixels.dtype), pixels)
        return y.as_subclass(Image)

    def _check_not_converted(self, picture: PILImage, bands: tuple[str, ...]) -> None:
        """Raise ChannelError if a loader may have converted a gray file to RGB."""
        is_rgb = bands == ("R", "G", "B") and picture.mode != "RGBA"
        if not is_rgb or 3 in self._tensor_plans:
            return
        counts = " or ".join(map(format_band_count, self._tensor_plans))
        raise ChannelError(
            f"expected an image with {counts}, got a PIL image of mode "
            f"{picture.mode!r} (3 bands). If the file is gray, the loader has "
            'converted it to RGB: ImageFolder calls convert("RGB") unless it is given '
            "loader=PIL.Image.open, or loader=open_picture of "
            "graypipe.adapters.torchvision, which also checks the file. If the file is "
            "not gray, add a plan for RGB"
        )
