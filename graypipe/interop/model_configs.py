"""Derive the keywords of a `Target` from models and from their configurations.

The objects of timm, torchvision, Hugging Face transformers and Keras are duck-typed:
only their attributes are used, and no library is imported.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, NoReturn

from ..errors import ChannelError, DTypeError
from ..messages import closest_name, describe_value, did_you_mean, plain_name
from ..preset_definitions import KERAS_MODELS, KERAS_MODULES, PRESETS
from ..validation import as_finite_float, is_ordered_iterable

# Presence of one of these marks the configuration of an image processor.
HF_KEYS = ("image_mean", "do_normalize", "do_rescale", "image_processor")

# Image processors of transformers 5.24 whose code reverses the bands, which their
# configuration does not state. Names of variants begin with the same letters, such as
# PPLCNetImageProcessorFast.
HF_REORDERING_CLASSES = (
    "LayoutLMv2",
    "PPLCNet",
    "PPOCRV5ServerDet",
    "PPOCRV6SmallRec",
    "UVDoc",
)

# The calls that find the input of a model, by its library
MODEL_CALLS = (
    "gp.Target.from_timm({timm}), "
    "gp.Target.from_torchvision(ResNet50_Weights.DEFAULT), "
    "gp.Target.from_hf(AutoImageProcessor.from_pretrained(...)) or "
    "gp.Target.from_keras({keras!r})"
)
CALLS_FOR_A_MODEL = MODEL_CALLS.format(timm="model", keras="ResNet50")

# What says how the models of a package are normalised, if they do not
CALLS_BY_PACKAGE = {
    "torchvision": "the weights that it was created with, such as "
    "torchvision.models.ResNet50_Weights.DEFAULT",
    "transformers": "the processor that was saved with it, "
    "AutoImageProcessor.from_pretrained(...), or gp.Target(mean=..., std=...)",
}

# Preset of each model of keras.applications, by its plain name
KERAS_MODELS_BY_NAME = {
    model: preset for preset, models in KERAS_MODELS.items() for model in models
}

# Packages that contain the package `applications`
KERAS_PACKAGES = {"keras", "tf_keras"}

Keywords = dict[str, Any]


def unknown_preset_message(name: object) -> str:
    """Return the error message for a value that is not the name of a preset."""
    message = (
        "expected the name of a preset, which gp.presets() lists, such as 'imagenet', "
        f"got {describe_value(name)}"
    )
    if not isinstance(name, str):
        return message
    if name == "gray" or (name.isalpha() and name.isupper() and len(name) <= 4):
        return f"{message}: for values from 0 to 1 write gp.Target({name!r})"
    keras_name = "ResNet50"
    closest = None
    if plain_name(name) in KERAS_MODELS_BY_NAME:
        keras_name = name
    else:
        closest = closest_name(name, PRESETS)
    if closest is None:
        message += ". For"
    else:
        message += f": did you mean {closest!r}?"
        if is_misspelling(name, closest):
            return message
        message += " For"
    calls = MODEL_CALLS.format(timm="timm.create_model(...)", keras=keras_name)
    return (
        f"{message} the name of a model, use {calls}: libraries use the same names "
        "with different statistics"
    )


def is_misspelling(name: str, known: str) -> bool:
    """Return whether ``name`` can only be a misspelling of ``known``.

    A name with a number, such as "inception_v4", may also be the name of a model, and
    so may a part of ``known``, such as "efficientnet".
    """
    plain, plain_known = plain_name(name), plain_name(known)
    if plain == plain_known:
        return True
    return plain not in plain_known and not any(map(str.isdigit, plain))


def keras_preset(model: Any) -> str:
    """Return the name of the preset for a model of ``keras.applications``.

    Parameters
    ----------
    model : str, function or module
        The name of a model, or the function, its module or ``preprocess_input``.

    Raises
    ------
    ChannelError
        If it is unknown.
    """
    found = find_keras_preset(model)
    if found is not None:
        return found
    hint = did_you_mean(model, KERAS_MODELS_BY_NAME)
    raise ChannelError(
        "expected a model of keras.applications such as 'ResNet50' or "
        f"keras.applications.ResNet50, got {describe_value(model)}{hint}: or choose "
        f"the preset that matches its preprocess_input from {sorted(KERAS_MODELS)}, as "
        "in gp.preset('keras-caffe')"
    )


def find_keras_preset(model: Any) -> str | None:
    """Return the name of the preset for a model of Keras, or None if unknown.

    The parameter is that of `keras_preset`.
    """
    if isinstance(model, str):
        return KERAS_MODELS_BY_NAME.get(plain_name(model))
    name = getattr(model, "__name__", None)
    if not isinstance(name, str):
        return None
    if isinstance(model, ModuleType):
        package, _, module_name = name.rpartition(".")
        name = "preprocess_input"  # which every module of a model has
    else:
        module = str(getattr(model, "__module__", ""))
        package, _, module_name = module.rpartition(".")
    *parents, last = package.split(".")
    if last != "applications" or not KERAS_PACKAGES & set(parents):
        return None
    if name != "preprocess_input":
        return KERAS_MODELS_BY_NAME.get(plain_name(name))
    key = plain_name(module_name)
    return KERAS_MODULES.get(key) or KERAS_MODELS_BY_NAME.get(key)


def timm_keywords(cfg: Any) -> Keywords:
    """Return the keywords of the target of a timm model or configuration."""
    if isinstance(cfg, str):
        raise ChannelError(
            f"expected a timm model or its configuration, got {describe_value(cfg)}: "
            f"pass timm.create_model({cfg[:40]!r}), or "
            f"timm.get_pretrained_cfg({cfg[:40]!r})"
        )
    model_bands = _get(cfg, "in_chans")
    cfg = _get(cfg, "pretrained_cfg", cfg)
    _check_normalize_transform(cfg)
    mean = _statistic(cfg, "mean", "cfg")
    std = _statistic(cfg, "std", "cfg")
    if model_bands is not None and is_ordered_iterable(mean):
        _check_model_bands(model_bands, len(mean))
    size = _get(cfg, "input_size")
    if size is not None and is_ordered_iterable(mean) and len(mean) != size[0]:
        raise ChannelError(
            f"the configuration has {len(mean)} means but an input size of "
            f"{tuple(size)}: build the target with gp.Target(bands, mean=..., "
            "std=...)"
        )
    keywords = {"bands": _infer_bands(mean), "mean": mean, "std": std}
    space = _get(cfg, "input_space", "RGB")
    if space == "BGR" and keywords["bands"] == "RGB":
        # The statistics are in the order of the model's input.
        keywords["bands"] = "BGR"
    elif space != "RGB":
        raise ChannelError(
            f"expected input_space to be 'RGB' or 'BGR', got {describe_value(space)} "
            "in the configuration: build the target with gp.Target(bands, mean=..., "
            "std=...)"
        )
    limits = _get(cfg, "input_range", (0, 1))
    limits = tuple(limits) if is_ordered_iterable(limits) else limits
    if limits not in ((0, 1), (0, 255)):
        raise ChannelError(
            f"expected input_range to be [0, 1] or [0, 255], got "
            f"{describe_value(limits)} in the configuration: build the target with "
            "gp.Target(bands, range=..., mean=..., std=...)"
        )
    return {**keywords, "range": limits}


def _check_model_bands(model_bands: Any, count: int) -> None:
    """Raise ChannelError for a timm model made for other bands than its statistics."""
    if model_bands != count:
        raise ChannelError(
            f"the model was made with in_chans={model_bands}, but its configuration "
            f"has mean and std of {count} bands: state them for the bands that it "
            "reads, gp.Target(bands, mean=..., std=...)"
        )


def _check_normalize_transform(transform: Any) -> None:
    """Raise ChannelError for a Normalize of albumentations that says something else.

    By default it divides by 255 first, so that its statistics are on unit intensities.
    """
    divisor = _get(transform, "max_pixel_value", 255)
    kind = _get(transform, "normalization", "standard")
    if divisor != 255 or kind != "standard":
        raise ChannelError(
            "expected a Normalize with max_pixel_value=255 and "
            f"normalization='standard', got {describe_value(divisor)} and "
            f"{describe_value(kind)}: build the target with gp.Target(range=..., "
            "mean=..., std=...), in which range= is what the model expects for black "
            "and white before mean and std"
        )


def torchvision_keywords(weights: Any) -> Keywords:
    """Return the keywords of the target of torchvision weights or transforms."""
    if isinstance(weights, type):
        raise ChannelError(
            f"expected weights such as {weights.__name__}.DEFAULT, got the class "
            f"{weights.__name__}"
        )
    transforms = weights
    if hasattr(weights, "transforms"):
        transforms = weights.transforms()
    mean = _statistic(transforms, "mean", "weights.transforms()")
    std = _statistic(transforms, "std", "weights.transforms()")
    return {"bands": _infer_bands(mean), "mean": mean, "std": std}


def hf_keywords(config: Any) -> Keywords:
    """Return the keywords of the target of a Hugging Face image processor."""
    config = _get(config, "image_processor", config)
    _check_hf_class(config)
    has_mean = _get(config, "image_mean") is not None
    do_normalize = _get(config, "do_normalize")
    if do_normalize is None and has_mean:
        # Some processors leave do_normalize out and do not normalise, and others leave
        # it out and do.
        raise ChannelError(
            "the configuration has image_mean, but does not say whether the processor "
            "uses it: do_normalize is missing. Set it to True or False, or build the "
            "target with gp.Target(mean=..., std=...)"
        )
    if do_normalize is None or (do_normalize and not has_mean):
        raise ChannelError(
            "the configuration has no statistics (do_normalize, image_mean, "
            "image_std). Pass the processor of the model, "
            "AutoImageProcessor.from_pretrained(...). If the model takes "
            "input that is not normalised, set do_normalize=False. Or build the "
            "target with gp.Target(mean=..., std=...)."
        )
    mean: Any = 0
    std: Any = 1
    if do_normalize:
        mean = _statistic(config, "image_mean", "config")
        std = _statistic(config, "image_std", "config")
    if _get(config, "include_top", False):
        # EfficientNetImageProcessor divides by the std a second time.
        raise ChannelError(
            "the configuration normalises twice (include_top): write "
            "gp.Target(mean=..., std=...) for the model"
        )
    reverses_bands = bool(_get(config, "do_flip_channel_order", False))
    if reverses_bands and (_differs_by_band(mean) or _differs_by_band(std)):
        # Some processor classes flip before they normalise, others after it.
        raise ChannelError(
            "the configuration reverses the order of the bands and has statistics "
            "per band, but does not state to which order they refer: write "
            "gp.Target('BGR', mean=..., std=...)"
        )
    bands = "BGR" if reverses_bands else _infer_bands(mean)
    return {"bands": bands, "range": _hf_range(config), "mean": mean, "std": std}


def _check_hf_class(config: Any) -> None:
    """Raise ChannelError if the class of a processor reorders bands on its own."""
    names = [
        type(config).__name__,
        _get(config, "image_processor_type"),
        _get(config, "feature_extractor_type"),
    ]
    for name in names:
        if isinstance(name, str) and name.startswith(HF_REORDERING_CLASSES):
            raise ChannelError(
                f"{name} reverses the order of the bands in its code, which its "
                "configuration does not state: compare with its output, and write "
                "gp.Target('BGR', mean=..., std=...) with statistics in that order"
            )


def is_timm(x: Any) -> bool:
    """Return whether ``x`` is a model or a configuration of timm.

    The transforms of torchvision weights, which have a mean and a std too, are read in
    the same way.
    """
    if _get(x, "pretrained_cfg") is not None:
        return True
    mean, std = _get(x, "mean"), _get(x, "std")
    # Arrays and tensors have methods of these names.
    return mean is not None and std is not None and not callable(mean)


def is_hf(x: Any) -> bool:
    """Return whether ``x`` is a processor or its configuration of Hugging Face."""
    return any(_get(x, key) is not None for key in HF_KEYS)


def is_torchvision(x: Any) -> bool:
    """Return whether ``x`` is torchvision weights, or their class."""
    if isinstance(x, type):
        return hasattr(x, "DEFAULT") and x.__name__.endswith("_Weights")
    return callable(getattr(x, "transforms", None))


def refuse_unknown_model(x: Any) -> NoReturn:
    """Raise the error for an object that does not describe the input of a model."""
    package = type(x).__module__.split(".")[0]
    if package in CALLS_BY_PACKAGE:
        raise ChannelError(
            f"{describe_value(x)} does not say how its input is normalised: pass "
            f"{CALLS_BY_PACKAGE[package]}"
        )
    if isinstance(x, Mapping) or hasattr(x, "state_dict") or hasattr(x, "model_type"):
        raise ChannelError(
            f"{describe_value(x)} does not say how its input is normalised: pass "
            f"{CALLS_FOR_A_MODEL}, or gp.Target(mean=..., "
            "std=...)"
        )
    if package == "keras":
        raise ChannelError(
            "a Keras model does not say how its input is normalised: pass its function "
            "such as keras.applications.ResNet50, or a preset such as "
            "gp.preset('keras-caffe')"
        )
    raise DTypeError(
        "target must be a gp.Target or a preset name such as 'imagenet', or describe "
        f"a model, as in {CALLS_FOR_A_MODEL}, got "
        f"{describe_value(x)}"
    )


def _get(config: Any, key: str, default: Any = None) -> Any:
    """Return a mapping entry or attribute, or ``default`` if it is missing or None."""
    if isinstance(config, Mapping):
        value = config.get(key)
    else:
        value = getattr(config, key, None)
    return default if value is None else value


def _statistic(config: Any, key: str, name: str) -> Any:
    """Return a required statistic of a configuration, with a sequence as a tuple."""
    value = _get(config, key)
    if value is None:
        raise ChannelError(
            f"{name} has no {key}, so the input that the model expects is unknown: for "
            "a model that normalises internally, use gp.Target(range=...) with its "
            "expected input range, or gp.preset('unit')"
        )
    return tuple(value) if is_ordered_iterable(value) else value


def _infer_bands(mean: Any) -> str:
    """Return the bands that ``mean`` implies: RGB for a scalar or 3, gray for 1."""
    if not isinstance(mean, tuple) or len(mean) == 3:
        return "RGB"
    if len(mean) == 1:
        return "gray"
    raise ChannelError(
        f"the configuration has {len(mean)} means but no band names: write "
        'gp.Target(("B02", ...), mean=..., std=...)'
    )


def _differs_by_band(statistic: Any) -> bool:
    """Return whether ``statistic`` has different numbers for different bands."""
    return isinstance(statistic, tuple) and len(set(statistic)) > 1


def _hf_range(config: Any) -> tuple[float, float]:
    """Return black and white after the rescaling of a Hugging Face processor."""
    if not _get(config, "do_rescale", True):
        return 0.0, 255.0
    # `offset` (ViViT) and `rescale_offset` (EfficientNet): subtract 1 after rescaling.
    subtracts_one = _get(config, "offset")
    if subtracts_one is None:
        subtracts_one = _get(config, "rescale_offset", False)
    shift = 0.0
    if subtracts_one:
        shift = 1.0
    factor = as_finite_float(_get(config, "rescale_factor", 1 / 255), "rescale_factor")
    return 0.0 - shift, 255.0 * factor - shift
