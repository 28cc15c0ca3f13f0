"""Verify that a folded torch model reads the image through the folded layer alone.

`trace` shows that a layer reads the image. It does not show that nothing else does: a
skip connection, a mask of empty pixels or a mean of the image may reach the output
too. After the fold such code would get the bands that the folded model is fed with.
"""

from typing import Any

from ...errors import ChannelError
from ...extras import require_extra
from .._shared.plan_choice import format_band_count
from .evaluation import evaluation_copy, iter_tensors, noise_image, run_model
from .trace import ImageLayer, find_inside

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn


def check_only_reader(model: nn.Module, reader: ImageLayer, bands: int) -> None:
    """Check that all that ``model`` takes from an image goes through one layer.

    The folded model runs on other noise than the original one, with the output of the
    folded layer replaced by the recorded output of the original layer. If the layer is
    the only reader, the model cannot know the difference and returns the recorded
    outputs. Three images x, -x and |x| differ in sign, mean, minimum and maximum, so
    that code which branches on one of these takes its other branch.

    Parameters
    ----------
    model : torch.nn.Module
        The folded model.
    reader : ImageLayer
        The layer that was folded, and the run of the original model.
    bands : int
        Number of bands that the folded model reads.

    Raises
    ------
    ChannelError
        If the model reads the image elsewhere too, or if it returns nothing finite
        that would show it.
    """
    noise = noise_image(model, bands, reader.size, seed=1)
    images = [noise, -noise, noise.abs()]
    inputs, outputs = _run_with_recorded_output(model, reader, images)
    for image in images:
        if not any(find_inside(x, image) is not None for x in inputs):
            raise ChannelError(
                f"{reader.name!r} reads the image as it is only for some values, and "
                f"scaled or clamped for others. A folded model is given other values "
                f"than the original one: use a ChannelLayer in front of the model"
            )
    if not any(bool(output.isfinite().any()) for output in reader.model_outputs):
        raise ChannelError(
            "all that the model returns for noise of up to 300 is infinite or NaN, so "
            "nothing shows whether it reads the image elsewhere too: if float16 "
            "overflowed, fold in float32 and convert the folded model"
        )
    for output in outputs:
        if not _are_close(output, reader.model_outputs):
            raise ChannelError(
                f"the model reads the image elsewhere too, not through {reader.name!r} "
                f"alone: folding that layer would change what the rest reads. Fold a "
                f"part of the model that reads it in one place, or use a ChannelLayer"
            )


def _run_with_recorded_output(
    model: nn.Module, reader: ImageLayer, images: list[Tensor]
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """Run ``model`` with the output of the layer replaced by the recorded one.

    Returns the inputs of the layer in all runs, and the outputs of the model by run.
    """
    inputs: list[Tensor] = []

    def replace_output(
        _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any
    ) -> Tensor:
        x = next(iter_tensors([*args, *kwargs.values()]), None)
        if x is not None:
            inputs.append(x)
        return reader.output.clone()  # a layer that works in place may follow

    try:
        with evaluation_copy(model) as copy:
            layer = copy.get_submodule(reader.name)
            layer.register_forward_hook(replace_output, with_kwargs=True)
            outputs = [run_model(copy, image) for image in images]
    except Exception as error:  # a model may raise anything for other bands
        raise ChannelError(
            f"with {reader.name!r} folded the model still does not take "
            f"{format_band_count(images[0].shape[1])}, but raises "
            f"{type(error).__name__}: {error}. Another part of it reads the image"
        ) from error
    return inputs, outputs


def _are_close(actual: list[Tensor], expected: list[Tensor]) -> bool:
    """Return whether two lists of tensors are equal up to rounding."""
    if len(actual) != len(expected):
        return False
    return all(map(_is_close, actual, expected))


def _is_close(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors are equal: floats up to rounding, the rest exactly.

    Infinities and NaN must be at the same places.
    """
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if not (actual.is_floating_point() or actual.is_complex()):
        return torch.equal(actual, expected)
    # The same operations ran on the same numbers: only the order of sums may differ,
    # where a library chooses it at run time. The error of a small element is that of
    # the large ones it is computed from, hence a tolerance relative to the largest.
    tolerance = 1e-4
    finite = expected[expected.isfinite()].abs()
    largest = float(finite.max()) if finite.numel() else 0
    return torch.allclose(
        actual, expected, tolerance, tolerance * largest, equal_nan=True
    )
