"""Checking: that a folded torch model takes all that it takes from an image through the layer that was folded."""

from typing import Any

from ...errors import ChannelError
from ...extras import needs
from .running import evaluated, noise, run, tensors
from .trace import Reading, inside_of

with needs("torch", "torch"):
    import torch
    from torch import Tensor, nn


def check_sole(model: nn.Module, reading: Reading, bands: int) -> None:
    """Raise ChannelError unless ``model`` takes all that it takes from an image through the layer of ``reading``.

    Given noise of ``bands`` bands that layer reads it, and the model returns what it did in ``reading`` as long as the
    layer does: whatever the signs, the mean and the smallest and largest values of that noise are.
    """
    given: list[Tensor | None] = []

    def answer(
        _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], __: Any
    ) -> Tensor:
        given.append(next(tensors([*args, *kwargs.values()]), None))
        return reading.made.clone()  # layers in place may follow

    image = noise(model, bands, reading.size, seed=1)
    images = [image, -image, image.abs()]
    try:
        with evaluated(model) as probe:
            probe.get_submodule(reading.name).register_forward_hook(
                answer, with_kwargs=True
            )
            answers = [run(probe, other) for other in images]
    except Exception as error:
        raise ChannelError(
            f"with {reading.name!r} folded the model still does not take {bands} band{'s' if bands > 1 else ''}, but "
            f"raises {type(error).__name__}: {error}. Another part of it looks at the image"
        ) from error
    if not all(
        any(x is not None and inside_of(x, other) is not None for x in given)
        for other in images
    ):
        raise ChannelError(
            f"{reading.name!r} reads the image as it is for some values of it alone, scaled or clamped else. A folded "
            f"model is given other values: use a ChannelLayer in front of the model"
        )
    if not any(bool(held.isfinite().any()) for held in reading.returned):
        raise ChannelError(
            "all that the model returns for noise of up to 300 is infinite or NaN, so nothing shows whether it reads "
            "the image elsewhere too: where float16 overflowed, fold in float32 and convert the folded model"
        )
    if not all(_close(returned, reading.returned) for returned in answers):
        raise ChannelError(
            f"the model reads the image elsewhere too, not through {reading.name!r} alone: folding that layer would "
            f"change what the rest sees. Fold a part of the model that reads it in one place, or use a ChannelLayer"
        )


def _close(found: list[Tensor], expected: list[Tensor]) -> bool:
    return len(found) == len(expected) and all(map(_equal, found, expected))


def _equal(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are equal: floats up to rounding, infinities and NaN where the other has them."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if not (found.is_floating_point() or found.is_complex()):
        return torch.equal(found, expected)
    finite = expected[expected.isfinite()].abs()
    return torch.allclose(
        found,
        expected,
        1e-4,
        1e-4 * float(finite.max()) if finite.numel() else 0,
        equal_nan=True,
    )
