"""The experiment: one network per seed, trained on colour, tested on gray before and after fine-tuning."""

from collections.abc import Callable
from datetime import UTC, datetime
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
        "versions": machine.versions(LIBRARIES),
        "settings": settings._asdict(),
        "photographs": list(PHOTOGRAPHS),
        "runs": runs,
    }


def run(settings: Settings, seed: int) -> dict[str, Any]:
    """Train a network on colour; return its accuracies, and how the methods differ before fine-tuning."""
    images, labels = patches(
        settings.patches, held_out=False, rng=np.random.default_rng(seed)
    )
    tests, truth = patches(
        settings.held_out, held_out=True, rng=np.random.default_rng(HELD_OUT_SEED)
    )
    labels, truth = torch.from_numpy(labels), torch.from_numpy(truth)
    torch.manual_seed(seed)
    trained = network(len(PHOTOGRAPHS))
    initial_kernel = trained.conv1.weight.detach().numpy().copy()
    train(
        trained,
        fed(COLOUR_PLAN, images),
        labels,
        epochs=settings.epochs,
        rate=settings.rate,
        seed=seed,
    )

    kernel = trained.conv1.weight.detach().numpy()
    outputs, shares = {}, {}
    for name, stem in stems(kernel).items():
        model = with_stem(trained, stem)
        held_out = fed(stem.plan, tests)
        outputs[name] = logits(model, held_out)
        training = fed(stem.plan, images)
        train(
            model,
            training,
            labels,
            epochs=settings.tuning_epochs,
            rate=settings.tuning_rate,
            seed=seed,
        )
        shares[name] = {
            "before": accuracy(outputs[name], truth),
            "after": accuracy(logits(model, held_out), truth),
        }
    right = outputs[THREE_BANDS]
    return {
        "seed": seed,
        "accuracy": shares,
        "largest_logit": right.abs().max().item(),
        "logits": {
            name: (outputs[name] - right).abs().max().item() for name in ONE_BAND
        },
        "agreement": {
            name: accuracy(outputs[name], right.argmax(dim=1)) for name in ONE_BAND
        },
        "stem": {
            "random": stem_errors(initial_kernel, tests),
            "trained": stem_errors(kernel, tests),
        },
    }
