"""Verify that a torch model reads the image through the folded layer alone.

`trace` shows that a layer reads the image. It does not show that nothing else does: a
skip connection, a mask of empty pixels or a mean of the image may reach the output
too. After the fold, such code would receive the input bands of the folded model
instead.

Two tests look for such readers. One follows the image through the operations of the
original and of the folded model, see `dataflow`; it needs no visible effect on the
outputs. The other compares the outputs of the folded model with the original ones.
"""

from dataclasses import dataclass
from textwrap import shorten
from typing import Any

from ...bands import format_band_count
from ...errors import ChannelError
from ...extras import require_extra
from .dataflow import ImageFlow, follow
from .evaluation import evaluation_copy, iter_tensors, noise_image, run_model
from .trace import CHANNEL_LAYER_ADVICE, ImageLayer, locate_image

with require_extra("torch", "torch"):
    import torch
    from torch import Tensor, nn


@dataclass(frozen=True)
class RecordedRun:
    """One run of a model in which the output of the folded layer was replaced.

    Attributes
    ----------
    inputs : list of Tensor
        The inputs of the layer, one for each call.
    outputs : list of Tensor
        Tensors that the model returned.
    flow : ImageFlow
        What was computed from the image in this run.
    """

    inputs: list[Tensor]
    outputs: list[Tensor]
    flow: ImageFlow


def check_only_reader(
    model: nn.Module, folded: nn.Module, image_layer: ImageLayer, bands: int
) -> None:
    """Check that the folded layer is the only part of the model that reads the image.

    Both models run on different noise from that of the trace, with the output of the
    folded layer replaced by the recorded output of the original layer. If the layer is
    the only reader, nothing that the models return is computed from the image, and the
    outputs equal the recorded ones. Three images x, -x and |x| differ in sign, mean,
    minimum and maximum, so that code that branches on one of these takes its other
    branch.

    Parameters
    ----------
    model : torch.nn.Module
        The original model.
    folded : torch.nn.Module
        The folded model.
    image_layer : ImageLayer
        The layer that was folded, and the run of the original model.
    bands : int
        Number of bands that the folded model reads.

    Raises
    ------
    ChannelError
        If other parts of a model read the image too, or if none of its outputs is
        finite, so that this cannot be verified.
    """
    noise = noise_image(folded, bands, image_layer.size, seed=1)
    images = [noise, -noise, noise.abs()]
    runs = _run_with_recorded_output(folded, image_layer, images)
    for run, image in zip(runs, images, strict=True):
        if not any(locate_image(x, image) is not None for x in run.inputs):
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
    _check_flow(runs, image_layer.name)
    # The original model may take a branch for its number of bands that the folded one
    # does not take.
    original_noise = noise_image(model, image_layer.image.shape[1], image_layer.size)
    original_runs = _run_with_recorded_output(model, image_layer, [original_noise])
    _check_flow(original_runs, image_layer.name)
    for run in runs:
        if not _are_close(run.outputs, image_layer.model_outputs):
            raise ChannelError(_other_readers_message(image_layer.name))


def _check_flow(runs: list[RecordedRun], layer: str) -> None:
    """Raise ChannelError if anything but ``layer`` read the image in ``runs``."""
    for run in runs:
        if any(map(run.flow.contains, run.outputs)):
            raise ChannelError(_other_readers_message(layer))
        if run.flow.leaves_torch:
            raise ChannelError(
                f"other parts of the model besides {layer!r} read the image: values "
                "computed from it become Python numbers, shapes or arrays, as in `if "
                "x.max() > 1` or x.nonzero(), and the bands of a folded model have "
                f"other values. {CHANNEL_LAYER_ADVICE}"
            )
        if any(map(run.flow.is_combined, run.inputs)):
            raise ChannelError(
                f"the input of {layer!r} is the image combined with values computed "
                "from it, such as a mask of zeros. The bands of a folded model have "
                f"other values, so the mask would change. {CHANNEL_LAYER_ADVICE}"
            )


def _other_readers_message(layer: str) -> str:
    """Return the message for a model in which not only ``layer`` reads the image."""
    return (
        f"other parts of the model besides {layer!r} read the image, and folding would "
        "change their input: fold a submodule that reads the image in one place only, "
        "or use a ChannelLayer in front of the model"
    )


def _run_with_recorded_output(
    model: nn.Module, image_layer: ImageLayer, images: list[Tensor]
) -> list[RecordedRun]:
    """Run ``model`` on every image, with the recorded output of the layer."""
    inputs: list[Tensor] = []

    def replace_output(
        _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: Any
    ) -> Tensor:
        x = next(iter_tensors([*args, *kwargs.values()]), None)
        if x is not None:
            inputs.append(x)
        return image_layer.output.clone()  # the next layer may modify it in place

    runs = []
    try:
        with evaluation_copy(model) as copy:
            layer = copy.get_submodule(image_layer.name)
            layer.register_forward_hook(replace_output, with_kwargs=True)
            for image in images:
                inputs = []
                with follow(image) as flow:
                    outputs = run_model(copy, image)
                runs.append(RecordedRun(inputs, outputs, flow))
    except Exception as error:  # a model may raise anything for other bands
        raise ChannelError(
            f"after folding {image_layer.name!r}, the model does not accept "
            f"{format_band_count(images[0].shape[1])}: it raises "
            f"{type(error).__name__}: {shorten(str(error), 200)}. Another part of the "
            f"model probably reads the image. {CHANNEL_LAYER_ADVICE}"
        ) from error
    return runs


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
