"""The experiment: a network a seed, trained on colour, tested on gray in every way, before and after fine-tuning."""

from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch

from .. import machine
from ..results import Record
from .data import PHOTOGRAPHS, patches
from .model import network
from .stem_errors import stem_errors
from .training import accuracy, logits, train
from .variants import COLOUR_PLAN, ONE_BAND, THREE_BANDS, fed, stems, with_stem

LIBRARIES = ("numpy", "torch", "scikit-image", "scikit-learn")
HELD_OUT_SEED = 2**32
"""The held-out patches are the same for every network."""


class Settings(NamedTuple):
    """How much is trained and tested; patches are per photograph."""

    scale: str
    seeds: int
    patches: int
    held_out: int
    epochs: int
    rate: float
    tuning_epochs: int
    tuning_rate: float


FULL = Settings(
    "full",
    seeds=8,
    patches=400,
    held_out=200,
    epochs=12,
    rate=0.05,
    tuning_epochs=2,
    tuning_rate=0.005,
)
QUICK = Settings(
    "quick",
    seeds=2,
    patches=20,
    held_out=10,
    epochs=2,
    rate=0.05,
    tuning_epochs=1,
    tuning_rate=0.005,
)


def record(settings: Settings, done: Callable[[], None]) -> Record:
    """Run the experiment and return its results; ``done`` is called after every seed."""
    runs = []
    for seed in range(settings.seeds):
        runs.append(run(settings, seed))
        done()
    return {
        "format": 1,
        "group": "accuracy",
        "scale": settings.scale,
        "date": datetime.now(UTC).date().isoformat(),
        "threads": torch.get_num_threads(),
        "machine": machine.describe(),
        "versions": _versions(),
        "settings": settings._asdict(),
        "photographs": list(PHOTOGRAPHS),
        "runs": runs,
    }


def run(settings: Settings, seed: int) -> dict[str, Any]:
    """Train a network on colour with ``seed``; return its accuracies, and how the ways differ before fine-tuning."""
    images, labels = patches(
        settings.patches, held_out=False, rng=np.random.default_rng(seed)
    )
    tests, truth = patches(
        settings.held_out, held_out=True, rng=np.random.default_rng(HELD_OUT_SEED)
    )
    labels, truth = torch.from_numpy(labels), torch.from_numpy(truth)
    torch.manual_seed(seed)
    trained = network(len(PHOTOGRAPHS))
    at_random = trained.conv1.weight.detach().numpy().copy()
    train(
        trained,
        fed(COLOUR_PLAN, images),
        labels,
        epochs=settings.epochs,
        rate=settings.rate,
        seed=seed,
    )

    kernel = trained.conv1.weight.detach().numpy()
    said, shares = {}, {}
    for name, stem in stems(kernel).items():
        model, held = with_stem(trained, stem), fed(stem.plan, tests)
        said[name] = logits(model, held)
        shown = fed(stem.plan, images)
        train(
            model,
            shown,
            labels,
            epochs=settings.tuning_epochs,
            rate=settings.tuning_rate,
            seed=seed,
        )
        shares[name] = {
            "before": accuracy(said[name], truth),
            "after": accuracy(logits(model, held), truth),
        }
    right = said[THREE_BANDS]
    return {
        "seed": seed,
        "accuracy": shares,
        "largest_logit": right.abs().max().item(),
        "logits": {name: (said[name] - right).abs().max().item() for name in ONE_BAND},
        "agreement": {
            name: accuracy(said[name], right.argmax(dim=1)) for name in ONE_BAND
        },
        "stem": {
            "random": stem_errors(at_random, tests),
            "trained": stem_errors(kernel, tests),
        },
    }


def _versions() -> dict[str, str]:
    known = machine.versions()
    return {name: known[name] for name in ("python", "graypipe")} | {
        name: version(name) for name in LIBRARIES
    }
