"""Plans: a source, a target and the map between them, composed into one map."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, Never, ParamSpec

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import engine, layouts, rational, serialization
from .bands import format_bands
from .channel_map import (
    Bands,
    ChannelMap,
    ViaWeights,
    default_map,
    from_rational,
    map_with_missing_bands,
    missing_map_message,
)
from .errors import (
    ChannelError,
    CopyRequiredError,
    DTypeError,
    GraypipeError,
    LayoutError,
    RangeError,
)
from .explain import explain
from .messages import describe_value, looks_like_path
from .preset_definitions import PRESETS
from .sensor import resolve_aliases, sensor
from .source import Pair, Source
from .target import Target
from .validation import set_fields

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]
P = ParamSpec("P")

# Fields of sources and targets that change no value. The sensor names bands.
NOT_IN_FINGERPRINT = ("layout", "sensor")


@dataclass(frozen=True)
class Plan:
    """Conversion of images from a source to a target.

    Build a plan with `plan`, then call it on images. Instances are immutable, hashable
    and picklable, and equal after a round trip through JSON. Setup is done once per
    dtype and cached.

    Attributes
    ----------
    source : Source
        Description of the input images.
    target : Target
        Description of the input that the backbone expects.
    via : ChannelMap
        Map from source bands to target bands, on unit intensities.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> plan = gp.plan("gray", "imagenet")
    >>> x = plan(np.zeros((224, 224), np.uint8))
    >>> x.shape, x.dtype
    ((3, 224, 224), dtype('float32'))
    """

    source: Source
    target: Target
    via: ChannelMap

    def __post_init__(self) -> None:
        _check_type("source", self.source, Source)
        _check_type("target", self.target, Target, " or a preset name")
        if _is_image(self.via):
            raise DTypeError(
                f"via must be a gp.ChannelMap or a mapping, got "
                f"{describe_value(self.via)}: build the plan first and call it, as in "
                "gp.plan('gray', 'imagenet')(image)"
            )
        _check_type("via", self.via, ChannelMap, " or a mapping")
        inputs = self.source.bands
        outputs = self.target.bands
        # Reorder the bands of `via` as in the source and the target, so that plans that
        # differ only in this order compare equal.
        exact = self.via._exact(inputs, outputs)
        set_fields(self, via=from_rational(exact, inputs=inputs, outputs=outputs))
        # Raise errors about incompatible layouts and overflowing coefficients here
        # rather than at the first image.
        layouts.conversion(self.source.layout, self.target.layout)
        rational.rounded(self._unit_to_target)

    def __call__(self, image: Array, *more: Never, out: Array | None = None) -> Array:
        """Convert one image.

        Parameters
        ----------
        image : ndarray or PIL.Image.Image
            Array with the layout and bands of the source, of any strides and byte
            order. It is not modified. The mode of a PIL image states its layout, bands
            and dtype; the layout of the source is not used. If the image still refers
            to its file, Pillow must have decoded it without loss.
        *more
            Not supported. `Dataset.map` of TensorFlow passes an image and its label,
            which raises an error that names the adapter.
        out : ndarray, optional
            Array to write into. It must have the shape and dtype of the result and be
            writable. It must not overlap ``image`` or have internal overlap. Any
            strides are allowed. Its contents are undefined after an exception.

        Returns
        -------
        ndarray
            New C-contiguous array with the dtype and layout of the target, or ``out``.
            Axes that the target layout does not have are kept as leading axes: THW with
            the target CHW gives TCHW.

        Raises
        ------
        LayoutError, ChannelError, DTypeError, RangeError
            If the image does not match the source, or ``out`` does not match the
            result.
        ReadError
            If the file of a PIL image contains several frames.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> plan = gp.plan("gray", "unit")
        >>> plan(np.array([[0, 255]], np.uint8)).tolist()
        [[[0.0, 1.0]], [[0.0, 1.0]], [[0.0, 1.0]]]
        """
        if more:
            raise _several_arguments_error(image, *more)
        if type(image) is not np.ndarray:
            if _is_picture(image):
                return self._from_planes(self._picture_planes(image), out=out)
            image = engine.check_image(image)
        # Look up a known dtype here, without the overhead of another method call.
        execution = self._executions.get(image.dtype) or self._execution(image.dtype)
        return execution(image, out)

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
            An array with a leading axis N (or where the source layout has it), or a
            list of images of equal shape, which are converted without stacking them
            first.
        out : ndarray, optional
            Array to write into, with the same requirements as for a single image.
        threads : int, default 1
            Number of threads. The result does not depend on it.

        Returns
        -------
        ndarray
            Results stacked along a leading axis N. They are bitwise identical to the
            results of separate calls.

        Raises
        ------
        LayoutError
            If the shapes differ, if the list is empty, or if ``images`` is a list and
            the layout of the source has the axis N.
        LayoutError, ChannelError, DTypeError, RangeError
            As for a single image.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> plan = gp.plan("gray", "imagenet")
        >>> plan.batch(np.zeros((8, 32, 32), np.uint8), threads=2).shape
        (8, 3, 32, 32)
        """
        engine.check_threads(threads)
        has_batch_axis = "N" in self._conversion.target_layout
        if isinstance(images, list | tuple):
            if has_batch_axis:
                raise LayoutError(
                    f"the source layout {self._conversion.source_layout!r} already has "
                    "the axis N: pass one array, or remove N from the layout"
                )
            # The first test spares lists of arrays a call for every image.
            may_be_pictures = bool(images) and type(images[0]) is not np.ndarray
            if may_be_pictures and all(map(_is_picture, images)):
                planes = [self._picture_planes(picture) for picture in images]
                return self._from_planes._batch_of_list(planes, out, threads)
            return self._batch_of_list(images, out, threads)
        array = engine.check_image(images)
        plan = self if has_batch_axis else self._batched
        return plan._execution(array.dtype)(array, out, threads)

    def view(self, image: Array) -> Array:
        """Return the result as a view of the image.

        Parameters
        ----------
        image : ndarray
            Array with the layout and bands of the source.

        Returns
        -------
        ndarray
            Read-only view; no element is copied. Values are not checked against an
            implied range, because no pixel is read.

        Raises
        ------
        CopyRequiredError
            If the plan computes values, changes the dtype, has nodata or clip, or
            selects bands that are not equally spaced.
        LayoutError, ChannelError, DTypeError, RangeError
            If the image does not match the source.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> image = np.zeros((4, 4), np.uint8)
        >>> view = gp.plan("gray", "rgb8").view(image)
        >>> view.shape, view.base is image
        ((4, 4, 3), True)
        """
        array = engine.check_image(image)
        execution = self._execution(array.dtype)
        view = execution.view(array)
        if view is None:
            raise CopyRequiredError(f"{execution.why_no_view()}: call the plan itself")
        return view

    def invert(self, x: Array, *, dtype: DTypeLike | None = None) -> Array:
        """Convert results back to stored values.

        Only the affine map is inverted; clipped values and nodata are not restored.

        Parameters
        ----------
        x : ndarray
            Output of this plan, or an array with the same layout and units.
        dtype : dtype_like, optional
            Dtype of the result. The default is float32, or float64 for float64 input.
            An integer dtype rounds half to even and saturates. If the source declares
            neither a range nor a dtype, ``dtype`` implies the range of the stored
            values.

        Returns
        -------
        ndarray
            New array with the layout of the source.

        Raises
        ------
        ChannelError
            If the map is not invertible, that is, if its columns are linearly
            dependent.
        RangeError
            If the range of the stored values is unknown, or if ``dtype`` cannot
            represent it.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> plan = gp.plan("gray", "imagenet")
        >>> image = np.array([[0, 128, 255]], np.uint8)
        >>> plan.invert(plan(image), dtype="uint8").tolist()
        [[0, 128, 255]]
        """
        array = engine.check_image(x)
        stored_dtype = None if dtype is None else engine.supported_dtype(dtype)
        pairs = self._stored_pairs(stored_dtype)
        if pairs not in self._inverses:
            self._inverses[pairs] = self._channel_map(pairs).inverse()
        return self._inverses[pairs](
            array,
            layout=self._conversion.target_layout,
            out_layout=self.source.layout,
            dtype=dtype,
        )

    def explain(
        self, shape: tuple[int, ...] | None = None, dtype: DTypeLike | None = None
    ) -> str:
        """Describe what the plan does.

        Parameters
        ----------
        shape : tuple of int, optional
            Shape of an image, to list its axes and the bytes read and written.
        dtype : dtype_like, optional
            Dtype of an image, to show its range and how the plan is executed.

        Returns
        -------
        str
            Axes, range, guards, the affine map, the execution, and the memory traffic.

        Raises
        ------
        LayoutError, ChannelError, DTypeError, RangeError
            If the plan cannot convert such an image.

        Examples
        --------
        >>> import graypipe as gp
        >>> plan = gp.plan(gp.Source("gray", bits=12), gp.Target("gray", "HW"))
        >>> print(plan.explain())
          source  'gray' as HW
           range  0..4095 becomes 0..1 (declared)
          guards  none
          target  'gray' as HW, float32
             map  gray = 0.0002442*gray    (inputs: stored values)
        """
        lines = self._explanation(shape, dtype)
        return "\n".join(f"{label:>8}  {text}" for label, text in lines)

    def _explanation(
        self, shape: tuple[int, ...] | None = None, dtype: DTypeLike | None = None
    ) -> list[tuple[str, str]]:
        """Return the labels and the texts of `explain`."""
        if hasattr(shape, "shape"):
            raise DTypeError(
                f"expected the shape of an image, got {describe_value(shape)}: write "
                "plan.explain(image.shape, image.dtype)"
            )
        pairs: tuple[Pair, ...] | None = None
        channel_map = self.unit_map
        execution = None
        if dtype is None:
            dtype = self.source.dtype
        if dtype is not None or self.source._declares_range:
            pairs = self.source._pairs(dtype)
            channel_map = self._channel_map(pairs)
        if dtype is not None:
            execution = self._execution(engine.supported_dtype(dtype))
        if shape is not None:
            layouts.check_shape(
                shape, self._conversion.source_layout, len(self.source.bands)
            )
        return explain(
            self.source,
            self.target,
            self._conversion,
            channel_map=channel_map,
            pairs=pairs,
            execution=execution,
            shape=shape,
        )

    def show(self, image: Array) -> "Figure":
        """Draw an image before and after the plan, and after common mistakes.

        Parameters
        ----------
        image : ndarray
            One image in the layout of the source, or a PIL image.

        Returns
        -------
        matplotlib.figure.Figure
            The stored bands, the output as the backbone sees it, histograms of both,
            and what the backbone would see without the range or nodata of the source,
            with one mean for all bands, or after Pillow's ``convert("RGB")``. A
            notebook displays it; ``figure.savefig("plan.png")`` writes it.

        Raises
        ------
        LayoutError, ChannelError, DTypeError, RangeError
            If the plan cannot convert the image, or if it is not a single image.
        MissingExtraError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> plan = gp.plan(gp.Source("gray", bits=12), "imagenet")
        >>> figure = plan.show(np.full((32, 32), 2000, np.uint16))
        """
        from .drawing import draw

        if _is_picture(image):
            return draw(self._from_planes, self._picture_planes(image))
        return draw(self, image)

    def _repr_html_(self) -> str:
        """Return a table for notebooks: the code of the plan, and what it does."""
        from .notebook import table
        from .source_code import code_of

        return table(code_of(self), self._explanation())

    def with_layouts(
        self, source: str | None = None, target: str | None = None
    ) -> "Plan":
        """Return a copy of the plan with other layouts.

        Parameters
        ----------
        source, target : str, optional
            New layouts. By default, the current one is kept.

        Returns
        -------
        Plan

        Raises
        ------
        LayoutError
            If a layout is invalid, or if the source cannot be converted to the target.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.plan("gray", "imagenet").with_layouts(target="HWC").target.layout
        'HWC'
        """
        new_source = self.source
        if source is not None:
            new_source = replace(self.source, layout=source)
        new_target = self.target
        if target is not None:
            new_target = replace(self.target, layout=target)
        return replace(self, source=new_source, target=new_target)

    @cached_property
    def unit_map(self) -> ChannelMap:
        """The affine map from unit intensities to target values.

        Returns
        -------
        ChannelMap
            ``via`` followed by the range and normalisation of the target.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.plan("gray", "keras-tf").unit_map.offset
        (-1.0, -1.0, -1.0)
        """
        return from_rational(
            self._unit_to_target, inputs=self.source.bands, outputs=self.target.bands
        )

    @cached_property
    def map(self) -> ChannelMap:
        """The affine map from stored values to target values.

        Returns
        -------
        ChannelMap

        Raises
        ------
        RangeError
            If the source declares neither a range, nor bits, nor a dtype that implies
            one.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.plan(gp.Source("gray", range=(0, 4)), "unit").map.matrix
        ((0.25,), (0.25,), (0.25,))
        """
        return self._channel_map(self.source._pairs(None))

    def to_json(self) -> str:
        """Return the plan as canonical JSON, with presets expanded to their numbers.

        Returns
        -------
        str
            Text from which `from_json` builds an equal plan.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.plan("gray", "unit").to_json()
        '{"format":1,"source":{"bands":["gray"]},"target":{"bands":["R","G","B"]}}'
        """
        return serialization.to_text(self._record())

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Build a plan from the output of `to_json`.

        Parameters
        ----------
        text : str

        Returns
        -------
        Plan

        Raises
        ------
        ChannelError
            If ``text`` is not the JSON of a plan.

        Examples
        --------
        >>> import graypipe as gp
        >>> plan = gp.plan("gray", "imagenet")
        >>> gp.Plan.from_json(plan.to_json()) == plan
        True
        """
        record = serialization.from_text(text)
        keys = set(record)
        has_required_keys = {"source", "target"} <= keys
        if not has_required_keys or not keys <= {"source", "target", "via"}:
            raise ChannelError(
                "expected the JSON of a plan, as written by plan.to_json, with the "
                f"keys source, target and optionally via, got {sorted(keys)}"
            )
        via = None
        if "via" in record:
            via = ChannelMap._from_record(record["via"])
        source = serialization.from_record(Source, record["source"], "bands")
        target = serialization.from_record(Target, record["target"], "bands")
        return plan(source, target, via)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the plan's JSON without the layouts, in hexadecimal.

        Store it in a checkpoint: plans with the same fingerprint produce the same
        values, up to the order of the axes.

        Returns
        -------
        str
            64 hexadecimal digits.

        Examples
        --------
        >>> import graypipe as gp
        >>> plan = gp.plan("gray", "imagenet")
        >>> plan.fingerprint == plan.with_layouts(target="HWC").fingerprint
        True
        """
        # Imported here to keep `import graypipe` fast.
        from hashlib import sha256

        record = self._record()
        for part in ("source", "target"):
            for name in NOT_IN_FINGERPRINT:
                record[part].pop(name, None)
        return sha256(serialization.to_text(record).encode()).hexdigest()

    def check(self, stored: str) -> None:
        """Raise an error unless a stored plan produces the values of this one.

        Call it at inference with what was stored in training. Layouts may differ.

        Parameters
        ----------
        stored : str
            Fingerprint of a plan, or the output of `to_json`, with which the error
            states what differs.

        Raises
        ------
        GraypipeError
            If the stored plan differs, or if ``stored`` is neither.
        ChannelError
            If ``stored`` is damaged JSON.

        Examples
        --------
        >>> import graypipe as gp
        >>> trained = gp.plan(gp.Source("gray", bits=12), "imagenet")
        >>> trained.with_layouts(target="HWC").check(trained.fingerprint)
        >>> other = gp.plan(gp.Source("gray", bits=8), "imagenet")
        >>> other.check(trained.to_json())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        graypipe.errors.GraypipeError: the stored plan differs: source.bits is 12...
        """
        if isinstance(stored, str) and stored.lstrip().startswith("{"):
            other = Plan.from_json(stored)
            if other.fingerprint != self.fingerprint:
                raise GraypipeError(_difference_message(other, self))
        elif not _is_fingerprint(stored):
            raise GraypipeError(
                "expected a fingerprint of 64 hexadecimal digits or the JSON of a "
                f"plan, got {describe_value(stored)}: store plan.to_json()"
            )
        elif stored != self.fingerprint:
            raise GraypipeError(
                f"the stored plan has the fingerprint {stored[:12]}..., this one "
                f"{self.fingerprint[:12]}...: use the stored plan, or check its JSON, "
                "plan.check(text), to see what differs"
            )

    def _record(self) -> dict[str, Any]:
        """Return the plan as a JSON-serialisable dict; omit a default ``via``."""
        record = {
            "source": serialization.to_record(self.source),
            "target": serialization.to_record(self.target),
        }
        if self.via != default_map(self.source.bands, self.target.bands):
            record["via"] = self.via._to_record()
        return record

    @cached_property
    def _unit_to_target(self) -> rational.Affine:
        """The map from unit intensities to target values, in rational numbers."""
        via = self.via._exact()
        affine = rational.compose(via, self.target._affine())
        if all(via.rows):
            return affine
        # A band that reads nothing and is the mean of the target becomes exactly 0.0:
        # `via` stores the mean as a float, which may differ from it by rounding.
        means = self.target._mean_intensities()
        offset = list(affine.offset)
        for index, row in enumerate(via.rows):
            if not row and _rounds_to(means[index], self.via.offset[index]):
                offset[index] = Fraction(0)
        return affine._replace(offset=tuple(offset))

    @cached_property
    def _conversion(self) -> layouts.LayoutConversion:
        return layouts.conversion(self.source.layout, self.target.layout)

    @cached_property
    def _batched(self) -> "Plan":
        """The plan for arrays with a leading N."""
        return self.with_layouts(
            "N" + self._conversion.source_layout, "N" + self._conversion.target_layout
        )

    @cached_property
    def _from_planes(self) -> "Plan":
        """The plan for arrays of shape (C, H, W)."""
        return self.with_layouts("CHW")

    def _picture_planes(self, picture: Any) -> Array:
        """Return the pixels of a PIL image as an array of shape (C, H, W)."""
        # Imported here because it imports Pillow.
        from .io.pil_images import planes_for

        return planes_for(picture, self.source.bands)

    @cached_property
    def _inverses(self) -> dict[tuple[Pair, ...], ChannelMap]:
        """Cache of `invert`: inverse maps, by (black, white) of every band."""
        return {}

    @cached_property
    def _executions(self) -> dict[np.dtype[Any], engine.Execution]:
        """Cache of `_execution`: executions, by the dtype of the images."""
        return {}

    def _execution(self, dtype: np.dtype[Any]) -> engine.Execution:
        """Return the execution for images of ``dtype``, prepared on first use."""
        try:
            return self._executions[dtype]
        except KeyError:
            return self._executions.setdefault(dtype, self._prepare_execution(dtype))

    def _prepare_execution(self, dtype: np.dtype[Any]) -> engine.Execution:
        """Prepare the execution for images of ``dtype``."""
        source = self.source
        pairs = source._pairs(dtype)
        matrix, offset = rational.rounded(self._stored_to_target(pairs))
        spec = engine.AffineSpec(matrix, offset, (0.0,) * len(pairs))
        if spec.selected_bands is None:
            # The map computes values. The centred form M · (x - black) + b avoids
            # cancellation if the range is narrow and far from zero. At x = black all
            # unit intensities are 0, so b is the offset of `unit_map`.
            black_levels = tuple(black for black, _ in pairs)
            spec = engine.AffineSpec(matrix, self.unit_map.offset, black_levels)
        clip_bounds = None
        if source.clip:
            clip_bounds = tuple((min(pair), max(pair)) for pair in pairs)
        spec = replace(
            spec,
            clip=clip_bounds,
            nodata=source.nodata,
            check_implied_range=not source._declares_range and dtype.kind == "f",
            highest=source._highest_integers(dtype),
            undivided_bands=tuple(
                band
                for band in source._undivided_bands(dtype)
                if band in spec.bands_read
            ),
        )
        return engine.Execution(spec, self._conversion, dtype, self.target.dtype)

    def _stored_to_target(self, pairs: tuple[Pair, ...]) -> rational.Affine:
        """Return the map from stored values to target values, in rational numbers."""
        return rational.compose(rational.to_unit(pairs), self._unit_to_target)

    def _channel_map(self, pairs: tuple[Pair, ...]) -> ChannelMap:
        """Return the map from stored values to target values, rounded to float64."""
        return from_rational(
            self._stored_to_target(pairs),
            inputs=self.source.bands,
            outputs=self.target.bands,
        )

    def _batch_of_list(
        self, images: Sequence[Array], out: Array | None, threads: int
    ) -> Array:
        """Convert a list of images of equal shape directly into one array."""
        arrays = [engine.check_image(image) for image in images]
        if not arrays:
            raise LayoutError(
                "expected at least one image, got an empty list: for an empty batch "
                "pass an array of shape (0, ...), which defines the image size"
            )
        shapes = sorted({array.shape for array in arrays})
        if len(shapes) > 1:
            raise LayoutError(
                f"expected images of one size, got {shapes[:4]}: crop or resize them "
                "first"
            )
        executions = [self._execution(array.dtype) for array in arrays]
        shape = (len(arrays), *executions[0].shape(shapes[0]))
        if out is None:
            out = np.empty(shape, self.target.dtype)
        else:
            for array in arrays:
                engine.check_out(out, shape, np.dtype(self.target.dtype), array)
        tasks = list(zip(executions, arrays, out, strict=True))
        if len(arrays) < threads:
            # There are more threads than images, so each image is split into rows.
            for execution, array, result in tasks:
                execution.into(array, result, threads)
        else:
            engine.in_threads(_run_task, tasks, threads)
        return out

    def _stored_pairs(self, dtype: np.dtype[Any] | None) -> tuple[Pair, ...]:
        """Return (black, white) of every band, in the values that `invert` returns.

        Parameters
        ----------
        dtype : numpy.dtype or None
            Dtype of the result, which must be able to represent the range.
        """
        source = replace(self.source, nodata=None)  # the inverse never returns nodata
        if not source._declares_range and source.dtype is None and dtype is None:
            raise RangeError(
                "the range of the stored values is unknown: declare range=, bits= or "
                "dtype= in the source, or pass dtype="
            )
        pairs = source._pairs(source.dtype or dtype)
        levels = [level for pair in pairs for level in pair]
        if dtype is not None and not all(
            engine.holds(dtype, level) for level in levels
        ):
            raise RangeError(
                f"the stored values range from {min(levels):g} to {max(levels):g}, "
                f"which {dtype} cannot represent: omit dtype=. To get a displayable "
                "image, invert with a plan whose source does not declare a range, "
                f"gp.plan(gp.Source({format_bands(source.bands)}, {source.layout!r}), "
                "plan.target, plan.via).invert(x, dtype='uint8')"
            )
        return pairs

    def __getstate__(self) -> dict[str, Any]:
        # Cached executions hold compiled kernels, which cannot be pickled.
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _is_fingerprint(value: object) -> bool:
    """Return whether ``value`` is 64 hexadecimal digits, as in a fingerprint."""
    return (
        isinstance(value, str)
        and len(value) == 64
        and set(value) <= set("0123456789abcdef")
    )


