"""Copy a Keras model with a new stem that reads a different number of bands."""

from typing import Any

from numpy.typing import NDArray

from ...errors import ChannelError
from ...extras import require_extra
from .graph import ALTERNATIVE, Layer, Model, Stem, is_graph

with require_extra("tensorflow", "keras", "tensorflow"):
    import keras
    from keras import layers

Array = NDArray[Any]


def copy_with_stem(
    model: Model, stem: Stem, new_layer: Layer, new_weights: list[Array], bands: int
) -> Model:
    """Return a copy of ``model``, including its weights, with a new stem.

    Parameters
    ----------
    model : keras.Model
        The model to copy; it is not changed.
    stem : Stem
        The stem of ``model``.
    new_layer : keras.layers.Layer
        The unbuilt layer that replaces the stem.
    new_weights : list of ndarray
        The weights of ``new_layer``: its kernel, and its bias if it has one.
    bands : int
        The number of bands that ``new_layer`` reads.

    Returns
    -------
    keras.Model
        The copy. The ``trainable`` flags of layers and of single weights are copied.

    Raises
    ------
    ChannelError
        If layers share weights and the copy would not share them.
    """
    copies = {id(stem.layer): new_layer}
    copy = _clone(model, stem.path, stem.layer.data_format, bands, copies)
    # A layer that is shared by wrappers such as TimeDistributed is copied once for each
    # wrapper, so the copy has more weights.
    expected_count = len(model.weights) - len(stem.layer.weights) + len(new_weights)
    if len(copy.weights) != expected_count:
        raise ChannelError(
            f"layers of model {model.name!r} share weights, but their configuration "
            f"does not record it, so a copy would not share them: {ALTERNATIVE}"
        )
    _copy_weights(model, copy, stem.layer, new_weights)
    return copy


def wrap_input(model: Model, image: Any) -> Any:
    """Return ``image`` in the nested structure that ``model`` expects.

    The input of a functional model may be a list or a dict that contains the image.
    """
    if isinstance(model, keras.Sequential):
        return image
    return keras.tree.map_structure(lambda _: image, model.input)


def _clone(
    model: Model,
    stem_path: tuple[str, ...],
    data_format: str,
    bands: int,
    copies: dict[int, Layer],
) -> Model:
    """Return a copy of ``model`` with newly initialised weights.

    Parameters
    ----------
    stem_path : tuple of str
        The names of the layers that lead from ``model`` to the stem. Empty if
        ``model`` does not contain the stem; its input is then unchanged.
    data_format : str
        The data format of the stem.
    bands : int
        The number of bands of the new image.
    copies : dict of int to layer
        The copies, by the id of the original layer. Initially it contains only the new
        stem; the other copies are added to it, so that a layer shared by two nested
        models is also shared by their copies.
    """

    def clone_layer(layer: Layer) -> Layer:
        if id(layer) not in copies:
            copies[id(layer)] = _clone_part(
                layer, stem_path, data_format, bands, copies
            )
        return copies[id(layer)]

    if not stem_path:
        return keras.models.clone_model(model, clone_function=clone_layer)
    shape = list(model.inputs[0].shape)
    if data_format == "channels_first":
        shape[1] = bands
    else:
        shape[-1] = bands
    image = keras.Input(
        batch_shape=shape, dtype=model.inputs[0].dtype, name=_input_name(model)
    )
    return keras.models.clone_model(model, wrap_input(model, image), clone_layer)


def _clone_part(
    layer: Layer,
    stem_path: tuple[str, ...],
    data_format: str,
    bands: int,
    copies: dict[int, Layer],
) -> Layer:
    """Return a copy of ``layer``, which is a nested model or a layer.

    ``stem_path`` starts in the model that contains ``layer``.
    """
    if not is_graph(layer):
        return _clone_layer(layer)
    inner_path: tuple[str, ...] = ()
    if layer.name in stem_path[:1]:
        inner_path = stem_path[1:]
    return _clone(layer, inner_path, data_format, bands, copies)


def _clone_layer(layer: Layer) -> Layer:
    """Return a new layer with the configuration and the name of ``layer``."""
    copy = type(layer).from_config(layer.get_config())
    # For a class without `get_config`, Keras derives a configuration, which lacks the
    # name.
    copy.name = layer.name
    return copy


def _input_name(model: Model) -> str | None:
    """Return the name of the input layer of ``model``, or None if it has none."""
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            return str(layer.name)
    return None


def _copy_weights(
    model: Layer, copy: Layer, stem_layer: Layer, new_weights: list[Array]
) -> None:
    """Copy the weights and the ``trainable`` flags of ``model`` to ``copy``.

    The copy of ``stem_layer`` gets ``new_weights`` instead.
    """
    # Setting `trainable` of a model also sets it for all its layers and weights, so set
    # it before theirs, and only if it differs.
    if copy.trainable != model.trainable:
        copy.trainable = model.trainable
    if is_graph(model):
        for layer in model.layers:
            if not isinstance(layer, layers.InputLayer):
                _copy_weights(
                    layer, copy.get_layer(layer.name), stem_layer, new_weights
                )
    elif model is stem_layer:
        copy.set_weights(new_weights)
        _copy_stem_trainable(model, copy)
    else:
        copy.set_weights(model.get_weights())
        for weight, weight_copy in zip(model.weights, copy.weights, strict=True):
            weight_copy.trainable = weight.trainable


def _copy_stem_trainable(layer: Layer, copy: Layer) -> None:
    """Copy the ``trainable`` flags of kernel and bias from ``layer`` to ``copy``."""
    # A separable convolution has two kernels, which are merged in the copy.
    kernels = [weight for weight in layer.weights if weight is not layer.bias]
    kernel_trainable = any(weight.trainable for weight in kernels)
    copy.kernel.trainable = kernel_trainable
    if copy.use_bias:
        # A bias added by the fold is trainable if the kernel is.
        bias_trainable = layer.bias.trainable if layer.use_bias else kernel_trainable
        copy.bias.trainable = bias_trainable
