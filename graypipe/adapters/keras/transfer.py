"""Transferring: weights go into a Keras model, in place, from another one or from a file, by layer, name and shape."""

from collections.abc import Callable, Collection, Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from ... import weights
from ...channel_map import ChannelMap
from ...errors import ChannelError, DTypeError, ReadError
from ...extras import needs
from ...weights import Report
from ...weights.transfer import Adapt, check_rename, resolve_tied_weights
from .._shared.transfer import resolve_adapt
from .graph import Model, check_built

with needs("tensorflow", "keras", "tensorflow"):
    import keras
    from keras.ops import convert_to_numpy

Rename = Mapping[str | int, str | int | None] | Callable[[str], str | None]

KERNELS = {3: "WIO", 4: "HWIO", 5: "DHWIO"}
"""The layouts of kernels by their number of axes."""


def transfer_into(
    model: Model,
    source: Model | Mapping[str, Any] | str | PathLike[str],
    *,
    rename: Rename | None = None,
    freeze: bool = False,
    adapt: Adapt | None = None,
) -> Report:
    """Copy weights of ``source`` into ``model``, in place, by name and shape; return what became of each.

    A weight is called by its layer, "block1_conv1/kernel", in a nested model "vgg16/block1_conv1/kernel". ``source``: a
    model, a mapping from such names to arrays, or the path of a .keras file, loaded in safe mode, or of a .weights.h5
    file, which counts the weights of a layer, "block1_conv1/0": they go to those of the target's layer, in its order.
    ``rename``: a mapping of layers, by name or by index in ``layers``, or of single weights, to what they are called in
    ``model`` (others keep their names), or a function of a weight's name; None leaves out. ``adapt`` as for
    `graypipe.weights.transfer`, kernels (H, W, I, O); a ChannelMap in it folds itself:
    ``adapt={"conv1/kernel": gp.replicate()}``. ``freeze`` sets ``trainable`` to False on layers all of whose weights
    were copied or adapted; compile the model after that. Nothing is written unless everything fits. A layer that
    stands in two nested models has a name in each, which share what becomes of it.

    ChannelError for names that are not there or not unique, for two values of one weight, for a channel map on a
    depthwise kernel, and for a model without weights yet; LayoutError and RangeError as `graypipe.weights.transfer`;
    DTypeError for what is no source, ReadError for other files.
    """
    held = _named(model)
    arriving, giver = _weights(source)
    ways = _renaming(rename, arriving, giver, model, _counted(held))
    _check_folding(
        adapt,
        {
            *_depthwise(model),
            *(ways[name] for name in (_depthwise(giver) if giver else ())),
        },
    )
    made, report = weights.transfer(
        {name: convert_to_numpy(weight) for name, weight in held.items()},
        arriving,
        rename=ways,
        adapt=resolve_adapt(adapt, held, KERNELS, "kernel"),
    )
    written = {id(held[name]): name for name in (*report.copied, *report.adapted)}
    report = resolve_tied_weights(
        report, made, {name: id(weight) for name, weight in held.items()}
    )
    for name in written.values():
        held[name].assign(made[name])
    if freeze:
        _freeze(model, written)
    return report


def _named(model: Model, prefix: str = "") -> dict[str, Any]:
    """Return the variables of ``model`` by name, in its order."""
    check_built(model)
    named: dict[str, Any] = {}
    for layer in model.layers:
        inner = f"{prefix}{layer.name}/"
        if isinstance(layer, keras.Model):
            named |= _named(layer, inner)
        else:
            _add(
                named,
                (
                    (f"{inner}{_within(layer, weight)}", weight)
                    for weight in layer.weights
                ),
            )
    known = {id(weight) for weight in named.values()}
    _add(
        named,
        ((f"{prefix}{own.name}", own) for own in model.weights if id(own) not in known),
    )
    return named


def _depthwise(model: Model, prefix: str = "") -> set[str]:
    """Return the names of weights whose axes are those of a depthwise kernel, (H, W, bands, multiplier)."""
    found: set[str] = set()
    for layer in model.layers:
        inner = f"{prefix}{layer.name}/"
        if isinstance(layer, keras.Model):
            found |= _depthwise(layer, inner)
        elif hasattr(layer, "depth_multiplier"):
            found |= {f"{inner}{_within(layer, weight)}" for weight in layer.weights}
    return found


def _check_folding(adapt: Adapt | None, depthwise: Collection[str | None]) -> None:
    """Raise ChannelError where a channel map would take a depthwise kernel for an ordinary one."""
    for name, made in adapt.items() if isinstance(adapt, Mapping) else ():
        if isinstance(made, ChannelMap) and name in depthwise:
            raise ChannelError(
                f"{name!r} is a depthwise kernel, which a channel map does not adapt: its result for each band would "
                f"become a sum; give a function, or fold `kernel.reshape(H, W, 1, -1)` with gp.weights.fold(groups=)"
            )


def _within(layer: Any, weight: Any) -> str:
    """Return what ``weight`` is called in ``layer``: its path, which names what is around where it was built there."""
    _, found, name = f"/{weight.path}".partition(f"/{layer.name}/")
    return name if found else weight.path


