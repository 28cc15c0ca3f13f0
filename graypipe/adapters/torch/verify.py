"""Verify that a folded torch model reads the image through the folded layer alone.

`trace` shows that a layer reads the image. It does not show that nothing else does: a
skip connection, a mask of empty pixels or a mean of the image may reach the output
too. After the fold, such code would receive the input bands of the folded model
instead.
"""

from typing import Any

from ...errors import ChannelError
from ...extras import require_extra
from .._shared.plan_choice import format_band_count
from .evaluation import evaluation_copy, iter_tensors, noise_image, run_model
from .trace import CHANNEL_LAYER_ADVICE, ImageLayer, locate_image

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn


def check_only_reader(model: nn.Module, image_layer: ImageLayer, bands: int) -> None:
    """Check that the folded layer is the only part of ``model`` that reads the image.

    The folded model runs on different noise from the original one, with the output of
    the folded layer replaced by the recorded output of the original layer. If the layer
    is the only reader, the outputs of the model do not depend on the image and equal
    the recorded ones. Three images x, -x and |x| differ in sign, mean, minimum and
    maximum, so that code that branches on one of these takes its other branch.

    Parameters
    ----------
    model : torch.nn.Module
        The folded model.
    image_layer : ImageLayer
        The layer that was folded, and the run of the original model.
    bands : int
        Number of bands that the folded model reads.

    Raises
    ------
    ChannelError
        If other parts of the model read the image too, or if none of its outputs is
        finite, so that this cannot be verified.
    """
    noise = noise_image(model, bands, image_layer.size, seed=1)
    images = [noise, -noise, noise.abs()]
    inputs, outputs = _run_with_recorded_output(model, image_layer, images)
    for image in images:
        if not any(locate_image(x, image) is not None for x in inputs):
            raise ChannelError(
                f"the input of {image_layer.name!r} is the unmodified image for some "
                "values only; for others the image is scaled or clamped. The values "
                "that a folded model receives differ, so it cannot be folded. "
                f"{CHANNEL_LAYER_ADVICE}"
            )
    if not any(bool(output.isfinite().any()) for output in image_layer.model_outputs):
        raise ChannelError(
            "all outputs of the model for noise of magnitude up to 300 are infinite or "
            "NaN, so it cannot be verified that only one layer reads the image: if "
            "float16 overflowed, fold in float32 and convert the folded model"
        )
    for output in outputs:
        if not _are_close(output, image_layer.model_outputs):
            raise ChannelError(
                f"other parts of the model besides {image_layer.name!r} read the "
                "image, and folding would change their input: fold a submodule that "
                "reads the image in one place only, or use a ChannelLayer in front of "
                "the model"
            )


def _run_with_recorded_output(
    model: nn.Module, image_layer: ImageLayer, images: list[Tensor]
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
        return image_layer.output.clone()  # the next layer may modify it in place

    try:
        with evaluation_copy(model) as copy:
            layer = copy.get_submodule(image_layer.name)
            layer.register_forward_hook(replace_output, with_kwargs=True)
            outputs = [run_model(copy, image) for image in images]
    except Exception as error:  # a model may raise anything for other bands
        raise ChannelError(
            f"after folding {image_layer.name!r}, the model does not accept "
            f"{format_band_count(images[0].shape[1])}: it raises "
            f"{type(error).__name__}: {error}. Another part of the model probably "
            f"reads the image. {CHANNEL_LAYER_ADVICE}"
        ) from error
    return inputs, outputs


def _are_close(actual: list[Tensor], expected: list[Tensor]) -> bool:
    """Return whether two lists of tensors are equal up to rounding."""
    if len(actual) != len(expected):
        return False
    return all(map(_is_close, actual, expected))


def _is_close(actual: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors are equal.

    Floating-point and complex values may differ by rounding, all others must be equal.
    Infinities and NaN must be at the same positions.
    """
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    if not (actual.is_floating_point() or actual.is_complex()):
        return torch.equal(actual, expected)
    # Both runs apply the same operations to the same numbers; only the order of
    # summation, which a library may choose at run time, can differ. A small element can
    # inherit the rounding error of large intermediate values, so the tolerance is
    # relative to the largest element.
    tolerance = 1e-4
    largest = 0.0
    finite = expected[expected.isfinite()].abs()
    if finite.numel():
        largest = float(finite.max())
    return torch.allclose(
        actual, expected, tolerance, tolerance * largest, equal_nan=True
    )
