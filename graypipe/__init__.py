"""The one right way to turn a gray or multi-spectral image into what a pretrained backbone expects.

>>> import graypipe as gp
>>> x = gp.plan("gray", "imagenet")(image)   # (H, W) uint8 -> (3, H, W) float32
"""

from . import weights
from .channels import ChannelMap, luminance, mix, replicate, select
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
from .fitting import BandStats
from .planning import Plan, plan
from .reading import read, read_bands
from .sources import Source
from .targets import Target, preset

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
