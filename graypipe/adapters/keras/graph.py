"""Graphs: which layer of a Keras model reads the image, found in the configuration that the model is saved by."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ...errors import ChannelError, DTypeError
from ...extras import needs

with needs("tensorflow", "keras", "tensorflow"):
    import keras
    from keras import layers

Layer = Any
Model = Any
Tensor = tuple[str, int, int]
"""A symbolic tensor as configurations name it: the layer that made it, at which of its calls, which of its results."""

Call = tuple[Layer, Tensor, set[Tensor]]
"""A layer, what it makes, what it reads."""

CONVOLUTIONS = (
    *(layers.Conv1D, layers.Conv2D, layers.Conv3D),
    *(layers.DepthwiseConv1D, layers.DepthwiseConv2D),
    *(layers.SeparableConv1D, layers.SeparableConv2D),
)
PADDINGS = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
NORMALISING = (layers.Rescaling, layers.Normalization, layers.BatchNormalization)

INSTEAD = "put a ChannelLayer in front of the model, or feed it by the plan as it is"


class Reader(NamedTuple):
    """The convolution that reads the image: its names from the outermost model inwards, and the paddings before it."""

    path: tuple[str, ...]
    paddings: tuple[Layer, ...]
    layer: Layer


def find_reader(model: Model, layer: str | None = None) -> Reader:
    """Return what reads the image in ``model``, a functional or sequential one; nested models are entered.

    Between the image and that convolution there may be zero padding alone, and nothing else may read the image:
    ChannelError otherwise, with the reason, also where it is not called ``layer`` ("conv1", in a nested model
    "resnet50/conv1" as well). DTypeError for what is no model.
    """
    path: list[str] = []
    paddings: list[Layer] = []
    inner = model
    while not path or isinstance(inner, keras.Model):
        passed, inner = _follow(inner)
        paddings += passed
        path.append(inner.name)
    if type(inner) not in CONVOLUTIONS:
        raise ChannelError(_why_not(inner))
    if layer not in (None, inner.name, "/".join(path)):
        raise ChannelError(
            f"the image is read by {'/'.join(path)!r}, not by {layer!r}: leave layer= away, or name it"
        )
    if _places(model, inner) > 1:
        raise ChannelError(_shared(inner))
    return Reader(tuple(path), tuple(paddings), inner)


def is_graph(layer: Layer) -> bool:
    """Whether ``layer`` is a model that is its graph of layers: functional or sequential, without a call of its own."""
    kinds = [
        next(kind for kind in type(layer).__mro__ if name in vars(kind))
        for name in ("__call__", "call")
    ]
    graph = isinstance(layer, keras.Sequential) or hasattr(layer, "operations")
    return graph and all(kind.__module__.startswith("keras.") for kind in kinds)


def _places(model: Model, layer: Layer) -> int:
    """Return in how many models ``layer`` stands: ``model`` and those nested in it."""
    return sum(
        _places(own, layer) if is_graph(own) else own is layer for own in model.layers
    )


def _follow(model: Model) -> tuple[list[Layer], Layer]:
    """Return the paddings that the image passes in ``model``, and the one layer that reads it then."""
    image, calls, outputs = _graph(model)
    passed: list[Layer] = []
    readers: list[Layer] = []
    tensors = [image]
    for tensor in tensors:  # grows while the image is padded
        for layer, made, read in calls:
            if tensor in read and type(layer) in PADDINGS:
                passed.append(layer)
                tensors.append(made)
            elif tensor in read:
                readers.append(layer)
    if outputs.intersection(tensors):
        raise ChannelError(
            f"model {model.name!r} returns the image itself, which a fold would change: {INSTEAD}"
        )
    names = [layer.name for layer in readers]
    if len(names) != 1:
        shown = ", ".join(map(repr, names)) or "none"
        raise ChannelError(
            f"expected one layer that reads the image of model {model.name!r}, got {len(names)} ({shown}): folded into "
            f"one of them, the plan would be missing in the others; {INSTEAD}"
        )
    if [layer for layer, _, _ in calls].count(readers[0]) > 1:
        raise ChannelError(_shared(readers[0]))
    return passed, readers[0]


def _graph(model: Model) -> tuple[Tensor, list[Call], set[Tensor]]:
    """Return the image of ``model``, its calls, and what it returns."""
    _check_graph(model)
    if isinstance(model, keras.Sequential):
        made: list[Tensor] = [
            ("", 0, 0),
            *((layer.name, 0, 0) for layer in model.layers),
        ]
        return (
            made[0],
            [(layer, made[i + 1], {made[i]}) for i, layer in enumerate(model.layers)],
            {made[-1]},
        )
    config = model.get_config()
    if "input_layers" not in config:
        raise ChannelError(_opaque(model))
    if len(model.inputs) > 1:
        raise ChannelError(
            f"expected a model of one input, the image, got {len(model.inputs)} in model {model.name!r}: fold the one "
            f"that reads the image before it is joined with the others"
        )
    operations = {operation.name: operation for operation in model.operations}
    calls = [
        (operations[entry["name"]], (entry["name"], index, 0), set(_tensors(call)))
        for entry in config["layers"]
        for index, call in enumerate(entry["inbound_nodes"])
    ]
    image = tuple(keras.tree.flatten(config["input_layers"]))
    leaves = iter(keras.tree.flatten(config["output_layers"]))
    return image, calls, set(zip(leaves, leaves, leaves, strict=True))


def _tensors(call: Any) -> Iterator[Tensor]:
    """Yield the symbolic tensors among the arguments of a call, as they stand in a configuration."""
    if isinstance(call, dict) and call.get("class_name") == "__keras_tensor__":
        yield tuple(call["config"]["keras_history"])
    elif isinstance(call, dict | list | tuple):
        for part in call.values() if isinstance(call, dict) else call:
            yield from _tensors(part)


def check_built(model: Model) -> None:
    """Raise DTypeError unless ``model`` is one, ChannelError unless it has its weights."""
    if not isinstance(model, keras.Model):
        raise DTypeError(f"expected a Keras model, got {type(model).__name__}")
    if not model.built:
        raise ChannelError(
            f"model {model.name!r} has no weights yet: begin it with keras.Input, or call it once"
        )


def _check_graph(model: Model) -> None:
    check_built(model)
    if not is_graph(model):
        raise ChannelError(_opaque(model))


def _shared(layer: Layer) -> str:
    return f"layer {layer.name!r} reads the image and, shared, other tensors as well: {INSTEAD}"


def _opaque(model: Model) -> str:
    return (
        f"model {model.name!r} is of class {type(model).__name__}, whose graph of layers is in Python code, which does "
        f"not say what reads the image: fold a functional or sequential model and use it inside; or {INSTEAD}"
    )


def _why_not(layer: Layer) -> str:
    kind = type(layer).__name__
    if isinstance(layer, NORMALISING):
        return (
            f"the model normalises inside: {kind} {layer.name!r} reads the image, before any convolution, band by "
            f"band, and would read those of the source after a fold: {INSTEAD}"
        )
    known = ", ".join(known.__name__ for known in CONVOLUTIONS)
    return f"{kind} {layer.name!r} reads the image, and a plan folds into {known} alone: {INSTEAD}"
