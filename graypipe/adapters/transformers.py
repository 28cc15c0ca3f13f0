"""Adapter for Hugging Face transformers: plans as an image processor.

The processor resizes and crops with transformers itself, after the plan, so that nodata
and clip are applied to stored values and padding is 0, the mean of the target.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DTypeError, RangeError
from ..extras import require_extra
from ..messages import describe_value
from ..plan import Plan
from ..plans import Plans
from ._shared.plan_record import plan_from_record
from .torchvision import ToBackbone

with require_extra("transformers", "transformers", "torch", "torchvision"):
    import torch
    from transformers import BatchFeature
    from transformers.image_processing_backends import TorchvisionBackend
    from transformers.image_utils import PILImageResampling

__all__ = ["ImageProcessor"]

# A plan as a dict: the parsed JSON text of the plan.
Record = dict[str, Any]

# What transformers would do to the pixels, and the plan does instead
DECIDED_BY_PLAN = (
    "do_convert_rgb",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
    "input_data_format",
)


class ImageProcessor(TorchvisionBackend):
    """Convert images to ``pixel_values`` with plans, as an image processor does.

    ``save_pretrained`` writes the plan, the sizes and, for programs that know only
    these fields, ``rescale_factor``, ``image_mean`` and ``image_std`` to
    ``preprocessor_config.json``. They are missing or null if they cannot express the
    plan.

    Parameters
    ----------
    plan : Plan, Plans, dict or list of dict
        The plan, or several of which each image selects one. Its target must be
        floating-point. A saved configuration holds it as the parsed result of
        `Plan.to_json`.
    size : int or dict, optional
        Size to which images are resized, as in transformers, such as 224 or
        ``{"shortest_edge": 256}``. By default images are not resized.
    crop_size : int or dict, optional
        Size of a crop of the centre, after resizing. By default there is none.
    resample : PIL.Image.Resampling, default BILINEAR
        How images are resized.
    **kwargs
        Other arguments of image processors, such as ``do_pad`` and ``pad_size``.
        ``do_resize`` and ``do_center_crop`` follow from the sizes.

    Raises
    ------
    DTypeError
        If ``plan`` is not a plan, or its target is not floating-point.
    RangeError
        If an argument that the plan decides, such as ``image_mean``, contradicts it.

    Notes
    -----
    ``pipeline("image-classification")`` and other pipelines of transformers convert
    every image to 8-bit RGB before they call the processor. They need a plan for RGB,
    alone or beside others in `graypipe.Plans`. For deeper images, call the processor
    and the model.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import graypipe as gp
    >>> from graypipe.adapters.transformers import ImageProcessor
    >>> plan = gp.plan(gp.Source("gray", bits=12), "imagenet")
    >>> processor = ImageProcessor(plan, size=32)
    >>> scan = np.full((48, 64), 4095, np.uint16)
    >>> inputs = processor(scan, return_tensors="pt")
    >>> inputs["pixel_values"].shape
    torch.Size([1, 3, 32, 32])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     files = processor.save_pretrained(folder)
    ...     ImageProcessor.from_pretrained(folder).plan == plan
    True
    """

    def __init__(
        self,
        plan: Plan | Plans | Record | list[Record],
        *,
        size: Any = None,
        crop_size: Any = None,
        resample: int = PILImageResampling.BILINEAR,
        **kwargs: Any,
    ) -> None:
        plans = _to_plans(plan)
        if np.dtype(plans.target.dtype).kind != "f":
            raise DTypeError(
                "expected a plan with a floating-point target, because the images are "
                f"resized after the plan, got {plans.target.dtype}: use "
                "dtype='float32' for the target"
            )
        fields = _statistics(plans)
        _check_not_contradicted(kwargs, fields)
        # A saved configuration contains these two, and a size that is passed to
        # `from_pretrained` may differ from the saved one.
        kwargs["do_resize"] = size is not None
        kwargs["do_center_crop"] = crop_size is not None
        kwargs.update(size=size, crop_size=crop_size, resample=resample, **fields)
        super().__init__(**kwargs)
        if not fields:
            # The default of the base class, 1 / 255, would be saved.
            vars(self)["rescale_factor"] = None
        self._plans = plans
        self._to_backbone = ToBackbone(*plans.plans)

    @property
    def plan(self) -> Plan | Plans:
        """The plan, or the plans if there are several.

        Returns
        -------
        Plan or Plans

        Examples
        --------
        >>> import graypipe as gp
        >>> from graypipe.adapters.transformers import ImageProcessor
        >>> ImageProcessor(gp.plan("gray", "imagenet")).plan.source.bands
        ('gray',)
        """
        if len(self._plans.plans) == 1:
            return self._plans.plans[0]
        return self._plans

    def preprocess(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:
        """Convert one image or several.

        Parameters
        ----------
        images : PIL.Image.Image, ndarray, Tensor, or a list of them
            Stored values. Arrays have the source layout of the plan, and tensors the
            shape (C, H, W). An array or a tensor with one more leading axis is a batch.
        *args
            Not supported.
        **kwargs
            Arguments of image processors for this call, such as ``return_tensors``,
            ``size`` and ``device``, except for those that the plan decides.

        Returns
        -------
        transformers.BatchFeature
            ``pixel_values``: one tensor of shape (N, C, H, W) with
            ``return_tensors="pt"``, otherwise a list of tensors of shape (C, H, W).

        Raises
        ------
        RangeError
            If an argument that the plan decides, such as ``do_normalize``, is passed.
        DTypeError, ChannelError, LayoutError, RangeError, ReadError
            If the plan does not take an image.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> from graypipe.adapters.transformers import ImageProcessor
        >>> processor = ImageProcessor(gp.plan("gray", "imagenet"))
        >>> batch = [np.zeros((8, 8), np.uint8)] * 2
        >>> processor.preprocess(batch, return_tensors="np")["pixel_values"].shape
        (2, 3, 8, 8)
        """
        decided = [name for name in DECIDED_BY_PLAN if kwargs.get(name) is not None]
        if decided:
            raise RangeError(
                f"{decided[0]}= is decided by the plan: build another plan, and "
                "ImageProcessor(plan) with it"
            )
        features: BatchFeature = super().preprocess(images, *args, **kwargs)
        return features

    def _preprocess_image_like_inputs(  # type: ignore[override]  # names fewer arguments
        self, images: Any, *args: Any, device: Any = None, **kwargs: Any
    ) -> BatchFeature:
        """Apply the plans, and then what transformers does with sizes."""
        tensors = [
            self._to_backbone(image).as_subclass(torch.Tensor).to(device)
            for image in self._split(images)
        ]
        kwargs.update(do_rescale=False, do_normalize=False)
        return self._preprocess(tensors, *args, **kwargs)

    def _split(self, images: Any) -> list[Any]:
        """Return the images of a list, or of an array with one more leading axis."""
        if isinstance(images, str | bytes) or hasattr(images, "__fspath__"):
            raise DTypeError(
                f"expected images, got {describe_value(images)}: image, source = "
                "gp.read(path) reads the file, without converting it to RGB"
            )
        if isinstance(images, list | tuple):
            return [image for each in images for image in self._split(each)]
        axes = {len(plan.source.layout) for plan in self._plans.plans}
        if isinstance(images, torch.Tensor):
            axes = {3}
        if getattr(images, "ndim", 0) - 1 in axes and images.ndim not in axes:
            return list(images)
        return [images]

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration that ``save_pretrained`` writes.

        Returns
        -------
        dict
            Values that JSON can represent. ``plan`` is the parsed JSON of the plan, or
            a list of them.

        Examples
        --------
        >>> import graypipe as gp
        >>> from graypipe.adapters.transformers import ImageProcessor
        >>> processor = ImageProcessor(gp.plan(gp.Source("gray", bits=8), "imagenet"))
        >>> processor.to_dict()["image_mean"]
        (0.485, 0.456, 0.406)
        """
        config: dict[str, Any] = super().to_dict()
        del config["_plans"], config["_to_backbone"]
        records = [json.loads(plan.to_json()) for plan in self._plans.plans]
        config["plan"] = records if len(records) > 1 else records[0]
        return config


