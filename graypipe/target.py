"""Targets: the bands, layout, dtype and normalisation that a backbone expects."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Self

from numpy.typing import DTypeLike

from . import layouts, rational
from .bands import format_bands, parse_bands
from .engine import supported_dtype
from .errors import ChannelError, RangeError
from .messages import describe_value, did_you_mean
from .preset_definitions import PRESETS
from .validation import as_finite_float, as_pair, is_ordered_iterable, set_fields

Statistic = float | tuple[float, ...]


@dataclass(frozen=True, init=False)
class Target:
    """Description of the input that a backbone expects.

    A unit intensity u (0 is black, 1 is white) is mapped to
    ``(range[0] + u * (range[1] - range[0]) - mean) / std``.

    Instances are immutable, hashable and picklable. Use `preset` for common backbones.

    Parameters
    ----------
    bands : str or sequence of str, default "RGB"
        ``"gray"``, a string of distinct capital letters, or a sequence of names.
    layout : str, default "CHW"
        Axes of one image: a string of the letters N, T, D, H, W and C.
    dtype : dtype_like, default "float32"
        An integer dtype rounds half to even, saturates, and turns NaN into 0.
    range : pair of float, default (0, 1)
        Values of black and white before normalisation.
    mean, std : float or sequence of float, default 0 and 1
        In the units of ``range``: one number for all bands, or one per band.

    Raises
    ------
    ChannelError
        If the number of means or standard deviations differs from the number of bands.
    RangeError
        If ``std`` is not positive, black and white of ``range`` are equal, or a number
        is not finite.
    LayoutError, DTypeError
        If ``layout`` or ``dtype`` is invalid.

    Notes
    -----
    ``dataclasses.replace(target, bands=...)`` does not reorder the means and standard
    deviations; ``gp.preset(name, bands=...)`` does, so that each one stays with its
    band.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.Target("RGB", range=(0, 255), mean=(123.7, 116.3, 103.5), std=58).layout
    'CHW'
    """

    bands: tuple[str, ...]
    layout: str
    dtype: str
    range: tuple[float, float]
    mean: Statistic
    std: Statistic

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
        band_names = parse_bands(bands)
        layout = layouts.parse(layout)
        layouts.check_band_axis(
            layout, len(band_names), f"a target of {format_bands(band_names)}"
        )
        set_fields(
            self,
            bands=band_names,
            layout=layout,
            dtype=supported_dtype(dtype).name,
            range=as_pair(range, "the range of a target"),
            mean=_validate_statistic(mean, band_names, "mean"),
            std=_validate_statistic(std, band_names, "std"),
        )
        if min(_per_band(self.std, 1)) <= 0:
            raise RangeError(
                f"expected std to be positive, got {std}: use std=1 for a band that is "
                "constant"
            )

    @classmethod
    def from_timm(cls, cfg: Any) -> Self:
        """Build the target of a timm model.

        Parameters
        ----------
        cfg : model, mapping or object
            A model, its ``pretrained_cfg``, or the result of
            ``timm.data.resolve_data_config``. The keys ``mean``, ``std``,
            ``input_size``, ``input_space`` and ``input_range`` are used.

        Returns
        -------
        Target
            Bands are RGB, BGR if ``input_space`` says so, or gray if the mean is a
            sequence of length 1; float32 in CHW.

        Raises
        ------
        ChannelError
            If ``cfg`` has no statistics, contradicts itself, or is a model made
            with ``in_chans=`` for another number of bands.

        Examples
        --------
        >>> import graypipe as gp
        >>> cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
        >>> gp.Target.from_timm(cfg).mean
        (0.5, 0.5, 0.5)
        """
        from .interop.model_configs import timm_keywords

        return cls(**timm_keywords(cfg))

    @classmethod
    def from_torchvision(cls, weights: Any) -> Self:
        """Build the target of torchvision weights.

        Parameters
        ----------
        weights : torchvision.models.WeightsEnum or transform
            An enum member such as ``ResNet50_Weights.DEFAULT``, or its transforms.

        Returns
        -------
        Target
            Bands are RGB, or gray if the mean is a sequence of length 1; float32 in
            CHW.

        Raises
        ------
        ChannelError
            If ``weights`` is an enum class, or has no statistics.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> import graypipe as gp
        >>> transforms = SimpleNamespace(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])
        >>> gp.Target.from_torchvision(transforms).std
        (0.5, 0.5, 0.5)
        """
        from .interop.model_configs import torchvision_keywords

        return cls(**torchvision_keywords(weights))

    @classmethod
    def from_hf(cls, config: Any) -> Self:
        """Build the target of a Hugging Face image processor.

        Parameters
        ----------
        config : image processor or mapping
            The processor, or its configuration as a dict. The keys ``do_rescale``,
            ``rescale_factor``, ``offset``, ``do_normalize``, ``image_mean``,
            ``image_std`` and ``do_flip_channel_order`` are used.

        Returns
        -------
        Target
            What the processor produces from an RGB uint8 image, float32 in CHW.

        Raises
        ------
        ChannelError
            If the configuration has no statistics, does not say whether it normalises,
            normalises twice, or reverses the order of bands whose statistics differ;
            or if the processor is of a class that reverses bands without stating it.

        Examples
        --------
        >>> import graypipe as gp
        >>> config = {"do_normalize": True, "image_mean": 0.5, "image_std": 0.5}
        >>> gp.Target.from_hf(config).range
        (0.0, 1.0)
        """
        from .interop.model_configs import hf_keywords

        return cls(**hf_keywords(config))

    @classmethod
    def from_keras(cls, name: Any) -> "Target":
        """Return the target of a model of ``keras.applications``.

        Parameters
        ----------
        name : str, function or module
            Name of the model, such as ``"ResNet50"`` or ``"efficientnet_b0"`` (case and
            underscores are ignored), or ``keras.applications.ResNet50`` itself, its
            module, or the ``preprocess_input`` of that module.

        Returns
        -------
        Target
            The preset that corresponds to the ``preprocess_input`` of the model.

        Raises
        ------
        ChannelError
            If the model is unknown.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.Target.from_keras("ResNet50") == gp.preset("keras-caffe")
        True
        """
        from .interop.model_configs import keras_preset

        return preset(keras_preset(name))

    @classmethod
    def of(cls, x: Any) -> "Target":
        """Return the target that ``x`` describes.

        `plan` accepts the same objects. They are used through their attributes; no
        library is imported.

        Parameters
        ----------
        x : object
            A target, the name of a `preset`, a function or module of
            ``keras.applications``, a timm model or configuration, torchvision weights,
            or a Hugging Face image processor or its configuration.

        Returns
        -------
        Target

        Raises
        ------
        ChannelError
            If ``x`` is a string but not the name of a preset, or if it does not say
            how the input is normalised. The name of a model alone is ambiguous:
            libraries use the same names for models with different statistics.
        DTypeError
            If ``x`` is none of these objects.

        Examples
        --------
        >>> import graypipe as gp
        >>> gp.Target.of("imagenet") == gp.preset("imagenet")
        True
        >>> gp.Target.of({"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}).std
        (0.5, 0.5, 0.5)
        """
        if isinstance(x, Target):
            return x
        if isinstance(x, str):
            return preset(x)
        from .interop import model_configs

        keras_name = model_configs.find_keras_preset(x)
        if keras_name is not None:
            return preset(keras_name)
        if model_configs.is_torchvision(x):
            return cls.from_torchvision(x)
        if model_configs.is_hf(x):
            return cls.from_hf(x)
        if model_configs.is_timm(x):
            return cls.from_timm(x)
        return model_configs.refuse_unknown_model(x)

    def _mean_intensities(self) -> tuple[Fraction, ...]:
        """Return the unit intensity of every band that becomes exactly 0.0."""
        affine = self._affine()
        levels = []
        for index, constant in enumerate(affine.offset):
            levels.append(-constant / affine.rows[index][index])
        return tuple(levels)

    def _affine(self) -> rational.Affine:
        """Return the exact map from unit intensities to target values."""
        black, white = map(Fraction, self.range)
        count = len(self.bands)
        factors = []
        offset = []
        for mean, std in zip(
            _per_band(self.mean, count), _per_band(self.std, count), strict=True
        ):
            factors.append((white - black) / Fraction(std))
            offset.append((black - Fraction(mean)) / Fraction(std))
        return rational.diagonal(factors, offset)


def preset(name: str, **overrides: Any) -> Target:
    """Return a named target.

    Parameters
    ----------
    name : str
        One of `presets`, such as ``"imagenet"`` (torchvision and timm),
        ``"keras-caffe"``, ``"openai-clip"``, ``"prithvi-eo-2"``, ``"unit"`` (0 to 1) or
        ``"rgb8"`` (uint8 in HWC).
    **overrides
        Fields of `Target` to replace. With ``bands``, each mean and standard deviation
        stays with its band.

    Returns
    -------
    Target

    Raises
    ------
    ChannelError
        If the preset is unknown, or has no statistics for one of the bands.
    RangeError
        If ``range`` is given without the ``mean`` and ``std`` that depend on it.

    Examples
    --------
    >>> import graypipe as gp
    >>> gp.preset("imagenet", bands="BGR").mean
    (0.406, 0.456, 0.485)
    """
    if not isinstance(name, str) or name not in PRESETS:
        from .interop.model_configs import unknown_preset_message

        raise ChannelError(unknown_preset_message(name))
    arguments = dict(PRESETS[name])
    kept_statistics = [
        key for key in ("mean", "std") if key in arguments and key not in overrides
    ]
    if "range" in overrides and kept_statistics:
        raise RangeError(
            f"the {' and '.join(kept_statistics)} of preset {name!r} refer to its "
            f"range {arguments.get('range', (0, 1))}: with range=, also pass mean= and "
            "std= on the new scale"
        )
    if "bands" in overrides:
        preset_bands = parse_bands(arguments.get("bands", "RGB"))
        bands = parse_bands(overrides["bands"])
        for key in kept_statistics:
            arguments[key] = _reorder(name, key, arguments[key], preset_bands, bands)
    return Target(**{**arguments, **overrides})


def presets() -> tuple[str, ...]:
    """Return the names that `preset` takes, sorted.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> import graypipe as gp
    >>> [name for name in gp.presets() if name.startswith("prithvi")]
    ['prithvi-eo-1', 'prithvi-eo-2']
    """
    return tuple(sorted(PRESETS))


def _reorder(
    name: str,
    key: str,
    statistic: Any,
    preset_bands: tuple[str, ...],
    bands: tuple[str, ...],
) -> Any:
    """Return a statistic of a preset in the order of ``bands``."""
    if not isinstance(statistic, tuple):
        return statistic
    unknown = [band for band in bands if band not in preset_bands]
    if unknown:
        raise ChannelError(
            f"preset {name!r} has a {key} for {format_bands(preset_bands)}, but none "
            f"for {unknown[0]!r}{did_you_mean(unknown[0], preset_bands)}: pass mean= "
            "and std= for your bands, or map your "
            f"bands to {format_bands(preset_bands)} with via="
        )
    return tuple(statistic[preset_bands.index(band)] for band in bands)


def _validate_statistic(value: Any, bands: tuple[str, ...], name: str) -> Statistic:
    """Return a mean or std as one number, or as one number per band."""
    if isinstance(value, Set | Mapping):
        raise RangeError(
            f"expected {name} to be a number, or a sequence with one number per band, "
            f"got {describe_value(value)}"
        )
    if not is_ordered_iterable(value):
        return as_finite_float(value, name)
    numbers = tuple(as_finite_float(number, name) for number in value)
    if len(numbers) != len(bands):
        raise ChannelError(
            f"expected {name} to be a number, or one number per band of "
            f"{format_bands(bands)} ({len(bands)}), got {len(numbers)} numbers: pass "
            "the bands that they describe"
        )
    return numbers


def _per_band(statistic: Statistic, count: int) -> tuple[float, ...]:
    """Return one number per band."""
    if isinstance(statistic, tuple):
        return statistic
    return (statistic,) * count
