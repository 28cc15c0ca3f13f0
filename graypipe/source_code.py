"""Write plans as the Python code that builds them."""

from dataclasses import fields
from typing import TYPE_CHECKING

from .channel_map import ChannelMap, default_map
from .preset_definitions import PRESETS
from .source import Source
from .target import Target, preset

if TYPE_CHECKING:
    from .plan import Plan


def code_of(plan: "Plan") -> str:
    """Return an expression that builds a plan, with graypipe imported as ``gp``.

    Parameters
    ----------
    plan : Plan
        The plan.

    Returns
    -------
    str
        For example ``gp.plan(gp.Source('gray', bits=12), 'imagenet')``. Evaluating it
        gives an equal plan.
    """
    arguments = [_code_of_source(plan.source), _code_of_target(plan.target)]
    if plan.via != default_map(plan.source.bands, plan.target.bands):
        arguments.append(f"via={_code_of_map(plan.via, plan.target)}")
    return f"gp.plan({', '.join(arguments)})"


def _code_of_bands(bands: tuple[str, ...]) -> str:
    """Return bands as an argument of `Source` or `Target`."""
    is_text = bands == ("gray",) or all(
        len(band) == 1 and band.isascii() and band.isupper() for band in bands
    )
    return repr("".join(bands)) if is_text else repr(bands)


def _code_of_source(source: Source) -> str:
    """Return the bands if everything else is the default, or else the source."""
    if source.sensor is not None:
        if source == Source.from_sensor(source.sensor):
            return f"gp.Source.from_sensor({source.sensor!r})"
        if source == Source.from_sensor(source.sensor, source.bands):
            return f"gp.Source.from_sensor({source.sensor!r}, {source.bands!r})"
    bands = _code_of_bands(source.bands)
    arguments = _other_arguments(source, Source(source.bands))
    return f"gp.Source({bands}{arguments})" if arguments else bands


def _code_of_target(target: Target) -> str:
    """Return the name of a preset, or else the target."""
    # In the order of their definitions, the commonest come first.
    for name in PRESETS:
        if preset(name) == target:
            return repr(name)
    arguments = _other_arguments(target, Target(target.bands))
    return f"gp.Target({_code_of_bands(target.bands)}{arguments})"


def _other_arguments(value: Source | Target, default: Source | Target) -> str:
    """Return the fields that differ from those of ``default``, as keywords."""
    arguments = ""
    for field in fields(value):
        content = getattr(value, field.name)
        if content != getattr(default, field.name):
            arguments += f", {field.name}={content!r}"
    # The name nan is not defined in a new session.
    return arguments.replace("nan", "float('nan')")


def _code_of_map(channel_map: ChannelMap, target: Target) -> str:
    """Return a map as a mapping, or as a `ChannelMap` if it has other offsets."""
    levels = target._mean_intensities()
    weights: dict[str, str | dict[str, float] | None] = {}
    for index, output in enumerate(channel_map.outputs):
        row = channel_map.matrix[index]
        terms = {
            band: weight
            for band, weight in zip(channel_map.inputs, row, strict=True)
            if weight
        }
        offset = channel_map.offset[index]
        if not terms and offset == float(levels[index]):
            weights[output] = None  # a missing band
        elif offset or not terms:
            return f"gp.{channel_map!r}"
        elif list(terms.values()) == [1]:
            weights[output] = next(iter(terms))
        else:
            weights[output] = terms
    return repr(weights)