def _add(named: dict[str, Any], more: Iterable[tuple[str, Any]]) -> None:
    for name, weight in more:
        if named.setdefault(name, weight) is not weight:
            raise ChannelError(
                f"two weights are called {name!r}: name the layers they belong to differently"
            )


def _counted(held: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of ``held`` by how .weights.h5 files call them, "conv1/0" for "conv1/kernel"."""
    counted: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name in held:
        layer, _, _ = name.rpartition("/")
        counts[layer] = counts.get(layer, -1) + 1
        counted[f"{layer}/{counts[layer]}".removeprefix("/")] = name
    return counted


def _weights(source: Any) -> tuple[Mapping[str, Any], Model | None]:
    """Return names and weights of ``source``, and the model that they are of, where there is one."""
    if isinstance(source, Mapping):
        return {name: _array(weight) for name, weight in source.items()}, None
    if isinstance(source, str | PathLike):
        path = Path(source)
        if path.name.endswith(".weights.h5"):
            return _from_h5(path), None
        if path.suffix != ".keras":
            raise ReadError(
                f"{path} is neither .keras nor .weights.h5: load it into its model and pass that"
            )
        source = _from_keras(path)
    if not isinstance(source, keras.Model):
        raise DTypeError(
            f"expected a Keras model, a mapping from names to arrays, or the path of a .keras or .weights.h5 file, got "
            f"{type(source).__name__}"
        )
    return {
        name: convert_to_numpy(weight) for name, weight in _named(source).items()
    }, source


def _array(weight: Any) -> Any:
    return convert_to_numpy(weight) if isinstance(weight, keras.Variable) else weight


def _from_keras(path: Path) -> Model:
    try:
        with ZipFile(path) as archive:
            archive.getinfo("config.json")
    except (BadZipFile, KeyError) as error:
        raise ReadError(
            f"{path} is no .keras file, or only a part of one ({error}): fetch or save it again"
        ) from error
    return keras.models.load_model(path, compile=False)


def _from_h5(path: Path) -> dict[str, Any]:
    """Return the arrays of ``path`` by the names of the layers around them and their number in the last one."""
    with needs("tensorflow", "h5py"):
        import h5py  # type: ignore[import-untyped]
    found: dict[str, Any] = {}

    def visit(group: Any, layers: tuple[str, ...]) -> None:
        for key, part in group.items():
            if key == "vars":
                _add(
                    found,
                    (
                        ("/".join((*layers, number)), _stored(part[number]))
                        for number in part
                    ),
                )
            elif not (group.name == "/" and key == "optimizer"):
                own = part.get("vars")
                visit(
                    part,
                    layers if own is None else (*layers, own.attrs.get("name", key)),
                )

    try:
        opened = h5py.File(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ReadError(
            f"{path} is no HDF5 file, or only a part of one ({error}): fetch or save it again"
        ) from error
    with opened as file:
        if "layer_names" in file.attrs:
            raise ReadError(
                f"{path} has the layout of Keras 2: load it into its model and pass that"
            )
        visit(file, ())
    return found


def _stored(weight: Any) -> Any:
    """Return a data set of HDF5 as an array; bfloat16, which HDF5 has not, is two bytes with a note of Keras."""
    if weight.attrs.get("dtype") != "bfloat16":
        return weight[()]
    from ml_dtypes import bfloat16

    return weight[()].view(bfloat16)


def _renaming(
    rename: Rename | None,
    arriving: Collection[str],
    source: Model | None,
    model: Model,
    counted: Mapping[str, str],
) -> dict[str, str | None]:
    """Return what each name of the source is called in the target."""
    check_rename(rename)
    ways: dict[str, str | None] = {name: name for name in arriving}
    if callable(rename):
        ways = {name: rename(name) for name in arriving}
    elif rename is not None:
        ways |= _by_weight(
            {_layer(old, source): _layer(new, model) for old, new in rename.items()},
            arriving,
        )
    return {
        name: None if new is None else counted.get(new, new)
        for name, new in ways.items()
    }


def _by_weight(
    rename: Mapping[str, str | None], arriving: Collection[str]
) -> dict[str, str | None]:
    """Return ``rename``, of layers and weights, for every weight it means: what is named more fully comes first."""
    ways: dict[str, str | None] = {}
    for old in sorted(rename, key=len):
        new = rename[old]
        inside = [name for name in arriving if f"{name}/".startswith(f"{old}/")]
        if not inside:
            shown = ", ".join(map(repr, arriving)) or "none"
            raise ChannelError(
                f"rename speaks of {old!r}, of which the source has no weights: it has {shown}"
            )
        ways |= {
            name: None if new is None else f"{new}{name.removeprefix(old)}"
            for name in inside
        }
    return ways


def _layer(name: Any, model: Model | None) -> Any:
    """Return the name of a layer that may be given by its index."""
    if not isinstance(name, int):
        return name
    if model is None or not -len(model.layers) <= name < len(model.layers):
        has = "no model to count in" if model is None else f"{len(model.layers)} layers"
        raise ChannelError(
            f"rename counts the layers of a model, got {name!r} where there is {has}: give names"
        )
    return model.layers[name].name


def _freeze(model: Model, written: Collection[int]) -> None:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            _freeze(layer, written)
        elif layer.weights and all(id(weight) in written for weight in layer.weights):
            layer.trainable = False
