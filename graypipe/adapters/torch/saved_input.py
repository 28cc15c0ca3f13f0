"""Record in the weights of a folded layer which input they were folded for.

Weights that were folded with one plan, loaded into a model that was folded with
another, would give plausible wrong outputs: nothing but the order or the centres of the
bands may differ. Therefore the state dict of a folded layer describes the input, in the
metadata that torch saves with state dicts: no key is added, so the weights also load
into layers that were not folded. Formats that store tensors alone (safetensors) drop
the metadata; then nothing is compared.
"""

from typing import Any

from ...errors import ChannelError
from ...extras import require_extra
from ...messages import describe_value
from ...plan import Plan

with require_extra("torch", "torch"):
    from torch import nn

# Name of the attribute of the layer, and key in the metadata of its state dict.
INPUT = "graypipe_input"

# Centres closer than this are equal: they are rounded to four decimals.
CENTRE_TOLERANCE = 1e-6


def record_input(layer: nn.Module, feed: Plan) -> None:
    """Make ``layer`` save which input it reads, and compare it when it is loaded.

    Parameters
    ----------
    layer : torch.nn.Module
        The folded layer, modified in place.
    feed : Plan
        Plan that converts images to its input.
    """
    is_first_fold = not hasattr(layer, INPUT)
    bands = list(feed.target.bands)
    offsets = [float(value) for value in feed.unit_map.offset]
    setattr(layer, INPUT, {"bands": bands, "offsets": offsets})
    if is_first_fold:
        layer.register_state_dict_post_hook(_save_input)  # type: ignore[no-untyped-call]
        layer.register_load_state_dict_pre_hook(_check_input)  # type: ignore[no-untyped-call]


def _save_input(
    layer: nn.Module, _state: dict[str, Any], _prefix: str, metadata: dict[str, Any]
) -> None:
    """Add the input of ``layer`` to the metadata of its state dict."""
    metadata[INPUT] = getattr(layer, INPUT)


def _check_input(
    layer: nn.Module,
    _state: dict[str, Any],
    prefix: str,
    metadata: dict[str, Any],
    *_: Any,
) -> None:
    """Raise ChannelError if the weights to be loaded expect another input."""
    saved = metadata.get(INPUT)
    expected = getattr(layer, INPUT)
    if saved is None:
        return
    name = f"{prefix}weight"
    if saved["bands"] != expected["bands"]:
        raise ChannelError(
            f"{name!r} was folded for the bands {describe_value(saved['bands'])}, but "
            f"the model reads {describe_value(expected['bands'])}: call fold_into with "
            "the plan and exact= that the saved model was folded with"
        )
    pairs = zip(saved["offsets"], expected["offsets"], strict=True)
    for band, (there, here) in zip(saved["bands"], pairs, strict=True):
        if abs(there - here) > CENTRE_TOLERANCE:
            raise ChannelError(
                f"{name!r} was folded for unit intensities {there:+g} in the band "
                f"{band!r}, but the feed of this model adds {here:+g}: call fold_into "
                "with the plan that the saved model was folded with"
            )
