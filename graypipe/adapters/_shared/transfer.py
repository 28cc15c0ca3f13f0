"""Support for plans and channel maps in ``adapt`` of ``transfer_into``."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import weights
from ...bands import format_band_count, format_bands
from ...channel_map import ChannelMap
from ...errors import ChannelError, DTypeError, RangeError
from ...plan import Plan

Array = NDArray[Any]


def resolve_adapt(
    adapt: Mapping[Any, Any] | None,
    target_names: Collection[str],
    kernel_layouts: Mapping[int, str],
    kernel_suffix: str,
) -> dict[Any, Any]:
    """Return ``adapt`` with plans and channel maps replaced by functions that fold.

    A plan is folded by its unit map.

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
    DTypeError
        If ``adapt`` is not a mapping, or the target of a plan is not floating-point.
    RangeError
        If the source of a plan has nodata.
    """
    if adapt is None:
        return {}
    if not isinstance(adapt, Mapping):
        raise DTypeError(
            "expected adapt to be a mapping from names of the model to functions, "
            f"channel maps or plans, got {type(adapt).__name__}: name the kernel of "
            "the layer that reads the image, as in "
            f"adapt={{'...{kernel_suffix}': plan}}"
        )
    resolved: dict[Any, Any] = {}
    for name, value in adapt.items():
        if not isinstance(value, ChannelMap | Plan):
            resolved[name] = value
            continue
        if not isinstance(name, str) or not name.endswith(kernel_suffix):
            raise _not_a_kernel(name, value, target_names, kernel_suffix)
        channel_map = _unit_map(value, name) if isinstance(value, Plan) else value
        fold = _folding_function(name, channel_map, kernel_layouts)
        if not any(channel_map.offset):
            resolved[name] = fold
            continue
        bias = f"{name.removesuffix(kernel_suffix)}bias"
        if name in target_names and bias not in target_names:
            raise ChannelError(
                f"the map that adapts {name!r} has an offset, which becomes part of "
                "the bias of the layer, but the layer has none: build the target's "
                "layer with a bias, or use a map without an offset, such as the via of "
                "a plan"
            )
        resolved[name, bias] = fold
    return resolved


def _not_a_kernel(
    name: Any, value: ChannelMap | Plan, target_names: Collection[str], suffix: str
) -> ChannelError:
    """Return the error for ``value`` adapting ``name``, which is not a kernel."""
    kind = "plan" if isinstance(value, Plan) else "channel map"
    kernel = "the kernel alone"
    # The name of a layer is a good guess: show the kernel of that layer.
    for candidate in (f"{name}.{suffix}", f"{name}/{suffix}"):
        if candidate in target_names:
            kernel = repr(candidate)
    return ChannelError(  # type: ignore[no-any-return]  # its constructor is that of Exception
        f"a {kind} can only adapt the kernel of the layer that reads the image (a name "
        f"ending in {suffix!r}), got one for {name!r}: name {kernel}, which adapts the "
        "bias too if necessary, or pass a function for other weights"
    )


def _unit_map(plan: Plan, name: str) -> ChannelMap:
    """Return the map that folding ``plan`` into the kernel ``name`` means.

    Raises
    ------
    DTypeError, RangeError
        If the plan does more than its map: it rounds, or sets nodata to 0.
    """
    if np.dtype(plan.target.dtype).kind != "f":
        raise DTypeError(
            f"the plan that adapts {name!r} rounds to {plan.target.dtype}, which "
            "weights cannot: give its target dtype='float32', or pass plan.unit_map to "
            "fold the map without rounding"
        )
    if plan.source.nodata is not None:
        raise RangeError(
            f"the plan that adapts {name!r} sets pixels with nodata to 0 after the "
            "map, which weights cannot: pass plan.unit_map if nodata may be read as "
            "any other value, or fold the plan with fold_into(model, plan, exact=True)"
        )
    return plan.unit_map


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
