"""Update the number of bands that a torch model declares besides its weights.

Modules and configurations of Hugging Face, for example, have the attribute
`num_channels`: modules refuse images of other numbers of bands, and configurations
describe the model that is built when saved weights are loaded. The objects are
recognised by their attributes, so that no such library is imported.
"""

from collections.abc import Iterator
from typing import Any

from ...errors import ChannelError
from ...extras import require_extra

with require_extra("torch", "torch"):
    from torch import nn

# Attributes of modules and configurations that declare the number of bands.
BAND_COUNTS = (
    "num_channels",
    "in_channels",
    "in_chans",
    "input_channels",
    "stem_num_channels",
)

# Attributes that list the numbers of channels of successive layers; the first one is
# the number of bands.
CHANNEL_LISTS = ("stem_channels",)


def declare_bands(model: nn.Module, layer: str, before: int, after: int) -> None:
    """Replace the declared number of bands, in place.

    Only modules that contain the layer are changed, and their configurations with the
    configurations nested in them: elsewhere the same attribute may describe features.

    Parameters
    ----------
    model : torch.nn.Module
        The folded model.
    layer : str
        Name of the layer that reads the image.
    before, after : int
        Number of bands that the model read, and that it reads now.
    """
    for module in _modules_around(model, layer):
        _replace_count(module, before, after)
        for config in _configurations(module):
            _replace_count(config, before, after)


def check_bias_is_saved(model: nn.Module, layer: str, bands: int) -> None:
    """Check that a bias which a fold adds to ``layer`` would not be lost by saving.

    `from_pretrained` of Hugging Face builds the model that its configuration describes,
    in which the layer has no bias, and ignores weights that do not occur in it.

    Raises
    ------
    ChannelError
        If a configuration declares the number of bands.
    """
    for module in _modules_around(model, layer):
        for config in _configurations(module):
            if _declared(config, bands):
                raise ChannelError(
                    f"{layer!r} has no bias, and a fold of this plan adds one, which "
                    "from_pretrained would ignore, because the configuration of the "
                    f"model ({type(config).__name__}) describes a layer without bias: "
                    "pass exact=True, which adds no bias but a constant band"
                )


def _modules_around(model: nn.Module, layer: str) -> list[nn.Module]:
    """Return the modules that contain ``layer``, from the model inwards."""
    parts = layer.split(".")
    return [model.get_submodule(".".join(parts[:end])) for end in range(len(parts))]


def _configurations(module: nn.Module) -> Iterator[Any]:
    """Yield the configuration of ``module`` and those nested in it."""
    pending = [getattr(module, "config", None)]
    seen: set[int] = set()
    while pending:
        config = pending.pop()
        # to_dict tells configurations from other objects, which are left alone.
        if id(config) in seen or not hasattr(config, "to_dict"):
            continue
        seen.add(id(config))
        yield config
        pending += vars(config).values()


def _declared(owner: Any, bands: int) -> list[str]:
    """Return the attributes of ``owner`` that declare ``bands`` bands."""
    attributes = vars(owner)
    return [name for name in BAND_COUNTS if attributes.get(name) == bands]


def _replace_count(owner: Any, before: int, after: int) -> None:
    """Set the attributes of ``owner`` that declare ``before`` bands to ``after``."""
    for name in _declared(owner, before):
        setattr(owner, name, after)
    for name in CHANNEL_LISTS:
        channels = vars(owner).get(name)
        if isinstance(channels, list | tuple) and list(channels[:1]) == [before]:
            setattr(owner, name, [after, *channels[1:]])