def _to_plans(plan: object) -> Plans:
    """Return the argument ``plan`` of the constructor as plans."""
    if isinstance(plan, Plans):
        return plan
    if isinstance(plan, Plan):
        return Plans(plan)
    records = [plan] if isinstance(plan, Mapping) else plan
    if not isinstance(records, list | tuple):
        raise DTypeError(
            "expected a plan, such as gp.plan('gray', 'imagenet'), or gp.Plans, got "
            f"{describe_value(plan)}"
        )
    return Plans(
        *(
            record if isinstance(record, Plan) else plan_from_record(record)
            for record in records
        )
    )


def _statistics(plans: Plans) -> dict[str, Any]:
    """Return the fields of image processors that equal the plans, or none of them.

    They state that black is 0 and white is 1 / ``rescale_factor``, and normalise
    intensities between 0 and 1.
    """
    whites: set[float] = set()
    for plan in plans.plans:
        try:
            pairs = plan.source._pairs(None)
        except RangeError:
            return {}
        if any(black != 0 or white < 0 for black, white in pairs):
            return {}
        whites.update(white for _, white in pairs)
    if len(whites) > 1:
        return {}
    target = plans.target
    low, high = target.range
    count = len(target.bands)
    mean = (np.broadcast_to(target.mean, count) - low) / (high - low)
    std = np.broadcast_to(target.std, count) / (high - low)
    return {
        "do_rescale": True,
        "rescale_factor": 1 / whites.pop(),
        "do_normalize": True,
        "image_mean": tuple(mean.tolist()),
        "image_std": tuple(std.tolist()),
    }


def _check_not_contradicted(
    arguments: Mapping[str, Any], fields: Mapping[str, Any]
) -> None:
    """Raise RangeError if an argument that the plan decides differs from it."""
    for name in DECIDED_BY_PLAN:
        value = arguments.get(name)
        if isinstance(value, list):
            value = tuple(value)
        if value is not None and value != fields.get(name):
            raise RangeError(
                f"{name} is decided by the plan, which implies "
                f"{describe_value(fields.get(name))}, got {describe_value(value)}: "
                "build another plan, or restore the saved configuration"
            )
