"""Kernels for a layer that reads red, green and blue, extended to more bands."""

from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import graypipe as gp

from .spectra import BANDS, KNOWN, SENSOR

Kernel = NDArray[np.float32]

RGB_ONLY = "RGB only"
ZERO, NEAREST, MEAN = "zero", "nearest", "mean"
TILED = "tiled"
RANDOM = "random"
COPIED = "copied"
EXTENDED = (ZERO, NEAREST, MEAN, TILED, RANDOM, COPIED)
METHODS = (RGB_ONLY, *EXTENDED)


def kernels(kernel: Kernel, seed: int) -> dict[str, Kernel]:
    """Return the kernels by method for a ``kernel`` of ``KNOWN``, (O, 3, H, W); ``seed`` is that of the random one.

    All but the first read ``BANDS``, of which ``KNOWN`` are the first three.
    """
    extended = {}
    for new in (ZERO, NEAREST, MEAN):
        extended[new], _ = gp.weights.extend(
            kernel, None, BANDS, of=KNOWN, new=new, layout="OIHW", sensor=SENSOR
        )
    positions = np.arange(len(BANDS)) % len(KNOWN)
    red = np.repeat(kernel[:, :1], len(BANDS) - len(KNOWN), axis=1)
    return {
        RGB_ONLY: kernel,
        **extended,
        TILED: kernel[:, positions] * np.float32(len(KNOWN) / len(BANDS)),
        RANDOM: np.concatenate([kernel, _random(kernel, seed)], axis=1),
        COPIED: np.concatenate([kernel, red], axis=1),
    }


def _random(kernel: Kernel, seed: int) -> Kernel:
    """Return kernels of the new bands: the default of torch, scaled to the root mean square of ``kernel``."""
    drawn = torch.empty(len(kernel), len(BANDS), *kernel.shape[2:])
    nn.init.kaiming_uniform_(
        drawn, a=sqrt(5), generator=torch.Generator().manual_seed(seed)
    )
    new = drawn[:, len(KNOWN) :].numpy()
    return new * np.sqrt(np.mean(kernel**2) / np.mean(new**2))
