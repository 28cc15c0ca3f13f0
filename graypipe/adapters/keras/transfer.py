"""Transfer weights into a Keras model, in place, from another model or a file."""

from collections.abc import Callable, Collection, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from ... import weights
from ...channel_map import ChannelMap
from ...errors import ChannelError, DTypeError, ReadError
from ...extras import require_extra
from ...weights import Report
from ...weights.transfer import Adapt, check_rename, resolve_tied_weights
from .._shared.transfer import resolve_adapt
from .graph import Layer, Model, check_built, has_depthwise_kernel

with require_extra("tensorflow", "keras", "tensorflow"):
    import keras
    from keras.ops import convert_to_numpy

Rename = Mapping[str | int, str | int | None] | Callable[[str], str | None]

KERNEL_LAYOUTS = {3: "WIO", 4: "HWIO", 5: "DHWIO"}
"""By the number of axes: the layout of kernels in Keras."""


def transfer_into(
    model: Model,
    source: Model | Mapping[str, Any] | str | PathLike[str],
    *,
    rename: Rename | None = None,
    freeze: bool = False,
    adapt: Adapt | None = None,
) -> Report:
    """Copy weights into a Keras model, in place, by name and shape.

    Nothing is written unless everything fits. A weight is named by its layer:
    "block1_conv1/kernel", or "vgg16/block1_conv1/kernel" in a nested model. A layer in
    two nested models has both names.

    Parameters
    ----------
    model : keras.Model
        The target, which has its weights.
    source : keras.Model, mapping of str to array, str or path-like
        A model; arrays by the names of weights; or the path of a .keras file, which is
        loaded in Keras' safe mode, or of a .weights.h5 file. The latter has numbers
        in place of names: "block1_conv1/0" goes to the first weight of that layer.
    rename : mapping or callable, optional
        What a name of the source is in ``model``; None leaves it out. A mapping has
        layers, by name or by index in ``layers``, or single weights; names that it
        lacks stay. A function gets the name of a weight.
    freeze : bool, default False
        Set ``trainable`` to False on layers of which every weight was copied or
        adapted. Compile the model afterwards.
    adapt : mapping of str to callable or ChannelMap, optional
        Functions by the names of weights in ``model``, as for
        `graypipe.weights.transfer`; kernels are (H, W, I, O). A `ChannelMap` is folded
        into the kernel: ``adapt={"conv1/kernel": gp.replicate()}``.

    Returns
    -------
    Report
        What became of each weight. Printed, it is a table.

    Raises
    ------
    ChannelError
        If a name does not exist or is not unique, if one weight would get two values,
        if a channel map adapts a depthwise kernel, or if ``model`` is not built.
    LayoutError, RangeError
        As `graypipe.weights.transfer`.
    DTypeError
        If ``source`` is none of the above, or ``model`` is not a Keras model.
    ReadError
        If a file is of another format, or damaged.
    FileNotFoundError
        If the file does not exist.

    Examples
    --------
    >>> import graypipe as gp
    >>> import keras
    >>> from graypipe.adapters.keras import transfer_into
    >>> layers = keras.layers
    >>> colour = keras.Sequential(
    ...     [keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv")]
    ... )
    >>> gray = keras.Sequential(
    ...     [keras.Input((8, 8, 1)), layers.Conv2D(4, 3, name="stem")]
    ... )
    >>> report = transfer_into(
    ...     gray,
    ...     colour,
    ...     rename={"conv": "stem"},
    ...     adapt={"stem/kernel": gp.replicate()},
    ... )
    >>> print(report)
    copied 1, adapted 1, skipped 0, untouched 0
    copied     stem/bias
    adapted    stem/kernel
    """
    target_weights = _weights_by_name(model)
    source_weights, source_model = _load_source(source)
    new_names = _rename_weights(rename, source_weights, source_model, model)
    new_names = _resolve_numbers(new_names, target_weights)
    depthwise_names: set[str | None] = {*_depthwise_names(model)}
    if source_model is not None:
        depthwise_names.update(
            new_names[name] for name in _depthwise_names(source_model)
        )
    _check_adapt(adapt, depthwise_names)

    values, report = weights.transfer(
        {name: convert_to_numpy(weight) for name, weight in target_weights.items()},
        source_weights,
        rename=new_names,
        adapt=resolve_adapt(adapt, target_weights, KERNEL_LAYOUTS, "kernel"),
    )
    # A shared weight is written once. `resolve_tied_weights` adds its other names to
    # the report.
    written = {
        id(target_weights[name]): name for name in (*report.copied, *report.adapted)
    }
    identities = {name: id(weight) for name, weight in target_weights.items()}
    report = resolve_tied_weights(report, values, identities)
    for name in written.values():
        target_weights[name].assign(values[name])
    if freeze:
        _freeze(model, written)
    return report


