"""Support for channel maps in the ``adapt`` argument of ``transfer_into``."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from numpy.typing import NDArray

from ... import weights
from ...bands import format_bands
from ...channel_map import ChannelMap
from ...errors import ChannelError
from .plan_choice import format_band_count

Array = NDArray[Any]


def resolve_adapt(
    adapt: Mapping[Any, Any] | None,
    target_names: Collection[str],
    kernel_layouts: Mapping[int, str],
    kernel_suffix: str,
) -> dict[Any, Any]:
    """Return ``adapt`` with each ChannelMap replaced by a function that folds it.

    Parameters
    ----------
    adapt : mapping or None
        The ``adapt`` argument of an adapter's ``transfer_into``.
    target_names : collection of str
        Names of the weights of the target.
    kernel_layouts : mapping of int to str
        Layout of a kernel by its number of axes, such as ``{4: "OIHW"}``.
    kernel_suffix : str
        Suffix of the names of kernels. The name of a bias ends in ``"bias"`` instead.

    Returns
    -------
    dict
        The ``adapt`` argument of `graypipe.weights.transfer`. A map with an offset is
        stored under the names of kernel and bias, because it changes both.

    Raises
    ------
    ChannelError
        If a map is given for a weight other than a kernel, or has an offset although
        the layer has no bias. The returned functions raise it if the number of input
        bands of the kernel is not the number of outputs of the map.
    """
    resolved: dict[Any, Any] = {}
    for name, value in (adapt or {}).items():
        if not isinstance(value, ChannelMap):
            resolved[name] = value
            continue
        if not isinstance(name, str) or not name.endswith(kernel_suffix):
            raise ChannelError(
                "a channel map can only adapt the kernel of the layer that reads the "
                f"image (a name ending in {kernel_suffix!r}), got one for {name!r}: "
                "pass a function for other weights"
            )
        fold = _folding_function(name, value, kernel_layouts)
        if not any(value.offset):
            resolved[name] = fold
            continue
        bias = f"{name.removesuffix(kernel_suffix)}bias"
        if name in target_names and bias not in target_names:
            raise ChannelError(
                f"the map that adapts {name!r} has an offset, which becomes part of "
                "the bias of the layer, but the layer has none: build the target's "
                "layer with a bias, or use a map without an offset"
            )
        resolved[name, bias] = fold
    return resolved


def _folding_function(
    name: str, channel_map: ChannelMap, kernel_layouts: Mapping[int, str]
) -> Callable[..., Any]:
    """Return the function that folds ``channel_map`` into the weights of a layer."""

    def fold(kernel: Array, bias: Array | None = None) -> Any:
        layout = _kernel_layout(name, kernel, channel_map, kernel_layouts)
        folded, folded_bias = weights.fold(kernel, bias, channel_map, layout=layout)
        if bias is None:
            return folded
        return folded, folded_bias

    return fold


def _kernel_layout(
    name: str,
    kernel: Array,
    channel_map: ChannelMap,
    kernel_layouts: Mapping[int, str],
) -> str:
    """Return the layout of ``kernel``, or raise ChannelError if the map does not fit.

    The kernel must have as many input bands as ``channel_map`` has outputs.
    """
    layout = kernel_layouts.get(kernel.ndim)
    if layout is None:
        raise ChannelError(
            f"a channel map can adapt kernels with {min(kernel_layouts)} to "
            f"{max(kernel_layouts)} axes, but {name!r} of the source has shape "
            f"{kernel.shape}: pass a function instead"
        )
    bands = channel_map.outputs
    band_count = kernel.shape[layout.index("I")]
    if band_count != len(bands):
        raise ChannelError(
            f"the map that adapts {name!r} has {len(bands)} outputs, "
            f"{format_bands(bands)}, but the kernel of the source, {layout} of shape "
            f"{kernel.shape}, reads {format_band_count(band_count)}: pass a map with "
            "as many outputs; for a grouped or depthwise kernel pass a function "
            "instead, such as "
            f"adapt={{{name!r}: lambda w: gp.weights.fold(w, None, channel_map, "
            f"layout={layout!r}, groups=...)[0]}}"
        )
    return layout
