"""albumentations adapter: plans as a transform of a pipeline.

Works with albumentations 2.0.8 and with AlbumentationsX 2.5, which has the same import
name.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine import check_image
from ..errors import DTypeError, LayoutError
from ..extras import require_extra
from ..plan import Plan
from ._shared.plan_choice import choose_plan, index_by_band_count

with require_extra("albumentations", "albumentations"):
    from albumentations import ImageOnlyTransform  # type: ignore[import-untyped]

Array = NDArray[Any]

Record = dict[str, Any]
"""A plan as the dict that its JSON text describes."""

__all__ = ["ToBackbone"]


class PlansByPosition(type(ImageOnlyTransform)):  # type: ignore[misc]  # the metaclass of all transforms
    """Metaclass that lets plans be passed by position.

    albumentations saves the arguments of a constructor by name, and validates them
    before it is called. So the constructor takes records of plans by name, and this
    call turns positional plans into those.
    """

    def __call__(
        cls,
        *positional_plans: Plan | Record,
        plans: Iterable[Plan | Record] = (),
        **arguments: Any,
    ) -> Any:
        """Return a new transform of all plans."""
        records = [_to_record(plan) for plan in (*positional_plans, *plans)]
        return super().__call__(plans=records, **arguments)


class ToBackbone(ImageOnlyTransform, metaclass=PlansByPosition):  # type: ignore[misc]
    """Apply plans to the images of an albumentations pipeline.

    Masks, bounding boxes and keypoints stay as they are.

    Parameters
    ----------
    *positional_plans : Plan or dict
        One or more plans with the same target and different numbers of source bands;
        the number of bands of an image chooses the plan. The layouts are replaced by
        those of albumentations. A plan may be the dict that its JSON describes.
    plans : iterable of Plan or dict, optional
        Further plans, by keyword as in saved pipelines and in the repr.
    **arguments
        The arguments of all albumentations transforms, such as ``p``, the probability
        that the transform is applied (1.0 by default).

    Raises
    ------
    ChannelError
        If there is no plan, or two plans differ in target or share a number of bands.
        When called, if no plan has the bands of the image.
    DTypeError
        If an argument is not a plan. When called, if an image is not an array of a
        dtype that its plan takes.
    LayoutError
        When called, if an array has a wrong number of axes.
    RangeError
        When called, if values are outside of the declared or implied range.

    Notes
    -----
    ``image`` is (H, W) or (H, W, C); ``images`` and ``volume`` have one axis before
    these, ``volumes`` two. The result has the bands of the target on the last axis and
    the dtype of the target; it is a new C-contiguous array.

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
        """The types of the arguments, which albumentations checks."""

        plans: list[Record]

    def __init__(self, plans: Sequence[Record] = (), p: float = 1.0) -> None:
        super().__init__(p=p)
        self._plans = index_by_band_count(
            tuple(_to_bands_last_plan(record) for record in plans)
        )
        # albumentations saves the attributes that are named as the arguments.
        self.plans = [_to_record(plan) for plan in self._plans.values()]

    def apply(self, img: Array, **params: Any) -> Array:  # noqa: ARG002  # albumentations passes the shape
        """Return the result for one image.

        Parameters
        ----------
        img : ndarray of shape (H, W) or (H, W, C)
            The image.
        **params
            Not used.

        Returns
        -------
        ndarray of shape (H, W, C)
            A new array of the target's dtype.
        """
        plan, image = self._choose_plan(img, "HWC")
        return plan(image)

    def apply_to_images(self, images: Array | Sequence[Array], **params: Any) -> Array:
        """Return the result for a batch, equal to those for its images bit for bit.

        Parameters
        ----------
        images : ndarray of shape (N, H, W) or (N, H, W, C), or sequence of ndarray
            The batch. The images of a sequence may differ in dtype and bands.
        **params
            Passed on to `apply` for a sequence.

        Returns
        -------
        ndarray of shape (N, H, W, C)
            A new array of the target's dtype.
        """
        # albumentations 2.0.8 takes lists of images.
        if isinstance(images, list | tuple):
            return np.stack([self.apply(image, **params) for image in images])
        plan, batch = self._choose_plan(images, "NHWC")
        return plan.batch(batch)

    def apply_to_volume(self, volume: Array, **params: Any) -> Array:
        """Return the result for a volume.

        Parameters
        ----------
        volume : ndarray of shape (D, H, W) or (D, H, W, C)
            The volume.
        **params
            Not used.

        Returns
        -------
        ndarray of shape (D, H, W, C)
            A new array of the target's dtype.
        """
        return self.apply_to_images(volume, **params)

    def apply_to_volumes(self, volumes: Array, **params: Any) -> Array:  # noqa: ARG002
        """Return the result for a batch of volumes.

        Parameters
        ----------
        volumes : ndarray of shape (N, D, H, W) or (N, D, H, W, C)
            The volumes.
        **params
            Not used.

        Returns
        -------
        ndarray of shape (N, D, H, W, C)
            A new array of the target's dtype.
        """
        plan, batch = self._choose_plan(volumes, "NDHWC")
        # All slices in one batch. Not -1, which is undefined for empty images.
        slice_count = batch.shape[0] * batch.shape[1]
        slices = plan.batch(batch.reshape(slice_count, *batch.shape[2:]))
        return slices.reshape(*batch.shape[:2], *slices.shape[1:])

    def _choose_plan(self, array: object, layout: str) -> tuple[Plan, Array]:
        """Return the plan for ``array``, and the array in ``layout``.

        Gray arrays without a band axis get one.
        """
        pixels = check_image(array)
        if pixels.ndim == len(layout) - 1:
            pixels = pixels[..., None]
        if pixels.ndim != len(layout):
            raise LayoutError(
                f"expected an array of layout {layout[:-1]!r} or {layout!r}, got "
                f"{pixels.ndim} axes of shape {pixels.shape}: albumentations takes "
                f"(H, W) and (H, W, C) as image=, batches of them as images=, "
                f"(D, H, W) and (D, H, W, C) as volume=, batches of those as volumes="
            )
        description = f"an array of layout {layout!r} and shape {pixels.shape}"
        plan = choose_plan(self._plans, pixels.shape[-1], description)
        return plan, pixels


def _to_record(plan: Plan | Record) -> Record:
    """Return ``plan`` as the dict that its JSON text describes."""
    if isinstance(plan, Plan):
        record: Record = json.loads(plan.to_json())
        return record
    if isinstance(plan, Mapping):
        return dict(plan)
    raise DTypeError(
        f"expected plans, as gp.plan returns them, or dicts of their JSON, got "
        f"{type(plan).__name__}"
    )


def _to_bands_last_plan(record: Record) -> Plan:
    """Return the plan of ``record`` with the layouts of albumentations."""
    return Plan.from_json(json.dumps(record)).with_layouts("HWC", "HWC")
