"""The experiment: every method, on bands that tell the classes apart and on bands that do not."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

import graypipe as gp

from .. import machine
from ..imagenet.methods import LAYER, re_expressed, with_kernel
from ..imagenet.photographs import Photographs
from ..imagenet.pretrained import Pretrained
from ..results import Record
from . import training
from .methods import EXTENDED, METHODS, RGB_ONLY, kernels
from .scenes import CLASSES, SOURCE, Scenes, exchanged, parts, textures
from .spectra import BANDS, KNOWN, Library
from .training import Part, features, fine_tune, probe, with_head

IMAGENET = gp.preset("imagenet")
"""The network is re-expressed for these statistics, so that it reads bands of mean 0 and std 1."""
LIBRARIES = ("numpy", "scipy", "numba", "torch", "scikit-learn", "pillow")
OWN, EXCHANGED = "own", "exchanged"
"""The new bands are those of the scene, or those of another one."""
NEW_BANDS = slice(len(KNOWN), None)
CHOICE_SEED = 1000
"""The learning rate is chosen on scenes of their own."""


Runs = dict[tuple[str, ...], dict[str, Any]]
"""Results and times of the runs by their names."""


class Settings(NamedTuple):
    """How much is rendered, trained and tested.

    Networks are fine-tuned for the seeds ``tuned``, and with exchanged bands for ``control``, which are among them. One
    of them takes as long as seven probes.
    """

    scale: str
    seeds: int
    tuned: tuple[int, ...]
    control: tuple[int, ...]
    training: int
    validation: int
    test: int
    epochs: int
    rates: tuple[float, ...]


FULL = Settings(
    "full",
    seeds=5,
    tuned=(0, 1, 2, 3, 4),
    control=(),
    training=256,
    validation=128,
    test=400,
    epochs=5,
    rates=(3e-4, 1e-3, 3e-3),
)
QUICK = Settings(
    "quick",
    seeds=2,
    tuned=(0, 1),
    control=(0, 1),
    training=32,
    validation=16,
    test=16,
    epochs=2,
    rates=(1e-3,),
)


class Data(NamedTuple):
    """The parts of one seed, normalised band by band."""

    training: Part
    validation: Part
    test: Part


class Experiment:
    """The runs for a network, photographs and spectra; ``model`` reads red, green and blue."""

    def __init__(
        self,
        settings: Settings,
        model: Pretrained,
        photographs: Photographs,
        library: Library,
    ) -> None:
        self.settings = settings
        self.library = library
        self.network = re_expressed(model.network, model.target, IMAGENET)
        self.textures = textures(photographs.images)
        needed = settings.training + settings.validation + settings.test
        if len(self.textures) < needed:
            raise ValueError(
                f"expected at least {needed} photographs, got {len(self.textures)}"
            )
        self._rendered: dict[int, list[Scenes]] = {}

    def data(self, seed: int, bands: str) -> Data:
        """Return the parts of ``seed`` with ``OWN`` or ``EXCHANGED`` new bands."""
        counts = self.settings.training, self.settings.validation, self.settings.test
        if seed not in self._rendered:
            rng = np.random.default_rng(seed)
            self._rendered = {seed: parts(self.library, self.textures, counts, rng)}
        scenes = self._rendered[seed]
        if bands == EXCHANGED:
            rng = np.random.default_rng([seed, 1])
            scenes = [exchanged(part, NEW_BANDS, rng) for part in scenes]
        plan = normalisation(scenes[0])
        return Data(
            *(
                Part(
                    torch.from_numpy(plan.batch(part.images)),
                    torch.from_numpy(part.labels),
                )
                for part in scenes
            )
        )

    def extended(self, method: str, seed: int) -> nn.Module:
        """Return a copy of the network whose first layer has the kernel of ``method``."""
        kernel = self.network.get_submodule(LAYER).weight.detach().numpy()
        changed = with_kernel(
            self.network, torch.from_numpy(kernels(kernel, seed)[method])
        )
        return changed.to(memory_format=torch.channels_last)

    def probes(self, seed: int, bands: str) -> dict[str, Any]:
        """Return what each method gives with frozen weights: accuracy and change of the features, by method."""
        data = self.data(seed, bands)
        found: dict[str, Any] = {}
        for method in METHODS:
            network = self.extended(method, seed)
            read = [
                part._replace(inputs=features(network, read_by(method, part).inputs))
                for part in data
            ]
            if method == RGB_ONLY:
                reference = read[-1].inputs
            change = (read[-1].inputs - reference).norm() / reference.norm()
            found[method] = probe(*read)._asdict() | {"change": change.item()}
        return found

    def statistics(self, seed: int) -> dict[str, float]:
        """Return the accuracies of means and standard deviations of the bands, without a network."""
        data = self.data(seed, OWN)
        shares = {}
        for name, count in (("RGB", len(KNOWN)), ("all", len(BANDS))):
            read = [
                part._replace(inputs=_moments(part.inputs[:, :count])) for part in data
            ]
            strengths = tuple(10.0**power for power in range(-2, 4))
            shares[name] = probe(*read, strengths).accuracy
        return shares

    def tuned(self, seed: int, bands: str, method: str, rate: float) -> dict[str, Any]:
        """Return the accuracies of a fine-tuned network after one epoch and after all of them."""
        data = self.data(seed, bands)
        network = with_head(self.extended(method, seed), len(CLASSES), seed)
        test = read_by(method, data.test)
        epochs = self.settings.epochs
        shares = fine_tune(
            network,
            read_by(method, data.training),
            {1: test, epochs: test},
            epochs=epochs,
            rate=rate,
            seed=seed,
        )
        return {"early": shares[1], "late": shares[epochs]}

    def choice(self, rate: float) -> float:
        """Return the accuracy on the validation part of RGB only, fine-tuned with ``rate``."""
        data = self.data(CHOICE_SEED, OWN)
        network = with_head(
            self.extended(RGB_ONLY, CHOICE_SEED), len(CLASSES), CHOICE_SEED
        )
        epochs = self.settings.epochs
        shares = fine_tune(
            network,
            read_by(RGB_ONLY, data.training),
            {epochs: read_by(RGB_ONLY, data.validation)},
            epochs=epochs,
            rate=rate,
            seed=CHOICE_SEED,
        )
        return shares[epochs]


def normalisation(scenes: Scenes) -> gp.Plan:
    """Return the plan to mean 0 and std 1 in every band of ``scenes``."""
    stats = gp.BandStats(SOURCE)
    for image in scenes.images:
        stats.update(image)
    mean, std = stats.normalization()
    return gp.plan(SOURCE, gp.Target(BANDS, "CHW", mean=mean, std=std))


def read_by(method: str, part: Part) -> Part:
    """Return ``part`` with the bands that a network of ``method`` reads."""
    if method == RGB_ONLY:
        part = part._replace(inputs=part.inputs[:, : len(KNOWN)])
    inputs = part.inputs.contiguous(memory_format=torch.channels_last)
    return part._replace(inputs=inputs)


def steps(settings: Settings) -> Iterator[tuple[str, ...]]:
    """Return the names of all runs, in the order in which they are made."""
    if settings.tuned:
        for rate in settings.rates:
            yield ("choice", str(rate))
    for seed in range(settings.seeds):
        yield ("probe", OWN, str(seed))
        yield ("probe", EXCHANGED, str(seed))
        yield ("statistics", str(seed))
    for seed in settings.tuned:
        for method in METHODS:
            yield ("tuned", OWN, str(seed), method)
    for seed in settings.control:
        for method in EXTENDED:  # without new bands, it is the same run again
            yield ("tuned", EXCHANGED, str(seed), method)


def measure(
    experiment: Experiment, path: Path, done: Callable[[], Any] = lambda: None
) -> Runs:
    """Make all runs that ``path`` does not hold yet, and return them by name; ``done`` is called after every run.

    `start_runs` prepares ``path``. It gets a line for every run, so that a measurement that was stopped can be
    continued.
    """
    for name in steps(experiment.settings):
        made = _read_runs(path)
        if name not in made:
            start = time.process_time()
            result = _run(experiment, name, made)
            seconds = round(time.process_time() - start, 1)
            line = json.dumps({"name": name, "result": result, "seconds": seconds})
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        done()
    return _read_runs(path)


def start_runs(path: Path, identity: dict[str, Any]) -> None:
    """Write ``identity`` to the first line of ``path``, or raise ValueError if another one is there."""
    line = json.dumps(identity)
    if not path.exists():
        path.write_text(line + "\n", encoding="utf-8")
    if path.read_text(encoding="utf-8").splitlines()[0] != line:
        raise ValueError(
            f"{path} holds runs with other settings, weights, spectra or photographs: "
            "delete it, or pass another --out"
        )


def _read_runs(path: Path) -> Runs:
    _, *lines = path.read_text(encoding="utf-8").splitlines()
    runs = [json.loads(line) for line in lines]
    return {tuple(run["name"]): run for run in runs}


def chosen_rate(runs: Runs) -> float | None:
    """Return the learning rate of the highest accuracy on the validation part, or None if none was tried."""
    choices = {
        name[1]: run["result"] for name, run in runs.items() if name[0] == "choice"
    }
    if not choices:
        return None
    return float(max(choices, key=choices.__getitem__))


def _run(
    experiment: Experiment,
    name: tuple[str, ...],
    made: Runs,
) -> Any:
    stage, *details = name
    if stage == "choice":
        return experiment.choice(float(details[0]))
    if stage == "probe":
        return experiment.probes(int(details[1]), details[0])
    if stage == "statistics":
        return experiment.statistics(int(details[0]))
    bands, seed, method = details
    return experiment.tuned(int(seed), bands, method, chosen_rate(made))


def identity(
    settings: Settings, model: Pretrained, photographs: Photographs, library: Library
) -> dict[str, Any]:
    """Return what the results depend on: settings, weights, spectra and photographs."""
    return {
        "weights": model.digest,
        "spectra": library.digest,
        "photographs": {
            "count": len(photographs.labels),
            "sha256": photographs.digest,
        },
        "settings": settings._asdict() | {"batch": training.BATCH},
        "versions": machine.versions(LIBRARIES) | model.versions | library.versions,
    }


def record(settings: Settings, identity: dict[str, Any], runs: Runs) -> Record:
    """Return the result file for what `measure` found."""
    return {
        "format": 1,
        "group": "new_bands",
        "scale": settings.scale,
        "date": datetime.now(UTC).date().isoformat(),
        "threads": torch.get_num_threads(),
        "machine": machine.describe(),
        **identity,
        "rate": chosen_rate(runs),
        "runs": [runs[name] for name in steps(settings)],
    }


def _moments(inputs: torch.Tensor) -> torch.Tensor:
    pixels = inputs.flatten(2)
    return torch.cat([pixels.mean(dim=2), pixels.std(dim=2)], dim=1)