def _difference_message(stored: Plan, plan: Plan) -> str:
    """Return the error message for a stored plan with other values than ``plan``."""
    differences = []
    for part in ("source", "target"):
        theirs, ours = getattr(stored, part), getattr(plan, part)
        for field in fields(ours):
            name = field.name
            their_value = serialization.without_nan(getattr(theirs, name))
            our_value = serialization.without_nan(getattr(ours, name))
            if name not in NOT_IN_FINGERPRINT and their_value != our_value:
                differences.append(
                    f"{part}.{name} is {describe_value(their_value)}, not "
                    f"{describe_value(our_value)}"
                )
    if stored.via != plan.via:
        differences.append("via, the map of the bands, is another one")
    shown = "; ".join(differences[:3])
    if len(differences) > 3:
        shown += f"; and {len(differences) - 3} more"
    return (
        f"the stored plan differs: {shown}. Use the stored plan, "
        "gp.Plan.from_json(text), or train again with this one"
    )


def _several_arguments_error(*arguments: object) -> DTypeError:
    """Return the error for a plan that is called with more than an image."""
    kinds = " and ".join(type(argument).__name__ for argument in arguments[:3])
    return DTypeError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"expected one image, got {len(arguments)} arguments ({kinds}): pass the image "
        "alone, plan(image), or an array to write into as out=; in Dataset.map use "
        "dataset.map(ToBackbone(plan)) of graypipe.adapters.tf_data, which returns "
        "labels unchanged, with key= if the image is part of a dict"
    )


