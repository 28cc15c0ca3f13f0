"""Convert gray and multi-spectral images to what a pretrained backbone expects.

>>> import numpy as np
>>> import graypipe as gp
>>> image = np.zeros((480, 640), np.uint8)
>>> x = gp.plan("gray", "imagenet")(image)
>>> x.shape, x.dtype
((3, 480, 640), dtype('float32'))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .channel_map import ChannelMap, luminance, mix, replicate, select
from .errors import (
    ChannelError,
    CopyRequiredError,
    DTypeError,
    GraypipeError,
    LayoutError,
    MissingExtraError,
    RangeError,
    ReadError,
)
from .plan import Plan, plan
from .plans import Plans
from .sensor import Sensor, sensor, sensors
from .source import Source
from .target import Target, preset, presets

if TYPE_CHECKING:
    from . import weights
    from .io import read, read_bands
    from .stats import BandStats

__all__ = [
    "BandStats",
    "ChannelError",
    "ChannelMap",
    "CopyRequiredError",
    "DTypeError",
    "GraypipeError",
    "LayoutError",
    "MissingExtraError",
    "Plan",
    "Plans",
    "RangeError",
    "ReadError",
    "Sensor",
    "Source",
    "Target",
    "luminance",
    "mix",
    "plan",
    "preset",
    "presets",
    "read",
    "read_bands",
    "replicate",
    "select",
    "sensor",
    "sensors",
    "weights",
]

# Modules of the public names that are imported lazily, which keeps `import graypipe`
# about as fast as `import numpy`.
_LAZY_NAMES = {"BandStats": "stats", "read": "io", "read_bands": "io"}

# Public names of adapters, and the adapters
_NAMES_OF_ADAPTERS = {
    "ToBackbone": "torchvision, .albumentations or .tf_data",
    "ChannelLayer": "torch or .keras",
    "fold_into": "torch or .keras",
    "transfer_into": "torch or .keras",
    "compare": "torch or .keras",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first access and cache it."""
    if name == "weights":
        return import_module(".weights", __name__)
    if name not in _LAZY_NAMES:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}{_where_else(name)}"
        )
    value = getattr(import_module(f".{_LAZY_NAMES[name]}", __name__), name)
    globals()[name] = value
    return value


def _where_else(name: str) -> str:
    """Return where a name is that is not in this module, for an error message."""
    if name in _NAMES_OF_ADAPTERS:
        return f": import it from graypipe.adapters.{_NAMES_OF_ADAPTERS[name]}"
    if name.startswith("from_"):
        owners = [owner for owner in (Target, Source) if hasattr(owner, name)]
        return "".join(f": call gp.{owner.__name__}.{name}" for owner in owners)
    from .messages import did_you_mean

    return did_you_mean(name, __all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
