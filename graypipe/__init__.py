"""The one right way to turn a gray or multi-spectral image into what a pretrained backbone expects.

>>> import graypipe as gp
>>> x = gp.plan("gray", "imagenet")(image)   # (H, W) uint8 -> (3, H, W) float32
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
from .source import Source
from .target import Target, preset

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
    "RangeError",
    "ReadError",
    "Source",
    "Target",
    "luminance",
    "mix",
    "plan",
    "preset",
    "read",
    "read_bands",
    "replicate",
    "select",
    "weights",
]

LATER = {"BandStats": "stats", "read": "io", "read_bands": "io"}
"""Where names are that not every process needs: `import graypipe` costs little more than `import numpy`."""


def __getattr__(name: str) -> Any:
    """Return one of `LATER` or the module ``weights``, imported now; they stay."""
    if name == "weights":
        return import_module(".weights", __name__)
    if name not in LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f".{LATER[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
