"""Several plans with one target, for data sets that mix bands or bit depths."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Never

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import engine
from .bands import format_band_count, format_bands
from .engine.arrays import SUPPORTED
from .errors import ChannelError, DTypeError, LayoutError
from .plan import Plan, _is_picture, _several_arguments_error
from .target import Target
from .validation import set_fields

Array = NDArray[Any]


@dataclass(frozen=True, init=False)
class Plans:
    """Plans with one target: each image is converted by the plan that takes it.

    A plan takes an image if its source has the number of bands of the image and accepts
    its dtype. There is no order of precedence, so two plans must not take the same
    images.

    Instances are immutable, hashable and picklable.

    Parameters
    ----------
    *plans : Plan
        One or more plans. They share one target, so that their results can be stacked.

    Attributes
    ----------
    plans : tuple of Plan
        The plans, in the given order.

    Raises
    ------
    ChannelError
        If there is no plan, if the targets differ, or if two plans take images of the
        same number of bands and the same dtype.
    DTypeError
        If an argument is not a plan.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> scan = gp.Source("gray", dtype="uint8")
    >>> deep_scan = gp.Source("gray", bits=12, dtype="uint16")
    >>> plans = gp.Plans(
    ...     gp.plan(scan, "unit"), gp.plan(deep_scan, "unit"), gp.plan("RGB", "unit")
    ... )
    >>> plans(np.full((2, 2), 255, np.uint8)).max()
    np.float32(1.0)
    >>> plans(np.full((2, 2), 4095, np.uint16)).max()
    np.float32(1.0)
    >>> plans(np.full((2, 2, 3), 255, np.uint8)).shape
    (3, 2, 2)
    """

    plans: tuple[Plan, ...]

    def __init__(self, *plans: Plan) -> None:
        if not plans:
            raise ChannelError(
                "expected at least one plan, such as gp.plan('gray', 'imagenet'), got "
                "none"
            )
        for plan in plans:
            check_plan(plan)
            _check_same_target(plans[0], plan)
        for first, second in combinations(plans, 2):
            _check_distinct(first, second)
        set_fields(self, plans=plans)

    def __call__(self, image: Array, *more: Never, out: Array | None = None) -> Array:
        """Convert one image.

        Parameters
        ----------
        image : ndarray or PIL.Image.Image
            An array in the source layout and bands of one of the plans, or a PIL image,
            whose mode states its bands and dtype.
        *more
            Not supported, as in `Plan.__call__`.
        out : ndarray, optional
            Array to write into, as in `Plan.__call__`.

        Returns
        -------
        ndarray
            Result of the plan that takes the image.

        Raises
        ------
        ChannelError, DTypeError, LayoutError
            If no plan takes the image, or if its shape fits the source layouts of
            several plans.
        LayoutError, ChannelError, DTypeError, RangeError, ReadError
            As for the plan itself.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> plans = gp.Plans(gp.plan("gray", "unit"), gp.plan("RGB", "unit"))
        >>> plans(np.zeros((4, 5), np.uint8)).shape
        (3, 4, 5)
        """
        if more:
            raise _several_arguments_error(image, *more)
        plan, array = self._prepare(image)
        return plan(array, out=out)

    def batch(
        self,
        images: Array | Sequence[Array],
        *,
        out: Array | None = None,
        threads: int = 1,
    ) -> Array:
        """Convert a batch of images.

        Parameters
        ----------
        images : ndarray, list of ndarray or list of PIL.Image.Image
            An array with a leading axis N, whose images share one plan, or a list of
            images of equal height and width, each of which selects its plan.
        out : ndarray, optional
            Array to write into, as in `Plan.batch`.
        threads : int, default 1
            Number of threads. The result does not depend on it.

        Returns
        -------
        ndarray
            Results stacked along a leading axis N, bitwise identical to those of
            separate calls.

        Raises
        ------
        LayoutError
            If the list is empty, if the results differ in shape, or if ``out`` does not
            match them.
        ChannelError, DTypeError, LayoutError, RangeError, ReadError
            As for a single image.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> plans = gp.Plans(gp.plan("gray", "unit"), gp.plan("RGB", "unit"))
        >>> gray, colour = np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8)
        >>> plans.batch([gray, colour, gray]).shape
        (3, 3, 4, 5)
        """
        engine.check_threads(threads)
        if not isinstance(images, list | tuple):
            array = engine.check_image(images)
            plan = self._choose_by_shape(array.shape[1:], array.dtype, "each image")
            return plan.batch(array, out=out, threads=threads)
        prepared = [self._prepare(image) for image in images]
        if not prepared:
            return self.plans[0].batch([], out=out, threads=threads)
        shapes = {
            plan._execution(array.dtype).shape(array.shape) for plan, array in prepared
        }
        if len(shapes) > 1:
            raise LayoutError(
                "expected images whose results have one shape, got results of shapes "
                f"{sorted(shapes)[:4]}: crop or resize the images first"
            )
        dtype = np.dtype(self.target.dtype)
        shape = (len(prepared), *shapes.pop())
        if out is None:
            out = np.empty(shape, dtype)
        else:
            for _, array in prepared:
                engine.check_out(out, shape, dtype, array)
        tasks = [
            (plan, array, result)
            for (plan, array), result in zip(prepared, out, strict=True)
        ]
        engine.in_threads(_run_task, tasks, threads)
        return out

    @property
    def target(self) -> Target:
        """The target that the plans share.

        Returns
        -------
        Target

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.Plans(gp.plan("gray", "unit"), gp.plan("RGB", "unit")).target.layout
        'CHW'
        """
        return self.plans[0].target

    def __getstate__(self) -> dict[str, Any]:
        # What is computed on first use is not pickled.
        return {"plans": self.plans}

    def __repr__(self) -> str:
        return f"Plans({', '.join(map(repr, self.plans))})"

    def _with_layouts(self, source: str | None, target: str | None) -> "Plans":
        """Return the plans with the layouts that a container states."""
        return Plans(*(plan.with_layouts(source, target) for plan in self.plans))

    @cached_property
    def _by_band_count(self) -> dict[int, tuple[Plan, ...]]:
        """The plans, by the number of bands of their source."""
        groups: dict[int, tuple[Plan, ...]] = {}
        for plan in self.plans:
            count = len(plan.source.bands)
            groups[count] = (*groups.get(count, ()), plan)
        return groups

    @cached_property
    def _alpha_band_counts(self) -> set[int]:
        """Band counts, including alpha, for which a plan uses alpha as a band."""
        sources = [plan.source for plan in self.plans]
        return {len(source.bands) for source in sources if "A" in source.bands}

    def _prepare(self, image: Any) -> tuple[Plan, Array]:
        """Return the plan that takes ``image``, and the array to pass to the plan."""
        if not _is_picture(image):
            array = engine.check_image(image)
            return self._choose_by_shape(array.shape, array.dtype, "an array"), array
        # Imported here because it imports Pillow.
        from .io.pil_images import to_planes

        planes, bands = to_planes(image, self._alpha_band_counts)
        plan = self._choose_for_picture(image, bands, planes.dtype)
        return plan._from_planes, planes

    def _choose(self, count: int, dtype: DTypeLike, description: str) -> Plan:
        """Return the plan that takes images of ``count`` bands and of ``dtype``.

        Parameters
        ----------
        count : int
        dtype : dtype_like
            If only one plan takes ``count`` bands, it is returned for any dtype, and
            raises its own error for a dtype that it does not accept.
        description : str
            Description of the image for error messages, such as
            ``"a tensor of shape (4, 8, 8)"``.

        Raises
        ------
        ChannelError
            If no plan takes ``count`` bands.
        DTypeError
            If several plans take ``count`` bands, but none of them ``dtype``.
        """
        if count not in self._by_band_count:
            raise no_plan_error(self.plans, count, description)
        return _choose_by_dtype(self._by_band_count[count], dtype, description)

    def _choose_for_picture(
        self, picture: Any, bands: tuple[str, ...], dtype: np.dtype[Any]
    ) -> Plan:
        """Return the plan for a PIL image whose pixels have these bands and dtype."""
        from .io.pil_images import check_band_order

        description = f"a PIL image of mode {picture.mode!r}"
        if picture.mode in ("LA", "RGBA") and len(bands) != len(picture.getbands()):
            description += " (alpha is dropped unless a plan has a band 'A')"
        plan = self._choose(len(bands), dtype, description)
        check_band_order(plan.source.bands, bands, description)
        return plan

    def _choose_by_shape(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], description: str
    ) -> Plan:
        """Return the plan whose source layout and bands fit an array of ``shape``."""
        if len(self.plans) == 1:
            return self.plans[0]  # the plan checks the shape
        fitting = tuple(plan for plan in self.plans if _fits(plan, shape))
        accepting = [plan for plan in fitting if plan.source._accepts(dtype)]
        if len(fitting) == 1 or (fitting and len(accepting) <= 1):
            description = f"{description} of shape {shape}"
            return _choose_by_dtype(fitting, dtype, description)
        layouts = ", ".join(
            f"{plan.source.layout} of {format_bands(plan.source.bands)}"
            for plan in self.plans[:4]
        )
        advice = "which fits none of them: add a plan for such images"
        if fitting:
            advice = "which fits several of them: call the plan that is meant"
        raise ChannelError(
            f"expected {description} in one of the layouts {layouts}, got shape "
            f"{shape}, {advice}"
        )


def check_plan(plan: object) -> None:
    """Raise DTypeError if an argument is not a plan."""
    if not isinstance(plan, Plan):
        advice = ""
        if isinstance(plan, list | tuple):
            advice = ": pass plans as separate arguments, such as ToBackbone(*plans)"
        raise DTypeError(
            "expected plans, such as gp.plan('gray', 'imagenet'), got "
            f"{type(plan).__name__}{advice}"
        )


def no_plan_error(plans: Iterable[Plan], count: int, description: str) -> ChannelError:
    """Return the error for an image whose band ``count`` no plan takes.

    Parameters
    ----------
    plans : iterable of Plan
        The plans that are available.
    count, description
        As for `Plans._choose`.
    """
    bands = sorted({plan.source.bands for plan in plans}, key=len)
    accepted = " or ".join(f"{format_bands(each)} ({len(each)})" for each in bands[:4])
    band_count = format_band_count(count)
    return ChannelError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"expected bands {accepted}, got {band_count} in {description}: add a plan for "
        f"images of {band_count}, or select the bands first"
    )


def no_dtype_error(plans: Sequence[Plan], dtype: str, description: str) -> DTypeError:
    """Return the error for an image whose dtype none of ``plans`` accepts."""
    accepted = sorted({name for plan in plans for name in _dtypes(plan)})
    bands = format_bands(plans[0].source.bands)
    return DTypeError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"expected one of the dtypes {', '.join(accepted)}, which the plans for "
        f"{bands} accept, got {dtype} in {description}: add a plan for such images, "
        f"with the source gp.Source({bands}, range=(black, white), dtype={dtype!r})"
    )


def _choose_by_dtype(
    plans: tuple[Plan, ...], dtype: DTypeLike, description: str
) -> Plan:
    """Return the plan that accepts ``dtype``, or the only one."""
    if len(plans) == 1:
        return plans[0]
    for plan in plans:
        if plan.source._accepts(dtype):
            return plan
    raise no_dtype_error(plans, np.dtype(dtype).name, description)


def _dtypes(plan: Plan) -> set[str]:
    """Return the names of the dtypes that the source of ``plan`` accepts."""
    return {name for name in SUPPORTED if plan.source._accepts(name)}


def _check_same_target(first: Plan, second: Plan) -> None:
    """Raise ChannelError unless two plans have one target."""
    if first.target != second.target:
        raise ChannelError(
            "expected plans that share one target, so that their results can be "
            f"stacked into a batch, got {first.target} and {second.target}: build all "
            "plans with the same target"
        )


def _check_distinct(first: Plan, second: Plan) -> None:
    """Raise ChannelError if two plans take images of the same bands and dtype."""
    if len(first.source.bands) != len(second.source.bands):
        return
    shared = sorted(_dtypes(first) & _dtypes(second))
    if not shared:
        return
    bands = format_bands(first.source.bands)
    raise ChannelError(
        "expected plans that the band count and the dtype of an image can tell apart, "
        f"but {bands} and {format_bands(second.source.bands)} both have "
        f"{format_band_count(len(first.source.bands))} and accept {', '.join(shared)}: "
        f"declare the dtype of each, such as gp.Source({bands}, dtype='uint8') "
        f"(--source with dtype=uint8); if it is the same, choose the plan for each file"
    )


def _fits(plan: Plan, shape: tuple[int, ...]) -> bool:
    """Return whether an array of ``shape`` can be an image of the plan's source."""
    layout = plan.source.layout
    if len(shape) != len(layout):
        return False
    if "C" not in layout:
        return True
    return shape[layout.index("C")] == len(plan.source.bands)


def _run_task(task: tuple[Plan, Array, Array]) -> None:
    """Convert one image of a batch."""
    plan, array, result = task
    plan(array, out=result)
