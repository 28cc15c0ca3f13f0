"""albumentations: plans as a transform of its pipelines, for albumentations 2.0.8 and AlbumentationsX 2.5 alike."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engine import check_image
from ..errors import DTypeError, LayoutError
from ..extras import needs
from ..plan import Plan
from ._shared.plan_choice import choose_plan, index_by_band_count

with needs("albumentations", "albumentations"):
    from albumentations import ImageOnlyTransform  # type: ignore[import-untyped]

Array = NDArray[Any]
Record = dict[str, Any]


class PlansByPosition(type(ImageOnlyTransform)):  # type: ignore[misc]  # the metaclass of all transforms
    """Takes plans by position; the constructor takes them by name, as saved pipelines give every argument."""

    def __call__(
        cls, *given: Plan | Record, plans: Iterable[Plan | Record] = (), **named: Any
    ) -> Any:
        """Return the transform, constructed from records of all plans."""
        return super().__call__(
            plans=[_record(plan) for plan in (*given, *plans)], **named
        )


class ToBackbone(ImageOnlyTransform, metaclass=PlansByPosition):  # type: ignore[misc]
    """Run plans on the images of a pipeline: ``ToBackbone(*plans, p=1.0)``; masks, boxes and keypoints stay.

    ``image`` is (H, W), (H, W, 1) or (H, W, C), ``images`` and ``volume`` have one axis in front, ``volumes`` two; out
    comes the same with the target's bands last, of the target's dtype, fresh and C-contiguous. The plans' own layouts
    are replaced by these. Several plans share one target, and the band count picks one. A plan may be given as the dict
    that its JSON holds, which is what ``plans``, the repr and saved pipelines show.

    Raises ChannelError for a band count without a plan, LayoutError for another number of axes, and what the plan
    raises.
    """

    class InitSchema(ImageOnlyTransform.InitSchema):  # type: ignore[misc]
        """What albumentations checks before the constructor runs."""

        plans: list[Record]

    def __init__(self, plans: Sequence[Record] = (), p: float = 1.0) -> None:
        super().__init__(p=p)
        self._plans = index_by_band_count(
            tuple(_bands_last(record) for record in plans)
        )
        self.plans = [_record(plan) for plan in self._plans.values()]

    def apply(self, img: Array, **params: Any) -> Array:  # noqa: ARG002  # albumentations passes the shape
        """Return one image as the target expects it, (H, W, C)."""
        plan, image = self._chosen(img, "HWC")
        return plan(image)

    def apply_to_images(self, images: Array | Sequence[Array], **params: Any) -> Array:
        """Return a batch, (N, H, W, C): one pass, equal to its single images bit for bit."""
        if isinstance(
            images, list | tuple
        ):  # each of its own dtype and band count, as 2.0.8 takes them
            return np.stack([self.apply(image, **params) for image in images])
        plan, batch = self._chosen(images, "NHWC")
        return plan.batch(batch)

    def apply_to_volume(self, volume: Array, **params: Any) -> Array:
        """Return a volume, (D, H, W, C)."""
        return self.apply_to_images(volume, **params)

    def apply_to_volumes(self, volumes: Array, **params: Any) -> Array:  # noqa: ARG002
        """Return a batch of volumes, (N, D, H, W, C)."""
        plan, batch = self._chosen(volumes, "NDHWC")
        made = plan.batch(
            batch.reshape(batch.shape[0] * batch.shape[1], *batch.shape[2:])
        )
        return made.reshape(*batch.shape[:2], *made.shape[1:])

    def _chosen(self, given: object, layout: str) -> tuple[Plan, Array]:
        """Return the plan for the array ``given``, and it in ``layout``, of which it may lack the C."""
        pixels = check_image(given)
        if pixels.ndim == len(layout) - 1:
            pixels = pixels[..., None]
        if pixels.ndim != len(layout):
            raise LayoutError(
                f"expected an array of layout {layout[:-1]!r} or {layout!r}, got {pixels.ndim} axes of shape "
                f"{pixels.shape}: albumentations takes (H, W) and (H, W, C) as image=, batches of them as images=, "
                f"(D, H, W) and (D, H, W, C) as volume=, batches of those as volumes="
            )
        return choose_plan(
            self._plans,
            pixels.shape[-1],
            f"an array of layout {layout!r} and shape {pixels.shape}",
        ), pixels


def _record(plan: Plan | Record) -> Record:
    """Return ``plan`` as the dict that its JSON holds."""
    if not isinstance(plan, Plan | Mapping):
        raise DTypeError(
            f"expected plans, as gp.plan makes them, or dicts of their JSON, got {type(plan).__name__}"
        )
    record: Record = (
        json.loads(plan.to_json()) if isinstance(plan, Plan) else dict(plan)
    )
    return record


def _bands_last(record: Record) -> Plan:
    return Plan.from_json(json.dumps(record)).with_layouts("HWC", "HWC")
