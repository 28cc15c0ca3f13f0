"""Adapting: channel maps fold themselves into kernels that are transferred from one model into another."""

from collections.abc import Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from ... import weights
from ...bands import show
from ...channel_map import ChannelMap
from ...errors import ChannelError

Array = NDArray[Any]


def resolve_adapt(
    adapt: Mapping[Any, Any] | None,
    held: Collection[str],
    layouts: Mapping[int, str],
    kernel: str,
) -> dict[Any, Any]:
    """Return ``adapt`` for `graypipe.weights.transfer`, where channel maps stand for the functions that fold them.

    ``held`` are the names of the target's weights, ``layouts`` those of kernels by their number of axes; a name of a
    kernel ends in ``kernel``, that of its bias in "bias" instead. A map with an offset takes and makes the bias too.
    """
    return dict(
        _folding(name, made, held, layouts, kernel)
        if isinstance(made, ChannelMap)
        else (name, made)
        for name, made in (adapt or {}).items()
    )


def _folding(
    name: Any,
    channel_map: ChannelMap,
    held: Collection[str],
    layouts: Mapping[int, str],
    kernel: str,
) -> tuple[Any, Any]:
    if not isinstance(name, str) or not name.endswith(kernel):
        raise ChannelError(
            f"a channel map adapts the kernel of the layer that reads the image, whose name ends in {kernel!r}, got "
            f"{name!r}: give a function for other weights"
        )

    def folded(weight: Array, bias: Array | None = None) -> Any:
        layout = _layout(name, weight, channel_map, layouts)
        made = weights.fold(weight, bias, channel_map, layout=layout)
        return made[0] if bias is None else made

    if not any(channel_map.offset):
        return name, folded
    bias = f"{name.removesuffix(kernel)}bias"
    if name in held and bias not in held:
        raise ChannelError(
            f"the map that adapts {name!r} has an offset, which goes into the bias of the layer, and it has none: "
            f"build the target's layer with a bias, or adapt by a map without an offset"
        )
    return (name, bias), folded


def _layout(
    name: str, weight: Array, channel_map: ChannelMap, layouts: Mapping[int, str]
) -> str:
    """Return the layout of ``weight``, a kernel that reads what ``channel_map`` makes; ChannelError otherwise."""
    layout = layouts.get(weight.ndim)
    if layout is None:
        raise ChannelError(
            f"a channel map adapts kernels of {min(layouts)} to {max(layouts)} axes, and {name!r} of the source has "
            f"shape {weight.shape}: give a function for it"
        )
    bands, read = channel_map.outputs, weight.shape[layout.index("I")]
    if read != len(bands):
        raise ChannelError(
            f"the map that adapts {name!r} makes {len(bands)} bands, {show(bands)}, but the kernel of the source, "
            f"{layout} of shape {weight.shape}, reads {read}: give the map that makes what it reads; for a grouped or "
            f"depthwise kernel a function, adapt={{{name!r}: lambda w: gp.weights.fold(w, None, channel_map, "
            f"layout={layout!r}, groups=...)[0]}}"
        )
    return layout
