"""A small residual network whose stem is that of a ResNet: 7 x 7, stride 2, zero padding, no bias."""

from collections import OrderedDict

from torch import Tensor, nn

CHANNELS = 32


class Block(nn.Module):
    """Two convolutions and what goes past them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _normalised(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        )
        self.second = _normalised(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False))
        self.past = _normalised(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return (self.second(self.first(x).relu()) + self.past(x)).relu()


def network(classes: int) -> nn.Sequential:
    """Return the network with fresh weights; it reads (N, 3, 32, 32), and ``conv1`` is its first layer."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, CHANNELS, 7, stride=2, padding=3, bias=False),
            norm=nn.BatchNorm2d(CHANNELS),
            relu=nn.ReLU(),
            pool=nn.MaxPool2d(3, stride=2, padding=1),
            block1=Block(CHANNELS, CHANNELS, 1),
            block2=Block(CHANNELS, 2 * CHANNELS, 2),
            mean=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            classify=nn.Linear(2 * CHANNELS, classes),
        )
    )


def _normalised(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels))
