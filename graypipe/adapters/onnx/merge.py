"""`prepend`: a plan in front of an ONNX model."""

import numpy as np
from numpy.typing import DTypeLike

from ...errors import ChannelError, DTypeError, GraypipeError, LayoutError
from ...extras import require_extra
from ...messages import describe_value
from ...plan import Plan
from ...plans import check_plan
from .model import (
    PLAN_KEY,
    check_model,
    check_opset,
    convert,
    read_metadata,
    with_metadata,
)

with require_extra("onnx", "onnx"):
    import onnx
    from onnx import compose, helper

# All names that `prepend` adds to a model begin with this.
PREFIX = "graypipe/"


def prepend(
    model: onnx.ModelProto,
    plan: Plan,
    *,
    input: str | None = None,
    dtype: DTypeLike | None = None,
) -> onnx.ModelProto:
    """Return an ONNX model that applies a plan to its input.

    Parameters
    ----------
    model : onnx.ModelProto
        Model that takes images in the target layout and dtype of the plan. It is not
        modified. If it takes batches, a leading axis N is added to the layouts of a
        plan that has none.
    plan : Plan
        The plan, as for `to_onnx`.
    input : str, optional
        Name of the input that the plan feeds, required if the model has several.
    dtype : dtype_like, optional
        Dtype of the stored values, required if the source does not declare one.

    Returns
    -------
    onnx.ModelProto
        Model with the input ``graypipe/image``, stored values, in place of ``input``.
        Sizes that ``model`` fixes are also fixed there. All names that are added begin
        with ``graypipe/``. The metadata contains the plan, see `plan_of`.

    Raises
    ------
    DTypeError, RangeError
        As for `to_onnx`. Also if ``model`` is not an ONNX model, or takes another dtype
        than that of the target.
    LayoutError, ChannelError
        If the model takes other axes or bands than those of the target, or if ``input``
        is required or unknown.
    GraypipeError
        If the operators of the model are too old, if it contains a plan already, or if
        it is not valid.

    Examples
    --------
    >>> import onnx
    >>> import graypipe as gp
    >>> from graypipe.adapters.onnx import plan_of, prepend
    >>> model = onnx.parser.parse_model(
    ...     '<ir_version: 9, opset_import: ["": 18]> '
    ...     'net (float[N, 3, 224, 224] x) => (float[N, 3, 1, 1] y) '
    ...     '{ y = GlobalAveragePool(x) }'
    ... )
    >>> plan = gp.plan(gp.Source("gray", dtype="uint16", bits=12), "imagenet")
    >>> merged = prepend(model, plan)
    >>> merged.graph.input[0].name, plan_of(merged) == plan
    ('graypipe/image', True)
    """
    check_plan(plan)
    check_model(model)
    if PLAN_KEY in read_metadata(model):
        raise GraypipeError(
            "the model contains a plan already: pass the model that was there before "
            "prepend(model, plan)"
        )
    versions = [each.version for each in model.opset_import if not each.domain]
    opset = check_opset(max(versions, default=0))
    images = _image_input(model, input)
    batched, sizes = _match(plan, images)
    front = convert(batched, dtype, opset, model.ir_version, sizes)
    try:
        merged = compose.merge_models(
            front,
            model,
            [("x", images.name)],
            prefix1=PREFIX,
            name=model.graph.name,
            doc_string=model.graph.doc_string,
            producer_name=model.producer_name,
            producer_version=model.producer_version,
            domain=model.domain,
            model_version=model.model_version,
        )
        onnx.shape_inference.infer_shapes(merged, check_type=True, strict_mode=True)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise GraypipeError(
            f"the plan and the model cannot be merged: {reason}. Check the model alone "
            "with onnx.checker.check_model(model, full_check=True)"
        ) from error
    return with_metadata(merged, plan)


def _image_input(model: onnx.ModelProto, name: str | None) -> onnx.ValueInfoProto:
    """Return the input of ``model`` called ``name``, or its only one."""
    # Old models list their weights among the inputs.
    weights = {weight.name for weight in model.graph.initializer}
    inputs: dict[str, onnx.ValueInfoProto] = {
        each.name: each for each in model.graph.input if each.name not in weights
    }
    if name is None and len(inputs) == 1:
        return next(iter(inputs.values()))
    if name not in inputs:
        raise ChannelError(
            f"expected input= to be one of {', '.join(map(repr, inputs))[:300]}, the "
            f"inputs of the model, got {describe_value(name)}"
        )
    return inputs[name]


def _match(
    plan: Plan, images: onnx.ValueInfoProto
) -> tuple[Plan, dict[str, int | str]]:
    """Return ``plan`` with the axes of an input, and the sizes that the input states.

    Raises
    ------
    DTypeError, LayoutError, ChannelError
        If the input does not take the output of the plan.
    """
    tensor = images.type.tensor_type
    expected = helper.np_dtype_to_tensor_dtype(np.dtype(plan.target.dtype))
    if tensor.elem_type != expected:
        taken = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise DTypeError(
            f"the input {images.name!r} takes {taken}, but the target of the plan has "
            f"dtype {plan.target.dtype}: declare it in the target, such as "
            "gp.preset('imagenet', dtype='float16')"
        )
    if not tensor.HasField("shape"):
        return plan, {}
    sizes = [_size(axis) for axis in tensor.shape.dim]
    layout = plan._conversion.target_layout
    if len(sizes) == len(layout) + 1 and "N" not in layout:
        plan = plan._batched
        layout = plan._conversion.target_layout
    shape = ", ".join(str(size or "?") for size in sizes)
    if len(sizes) != len(layout):
        raise LayoutError(
            f"the input {images.name!r} has shape ({shape}), but the plan gives "
            f"{layout!r}: change the layouts with plan.with_layouts(source, target)"
        )
    named = dict(zip(layout, sizes, strict=True))
    count = len(plan.target.bands)
    bands = named.pop("C", None)
    if isinstance(bands, int) and bands != count:
        raise ChannelError(
            f"the input {images.name!r} has shape ({shape}), but the plan gives "
            f"{layout!r} with C={count}: use a target with the bands of the model, or "
            "change the layout, such as plan.with_layouts(target='HWC')"
        )
    return plan, {letter: size for letter, size in named.items() if size is not None}


def _size(axis: onnx.TensorShapeProto.Dimension) -> int | str | None:
    """Return the size of an axis, its name, or None if it has neither."""
    if axis.HasField("dim_value"):
        return int(axis.dim_value)
    return axis.dim_param or None
