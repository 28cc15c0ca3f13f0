"""Targets: what a backbone expects, as presets and from the configurations its libraries ship."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from numpy.typing import DTypeLike

from . import bands as names
from . import layouts, rational
from .engine import element_type
from .errors import ChannelError, RangeError
from .presets import KERAS_MODELS, PRESETS
from .validation import finite, freeze, is_sequence, pair

Stat = float | tuple[float, ...]


@dataclass(frozen=True, init=False)
class Target:
    """What a backbone expects: bands, layout, dtype, and how a unit intensity u is written.

    y = (range[0] + u · (range[1] - range[0]) - mean) / std. ``mean`` and ``std`` are one number for all bands, or one
    per band; `dataclasses.replace` leaves them where they stand, while ``gp.preset(name, bands=...)`` moves them with
    their bands. An integer ``dtype`` rounds half to even, saturates, and turns NaN into 0.
    Raises ChannelError where counts differ, RangeError for std ≤ 0, an empty range or numbers that are not finite.
    """

    bands: tuple[str, ...]
    layout: str
    dtype: str
    range: tuple[float, float]
    mean: Stat
    std: Stat

    def __init__(
        self,
        bands: str | Iterable[str] = "RGB",
        layout: str = "CHW",
        dtype: DTypeLike = "float32",
        *,
        range: Sequence[float] = (0, 1),
        mean: float | Sequence[float] = 0,
        std: float | Sequence[float] = 1,
    ) -> None:
        named = names.parse(bands)
        layout = layouts.parse(layout)
        layouts.check_bands(layout, len(named), f"a target of {names.show(named)}")
        freeze(
            self,
            bands=named,
            layout=layout,
            dtype=element_type(dtype).name,
            range=pair(range, "a target's range"),
            mean=_stat(mean, named, "mean"),
            std=_stat(std, named, "std"),
        )
        if min(_spread(self.std, 1)) <= 0:
            raise RangeError(
                f"std is positive, got {std}: a constant band has no contrast to normalise, use std 1"
            )

    def _affine(self) -> rational.Affine:
        """Return the map from unit intensities to what the backbone expects, in rational numbers."""
        low, high = map(Fraction, self.range)
        mean = [Fraction(m) for m in _spread(self.mean, len(self.bands))]
        std = [Fraction(s) for s in _spread(self.std, len(self.bands))]
        return rational.diagonal(
            [(high - low) / s for s in std],
            [(low - m) / s for m, s in zip(mean, std, strict=True)],
        )

    @classmethod
    def from_timm(cls, cfg: Any) -> Self:
        """Return what a timm model expects; ``cfg`` is its ``pretrained_cfg`` or what ``resolve_data_config`` gives."""
        if hasattr(cfg, "pretrained_cfg"):
            raise ChannelError(
                "expected the configuration, got a model: pass model.pretrained_cfg"
            )
        mean, std = _entry(cfg, "mean", "cfg"), _entry(cfg, "std", "cfg")
        size = _get(cfg, "input_size")
        if size is not None and is_sequence(mean) and len(mean) != size[0]:
            raise ChannelError(
                f"the configuration has {len(mean)} means but an input size of {tuple(size)}: write the statistics of "
                f"your bands, gp.Target(bands, mean=..., std=...)"
            )
        return cls(_rgb(mean), mean=mean, std=std)

    @classmethod
    def from_torchvision(cls, weights: Any) -> Self:
        """Return what torchvision ``weights`` (an enum member), or the transforms it holds, normalise to."""
        if isinstance(weights, type):
            raise ChannelError(
                f"expected weights such as {weights.__name__}.DEFAULT, got the class they belong to"
            )
        transforms = weights.transforms() if hasattr(weights, "transforms") else weights
        mean = _entry(transforms, "mean", "weights.transforms()")
        return cls(
            _rgb(mean), mean=mean, std=_entry(transforms, "std", "weights.transforms()")
        )

    @classmethod
    def from_hf(cls, config: Any) -> Self:
        """Return what a Hugging Face image processor (or its configuration, a mapping) makes of an RGB uint8 image."""
        normalises = _get(
            config, "do_normalize", _get(config, "image_mean") is not None or None
        )
        if normalises is None or (normalises and _get(config, "image_mean") is None):
            raise ChannelError(
                "the configuration has no statistics (do_normalize, image_mean, image_std): take the processor of the "
                "model; where it does not normalise, say do_normalize=False; or write gp.Target(mean=..., std=...)"
            )
        mean = _entry(config, "image_mean", "config") if normalises else 0
        std = _entry(config, "image_std", "config") if normalises else 1
        if _get(config, "include_top", False):
            raise ChannelError(
                "the configuration normalises twice (include_top): write gp.Target(mean=..., std=...) for the model"
            )
        flips = bool(_get(config, "do_flip_channel_order", False))
        if flips and any(
            isinstance(stat, tuple) and len(set(stat)) > 1 for stat in (mean, std)
        ):
            raise ChannelError(
                "the configuration flips the bands and normalises each by itself, in an order it does not say: write "
                "gp.Target('BGR', mean=..., std=...)"
            )
        return cls(
            "BGR" if flips else _rgb(mean), range=_hf_range(config), mean=mean, std=std
        )

    @classmethod
    def from_keras(cls, name: str) -> "Target":
        """Return what ``keras.applications`` model ``name`` ("resnet50", "EfficientNetB0") expects."""
        plain = str(name).lower().replace("_", "")
        for known, models in KERAS_MODELS.items():
            if plain in models.split():
                return preset(known)
        raise ChannelError(
            f"{name!r} is no model of keras.applications known here: use gp.preset('keras-caffe'), ..."
        )


def preset(name: str, **overrides: Any) -> Target:
    """Return the target called ``name``, with fields of `Target` overridden.

    Overriding the bands keeps each statistic with its band: ``gp.preset("imagenet", bands="BGR")``. ChannelError for an
    unknown preset, and for bands that have no statistics in it.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise ChannelError(f"expected a preset out of {sorted(PRESETS)}, got {name!r}")
    values = PRESETS[name]
    left = [key for key in ("mean", "std") if key in values and key not in overrides]
    if "range" in overrides and left:
        raise RangeError(
            f"the {' and '.join(left)} of preset {name!r} belong to its range {values.get('range', (0, 1))}: with "
            f"another range=, give mean= and std= in its units"
        )
    if "bands" in overrides:
        own, wanted = (
            names.parse(values.get("bands", "RGB")),
            names.parse(overrides["bands"]),
        )
        values = {
            key: _carried(name, key, value, own, wanted)
            if key in ("mean", "std") and key not in overrides
            else value
            for key, value in values.items()
        }
    return Target(**{**values, **overrides})


