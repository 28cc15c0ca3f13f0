"""The measurement: every method, for the network as it is and re-expressed for the statistics of ImageNet."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import graypipe as gp

from .. import machine
from ..results import Record
from .methods import COLOUR, THREE_BANDS, logits, methods, re_expressed
from .photographs import Photographs
from .pretrained import Pretrained

AS_IT_IS, RE_EXPRESSED = "as it is", "re-expressed"
IMAGENET = gp.preset("imagenet")
LIBRARIES = ("numpy", "torch", "pillow")
FULL = 1000
"""A record is of one photograph of each class."""


def networks(
    network: nn.Module, target: gp.Target
) -> dict[str, tuple[nn.Module, gp.Target]]:
    """Return ``network``, whose input is ``target``, and the same network for the statistics of ImageNet."""
    return {
        AS_IT_IS: (network, target),
        RE_EXPRESSED: (re_expressed(network, target, IMAGENET), IMAGENET),
    }


def measure(
    network: nn.Module,
    target: gp.Target,
    photographs: Photographs,
    done: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Return what each method makes of the photographs, by network; ``done`` is called after every method."""
    answers = {}
    for name, (variant, expected) in networks(network, target).items():
        answers[name] = {}
        for method_name, method in methods(variant, expected).items():
            answers[name][method_name] = logits(method, photographs.images)
            done()
    return outcomes(answers, photographs.labels)


def outcomes(
    answers: dict[str, dict[str, Tensor]], labels: list[int]
) -> dict[str, Any]:
    """Return what the logits by network and method say about photographs of the classes ``labels``."""
    found = {}
    for name, by_method in answers.items():
        right = by_method[THREE_BANDS]
        found[name] = {
            "colour_difference": _difference(
                by_method[COLOUR], answers[AS_IT_IS][COLOUR]
            ),
            "largest_logit": right.abs().max().item(),
            "methods": {
                method_name: _outcome(answer, right, labels)
                for method_name, answer in by_method.items()
            },
        }
    return found


def record(
    model: Pretrained, photographs: Photographs, found: dict[str, Any]
) -> Record:
    """Return the result file for what `measure` found."""
    is_full = photographs.labels == list(range(FULL))
    return {
        "format": 1,
        "group": "imagenet",
        "scale": "full" if is_full else "quick",
        "date": datetime.now(UTC).date().isoformat(),
        "threads": torch.get_num_threads(),
        "machine": machine.describe(),
        "versions": machine.versions(LIBRARIES) | model.versions,
        "weights": model.digest,
        "photographs": {
            "count": len(photographs.labels),
            "sha256": photographs.digest,
        },
        "networks": found,
    }


def _outcome(answer: Tensor, right: Tensor, labels: list[int]) -> dict[str, Any]:
    """Return the photographs whose class is not the first answer, and how far the logits are from ``right``."""
    chosen = answer.argmax(1)
    first_five = answer.topk(5).indices == torch.tensor(labels)[:, None]
    return {
        "wrong": np.flatnonzero(chosen.numpy() != labels).tolist(),
        "in_top_5": int(first_five.any(1).sum()),
        "agreement": (chosen == right.argmax(1)).double().mean().item(),
        "largest_difference": _difference(answer, right),
    }


def _difference(answer: Tensor, right: Tensor) -> float:
    return (answer - right).abs().max().item()
