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
from ...messages import describe_value
from ...plan import Plan
from ...weights import Report
from ...weights.transfer import Adapt, check_rename, resolve_tied_weights
from .._shared.transfer import resolve_adapt
from .graph import Layer, Model, check_built, has_depthwise_kernel

with require_extra("tensorflow", "keras", "tensorflow"):
    import keras
    from keras.ops import convert_to_numpy

Rename = Mapping[str | int, str | int | None] | Callable[[str], str | None]

# The layout of kernels in Keras, by their number of axes.
KERNEL_LAYOUTS = {3: "WIO", 4: "HWIO", 5: "DHWIO"}


def transfer_into(
    model: Model,
    source: Model | Mapping[str, Any] | str | PathLike[str],
    *,
    rename: Rename | None = None,
    freeze: bool = False,
    adapt: Adapt | None = None,
) -> Report:
    """Copy weights into a Keras model, in place, by name and shape.

    If an error is raised, the model is unchanged. The name of a weight contains the
    name of its layer: "block1_conv1/kernel", or "vgg16/block1_conv1/kernel" in a nested
    model. The weights of a layer that two nested models share have two names.

    Parameters
    ----------
    model : keras.Model
        The target model, which must be built.
    source : keras.Model, mapping of str to array, str or path-like
        A model, a mapping from names of weights to arrays, or the path of a .keras or
        .weights.h5 file. A .keras file is loaded in the safe mode of Keras. A
        .weights.h5 file contains numbers instead of names: "block1_conv1/0" is the
        first weight of the layer.
    rename : mapping or callable, optional
        Translates names of the source to names in ``model``; None skips the weight. A
        mapping contains names of layers, indices of layers in ``layers``, or names of
        weights; names that it does not contain stay as they are. A callable receives
        the name of a weight.
    freeze : bool, default False
        Set ``trainable`` to False for layers whose weights were all copied or adapted.
        Compile the model afterwards.
    adapt : mapping of str to callable, ChannelMap or Plan, optional
        Functions that compute weights, by the name of the weight in ``model``, as for
        `graypipe.weights.transfer`. Kernels have layout (H, W, I, O). A `ChannelMap` is
        folded into the kernel: ``adapt={"conv1/kernel": gp.replicate()}``. A `Plan` is
        folded by its ``unit_map``: the model then reads the unit intensities of its
        source, which ``gp.plan(plan.source, gp.Target(plan.source.bands))`` returns.

    Returns
    -------
    Report
        The outcome for each weight. ``print`` shows it as a table.

    Raises
    ------
    ChannelError
        If a name does not exist or is not unique, if a weight would get two values,
        if a channel map adapts a depthwise kernel, or if ``model`` is not built.
    LayoutError
        As for `graypipe.weights.transfer`.
    RangeError
        As for `graypipe.weights.transfer`, and if a plan in ``adapt`` has nodata.
    DTypeError
        If ``source`` has an unsupported type, ``model`` is not a Keras model, or the
        target of a plan in ``adapt`` is not floating-point.
    ReadError
        If the file is damaged, or has an unsupported format.
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
    # Write a shared weight only once. `resolve_tied_weights` adds its other names to
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
    """Return the variables of ``model`` by name, in the order of its layers.

    Raises
    ------
    DTypeError
        If ``model`` is not a Keras model.
    ChannelError
        If ``model`` is not built, or if two of its weights have the same name.
    """
    check_built(model)
    variables: dict[str, Any] = {}
    for layer in model.layers:
        path = f"{prefix}{layer.name}/"
        if isinstance(layer, keras.Model):
            variables |= _weights_by_name(layer, path)
        else:
            for weight in layer.weights:
                name = f"{path}{_name_in_layer(layer, weight)}"
                _add_unique(variables, name, weight)
    # The remaining weights belong to a subclassed model itself, not to a layer.
    layer_weights = {id(weight) for weight in variables.values()}
    for weight in model.weights:
        if id(weight) not in layer_weights:
            _add_unique(variables, f"{prefix}{weight.name}", weight)
    return variables


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

    The path of a weight starts with the names of the layers that contain it, but only
    if the weight was created inside them.
    """
    _, separator, name = f"/{weight.path}".partition(f"/{layer.name}/")
    if separator:
        return name
    return str(weight.path)


