"""Find the stem of a Keras model: the convolution that reads the image.

The graph of a functional model is read from its configuration, which Keras also uses to
save the model.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from ...errors import ChannelError, DTypeError
from ...extras import require_extra
from ...messages import describe_value

with require_extra("tensorflow", "keras", "tensorflow"):
    import keras
    from keras import layers

# Keras ships no type annotations.
Layer = Any
Model = Any

SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)
CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    *SEPARABLE,
)
PADDINGS = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
NORMALIZATIONS = (layers.Rescaling, layers.Normalization, layers.BatchNormalization)

# Advice at the end of error messages for models that cannot be folded.
ALTERNATIVE = "put a ChannelLayer in front of the model, or apply the plan to its input"


class SymbolicTensor(NamedTuple):
    """A reference to a tensor in the graph of a model, as in Keras configurations.

    Attributes
    ----------
    layer : str
        The name of the layer that returns the tensor.
    call : int
        The index of the call of that layer; a shared layer is called several times.
    output : int
        The index of the tensor among the outputs of the call.
    """

    layer: str
    call: int
    output: int


class Call(NamedTuple):
    """One call of a layer in the graph of a model."""

    layer: Layer
    inputs: set[SymbolicTensor]
    output: SymbolicTensor


class Graph(NamedTuple):
    """The graph of a model with one input, the image."""

    image: SymbolicTensor
    calls: list[Call]
    outputs: set[SymbolicTensor]


class Stem(NamedTuple):
    """The convolution that reads the image.

    Attributes
    ----------
    path : tuple of str
        The names of the nested models that contain the layer, from the outermost to
        the innermost, then of the layer itself. The searched model is not included.
    paddings : tuple of keras.layers.Layer
        The zero-padding layers between the image and the convolution.
    layer : keras.layers.Layer
        The convolution.
    """

    path: tuple[str, ...]
    paddings: tuple[Layer, ...]
    layer: Layer


def find_stem(model: Model, layer: str | None = None) -> Stem:
    """Return the convolution that reads the image in ``model``.

    Parameters
    ----------
    model : keras.Model
        A functional or sequential model. Nested models are searched as well.
    layer : str, optional
        The expected name of the convolution: "conv1", or "resnet50/conv1" for a layer
        of a nested model.

    Returns
    -------
    Stem

    Raises
    ------
    DTypeError
        If ``model`` is not a Keras model.
    ChannelError
        If something other than zero padding is between the image and the convolution,
        if anything else reads the image, or if the convolution is not called
        ``layer``.
    """
    paddings, reader = _follow_image(model)
    path = [reader.name]
    while isinstance(reader, keras.Model):
        inner_paddings, reader = _follow_image(reader)
        paddings += inner_paddings
        path.append(reader.name)
    # Compare the exact type, because a subclass may use its kernel differently.
    if type(reader) not in CONVOLUTIONS:
        raise ChannelError(_unsupported_message(reader))
    full_name = "/".join(path)
    if layer not in (None, reader.name, full_name):
        raise ChannelError(
            f"the image is read by {full_name!r}, not by {describe_value(layer)}: omit "
            f"layer=, or pass layer={full_name!r}"
        )
    if _count_occurrences(model, reader) > 1:
        raise ChannelError(_shared_message(reader))
    return Stem(tuple(path), tuple(paddings), reader)


def is_graph(layer: Layer) -> bool:
    """Return whether ``layer`` is a model that its graph of layers fully describes.

    This is true for a functional or sequential model, unless its class overrides
    ``__call__`` or ``call``.
    """
    has_graph = isinstance(layer, keras.Sequential) or hasattr(layer, "operations")
    return (
        has_graph
        and _is_keras_method(layer, "__call__")
        and _is_keras_method(layer, "call")
    )


def _is_keras_method(layer: Layer, method: str) -> bool:
    """Return whether Keras, not a user-defined class, defines ``method``."""
    for cls in type(layer).__mro__:
        if method in vars(cls):
            return bool(cls.__module__.startswith("keras."))
    return False


def has_depthwise_kernel(layer: Layer) -> bool:
    """Return whether ``layer`` has a depthwise kernel, (..., bands, multiplier).

    Depthwise and separable convolutions have one.
    """
    return hasattr(layer, "depth_multiplier")


def check_built(model: Model) -> None:
    """Check that ``model`` is a built Keras model.

    Raises
    ------
    DTypeError
        If ``model`` is not a Keras model.
    ChannelError
        If ``model`` is not built.
    """
    if not isinstance(model, keras.Model):
        raise DTypeError(f"expected a Keras model, got {type(model).__name__}")
    if not model.built:
        raise ChannelError(
            f"model {model.name!r} has no weights yet: begin it with keras.Input, or "
            f"call it once"
        )


def _count_occurrences(model: Model, layer: Layer) -> int:
    """Return how often ``layer`` occurs in ``model`` and its nested models."""
    count = 0
    for part in model.layers:
        if is_graph(part):
            count += _count_occurrences(part, layer)
        elif part is layer:
            count += 1
    return count


def _follow_image(model: Model) -> tuple[list[Layer], Layer]:
    """Return the layers of ``model`` that pad the image, and the one that reads it."""
    graph = _read_graph(model)
    paddings: list[Layer] = []
    readers: list[Layer] = []
    image_tensors = [graph.image]
    # The loop appends to the list it iterates over: a padded image is an image too.
    for tensor in image_tensors:
        for call in graph.calls:
            if tensor not in call.inputs:
                continue
            if type(call.layer) in PADDINGS:
                paddings.append(call.layer)
                image_tensors.append(call.output)
            else:
                readers.append(call.layer)
    if graph.outputs.intersection(image_tensors):
        raise ChannelError(
            f"model {model.name!r} returns the image itself, which a fold would "
            f"change: {ALTERNATIVE}"
        )
    if len(readers) != 1:
        names = ", ".join(repr(layer.name) for layer in readers) or "none"
        raise ChannelError(
            f"expected one layer that reads the image of model {model.name!r}, got "
            f"{len(readers)} ({names}), but a plan can only be folded into a single "
            f"layer: {ALTERNATIVE}"
        )
    (reader,) = readers
    if [call.layer for call in graph.calls].count(reader) > 1:
        raise ChannelError(_shared_message(reader))
    return paddings, reader


def _read_graph(model: Model) -> Graph:
    """Return the graph of ``model``, a built model with one input."""
    check_built(model)
    if not is_graph(model):
        raise ChannelError(_no_graph_message(model))
    if isinstance(model, keras.Sequential):
        return _sequential_graph(model)
    return _functional_graph(model)


def _sequential_graph(model: Model) -> Graph:
    """Return the graph of a sequential model, a chain of its layers."""
    image = SymbolicTensor("", 0, 0)
    tensor = image
    calls = []
    for layer in model.layers:
        output = SymbolicTensor(layer.name, 0, 0)
        calls.append(Call(layer, {tensor}, output))
        tensor = output
    return Graph(image, calls, {tensor})


def _functional_graph(model: Model) -> Graph:
    """Return the graph of a functional model, read from its configuration."""
    config = model.get_config()
    # A subclass of a functional model may return a different configuration.
    if "input_layers" not in config:
        raise ChannelError(_no_graph_message(model))
    if len(model.inputs) > 1:
        raise ChannelError(
            f"expected a model with one input, the image, got {len(model.inputs)} "
            f"inputs in model {model.name!r}: make the part that reads the image a "
            f"model of its own, fold it, and then join it with the other inputs"
        )
    operations = {operation.name: operation for operation in model.operations}
    calls = []
    for entry in config["layers"]:
        name = entry["name"]
        for index, arguments in enumerate(entry["inbound_nodes"]):
            inputs = set(_symbolic_tensors(arguments))
            # Only the outputs of padding layers are followed, and these have one.
            calls.append(Call(operations[name], inputs, SymbolicTensor(name, index, 0)))
    image = SymbolicTensor(*keras.tree.flatten(config["input_layers"]))
    # In the flat list, each output is three consecutive entries: layer, call, output.
    flat = keras.tree.flatten(config["output_layers"])
    outputs = {SymbolicTensor(*flat[i : i + 3]) for i in range(0, len(flat), 3)}
    return Graph(image, calls, outputs)


def _symbolic_tensors(arguments: Any) -> Iterator[SymbolicTensor]:
    """Yield the symbolic tensors in ``arguments`` of a call in a configuration."""
    if isinstance(arguments, dict):
        if arguments.get("class_name") == "__keras_tensor__":
            yield SymbolicTensor(*arguments["config"]["keras_history"])
        else:
            for part in arguments.values():
                yield from _symbolic_tensors(part)
    elif isinstance(arguments, list | tuple):
        for part in arguments:
            yield from _symbolic_tensors(part)


def _shared_message(layer: Layer) -> str:
    """Return the message for a convolution that also reads other tensors."""
    return (
        f"layer {layer.name!r} is shared and reads other tensors besides the image: "
        f"{ALTERNATIVE}"
    )


def _no_graph_message(model: Model) -> str:
    """Return the message for a model that its graph of layers does not describe."""
    return (
        f"model {model.name!r} is of class {type(model).__name__}, which overrides "
        f"`call`, `__call__` or `get_config`, so the layer that reads the image is "
        f"unknown: fold a functional or sequential model and call the result in that "
        f"class, or {ALTERNATIVE}"
    )


def _unsupported_message(layer: Layer) -> str:
    """Return the message for ``layer``, which reads the image but is unsupported."""
    kind = type(layer).__name__
    if isinstance(layer, NORMALIZATIONS):
        return (
            f"the model normalises its input: {kind} {layer.name!r} reads the image "
            f"before any convolution, and after a fold it would normalise the bands of "
            f"the source with the parameters of other bands: {ALTERNATIVE}"
        )
    supported = ", ".join(cls.__name__ for cls in CONVOLUTIONS)
    return (
        f"{kind} {layer.name!r} reads the image, but a plan can only be folded into "
        f"{supported}: {ALTERNATIVE}"
    )
