"""albumentations adapter: apply plans as a transform in a pipeline.

Supports albumentations 2.0.8 and AlbumentationsX 2.5, which is imported under the same
name.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine import check_image
from ..errors import DTypeError, LayoutError, RangeError
from ..extras import require_extra
from ..plan import Plan
from ..plans import Plans
from ._shared.plan_record import plan_from_record

with require_extra("albumentations", "albumentations"):
    from albumentations import ImageOnlyTransform  # type: ignore[import-untyped]

Array = NDArray[Any]

# A plan as a dict: the parsed JSON text of the plan.
Record = dict[str, Any]

__all__ = ["ToBackbone"]


class PlansByPosition(type(ImageOnlyTransform)):  # type: ignore[misc]  # the metaclass of all transforms
    """Metaclass of a transform that accepts plans as positional arguments.

    albumentations validates constructor arguments by name before it calls the
    constructor, and saves them by name. The constructor therefore accepts plans only
    as the keyword ``plans``, a list of dicts; `__call__` converts positional plans.
    """

    def __call__(
        cls,
        *positional_plans: Plan | Record,
        plans: Iterable[Plan | Record] = (),
        **arguments: Any,
    ) -> Any:
        """Return a new transform that applies the given plans."""
        records = [_to_record(plan) for plan in (*positional_plans, *plans)]
        return super().__call__(plans=records, **arguments)


class ToBackbone(ImageOnlyTransform, metaclass=PlansByPosition):  # type: ignore[misc]
    """Apply plans to the images of an albumentations pipeline.

    Masks, bounding boxes and keypoints are returned unchanged.

    Parameters
    ----------
    *positional_plans : Plan or dict
        Plans that share one target, as in `graypipe.Plans`: each image selects the plan
        that takes its number of bands and its dtype. The layouts of the plans are
        replaced with the layouts of albumentations. A plan may also be given as a dict,
        the parsed result of `Plan.to_json`.
    plans : iterable of Plan or dict, optional
        Further plans. Saved pipelines and the repr use this keyword for all plans.
    **arguments
        The arguments common to all albumentations transforms. Of these, ``p``, the
        probability that the transform is applied, must be 1.

    Raises
    ------
    ChannelError
        If no plan is given, or if two plans have different targets or take images of
        the same number of bands and the same dtype. When called, if no plan accepts the
        number of bands of the image.
    DTypeError
        If an argument is not a plan. When called, if an image is not an array, or its
        plan does not accept its dtype.
    LayoutError
        When called, if an array has the wrong number of axes.
    RangeError
        If ``p`` is not 1. When called, if values are outside the declared or implied
        range.

    Notes
    -----
    ``image`` has shape (H, W) or (H, W, C); ``images`` and ``volume`` have one more
    leading axis, and ``volumes`` has two more. The result is a new C-contiguous array
    of the target's dtype, with the bands of the target on the last axis.

    Examples
    --------
    >>> import albumentations
    >>> import graypipe as gp
    >>> import numpy as np
    >>> from graypipe.adapters.albumentations import ToBackbone
    >>> gray, colour = gp.plan("gray", "unit"), gp.plan("RGB", "unit")
    >>> pipeline = albumentations.Compose([ToBackbone(gray, colour)])
    >>> image = np.full((32, 40), 51, np.uint8)
    >>> result = pipeline(image=image)["image"]
    >>> result.shape
    (32, 40, 3)
    >>> print(result[0, 0].round(4))
    [0.2 0.2 0.2]
    """

    class InitSchema(ImageOnlyTransform.InitSchema):  # type: ignore[misc]
        """Schema with which albumentations validates the arguments."""

        plans: list[Record]

    def __init__(self, plans: Sequence[Record] = (), p: float = 1.0) -> None:
        super().__init__(p=p)
        # Any other p would leave some images as they are, with the dtype, the units and
        # the number of bands of the source: no model expects a mixture.
        if p != 1:
            raise RangeError(
                f"expected p=1, got p={p}: with any other p, some images would stay "
                "unconverted, in the units of the source: omit p, and give the "
                "augmentations their own p, such as A.Sequential([...], p=0.5)"
            )
        self._plans = Plans(*map(_to_bands_last_plan, plans))
        # albumentations saves the attributes that have the names of arguments.
        self.plans = [_to_record(plan) for plan in self._plans.plans]

    def apply(self, img: Array, **params: Any) -> Array:  # noqa: ARG002  # albumentations passes the shape
        """Return one image, converted by its plan.

        Parameters
        ----------
        img : ndarray of shape (H, W) or (H, W, C)
            The image.
        **params
            Ignored.

        Returns
        -------
        ndarray of shape (H, W, C)
            A new array of the target's dtype.
        """
        plan, image = self._choose_plan(img, "HWC")
        return plan(image)

    def apply_to_images(self, images: Array | Sequence[Array], **params: Any) -> Array:
        """Return a batch, bit-identical to converting each image separately.

        Parameters
        ----------
        images : ndarray of shape (N, H, W) or (N, H, W, C), or sequence of ndarray
            The batch. The images of a sequence may differ in dtype and bands.
        **params
            Passed to `apply` if ``images`` is a sequence.

        Returns
        -------
        ndarray of shape (N, H, W, C)
            A new array of the target's dtype.
        """
        # albumentations 2.0.8 accepts lists of images.
        if isinstance(images, list | tuple):
            return np.stack([self.apply(image, **params) for image in images])
        plan, batch = self._choose_plan(images, "NHWC")
        return plan.batch(batch)

    def apply_to_volume(self, volume: Array, **params: Any) -> Array:
        """Return a volume, converted by its plan.

        Parameters
        ----------
        volume : ndarray of shape (D, H, W) or (D, H, W, C)
            The volume.
        **params
            Ignored.

        Returns
        -------
        ndarray of shape (D, H, W, C)
            A new array of the target's dtype.
        """
        return self.apply_to_images(volume, **params)

    def apply_to_volumes(self, volumes: Array, **params: Any) -> Array:  # noqa: ARG002
        """Return a batch of volumes, converted by their plan.

        Parameters
        ----------
        volumes : ndarray of shape (N, D, H, W) or (N, D, H, W, C)
            The volumes.
        **params
            Ignored.

        Returns
        -------
        ndarray of shape (N, D, H, W, C)
            A new array of the target's dtype.
        """
        plan, batch = self._choose_plan(volumes, "NDHWC")
        # Convert all slices as one batch. A size of -1 would fail for empty images.
        slice_count = batch.shape[0] * batch.shape[1]
        slices = plan.batch(batch.reshape(slice_count, *batch.shape[2:]))
        return slices.reshape(*batch.shape[:2], *slices.shape[1:])

    def _choose_plan(self, array: object, layout: str) -> tuple[Plan, Array]:
        """Return the plan for ``array``, and ``array`` in ``layout``.

        A band axis is appended to gray arrays that have none.
        """
        pixels = check_image(array)
        if pixels.ndim == len(layout) - 1:
            pixels = pixels[..., None]
        if pixels.ndim != len(layout):
            raise LayoutError(
                f"expected an array of layout {layout[:-1]!r} or {layout!r}, got "
                f"{pixels.ndim} axes of shape {pixels.shape}: pass (H, W) or (H, W, C) "
                "as image=, a batch of images as images=, (D, H, W) or (D, H, W, C) as "
                "volume=, a batch of volumes as volumes="
            )
        description = f"an array of shape {pixels.shape} in layout {layout!r}"
        band_counts = self._plans._by_band_count
        if pixels.shape[-1] not in band_counts and pixels.shape[-3] in band_counts:
            # Images of gp.read_bands and rasterio
            description += " (if its bands come first, pass np.moveaxis(image, -3, -1))"
        return self._plans._choose(pixels.shape[-1], pixels.dtype, description), pixels


def _to_record(plan: Plan | Record) -> Record:
    """Return ``plan`` as a dict, the parsed JSON text of the plan."""
    if isinstance(plan, Plan):
        record: Record = json.loads(plan.to_json())
        return record
    if isinstance(plan, Mapping):
        return dict(plan)
    advice = ""
    if isinstance(plan, list | tuple):
        advice = ": pass plans as separate arguments, such as ToBackbone(*plans)"
    raise DTypeError(
        "expected plans, such as gp.plan('gray', 'imagenet'), or dicts, such as "
        f"json.loads(plan.to_json()), got {type(plan).__name__}{advice}"
    )


def _to_bands_last_plan(record: Record) -> Plan:
    """Return the plan that ``record`` describes, with the layouts of albumentations."""
    return plan_from_record(record).with_layouts("HWC", "HWC")