# What takes the arguments that `plan` does not have
KEYWORD_CALLS = {
    "gp.plan(gp.Source('gray', {}=...), 'imagenet')": (
        "bits",
        "range",
        "clip",
        "nodata",
        "dtype",
    ),
    "gp.Source('gray', layout=...) or gp.preset('imagenet', layout=...)": ("layout",),
    "gp.plan('gray', gp.preset('imagenet', {}=...))": ("mean", "std"),
    "plan(image, out=...)": ("out",),
    "plan.batch(images, threads=...)": ("threads",),
    "resize before or after the plan, because graypipe does not": (
        "size",
        "resize",
        "crop",
        "image_size",
        "input_size",
    ),
}


def _name_unknown_keywords(build: Callable[P, Plan]) -> Callable[P, Plan]:
    """Let `plan` name the call that takes a keyword which it does not have."""

    @wraps(build)
    def checked(*args: P.args, **kwargs: P.kwargs) -> Plan:
        for keyword in kwargs:
            if keyword not in ("source", "target", "via"):
                raise TypeError(_unknown_keyword_message(keyword))
        return build(*args, **kwargs)

    return checked


def _unknown_keyword_message(keyword: str) -> str:
    """Return the error message for a keyword that `plan` does not have."""
    message = f"plan() got an unexpected keyword argument {describe_value(keyword)}"
    for call, keywords in KEYWORD_CALLS.items():
        if keyword in keywords:
            return f"{message}: {call.format(keyword)}"
    return f"{message}: it takes source, target and via"