def _carried(
    name: str, key: str, stat: Any, own: tuple[str, ...], wanted: tuple[str, ...]
) -> Any:
    if not isinstance(stat, tuple):
        return stat
    unknown = [band for band in wanted if band not in own]
    if unknown:
        raise ChannelError(
            f"preset {name!r} has a {key} for {names.show(own)}, none for {unknown[0]!r}: give mean= and std= of your "
            f"bands, or map your bands onto {names.show(own)} with via="
        )
    return tuple(stat[own.index(band)] for band in wanted)


def _stat(value: Any, bands: tuple[str, ...], what: str) -> Stat:
    if not is_sequence(value):
        return finite(value, what)
    numbers = tuple(finite(part, what) for part in value)
    if len(numbers) != len(bands):
        raise ChannelError(
            f"{what} holds one number per band of {names.show(bands)} ({len(bands)}) or is a plain number, "
            f"got {len(numbers)}: name the bands that the statistics belong to"
        )
    return numbers


def _spread(stat: Stat, count: int) -> tuple[float, ...]:
    return stat if isinstance(stat, tuple) else (stat,) * count


def _get(config: Any, key: str, default: Any = None) -> Any:
    value = (
        config.get(key) if isinstance(config, Mapping) else getattr(config, key, None)
    )
    return default if value is None else value


def _entry(config: Any, key: str, what: str) -> Any:
    value = _get(config, key)
    if value is None:
        raise ChannelError(
            f"{what} has no {key}, so it does not say what the model expects: where the model normalises its input "
            f"itself, look up the range it takes and write gp.Target(range=...) or gp.preset('unit')"
        )
    return tuple(value) if is_sequence(value) else value


def _rgb(mean: Any) -> str:
    if isinstance(mean, tuple) and len(mean) not in (1, 3):
        raise ChannelError(
            f"{len(mean)} means without band names: write gp.Target((names...), mean=..., std=...)"
        )
    return "gray" if isinstance(mean, tuple) and len(mean) == 1 else "RGB"


def _hf_range(config: Any) -> tuple[float, float]:
    if not _get(config, "do_rescale", True):
        return 0.0, 255.0
    shift = (
        1.0 if _get(config, "offset", _get(config, "rescale_offset", False)) else 0.0
    )
    return 0.0 - shift, 255.0 * finite(
        _get(config, "rescale_factor", 1 / 255), "rescale_factor"
    ) - shift
