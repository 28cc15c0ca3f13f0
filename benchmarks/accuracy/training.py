"""Training and testing; the same seed gives the same numbers."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

BATCH = 64


def train(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    rate: float,
    seed: int,
) -> None:
    """Train ``network`` in place: SGD with momentum and a cosine schedule, half the patches mirrored.

    ``seed`` determines order and mirroring, so that two networks see the same patches in the same order.
    """
    draw = torch.Generator().manual_seed(seed)
    batches = len(images) // BATCH
    sgd = torch.optim.SGD(
        network.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, epochs * batches)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(images), generator=draw)
        for chosen in order[: batches * BATCH].view(batches, BATCH):
            mirrored = torch.rand(BATCH, 1, 1, 1, generator=draw) < 0.5
            batch = torch.where(mirrored, images[chosen].flip(3), images[chosen])
            sgd.zero_grad()
            cross_entropy(network(batch), labels[chosen]).backward()
            sgd.step()
            schedule.step()


def logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of ``network`` for ``images``, (N, classes)."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in images.split(BATCH)])


def accuracy(answers: Tensor, labels: Tensor) -> float:
    """Return the share of ``answers`` whose largest logit is that of the label."""
    return (answers.argmax(dim=1) == labels).double().mean().item()
