"""Parse the value of ``--target``.

    imagenet                               the name of a preset
    keras:ResNet50                         a model of keras.applications
    timm:resnet50.a1_in1k                  a model of timm
    torchvision:ResNet50_Weights.DEFAULT   weights of torchvision
    hf:google/vit-base-patch16-224         an image processor of Hugging Face
    plan.json                              the target of a plan, the fields of a target,
                                           or the configuration of a model

The library before the colon is imported for its configuration; no weights are loaded.
"""

import json
from argparse import ArgumentTypeError
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import Plan, Target, preset, presets
from ..errors import GraypipeError, MissingExtraError
from ..extras import require_extra
from ..messages import closest_name, describe_value, did_you_mean
from ..serialization import from_record

# Most characters of an error of another library that are quoted
MAX_DETAIL_LENGTH = 200


def parse_target(text: str) -> Target:
    """Return the target that ``text`` names.

    Raises
    ------
    ArgumentTypeError
        If there is none. The message names the closest one.
    """
    library, colon, name = text.partition(":")
    try:
        if colon and library in FINDERS:
            found: Target = FINDERS[library](name)
            return found
        if text.lower().endswith(".json"):
            return _read_target(text)
        if text in presets():
            return preset(text)
    except GraypipeError as error:
        raise ArgumentTypeError(str(error)) from None
    raise ArgumentTypeError(
        f"expected a preset such as imagenet, got {describe_value(text)}"
        f"{_suggestion(text)}: for a model write timm:NAME, torchvision:WEIGHTS, "
        "keras:NAME or hf:NAME, because libraries use the same names with different "
        "statistics; or name a .json file with a plan or a target"
    )


def _suggestion(text: str) -> str:
    """Return the closest preset or library as a question, or nothing."""
    library, colon, name = text.partition(":")
    if colon:
        closest = closest_name(library, FINDERS)
        return f" (did you mean '{closest}:{name}'?)" if closest else ""
    return did_you_mean(text, presets())


def _read_target(path: str) -> Target:
    """Return the target in a JSON file of a plan, a target or a model."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        record = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ArgumentTypeError(
            f"{path}: expected a JSON file with a plan or a target: {error}"
        ) from None
    try:
        if isinstance(record, dict) and {"source", "target"} <= record.keys():
            return Plan.from_json(text).target
        names = {field.name for field in fields(Target)}
        if isinstance(record, dict) and record and record.keys() <= names:
            target: Target = from_record(Target, record)
            return target
        return Target.of(record)
    except (GraypipeError, TypeError) as error:
        raise ArgumentTypeError(f"{path}: {error}") from None


def _find_timm(name: str) -> Target:
    """Return the target of the model of timm with this name."""
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise MissingExtraError("timm is not installed: pip install timm") from None
    known = timm.list_models(pretrained=True)
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError:  # an unknown tag after the point
        config = None
    if config is None:
        raise _unknown_name("a model of timm", "timm", name, known)
    return Target.from_timm(config)


def _find_torchvision(name: str) -> Target:
    """Return the target of the torchvision weights with this name."""
    with require_extra("torch", "torch", "torchvision"):
        from torchvision import models
    classes = [name for name in dir(models) if name.endswith("_Weights")]
    known = [f"{each}.DEFAULT" for each in classes]
    try:
        weights = models.get_weight(name)
    except (AttributeError, KeyError, ValueError):
        weights = None
    if weights is None:
        raise _unknown_name("weights of torchvision", "torchvision", name, known)
    return Target.from_torchvision(weights)


def _find_hf(name: str) -> Target:
    """Return the target of the image processor in a folder or on the hub."""
    with require_extra("transformers", "transformers"):
        from transformers import AutoImageProcessor
    try:
        loader: Any = AutoImageProcessor  # its methods have no annotations
        processor = loader.from_pretrained(name)
    except (OSError, ValueError) as error:
        detail = " ".join(str(error).split())[:MAX_DETAIL_LENGTH]
        raise ArgumentTypeError(
            f"no image processor can be loaded from {name!r}: expected a model of the "
            "Hugging Face hub, or a folder with preprocessor_config.json such as "
            f"hf:path/to/model ({detail})"
        ) from None
    return Target.from_hf(processor)


def _unknown_name(
    expected: str, library: str, name: str, known: list[str]
) -> ArgumentTypeError:
    """Return the error for a name that a library does not know."""
    prefix = name.lower()
    longer = [each for each in known if each.lower().startswith(prefix)]
    closest = closest_name(name, known) or min(longer, default=None)
    advice = ""
    if closest is not None:
        advice = f": did you mean {library}:{closest}?"
    return ArgumentTypeError(f"expected {expected}, got {describe_value(name)}{advice}")


# By the name before the colon
FINDERS: dict[str, Callable[[str], Any]] = {
    "keras": Target.from_keras,
    "timm": _find_timm,
    "torchvision": _find_torchvision,
    "hf": _find_hf,
}