def _weights_by_name(model: Model, prefix: str = "") -> dict[str, Any]:
    """Return the variables of ``model`` by name, in its order.

    Raises
    ------
    DTypeError
        If ``model`` is not a Keras model.
    ChannelError
        If it is not built, or if two of its weights have the same name.
    """
    check_built(model)
    named: dict[str, Any] = {}
    for layer in model.layers:
        path = f"{prefix}{layer.name}/"
        if isinstance(layer, keras.Model):
            named |= _weights_by_name(layer, path)
        else:
            for weight in layer.weights:
                _add_unique(named, f"{path}{_name_in_layer(layer, weight)}", weight)
    # What is left are weights that a subclassed model has created itself.
    layer_weights = {id(weight) for weight in named.values()}
    for weight in model.weights:
        if id(weight) not in layer_weights:
            _add_unique(named, f"{prefix}{weight.name}", weight)
    return named


def _leaf_layers(model: Model, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield the layers of ``model`` and its nested models, each with its path."""
    for layer in model.layers:
        path = f"{prefix}{layer.name}/"
        if isinstance(layer, keras.Model):
            yield from _leaf_layers(layer, path)
        else:
            yield path, layer


def _name_in_layer(layer: Layer, weight: Any) -> str:
    """Return the name of ``weight`` within ``layer``, such as "query/kernel".

    The path of a weight begins with the layers around it, but only if it was created
    inside of them.
    """
    _, separator, name = f"/{weight.path}".partition(f"/{layer.name}/")
    if separator:
        return name
    return str(weight.path)


def _add_unique(named: dict[str, Any], name: str, weight: Any) -> None:
    """Add ``weight`` to ``named``; raise ChannelError if another has its name."""
    if named.setdefault(name, weight) is not weight:
        raise ChannelError(
            f"two weights are called {name!r}: give their layers different names"
        )


def _depthwise_names(model: Model) -> set[str]:
    """Return the names of the weights of layers with a depthwise kernel."""
    names: set[str] = set()
    for path, layer in _leaf_layers(model):
        if has_depthwise_kernel(layer):
            names.update(
                f"{path}{_name_in_layer(layer, weight)}" for weight in layer.weights
            )
    return names


def _check_adapt(adapt: Adapt | None, depthwise_names: Collection[str | None]) -> None:
    """Raise ChannelError if a channel map adapts a depthwise kernel.

    Its axes are (H, W, bands, multiplier), so a fold would take it for a kernel that
    sums over the bands.
    """
    if not isinstance(adapt, Mapping):
        return
    for name, adapter in adapt.items():
        if isinstance(adapter, ChannelMap) and name in depthwise_names:
            raise ChannelError(
                f"{name!r} is a depthwise kernel, which a channel map cannot adapt: it "
                f"would become a sum over the bands; give a function, or fold "
                f"`kernel.reshape(H, W, 1, -1)` with gp.weights.fold(groups=)"
            )


def _load_source(source: Any) -> tuple[Mapping[str, Any], Model | None]:
    """Return the weights of ``source`` by name, and its model if it has one."""
    if isinstance(source, Mapping):
        return {name: _as_array(weight) for name, weight in source.items()}, None
    if isinstance(source, str | PathLike):
        path = Path(source)
        if path.name.endswith(".weights.h5"):
            return _read_weights_file(path), None
        if path.suffix != ".keras":
            raise ReadError(
                f"{path} is neither .keras nor .weights.h5: load it into its model and "
                f"pass the model"
            )
        source = _load_keras_file(path)
    if not isinstance(source, keras.Model):
        raise DTypeError(
            f"expected a Keras model, a mapping from names to arrays, or the path of a "
            f".keras or .weights.h5 file, got {type(source).__name__}"
        )
    variables = _weights_by_name(source)
    return {
        name: convert_to_numpy(weight) for name, weight in variables.items()
    }, source


def _as_array(weight: Any) -> Any:
    """Return a variable of Keras as an array, and anything else as it is."""
    if isinstance(weight, keras.Variable):
        return convert_to_numpy(weight)
    return weight


def _load_keras_file(path: Path) -> Model:
    """Return the model saved in ``path``, without its compilation."""
    # Checked before Keras opens it, for an error that says what to do.
    try:
        with ZipFile(path) as archive:
            archive.getinfo("config.json")
    except (BadZipFile, KeyError) as error:
        raise ReadError(
            f"{path} is not a .keras file, or it is truncated ({error}): download or "
            f"save it again"
        ) from error
    return keras.models.load_model(path, compile=False)


def _read_weights_file(path: Path) -> dict[str, Any]:
    """Return the arrays of a .weights.h5 file, named as in "vgg16/block1_conv1/0"."""
    with require_extra("tensorflow", "h5py"):
        import h5py  # type: ignore[import-untyped]
    try:
        file = h5py.File(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ReadError(
            f"{path} is not an HDF5 file, or it is truncated ({error}): download or "
            f"save it again"
        ) from error
    with file:
        if "layer_names" in file.attrs:
            raise ReadError(
                f"{path} has the layout of Keras 2: load it into its model and pass "
                f"the model"
            )
        arrays: dict[str, Any] = {}
        _read_group(file, (), arrays)
    return arrays


def _read_group(group: Any, path: tuple[str, ...], arrays: dict[str, Any]) -> None:
    """Add the weights in a ``group`` of a .weights.h5 file to ``arrays``.

    A layer is a group with a group "vars", which contains its weights by number and
    has its name as an attribute. Groups between them, such as "layers", are the names
    of attributes of the model, and no part of the name of a weight.
    """
    for key, part in group.items():
        if key == "vars":
            for number, dataset in part.items():
                _add_unique(arrays, "/".join((*path, number)), _read_dataset(dataset))
        elif group.name == "/" and key == "optimizer":
            continue
        else:
            variables = part.get("vars")
            if variables is None:
                _read_group(part, path, arrays)
            else:
                name = variables.attrs.get("name", key)
                _read_group(part, (*path, name), arrays)


def _read_dataset(dataset: Any) -> Any:
    """Return a data set of a .weights.h5 file as an array."""
    array = dataset[()]
    # HDF5 has no bfloat16. Keras stores it as two bytes, with its name as attribute.
    if dataset.attrs.get("dtype") == "bfloat16":
        from ml_dtypes import bfloat16

        return array.view(bfloat16)
    return array


def _rename_weights(
    rename: Rename | None,
    names: Collection[str],
    source: Model | None,
    model: Model,
) -> dict[str, str | None]:
    """Return the name in ``model`` of each of ``names``, the weights of the source."""
    check_rename(rename)
    if callable(rename):
        return {name: rename(name) for name in names}
    new_names: dict[str, str | None] = {name: name for name in names}
    if rename is not None:
        by_name = {
            _layer_name(old, source): _layer_name(new, model)
            for old, new in rename.items()
        }
        new_names |= _expand_layers(by_name, names)
    return new_names


def _expand_layers(
    rename: Mapping[str, str | None], names: Collection[str]
) -> dict[str, str | None]:
    """Return ``rename``, of layers and weights, as one of weights only."""
    new_names: dict[str, str | None] = {}
    # Shorter names first, so that "encoder/bn/gamma" overrides "encoder".
    for old in sorted(rename, key=len):
        new = rename[old]
        inside = [name for name in names if f"{name}/".startswith(f"{old}/")]
        if not inside:
            shown = ", ".join(map(repr, names)) or "none"
            raise ChannelError(
                f"rename names {old!r}, but the source has no weights of that name: it "
                f"has {shown}"
            )
        for name in inside:
            if new is None:
                new_names[name] = None
            else:
                new_names[name] = f"{new}{name.removeprefix(old)}"
    return new_names


def _layer_name(layer: Any, model: Model | None) -> Any:
    """Return the name of a ``layer`` that may be an index in ``model``."""
    if not isinstance(layer, int):
        return layer
    if model is None:
        available = "the source has no layers to count"
    elif not -len(model.layers) <= layer < len(model.layers):
        available = f"the model has {len(model.layers)} layers"
    else:
        return model.layers[layer].name
    raise ChannelError(
        f"rename uses {layer!r} as the index of a layer, but {available}: use names"
    )


def _resolve_numbers(
    new_names: Mapping[str, str | None], target_names: Collection[str]
) -> dict[str, str | None]:
    """Return ``new_names`` with names of the target for the numbers of weights files.

    Those name a weight by its position in its layer: "conv1/0" for "conv1/kernel".
    """
    by_number: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name in target_names:
        layer, _, _ = name.rpartition("/")
        number = counts.get(layer, 0)
        counts[layer] = number + 1
        # A weight of the model itself has no layer, and its number no slash.
        by_number[f"{layer}/{number}".removeprefix("/")] = name
    resolved: dict[str, str | None] = {}
    for name, new_name in new_names.items():
        if new_name is None:
            resolved[name] = None
        else:
            resolved[name] = by_number.get(new_name, new_name)
    return resolved


def _freeze(model: Model, written: Collection[int]) -> None:
    """Freeze the layers whose weights all have their ids in ``written``."""
    for _, layer in _leaf_layers(model):
        if layer.weights and all(id(weight) in written for weight in layer.weights):
            layer.trainable = False
