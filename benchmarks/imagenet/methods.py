"""Methods to pass gray images to a network that reads three bands."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import graypipe as gp
from graypipe.adapters.torch import fold_into

COLOUR = "RGB"
THREE_BANDS = "gray as three bands"
SUMMED = "summed"
FOLDED = "folded"
EXACT = "folded exactly"
LUMINANCE = "luminance weights"
LUMINANCE_TIMES_3 = "luminance weights, times 3"

RGB = gp.Source("RGB", range=(0, 255))
GRAY = gp.Source("gray", range=(0, 255))
LAYER = "_conv_stem"
"""The first layer of the network, which reads the image."""
BATCH = 5
"""Few enough for the activations to stay in the cache."""


class Method(NamedTuple):
    """A network and the plan that converts images to its input."""

    network: nn.Module
    plan: gp.Plan


def methods(network: nn.Module, target: gp.Target) -> dict[str, Method]:
    """Return the methods by name, for a ``network`` whose input is ``target``, three bands in CHW.

    Changed networks are copies. The summed kernel and those with luminance weights read one band that is normalised
    with the averages of the means and of the stds.
    """
    kernel = network.get_submodule(LAYER).weight.detach()
    averages = {name: float(np.mean(getattr(target, name))) for name in ("mean", "std")}
    one_band = gp.plan(GRAY, gp.Target("gray", "CHW", **averages))
    three_bands = gp.plan(GRAY, target)
    weights = torch.tensor(gp.luminance().matrix, dtype=kernel.dtype).view(1, 3, 1, 1)
    weighted = (kernel * weights).sum(1, keepdim=True)
    return {
        COLOUR: Method(network, gp.plan(RGB, target)),
        THREE_BANDS: Method(network, three_bands),
        SUMMED: Method(with_kernel(network, kernel.sum(1, keepdim=True)), one_band),
        FOLDED: Method(*fold_into(network, three_bands)),
        EXACT: Method(*fold_into(network, three_bands, exact=True)),
        LUMINANCE: Method(with_kernel(network, weighted), one_band),
        LUMINANCE_TIMES_3: Method(with_kernel(network, 3 * weighted), one_band),
    }


def re_expressed(
    network: nn.Module, expected: gp.Target, target: gp.Target
) -> nn.Module:
    """Return a copy of ``network``, whose input is ``expected``, that reads ``target`` instead.

    The difference between the two normalisations is folded into the first layer, which gets a bias. That is exact
    except where the kernel extends into zero padding, because zero stands for another intensity afterwards.
    """
    rest = gp.plan(RGB, target).unit_map.inverse() >> gp.plan(RGB, expected).unit_map
    kernel, bias = gp.weights.fold(
        network.get_submodule(LAYER).weight.detach(), None, rest, layout="OIHW"
    )
    return with_kernel(network, torch.from_numpy(kernel), torch.from_numpy(bias))


def with_kernel(
    network: nn.Module, kernel: Tensor, bias: Tensor | None = None
) -> nn.Module:
    """Return a copy of ``network`` whose first layer has another kernel, and ``bias`` unless it is None."""
    changed = copy.deepcopy(network)
    layer = changed.get_submodule(LAYER)
    layer.weight = nn.Parameter(kernel)
    layer.in_channels = kernel.shape[1]
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    return changed


def logits(method: Method, photographs: NDArray[np.uint8]) -> Tensor:
    """Return the logits for colour ``photographs``, (N, H, W, 3); gray plans get their luminance, rounded to uint8."""
    network = method.network.to(memory_format=torch.channels_last)  # half the time
    answers = []
    with torch.inference_mode():
        for start in range(0, len(photographs), BATCH):
            images = photographs[start : start + BATCH]
            if method.plan.source.bands == GRAY.bands:
                images = gp.luminance()(
                    images, layout="NHWC", out_layout="NHW", dtype="uint8"
                )
            answers.append(network(torch.from_numpy(method.plan.batch(images))))
    return torch.cat(answers)