def _add_unique(weights_by_name: dict[str, Any], name: str, weight: Any) -> None:
    """Add ``weight`` under ``name``; raise ChannelError if another has this name."""
    if weights_by_name.setdefault(name, weight) is not weight:
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

    A depthwise kernel has axes (H, W, bands, multiplier). A fold would treat it as an
    ordinary kernel, which sums over the bands.
    """
    if not isinstance(adapt, Mapping):
        return
    for name, adapter in adapt.items():
        if isinstance(adapter, ChannelMap | Plan) and name in depthwise_names:
            raise ChannelError(
                f"{name!r} is a depthwise kernel, which does not sum over bands and "
                "cannot be adapted by a plan or channel map: pass a function, or fold "
                "kernel.reshape(H, W, 1, -1) with gp.weights.fold(..., groups=bands)"
            )


def _load_source(source: Any) -> tuple[Mapping[str, Any], Model | None]:
    """Return the weights of ``source`` by name, and its model or None."""
    if isinstance(source, Mapping):
        return {name: _as_array(weight) for name, weight in source.items()}, None
    if isinstance(source, str | PathLike):
        path = Path(source)
        if path.name.endswith(".weights.h5"):
            return _read_weights_file(path), None
        if path.suffix != ".keras":
            raise ReadError(
                "expected a .keras or .weights.h5 file, got "
                f"{describe_value(str(path))}: load it into its model and pass the "
                "model"
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
    """Return ``weight`` as an array if it is a Keras variable, else unchanged."""
    if isinstance(weight, keras.Variable):
        return convert_to_numpy(weight)
    return weight


def _load_keras_file(path: Path) -> Model:
    """Return the model saved in ``path``, uncompiled."""
    # Check the file before Keras opens it, because this error says what to do.
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
    """Return the arrays of a .weights.h5 file, by names like "vgg16/block1_conv1/0"."""
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
    """Add the weights in ``group`` of a .weights.h5 file to ``arrays``.

    A layer is a group that contains a group "vars". That group contains the weights by
    number, and has the name of the layer as an attribute. Other groups, such as
    "layers", represent attributes of the model; the names of weights omit them.
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
    """Return a dataset of a .weights.h5 file as an array."""
    array = dataset[()]
    # HDF5 has no bfloat16. Keras stores raw bytes, and the dtype as an attribute.
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
    """Map ``names``, the names of weights of the source, to names in ``model``."""
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
    """Return ``rename`` with every layer replaced by its weights."""
    new_names: dict[str, str | None] = {}
    # Shorter names first, so that "encoder/bn/gamma" overrides "encoder".
    for old in sorted(rename, key=len):
        new = rename[old]
        inside = [name for name in names if f"{name}/".startswith(f"{old}/")]
        if not inside:
            shown = ", ".join(map(repr, names)) or "none"
            raise ChannelError(
                f"rename contains {old!r}, but the source has no layer or weight of "
                f"that name: its weights are {shown}"
            )
        for name in inside:
            if new is None:
                new_names[name] = None
            else:
                new_names[name] = f"{new}{name.removeprefix(old)}"
    return new_names


def _layer_name(layer: Any, model: Model | None) -> Any:
    """Return ``layer``, or the name of the layer of ``model`` with that index."""
    if not isinstance(layer, int):
        return layer
    if model is None:
        available = "the source has no layers, only weights"
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
    """Return ``new_names`` with numbers replaced by the names of target weights.

    A .weights.h5 file identifies a weight by its position in its layer, such as
    "conv1/0" for "conv1/kernel".
    """
    by_number: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name in target_names:
        layer, _, _ = name.rpartition("/")
        number = counts.get(layer, 0)
        counts[layer] = number + 1
        # For a weight of the model itself, the layer is empty: remove the slash.
        by_number[f"{layer}/{number}".removeprefix("/")] = name
    resolved: dict[str, str | None] = {}
    for name, new_name in new_names.items():
        if new_name is None:
            resolved[name] = None
        else:
            resolved[name] = by_number.get(new_name, new_name)
    return resolved


def _freeze(model: Model, written: Collection[int]) -> None:
    """Freeze the layers whose weights are all in ``written``, a set of ids."""
    for _, layer in _leaf_layers(model):
        if layer.weights and all(id(weight) in written for weight in layer.weights):
            layer.trainable = False