def _check_describes_images(source: Any, target: object) -> None:
    """Raise ChannelError if ``source`` is an image, a file or a target."""
    target_text = "target"
    if isinstance(target, str):
        target_text = describe_value(target)
    expected = "expected a description of the images, such as 'gray' or 'RGB', got"
    if _is_image(source):
        bands = "RGB" if 3 in _axes_of_bands(source) else "gray"
        raise ChannelError(
            f"{expected} {describe_value(source)}: build the plan first and call it, "
            f"as in gp.plan({bands!r}, {target_text})(image)"
        )
    if isinstance(source, list | tuple) and source and _is_image(source[0]):
        raise ChannelError(
            f"{expected} {describe_value(source)}: build the plan first, as in "
            f"gp.plan('gray', {target_text}).batch(images)"
        )
    if looks_like_path(source):
        raise ChannelError(
            f"{expected} the path {describe_value(str(source))}: image, source = "
            f"gp.read(path) reads the file; then gp.plan(source, {target_text})(image)"
        )
    if isinstance(source, Target) or (isinstance(source, str) and source in PRESETS):
        raise ChannelError(
            f"{expected} the target {describe_value(source)}: the source is the first "
            "argument, as in gp.plan('gray', 'imagenet')"
        )


def _is_picture(value: object) -> bool:
    """Return whether ``value`` is a PIL image, without importing Pillow."""
    return type(value) is not np.ndarray and hasattr(value, "getbands")


