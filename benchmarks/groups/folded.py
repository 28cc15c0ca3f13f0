"""Gray uint8 batches through ResNet-18 and VGG16: expanded before the model, in its first layer or by its weights."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import nn
from torchvision import models

import graypipe as gp
from graypipe.adapters.torch import ChannelLayer, fold_into

from .. import images
from ..case import Build, Case, Check
from ..normalisation import Array
from ..normalisation import oracle as normalised
from ..scale import Scale

EARLY, LATE = "early: plan, three bands", "late: ChannelLayer, three bands"
FOLDED, EXACT = "folded stem: one band", "folded exactly: one band and ones"

PLAN = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
MODELS: dict[str, Callable[[], nn.Module]] = {
    "ResNet-18": models.resnet18,
    "VGG16": partial(models.vgg16, init_weights=False),
}

BORDER = 0.1
"""Largest relative difference of the logits after a plain fold, which differs at zero padding."""


def cases(scale: Scale) -> Iterator[Build]:
    """Yield models and gauges, for a batch of 8 images of 224², which takes one thread seconds."""
    shape = (2, 32, 36) if scale.name == "tiny" else (8, *scale.shape("224"))
    for model in MODELS:
        for gauge in ("time", "resident"):
            yield partial(_case, model, gauge, shape)


def _case(name: str, gauge: str, shape: tuple[int, ...]) -> Case:
    torch.manual_seed(20)
    model, batch = MODELS[name]().eval(), images.random(shape)
    expected = _forward(
        model,
        torch.from_numpy(normalised(batch).transpose(0, 3, 1, 2).astype(np.float32)),
    )
    return Case(
        f"{name}, forward, {'time' if gauge == 'time' else 'memory'}",
        {"model": name, "gauge": gauge},
        ours={
            EARLY: partial(_fed, model, PLAN, batch),
            LATE: partial(
                _forward,
                nn.Sequential(ChannelLayer(PLAN), model),
                torch.from_numpy(batch)[:, None],
            ),
            FOLDED: partial(_fed, *fold_into(model, PLAN), batch),
            EXACT: partial(_fed, *fold_into(model, PLAN, exact=True), batch),
        },
        check=_logits(expected),
        gauge=gauge,
    )


def _fed(model: nn.Module, plan: gp.Plan, batch: Array) -> Array:
    return _forward(model, torch.from_numpy(plan.batch(batch)))


def _forward(model: nn.Module, x: torch.Tensor) -> Array:
    with torch.inference_mode():
        return model(x).numpy()


def _logits(expected: Array) -> Check:
    def check(name: str, result: Array) -> None:
        off = np.linalg.norm(result - expected) / np.linalg.norm(expected)
        limit = BORDER if name == FOLDED else 1e-4
        assert off <= limit, f"{name} is off by {off:.2g}, more than {limit:g}"

    return check
