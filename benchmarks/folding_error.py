"""The error of a first convolution that reads one band instead of three: the table in docs/weights.md.

`python -m benchmarks.folding_error` prints it.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

import graypipe as gp
from graypipe.adapters.torch import fold_into

from . import images
from .normalisation import MEAN, STD
from .writing import table

SOURCE = gp.Source("gray", range=(0, 255))
PLAN = gp.plan(SOURCE, "imagenet")
AVERAGED = gp.plan(
    SOURCE, gp.Target("gray", mean=float(np.mean(MEAN)), std=float(np.mean(STD)))
)

STEMS = {
    # as torchvision builds the first layers of ResNet, VGG, EfficientNet and ViT
    "7x7, stride 2, padding 3": {
        "out_channels": 64,
        "kernel_size": 7,
        "stride": 2,
        "padding": 3,
        "bias": False,
    },
    "3x3, stride 1, padding 1": {"out_channels": 64, "kernel_size": 3, "padding": 1},
    "3x3, stride 2, padding 1": {
        "out_channels": 32,
        "kernel_size": 3,
        "stride": 2,
        "padding": 1,
        "bias": False,
    },
    "16x16, stride 16": {"out_channels": 192, "kernel_size": 16, "stride": 16},
}
SUMMED, BLACK, FOLDED, EXACT = (
    "summed, averaged statistics",
    "fold, unit intensities",
    "fold_into",
    "fold_into, exact",
)


def random_stem(name: str) -> nn.Conv2d:
    """Return the stem with a random kernel."""
    torch.manual_seed(0)
    return nn.Conv2d(3, **STEMS[name])


def errors(stem: nn.Conv2d, size: tuple[int, int] = (224, 224)) -> dict[str, float]:
    """Return the relative L2 error of each method to read gray with ``stem``, on uniform noise."""
    batch = images.random((2, *size))
    expected = _output(stem, PLAN, batch)
    return {
        name: _relative(_output(*way, batch), expected) for name, way in _ways(stem)
    }


def _ways(stem: nn.Conv2d) -> Iterator[tuple[str, tuple[nn.Module, gp.Plan]]]:
    summed, bias = gp.weights.fold(
        stem.weight, stem.bias, gp.replicate(), layout="OIHW"
    )
    yield SUMMED, (_with(stem, summed, bias), AVERAGED)
    folded, bias = gp.weights.fold(stem.weight, stem.bias, PLAN.unit_map, layout="OIHW")
    yield BLACK, (_with(stem, folded, bias), gp.plan(SOURCE, gp.Target("gray")))
    yield FOLDED, fold_into(stem, PLAN)
    yield EXACT, fold_into(stem, PLAN, exact=True)


def _with(stem: nn.Conv2d, kernel: np.ndarray, bias: np.ndarray | None) -> nn.Conv2d:
    options = {
        name: getattr(stem, name)
        for name in ("kernel_size", "stride", "padding", "dilation")
    }
    layer = nn.Conv2d(
        kernel.shape[1], kernel.shape[0], bias=bias is not None, **options
    )
    layer.load_state_dict(
        {"weight": torch.from_numpy(kernel)}
        | ({} if bias is None else {"bias": torch.from_numpy(bias)})
    )
    return layer


def _output(layer: nn.Module, plan: gp.Plan, batch: np.ndarray) -> Tensor:
    with torch.inference_mode():
        return layer(torch.from_numpy(plan.batch(batch))).double()


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def page() -> str:
    """Return the table of all stems, with random kernels."""
    rows = [
        (name, *(f"{error:.1e}" for error in errors(random_stem(name)).values()))
        for name in STEMS
    ]
    return table(("first convolution", SUMMED, BLACK, FOLDED, EXACT), rows)


if __name__ == "__main__":
    print(page())