def _is_image(value: object) -> bool:
    """Return whether ``value`` is an array, a tensor or a PIL image."""
    return _is_picture(value) or len(getattr(value, "shape", ())) > 1


def _axes_of_bands(image: Any) -> tuple[int, ...]:
    """Return the sizes of the axes of an image that may be its bands."""
    if _is_picture(image):
        return (len(image.getbands()),)
    return (image.shape[0], image.shape[-1])


@_name_unknown_keywords
def plan(
    source: Source | Bands,
    target: Any,
    via: ChannelMap | ViaWeights | None = None,
) -> Plan:
    """Build a plan that converts images described by a source to a target.

    Parameters
    ----------
    source : Source, str or sequence of str
        Description of the input images. Band names are shorthand for
        ``Source(bands)``.
    target : Target, str or object
        Description of the input that the backbone expects, the name of a `preset`, or
        another object that `Target.of` takes, such as a timm model.
    via : ChannelMap or mapping, optional
        How each target band is computed from the source bands, on unit intensities (0
        is black, 1 is white): a map, or the argument of `mix`, in which None marks a
        band that is missing. It is set to 0.0 after normalisation, the mean of the
        target. By default one band is repeated, and equal sets of bands are matched by
        name. In all other cases ``via`` is required, so that no band is dropped or
        invented by accident. In a mapping, the source bands may have the aliases of the
        sensor if the source was made by `Source.from_sensor`.

    Returns
    -------
    Plan

    Raises
    ------
    ChannelError
        If ``via`` is required but missing, if it does not match the bands, or if the
        preset is unknown.
    LayoutError
        If the layout of the source cannot be converted to the layout of the target.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> x = gp.plan("gray", "imagenet")(np.zeros((32, 32), np.uint8))
    >>> x.shape
    (3, 32, 32)
    >>> weights = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}
    >>> gp.plan("RGBY", "imagenet", weights).source.layout
    'HWC'
    >>> missing_red = {"R": None, "G": "gray", "B": "gray"}
    >>> gp.plan("gray", "unit", missing_red)(np.full((1, 1), 255, np.uint8)).ravel()
    array([0., 1., 1.], dtype=float32)
    """
    if not isinstance(source, Source):
        _check_describes_images(source, target)
        source = Source(source)
    if not isinstance(target, Target):
        target = Target.of(target)
    if isinstance(via, Mapping):
        if source.sensor is not None:
            via = resolve_aliases(via, source.sensor)
        levels = dict(zip(target.bands, target._mean_intensities(), strict=True))
        via = map_with_missing_bands(via, source.bands, levels)
    if via is None:
        via = default_map(source.bands, target.bands)
        if via is None:
            facts = None if source.sensor is None else sensor(source.sensor)
            raise ChannelError(missing_map_message(source.bands, target.bands, facts))
    return Plan(source, target, via)


def _check_type(
    name: str, value: object, expected: type, alternative: str = ""
) -> None:
    """Raise DTypeError if an argument does not have the expected class."""
    if not isinstance(value, expected):
        raise DTypeError(
            f"{name} must be a gp.{expected.__name__}{alternative}, got "
            f"{type(value).__name__}"
        )


def _rounds_to(exact: Fraction, value: float) -> bool:
    """Return whether ``value`` is the float that is nearest to ``exact``."""
    try:
        return float(exact) == value
    except OverflowError:
        return False


def _run_task(task: tuple[engine.Execution, Array, Array]) -> None:
    """Convert one image of a batch."""
    execution, array, result = task
    execution.into(array, result)
