"""Build an ONNX graph with the operators of an array.

`elementwise.run` and `LayoutConversion` get a `Value` in place of an array. Each
operation on it appends a node.
"""

from functools import partialmethod
from types import SimpleNamespace
from typing import Any

import numpy as np

from ...extras import require_extra

with require_extra("onnx", "onnx"):
    import onnx
    from onnx import helper, numpy_helper


class Graph:
    """The nodes and constants of a graph under construction.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
    constants : list of onnx.TensorProto
    """

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def value(self, value: Any, dtype: Any) -> "Value":
        """Return ``value``, as a constant if it is a number or an array."""
        if isinstance(value, Value):
            return value
        array = np.asarray(value, dtype)
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(array, name))
        return Value(self, name, array.dtype)

    def node(
        self, operator: str, *inputs: "Value", dtype: Any = None, **attributes: Any
    ) -> "Value":
        """Append a node; return its result, of ``dtype`` or that of the first input."""
        name = f"{operator.lower()}{len(self.nodes)}"
        names = [value.name for value in inputs]
        self.nodes.append(
            helper.make_node(operator, names, [name], name=name, **attributes)
        )
        return Value(self, name, np.dtype(dtype or inputs[0].dtype))


class Value:
    """A tensor of a graph under construction.

    Parameters
    ----------
    graph : Graph
    name : str
    dtype : numpy.dtype
    """

    def __init__(self, graph: Graph, name: str, dtype: np.dtype[Any]) -> None:
        self.graph = graph
        self.name = name
        self.dtype = dtype

    def binary(self, operator: str, other: Any, dtype: Any = None) -> "Value":
        """Return the result of an operator of two inputs."""
        other = self.graph.value(other, self.dtype)
        return self.graph.node(operator, self, other, dtype=dtype)

    __add__ = partialmethod(binary, "Add")
    __mul__ = partialmethod(binary, "Mul")
    __truediv__ = partialmethod(binary, "Div")
    __or__ = partialmethod(binary, "Or")
    __eq__ = partialmethod(binary, "Equal", dtype="bool")
    __hash__ = None  # type: ignore[assignment]

    def __sub__(self, other: Any) -> "Value":
        # OpenVINO turns (x - black) · factor into x · factor - black · factor, which
        # loses digits if black is large. It does not see through a condition.
        return _where(_is_nan(self), self, self.binary("Sub", other))

    def __getitem__(self, index: int | None) -> "Value":
        """Return ``self[None]`` with a new first axis, or one element of the first."""
        if index is None:
            axes = self.graph.value([0], "int64")
            return self.graph.node("Unsqueeze", self, axes)
        return _take(self, index, 0)

    def transpose(self, order: tuple[int, ...]) -> "Value":
        """Return the tensor with its axes in another order."""
        if order == tuple(range(len(order))):
            return self
        return self.graph.node("Transpose", self, perm=order)


def _any(x: Value, axis: int, keepdims: bool) -> Value:
    axes = x.graph.value([axis], "int64")
    count = x.graph.node("ReduceSum", _cast(x, "int32"), axes, keepdims=int(keepdims))
    return count.binary("Greater", 0, "bool")


def _cast(x: Value, dtype: str) -> Value:
    if x.dtype == dtype:
        return x
    element_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return x.graph.node("Cast", x, dtype=dtype, to=element_type)


def _clip(x: Value, low: Any, high: Any) -> Value:
    # The bounds of the operator Clip are scalars. Runtimes differ in what Max, Min and
    # comparisons return for NaN, so it is put back.
    clipped = x.graph.node("Min", x.binary("Max", low), x.graph.value(high, x.dtype))
    return _where(_is_nan(x), x, clipped)


def _is_nan(x: Value) -> Value:
    return x.graph.node("IsNaN", x, dtype="bool")


def _stack(values: list[Value], axis: int) -> Value:
    graph = values[0].graph
    axes = graph.value([axis], "int64")
    planes = [graph.node("Unsqueeze", value, axes) for value in values]
    return graph.node("Concat", *planes, axis=axis)


def _take(x: Value, indices: Any, axis: int) -> Value:
    return x.graph.node("Gather", x, x.graph.value(indices, "int64"), axis=axis)


def _where(condition: Value, x: Any, y: Any) -> Value:
    dtype = x.dtype if isinstance(x, Value) else y.dtype
    x, y = (condition.graph.value(each, dtype) for each in (x, y))
    return condition.graph.node("Where", condition, x, y, dtype=dtype)


def _zeros_like(x: Value) -> Value:
    shape = x.graph.node("Shape", x, dtype="int64")
    zero = numpy_helper.from_array(np.zeros(1, x.dtype))
    return x.graph.node("ConstantOfShape", shape, dtype=x.dtype, value=zero)


# ONNX equivalents of the `keras.ops` functions that `elementwise` calls.
OPS = SimpleNamespace(
    any=_any,
    cast=_cast,
    clip=_clip,
    convert_to_tensor=np.asarray,
    isnan=_is_nan,
    round=lambda x: x.graph.node("Round", x),
    stack=_stack,
    take=_take,
    where=_where,
    zeros_like=_zeros_like,
)
