"""Methods to feed gray images to a network trained on colour: the plan and the first layer."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import graypipe as gp

from .data import Images

COLOUR, THREE_BANDS, SUMMED, FOLDED, EXACT = (
    "RGB",
    "gray as three bands",
    "summed",
    "folded",
    "folded exactly",
)
ONE_BAND = (SUMMED, FOLDED, EXACT)

Kernel = NDArray[np.float32]

IMAGENET = gp.preset("imagenet")
COLOUR_PLAN = gp.plan("RGB", IMAGENET)
THREE_BANDS_PLAN = gp.plan("gray", IMAGENET)

MEAN, STD = (sum(statistic) / 3 for statistic in (IMAGENET.mean, IMAGENET.std))
"""Statistics of the one band that summed and folded kernels read; they centre it."""
ONE_BAND_PLAN = gp.plan("gray", gp.Target("gray", "CHW", mean=MEAN, std=STD))
WITH_ONE = gp.ChannelMap([[1], [0]], [0, 1], inputs="gray", outputs=("gray", "one"))
EXACT_PLAN = gp.plan(
    "gray", gp.Target(("gray", "one"), "CHW", mean=(MEAN, 0), std=(STD, 1)), WITH_ONE
)
REST = ONE_BAND_PLAN.unit_map.inverse() >> THREE_BANDS_PLAN.unit_map
"""From one normalised band to three: the part of the plan that is folded."""


class Stem(NamedTuple):
    """The plan that feeds the network, and the kernel and bias of its first layer."""

    plan: gp.Plan
    kernel: Kernel
    bias: NDArray[np.float32] | None = None


def stems(kernel: Kernel) -> dict[str, Stem]:
    """Return the stems of a network whose first layer is ``kernel``, (O, 3, H, W), without a bias; gray but for RGB."""
    return {
        COLOUR: Stem(COLOUR_PLAN, kernel),
        THREE_BANDS: Stem(THREE_BANDS_PLAN, kernel),
        SUMMED: Stem(ONE_BAND_PLAN, kernel.sum(axis=1, keepdims=True)),
        FOLDED: Stem(
            ONE_BAND_PLAN, *gp.weights.fold(kernel, None, REST, layout="OIHW")
        ),
        EXACT: Stem(
            EXACT_PLAN, *gp.weights.fold_exact(kernel, None, REST, layout="OIHW")
        ),
    }


def with_stem(network: nn.Sequential, stem: Stem) -> nn.Sequential:
    """Return a copy of ``network`` with ``stem`` as its first layer; stride and padding stay as they are."""
    changed, old = copy.deepcopy(network), network.conv1
    outputs, bands, *size = stem.kernel.shape
    changed.conv1 = nn.Conv2d(
        bands, outputs, size, old.stride, old.padding, bias=stem.bias is not None
    )
    with torch.no_grad():
        changed.conv1.weight.copy_(torch.from_numpy(stem.kernel))
        if stem.bias is not None:
            changed.conv1.bias.copy_(torch.from_numpy(stem.bias))
    return changed


def fed(plan: gp.Plan, patches: Images) -> Tensor:
    """Return the result of ``plan`` for colour ``patches``; gray plans get their luminance in uint8."""
    if plan is not COLOUR_PLAN:
        patches = gp.luminance()(
            patches, layout="NHWC", out_layout="NHW", dtype="uint8"
        )
    return torch.from_numpy(plan.batch(patches))
