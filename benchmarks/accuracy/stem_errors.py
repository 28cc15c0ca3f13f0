"""The error of a first layer on one band relative to the first layer on three."""

from torch import Tensor, from_numpy
from torch.nn.functional import conv2d

from .data import Images
from .variants import COLOUR, THREE_BANDS, Kernel, Stem, fed, stems


def stem_errors(kernel: Kernel, patches: Images) -> dict[str, dict[str, float]]:
    """Return the relative L2 distance from gray as three bands, by way and by place.

    ``kernel`` is (O, 3, 7, 7), strided by 2. ``padded`` is over all outputs of a stem that pads with zeros, ``inside``
    over those of them whose window lies in the image, ``unpadded`` over all outputs of a stem that does not pad.
    """
    outputs = {
        name: _outputs(stem, patches)
        for name, stem in stems(kernel).items()
        if name != COLOUR
    }
    right = outputs.pop(THREE_BANDS)
    return {
        name: {place: _distance(found[place], right[place]) for place in right}
        for name, found in outputs.items()
    }


def _outputs(stem: Stem, patches: Images) -> dict[str, Tensor]:
    x, kernel = fed(stem.plan, patches), from_numpy(stem.kernel)
    bias = None if stem.bias is None else from_numpy(stem.bias)
    padded = conv2d(x, kernel, bias, stride=2, padding=3)
    return {
        "padded": padded,
        "inside": padded[..., 2:-1, 2:-1],
        "unpadded": conv2d(x, kernel, bias, stride=2),
    }


def _distance(found: Tensor, right: Tensor) -> float:
    return ((found.double() - right.double()).norm() / right.double().norm()).item()
