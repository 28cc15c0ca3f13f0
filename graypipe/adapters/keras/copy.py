"""Copying: a Keras model again, with fresh weights, one layer replaced, that reads images of other bands."""

from typing import Any

from numpy.typing import NDArray

from ...errors import ChannelError
from ...extras import needs
from .graph import INSTEAD, Layer, Model, Reader, is_graph

with needs("tensorflow", "keras", "tensorflow"):
    import keras
    from keras import layers

Array = NDArray[Any]


def copy_with(
    model: Model, reader: Reader, layer: Layer, weights: list[Array], bands: int
) -> Model:
    """Return a copy of ``model`` for images of ``bands``, with its weights, and ``layer`` where ``reader`` is.

    ``weights`` are those of ``layer``, its kernel and the bias it may have. What is trainable stays so, layer by layer
    and weight by weight. ChannelError where weights that layers share would come apart.
    """
    copy = _copied(model, reader.path, reader.layer, bands, {id(reader.layer): layer})
    if len(copy.weights) != len(model.weights) - len(reader.layer.weights) + len(
        weights
    ):
        raise ChannelError(
            f"layers of model {model.name!r} share weights in a way that their configuration does not tell, and would "
            f"not share them in a copy: {INSTEAD}"
        )
    _carry(model, copy, reader.layer, weights)
    return copy


def _copied(
    model: Model,
    path: tuple[str, ...],
    layer: Layer,
    bands: int,
    copies: dict[int, Layer],
) -> Model:
    """Return a copy of ``model`` with fresh weights; where ``path`` leads it reads images of ``bands``.

    ``copies``, by the id of what they are copies of, holds that of ``layer`` and gets all others: what stands in two
    models is one layer in their copies as well.
    """

    def copied(own: Layer) -> Layer:
        if id(own) not in copies:
            inner = path[1:] if own.name in path[:1] else ()
            copies[id(own)] = (
                _copied(own, inner, layer, bands, copies)
                if is_graph(own)
                else _again(own)
            )
        return copies[id(own)]

    if not path:
        return keras.models.clone_model(model, clone_function=copied)
    shape = list(model.inputs[0].shape)
    shape[1 if layer.data_format == "channels_first" else -1] = bands
    name = next(
        (own.name for own in model.layers if isinstance(own, layers.InputLayer)), None
    )
    image = keras.Input(batch_shape=shape, dtype=model.inputs[0].dtype, name=name)
    return keras.models.clone_model(model, given(model, image), copied)


def _again(layer: Layer) -> Layer:
    """Return ``layer`` by its configuration, which may lack the name where its class has no ``get_config``."""
    made = type(layer).from_config(layer.get_config())
    made.name = layer.name
    return made


def given(model: Model, image: Any) -> Any:
    """Return ``image`` as ``model`` is given it: a functional model may want a list or a dict."""
    if isinstance(model, keras.Sequential):
        return image
    return keras.tree.map_structure(lambda _: image, model.input)


def _carry(model: Model, copy: Model, layer: Layer, weights: list[Array]) -> None:
    """Give ``copy`` the weights of ``model`` and what is trainable in it; ``weights`` to the copy of ``layer``."""
    if copy.trainable != model.trainable:
        copy.trainable = model.trainable  # and of all inside, which then follow
    if is_graph(model):
        for own in (
            own for own in model.layers if not isinstance(own, layers.InputLayer)
        ):
            _carry(own, copy.get_layer(own.name), layer, weights)
    elif model is layer:
        copy.set_weights(weights)
        kernel = any(own.trainable for own in model.weights if own is not model.bias)
        copy.kernel.trainable = kernel
        if copy.use_bias:
            copy.bias.trainable = model.bias.trainable if model.use_bias else kernel
    else:
        copy.set_weights(model.get_weights())
        for own, made in zip(model.weights, copy.weights, strict=True):
            made.trainable = own.trainable
