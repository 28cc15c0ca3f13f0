"""`to_onnx` and `plan_of`: a plan as an ONNX model, and the plan of an ONNX model."""

from contextlib import suppress
from importlib import metadata
from typing import Any

from numpy.typing import DTypeLike

from ... import layouts
from ...engine import supported_dtype
from ...errors import ChannelError, DTypeError, GraypipeError
from ...extras import require_extra
from ...messages import describe_value
from ...plan import Plan
from ...plans import check_plan
from .._shared import elementwise
from .._shared.declared_range import check_range_declared
from .graph import OPS, Graph, Value

with require_extra("onnx", "onnx"):
    import onnx
    from onnx import helper

# In this version of ONNX, the axes of Unsqueeze and ReduceSum became inputs.
OLDEST_OPSET = 13
DEFAULT_OPSET = 18

PLAN_KEY = "graypipe.plan"
FINGERPRINT_KEY = "graypipe.fingerprint"
VERSION_KEY = "graypipe.version"


def to_onnx(
    plan: Plan, *, dtype: DTypeLike | None = None, opset: int | None = None
) -> onnx.ModelProto:
    """Return a plan as an ONNX model.

    Parameters
    ----------
    plan : Plan
        The plan. Its source must declare a range, because the model cannot check
        pixels that other code has cast.
    dtype : dtype_like, optional
        Dtype of the stored values, required if the source does not declare one.
    opset : int, optional
        Version of the ONNX operators, at least 13. The default is 18.

    Returns
    -------
    onnx.ModelProto
        Model with the input ``image``, stored values in the source layout of the plan,
        and the output ``x`` in its target layout and dtype. All sizes except the
        numbers of bands are symbolic. The metadata contains the plan, see `plan_of`.

    Raises
    ------
    DTypeError
        If ``plan`` is not a plan, if the dtype of the stored values is unknown, or if
        values are computed for an integer target of 64 bits.
    RangeError
        If the source does not declare a range, or if ``dtype`` cannot represent it.
    GraypipeError
        If ``opset`` is too old, or newer than the installed onnx.

    Examples
    --------
    >>> import graypipe as gp
    >>> from graypipe.adapters.onnx import to_onnx
    >>> plan = gp.plan(gp.Source("gray", "NHW", bits=12), "imagenet")
    >>> model = to_onnx(plan, dtype="uint16")
    >>> [axis.dim_param for axis in model.graph.input[0].type.tensor_type.shape.dim]
    ['N', 'H', 'W']
    """
    check_plan(plan)
    opset = check_opset(DEFAULT_OPSET if opset is None else opset)
    ir_version = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    model = convert(plan, dtype, opset, ir_version, {})
    return with_metadata(model, plan)


def plan_of(model: onnx.ModelProto) -> Plan:
    """Return the plan in the metadata of an ONNX model.

    Parameters
    ----------
    model : onnx.ModelProto
        Result of `to_onnx` or `prepend`, also after it was saved and loaded.

    Returns
    -------
    Plan
        The plan as it was passed to these functions.

    Raises
    ------
    DTypeError
        If ``model`` is not an ONNX model.
    ChannelError
        If the model contains no plan, or damaged JSON.
    GraypipeError
        If the plan does not have the fingerprint that was stored with it.

    Examples
    --------
    >>> import graypipe as gp
    >>> from graypipe.adapters.onnx import plan_of, to_onnx
    >>> plan = gp.plan(gp.Source("gray", bits=12), "imagenet")
    >>> plan_of(to_onnx(plan, dtype="uint16")) == plan
    True
    """
    check_model(model)
    entries = read_metadata(model)
    if PLAN_KEY not in entries:
        raise ChannelError(
            f"expected a model of to_onnx or prepend, got one without {PLAN_KEY!r} in "
            "its metadata: call prepend(model, plan), or load the plan from the "
            "checkpoint of the training"
        )
    plan = Plan.from_json(entries[PLAN_KEY])
    plan.check(entries.get(FINGERPRINT_KEY, ""))
    return plan


def convert(
    plan: Plan,
    dtype: DTypeLike | None,
    opset: int,
    ir_version: int,
    sizes: dict[str, int | str],
) -> onnx.ModelProto:
    """Return ``plan`` as a model without metadata.

    ``sizes`` are those of axes that are not named after their letter in the layout.
    """
    check_range_declared(
        plan, "an ONNX model may receive pixels that other code has cast"
    )
    dtype = plan.source.dtype if dtype is None else dtype
    if dtype is None:
        raise DTypeError(
            "expected the dtype of the stored values, got None: pass dtype=, such as "
            "dtype='uint16', or declare it in the source"
        )
    execution = plan._execution(supported_dtype(dtype).newbyteorder("="))
    conversion = execution.conversion
    graph = Graph()
    # A value has the methods of an array that the conversion calls.
    image: Any = Value(graph, "image", execution.source_dtype)
    planes: Any = conversion.source_planes(image)
    axis = -len(layouts.with_bands(conversion.source_layout))
    converted = elementwise.run(execution, planes, axis, OPS)
    result: Any = conversion.from_planes(converted)
    # This node gives the output its name, also if there is no other node.
    graph.nodes.append(helper.make_node("Identity", [result.name], ["x"], name="x"))
    output = Value(graph, "x", result.dtype)
    sizes = {**dict(zip(layouts.LETTERS, layouts.LETTERS, strict=True)), **sizes}
    inputs = {**sizes, "C": len(plan.source.bands)}
    outputs = {**sizes, "C": len(plan.target.bands)}
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "graypipe",
            [_value_info(image, conversion.source_layout, inputs)],
            [_value_info(output, conversion.target_layout, outputs)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=ir_version,
        producer_name="graypipe",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _value_info(
    value: Value, layout: str, sizes: dict[str, int | str]
) -> onnx.ValueInfoProto:
    """Return the description of an input or output of a model."""
    element_type = helper.np_dtype_to_tensor_dtype(value.dtype)
    shape = [sizes[letter] for letter in layout]
    return helper.make_tensor_value_info(value.name, element_type, shape)


def check_opset(opset: int) -> int:
    """Return ``opset``, or raise GraypipeError if it cannot express a plan."""
    newest = onnx.defs.onnx_opset_version()
    if not isinstance(opset, int) or not OLDEST_OPSET <= opset <= newest:
        raise GraypipeError(
            f"expected opset {OLDEST_OPSET} to {newest}, got {opset}: export the model "
            "with a version in this range, or convert it with "
            f"onnx.version_converter.convert_version(model, {DEFAULT_OPSET}); newer "
            "versions need a newer onnx"
        )
    return opset


def check_model(model: object) -> None:
    """Raise DTypeError if ``model`` is not an ONNX model."""
    if not isinstance(model, onnx.ModelProto):
        raise DTypeError(
            f"expected an onnx.ModelProto, got {describe_value(model)}: read a file "
            "with onnx.load(path)"
        )


def read_metadata(model: onnx.ModelProto) -> dict[str, str]:
    """Return the metadata of ``model``."""
    return {entry.key: entry.value for entry in model.metadata_props}


def with_metadata(model: onnx.ModelProto, plan: Plan) -> onnx.ModelProto:
    """Return ``model``, with ``plan`` added to its metadata."""
    entries = {
        PLAN_KEY: plan.to_json(),
        FINGERPRINT_KEY: plan.fingerprint,
    }
    with suppress(metadata.PackageNotFoundError):
        entries[VERSION_KEY] = metadata.version("graypipe")
    helper.set_model_props(model, read_metadata(model) | entries)
    return model
