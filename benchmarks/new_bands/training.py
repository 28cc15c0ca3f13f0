"""What a network can be trained to: a linear layer on its features, or all of its weights."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

BATCH = 32
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse regularisation of the logistic regression, of which the validation part chooses one."""
MOMENTUM = 0.1
"""Of the running statistics, as is torch's default; with the 0.01 of the network, few steps would not move them."""


class Part(NamedTuple):
    """Inputs (N, bands, H, W), or features (N, F), and their classes."""

    inputs: Tensor
    labels: Tensor


class Probe(NamedTuple):
    """The accuracy of a logistic regression on the test part, and the regularisation that was chosen."""

    accuracy: float
    strength: float


def features(network: nn.Module, inputs: Tensor) -> Tensor:
    """Return what the last layer of ``network`` reads, (N, F)."""
    body = copy.deepcopy(network)
    body._fc = nn.Identity()
    return outputs(body, inputs)


def outputs(network: nn.Module, inputs: Tensor) -> Tensor:
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in inputs.split(BATCH)])


def accuracy(network: nn.Module, part: Part) -> float:
    answers = outputs(network, part.inputs).argmax(dim=1)
    return (answers == part.labels).double().mean().item()


def probe(
    training: Part,
    validation: Part,
    test: Part,
    strengths: tuple[float, ...] = STRENGTHS,
) -> Probe:
    """Fit a logistic regression to standardised features for each regularisation; test the one best in validation."""
    best_share = -1.0
    for strength in strengths:
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=strength, max_iter=2000)
        )
        classifier.fit(_array(training.inputs), training.labels.numpy())
        share = classifier.score(_array(validation.inputs), validation.labels.numpy())
        if share > best_share:
            best_share, best, chosen = share, classifier, strength
    return Probe(best.score(_array(test.inputs), test.labels.numpy()), chosen)


def with_head(network: nn.Module, classes: int, seed: int) -> nn.Module:
    """Return a copy of ``network`` with a new last layer, which is the same for the same seed."""
    changed = copy.deepcopy(network)
    torch.manual_seed(seed)
    changed._fc = nn.Linear(network._fc.in_features, classes)
    for layer in changed.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = MOMENTUM
    return changed


def fine_tune(
    network: nn.Module,
    part: Part,
    evaluate: dict[int, Part],
    *,
    epochs: int,
    rate: float,
    seed: int,
) -> dict[int, float]:
    """Train all weights of ``network`` in place: AdamW with a cosine schedule, half the images mirrored.

    Returns accuracies on the parts of ``evaluate`` by the number of epochs after which they were asked for. ``seed``
    determines order, mirroring and dropout, so that two networks see the same images in the same order.
    """
    torch.manual_seed(seed)
    batches = len(part.inputs) // BATCH
    adam = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, epochs * batches)
    shares = {}
    for epoch in range(1, epochs + 1):
        network.train()
        order = torch.randperm(len(part.inputs))
        for chosen in order[: batches * BATCH].view(batches, BATCH):
            mirrored = torch.rand(BATCH, 1, 1, 1) < 0.5
            images = part.inputs[chosen]
            images = torch.where(mirrored, images.flip(3), images)
            adam.zero_grad()
            answers = network(images.contiguous(memory_format=torch.channels_last))
            cross_entropy(answers, part.labels[chosen]).backward()
            adam.step()
            schedule.step()
        if epoch in evaluate:
            shares[epoch] = accuracy(network, evaluate[epoch])
    return shares


def _array(features: Tensor) -> NDArray[np.float64]:
    return features.numpy().astype(np.float64)
