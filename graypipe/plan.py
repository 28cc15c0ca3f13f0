"""Plans: a source, a target and the map between them, composed once, then executed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from . import engine, layouts, rational, serialization
from .bands import format_bands
from .channel_map import (
    Bands,
    ChannelMap,
    Weights,
    default_map,
    from_rational,
    missing_map_message,
    mix,
)
from .errors import (
    ChannelError,
    CopyRequiredError,
    DTypeError,
    LayoutError,
    RangeError,
)
from .explain import explain
from .source import Pair, Source
from .target import Target, preset
from .validation import set_fields

Array = NDArray[Any]


@dataclass(frozen=True)
class Plan:
    """Conversion of images from a source to a target.

    Build a plan with `plan`, then call it on images. Instances are immutable, hashable
    and picklable, and equal after a round trip through JSON. All work that does not
    depend on the pixels is done once per dtype.

    Attributes
    ----------
    source : Source
        What the images are.
    target : Target
        What the backbone expects.
    via : ChannelMap
        Map from the bands of the source to those of the target, on unit intensities.

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
        _check_type(self.source, Source, "source to be a gp.Source")
        _check_type(self.target, Target, "target to be a gp.Target or a preset name")
        _check_type(self.via, ChannelMap, "via to be a gp.ChannelMap or a mapping")
        inputs = self.source.bands
        outputs = self.target.bands
        # Equal plans must compare equal, so the bands of `via` take the order of the
        # source and the target.
        exact = self.via._exact(inputs, outputs)
        set_fields(self, via=from_rational(exact, inputs=inputs, outputs=outputs))
        # Layouts that cannot be converted and coefficients that overflow are errors
        # here rather than at the first image.
        layouts.conversion(self.source.layout, self.target.layout)
        rational.rounded(self._unit)

    def __call__(self, image: Array, *, out: Array | None = None) -> Array:
        """Convert one image.

        Parameters
        ----------
        image : ndarray
            Array of the layout and bands of the source. Any strides and byte order; it
            is never modified.
        out : ndarray, optional
            Array to write into. It must have the shape and dtype of the result, be
            writable, and overlap neither itself nor ``image``. It may be strided. Its
            contents are undefined after an exception.

        Returns
        -------
        ndarray
            New C-contiguous array of the dtype and layout of the target, or ``out``.
            Axes that the target layout lacks are kept in front: THW with the target CHW
            gives TCHW.

        Raises
        ------
        LayoutError, ChannelError, DTypeError, RangeError
            If the image is not what the source declares, or ``out`` cannot hold the
            result.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> plan = gp.plan("gray", "unit")
        >>> plan(np.array([[0, 255]], np.uint8)).tolist()
        [[[0.0, 1.0]], [[0.0, 1.0]], [[0.0, 1.0]]]
        """
        if type(image) is not np.ndarray:
            image = engine.check_image(image)
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
        images : ndarray or list of ndarray
            An array with a leading axis N, or images of one shape, each of which is
            written straight into the result.
        out : ndarray, optional
            Array to write into, as in a call of the plan.
        threads : int, default 1
            Number of threads. The result does not depend on it.

        Returns
        -------
        ndarray
            The results with a leading N, bit for bit those of the single images.

        Raises
        ------
        LayoutError
            If the layout of the source has an N already, if the shapes differ, or if
            the list is empty.
        LayoutError, ChannelError, DTypeError, RangeError
            As in a call of the plan.

        Examples
        --------
        >>> import numpy as np
        >>> import graypipe as gp
        >>> plan = gp.plan("gray", "imagenet")
        >>> plan.batch(np.zeros((8, 32, 32), np.uint8), threads=2).shape
        (8, 3, 32, 32)
        """
        if "N" in self._conversion.target:
            raise LayoutError(
                f"the source layout {self._conversion.source!r} has an N already: call "
                "the plan itself"
            )
        engine.check_threads(threads)
        if isinstance(images, list | tuple):
            return self._batch_of_list(images, out, threads)
        array = engine.check_image(images)
        return self._batched._execution(array.dtype)(array, out, threads)

    def view(self, image: Array) -> Array:
        """Return the result as a view of the image.

        Parameters
        ----------
        image : ndarray
            Array of the layout and bands of the source.

        Returns
        -------
        ndarray
            Read-only view; no element is copied. The values are not checked against an
            implied range, because none of them is read.

        Raises
        ------
        CopyRequiredError
            If the plan does more than repeat bands or pick them at regular steps: it
            computes values, changes the dtype, or has nodata or clip.
        LayoutError, ChannelError, DTypeError, RangeError
            As in a call of the plan.

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

        Only the affine part is undone: clipped values and nodata stay lost.

        Parameters
        ----------
        x : ndarray
            Array of the layout and units of the target.
        dtype : dtype_like, optional
            Dtype of the result. The default is float32, or float64 for float64 input.
            An integer dtype rounds half to even and saturates. If the source declares
            neither a range nor a dtype, ``dtype`` implies the range of the stored
            values.

        Returns
        -------
        ndarray
            New array of the layout of the source.

        Raises
        ------
        ChannelError
            If the plan loses bands, so that it has no inverse.
        RangeError
            If the range of the stored values is unknown, or ``dtype`` cannot hold it.

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
        stored_dtype = None if dtype is None else engine.element_type(dtype)
        pairs = self._inverted_pairs(stored_dtype)
        if pairs not in self._inverses:
            self._inverses[pairs] = self._stored_map(pairs).inverse()
        return self._inverses[pairs](
            array,
            layout=self._conversion.target,
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
            If the plan would refuse such an image.

        Examples
        --------
        >>> import graypipe as gp
        >>> plan = gp.plan(gp.Source("gray", bits=12), gp.Target("gray", "HW"))
        >>> print(plan.explain())
          source  'gray' as HW
           range  0..4095 becomes 0..1 (declared)
          guards  none
          target  'gray' as HW, float32
        y = Mx+b  gray = 0.0002442*gray    (x: stored values)
        """
        pairs: tuple[Pair, ...] | None = None
        channel_map = self.unit_map
        execution = None
        if dtype is None:
            dtype = self.source.dtype
        if dtype is not None or self.source._declares_range:
            pairs = self.source._pairs(dtype)
            channel_map = self._stored_map(pairs)
        if dtype is not None:
            execution = self._execution(engine.element_type(dtype))
        if shape is not None:
            layouts.check_shape(shape, self._conversion.source, len(self.source.bands))
        return explain(
            self.source,
            self.target,
            self._conversion,
            channel_map=channel_map,
            pairs=pairs,
            execution=execution,
            shape=shape,
        )

    def with_layouts(
        self, source: str | None = None, target: str | None = None
    ) -> "Plan":
        """Return the same plan with other layouts.

        Parameters
        ----------
        source, target : str, optional
            New layouts. The default keeps the current one.

        Returns
        -------
        Plan

        Raises
        ------
        LayoutError
            If a layout is invalid, or if the two cannot be converted.

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
            self._unit, inputs=self.source.bands, outputs=self.target.bands
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
        return self._stored_map(self.source._pairs(None))

    def to_json(self) -> str:
        """Return the plan as canonical JSON, with all statistics as numbers.

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
        """Build the plan that `to_json` wrote.

        Parameters
        ----------
        text : str

        Returns
        -------
        Plan

        Raises
        ------
        ValueError
            If ``text`` is not JSON, or does not describe a plan (`ChannelError`).

        Examples
        --------
        >>> import graypipe as gp
        >>> plan = gp.plan("gray", "imagenet")
        >>> gp.Plan.from_json(plan.to_json()) == plan
        True
        """
        record = serialization.from_text(text)
        if not {"source", "target"} <= set(record) <= {"source", "target", "via"}:
            raise ChannelError(
                "expected the keys source, target and optionally via in the JSON of a "
                f"plan, got {sorted(record)}"
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

        Store it in a checkpoint: two plans with the same fingerprint give a model the
        same values, in whatever order the axes are.

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
            record[part].pop("layout", None)
        return sha256(serialization.to_text(record).encode()).hexdigest()

    def _record(self) -> dict[str, Any]:
        """Return the plan for JSON; ``via`` only where it is not the default."""
        record = {
            "source": serialization.to_record(self.source),
            "target": serialization.to_record(self.target),
        }
        if self.via != default_map(self.source.bands, self.target.bands):
            record["via"] = self.via._to_record()
        return record

    @cached_property
    def _unit(self) -> rational.Affine:
        """The map from unit intensities to target values, in rational numbers."""
        return rational.compose(self.via._exact(), self.target._affine())

    @cached_property
    def _conversion(self) -> layouts.LayoutConversion:
        return layouts.conversion(self.source.layout, self.target.layout)

    @cached_property
    def _batched(self) -> "Plan":
        """The plan for arrays with a leading N."""
        return self.with_layouts(
            "N" + self._conversion.source, "N" + self._conversion.target
        )

    @cached_property
    def _inverses(self) -> dict[tuple[Pair, ...], ChannelMap]:
        return {}

    @cached_property
    def _executions(self) -> dict[np.dtype[Any], engine.Execution]:
        return {}

    def _execution(self, dtype: np.dtype[Any]) -> engine.Execution:
        """Return the execution for images of ``dtype``, prepared on first use."""
        try:
            return self._executions[dtype]
        except KeyError:
            return self._executions.setdefault(dtype, self._bind(dtype))

    def _bind(self, dtype: np.dtype[Any]) -> engine.Execution:
        """Prepare the execution for images of ``dtype``."""
        source = self.source
        pairs = source._pairs(dtype)
        matrix, offset = rational.rounded(self._stored(pairs))
        spec = engine.AffineSpec(matrix, offset, (0.0,) * len(pairs))
        if spec.picks is None:
            # The map computes values. The centred form M · (x - black) + b keeps the
            # digits of a narrow range far from zero.
            black_levels = tuple(black for black, _ in pairs)
            spec = engine.AffineSpec(matrix, self.unit_map.offset, black_levels)
        bounds = None
        if source.clip:
            bounds = tuple((min(pair), max(pair)) for pair in pairs)
        spec = replace(
            spec,
            clip=bounds,
            nodata=source.nodata,
            implied=not source._declares_range and dtype.kind == "f",
        )
        return engine.Execution(spec, self._conversion, dtype, self.target.dtype)

    def _stored(self, pairs: tuple[Pair, ...]) -> rational.Affine:
        """Return the map from stored values to target values, in rational numbers."""
        return rational.compose(rational.to_unit(pairs), self._unit)

    def _stored_map(self, pairs: tuple[Pair, ...]) -> ChannelMap:
        return from_rational(
            self._stored(pairs), inputs=self.source.bands, outputs=self.target.bands
        )

    def _batch_of_list(
        self, images: Sequence[Array], out: Array | None, threads: int
    ) -> Array:
        """Convert images of one shape straight into one array."""
        arrays = [engine.check_image(image) for image in images]
        if not arrays:
            raise LayoutError(
                "expected at least one image, got an empty list: an array of shape "
                "(0, ...) states the image size"
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

    def _inverted_pairs(self, dtype: np.dtype[Any] | None) -> tuple[Pair, ...]:
        """Return the range of the stored values that `invert` gives.

        Parameters
        ----------
        dtype : numpy.dtype or None
            Dtype of the result, which must hold the range.
        """
        source = replace(self.source, nodata=None)  # the inverse never gives nodata
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
                f"which {dtype} cannot hold: leave dtype= out; to show an image, "
                "invert with a plan whose source declares no range, "
                f"gp.plan({format_bands(source.bands)}, plan.target)"
                ".invert(x, dtype='uint8')"
            )
        return pairs

    def __getstate__(self) -> dict[str, Any]:
        # Cached executions hold compiled kernels, which cannot be pickled.
        return {field.name: getattr(self, field.name) for field in fields(self)}


def plan(
    source: Source | Bands,
    target: Target | str,
    via: ChannelMap | Weights | None = None,
) -> Plan:
    """Build a plan that converts images of a source to what a target expects.

    Parameters
    ----------
    source : Source, str or sequence of str
        What the images are. Band names stand for a `Source` with these bands.
    target : Target or str
        What the backbone expects, or the name of a `preset`.
    via : ChannelMap or mapping, optional
        Which source bands make each target band, on unit intensities (0 is black, 1 is
        white): a map, or the mapping that `mix` takes. By default one band is repeated
        into many, and equal bands are matched by name. Anything else must be stated, so
        that no band is dropped or invented by accident.

    Returns
    -------
    Plan

    Raises
    ------
    ChannelError
        If ``via`` is needed and missing, or does not match the bands; if the preset is
        unknown.
    LayoutError
        If the layout of the source cannot be converted to that of the target.

    Examples
    --------
    >>> import numpy as np
    >>> import graypipe as gp
    >>> x = gp.plan("gray", "imagenet")(np.zeros((32, 32), np.uint8))
    >>> x.shape
    (3, 32, 32)
    >>> merge = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}
    >>> gp.plan("RGBY", "imagenet", merge).source.layout
    'HWC'
    """
    if not isinstance(source, Source):
        source = Source(source)
    if isinstance(target, str):
        target = preset(target)
    if isinstance(via, Mapping):
        via = mix(via, of=source.bands)
    if via is None and isinstance(target, Target):
        via = default_map(source.bands, target.bands)
        if via is None:
            raise ChannelError(missing_map_message(source.bands, target.bands))
    return Plan(source, target, via)


def _check_type(value: object, kind: type, expected: str) -> None:
    if not isinstance(value, kind):
        raise DTypeError(f"expected {expected}, got {type(value).__name__}")


def _run_task(task: tuple[engine.Execution, Array, Array]) -> None:
    """Convert one image of a batch."""
    execution, array, result = task
    execution.into(array, result)
