"""Parse the values of the options that describe a plan and an image.

    --source   gray                      one band
               RGBY                      capitals: one band per letter
               B02,B03,B04               band names separated by commas
               NIR,                      a single band named NIR (trailing comma)
               gray:12                   values of 12 bits
               gray:-160..240            black and white in stored values
               gray:-160..240:clip       clip the values to this range
               gray:16:nodata=0          0 marks missing pixels
               R,G,B,depth:16:nodata=none,none,none,0  one value per band
               gray:layout=CHW           the layout of .npy files
               gray:dtype=uint16         reject files of other dtypes
               naip                      the bands, range and nodata of a sensor
               naip:bands=red,green      some of its bands, by any of their names
    --target   imagenet                  see `target_syntax`
    --via      R=B04,G=B03,B=B02         output=input
               R=0.5*R+0.5*Y,G=G,B=B     output=weighted sum of inputs
               R=,G=gray,B=gray          R is missing: the mean of the target
    --shape    480x640
    --dtype    uint16

Every parser raises ArgumentTypeError with a one-line message if the text is invalid.
"""

import re
import sys
from argparse import Action, ArgumentParser, ArgumentTypeError, Namespace
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .. import Plan, Source, Target, plan, sensor, sensors
from ..bands import format_bands, parse_bands_and_bits
from ..channel_map import MOST_SHOWN, default_map, known_origins
from ..engine import supported_dtype
from ..errors import ChannelError, GraypipeError
from ..messages import describe_value
from .target_syntax import parse_target

NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
NODATA = f"(?:{NUMBER}|nan)"
NODATA_PER_BAND = f"(?:{NODATA}|none)(?:,(?:{NODATA}|none))+"
BAND_NAME = r"[^\s:,=*+]+"

# "12" or "-160..240"
BITS_OR_RANGE = re.compile(rf"(?P<bits>\d+)|(?P<black>{NUMBER})\.\.(?P<white>{NUMBER})")

# "0.5*R+" or "Y" at the end; a plus sign must be followed by another term.
TERM = re.compile(
    rf"\s*(?:(?P<weight>{NUMBER})\s*\*\s*)?(?P<band>{BAND_NAME})\s*(?:\+(?!$)|$)"
)

# A channel map as `graypipe.plan` takes it
Via = dict[str, str | dict[str, float] | None]

# In bytes; no dtype has larger elements.
MAX_ITEM_SIZE = 16


class StoreOnce(Action):
    """Store the value of an option, which must not be repeated."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        value: Any,
        option: str | None = None,
    ) -> None:
        """Store the value, or exit with an error if there is one already."""
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option} is given twice: this command takes one")
        setattr(namespace, self.dest, value)


class StoreVia(Action):
    """Store a channel map for the source before it, or else for the first source."""

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        value: Any,
        option: str | None = None,
    ) -> None:
        """Store the map by the position of its source, or exit if there is one."""
        position = max(len(namespace.source or ()), 1) - 1
        maps = dict(getattr(namespace, self.dest) or {})
        if position in maps:
            parser.error(f"{option} is given twice for one --source")
        maps[position] = value
        setattr(namespace, self.dest, maps)


def add_source_option(
    parser: ArgumentParser, required: bool, *, several: bool = False
) -> None:
    """Declare ``--source``, which may be repeated if ``several`` is true."""
    repetition = ""
    if several:
        repetition = (
            "; may be repeated, and each image selects the source with its bands and "
            "dtype"
        )
    parser.add_argument(
        "--source",
        type=parse_source,
        action="append" if several else StoreOnce,
        required=required,
        help="the bands of the images, or a sensor, and, separated by colons, their "
        "bits or black..white, clip, nodata=, layout= (of .npy files) and dtype=; RGBY "
        "is one band per capital letter and NIR, (trailing comma) is a single band; "
        "for example gray:12, RGBY:16:nodata=0, B02,B03,B04:1000..11000 or "
        "sentinel-2-l2a:bands=red,green,blue" + repetition,
    )


def add_plan_options(
    parser: ArgumentParser, required: bool, *, several: bool = False
) -> None:
    """Declare ``--source``, ``--target`` and ``--via``.

    If ``several`` is true, ``--source`` may be repeated, and each ``--via`` belongs to
    the source before it. Their values are then a list, and a dict by the position of
    the source in that list.
    """
    add_source_option(parser, required, several=several)
    parser.add_argument(
        "--target",
        type=parse_target,
        action=StoreOnce,
        required=required,
        help="what to convert to: a preset, a model as timm:, torchvision:, keras: or "
        "hf: and its name, or a .json file with a plan or a target; for example "
        "imagenet, rgb8 or timm:resnet50.a1_in1k",
    )
    parser.add_argument(
        "--via",
        type=parse_via,
        action=StoreVia if several else StoreOnce,
        help="the input band or weighted sum for each output band, and nothing for a "
        "band that is missing, for example R=B04,G=B03,B=B02, R=0.5*R+0.5*Y,G=G,B=B or "
        "R=,G=gray,B=gray",
    )


def parse_source(text: str) -> Source:
    """Return the source that ``text`` declares, such as "gray:16:nodata=0"."""
    band_text, *parts = text.split(":")
    declared: dict[str, Any] = {}
    for part in parts:
        name, value = _parse_source_part(part.strip())
        if name in declared:
            raise ArgumentTypeError(f"{name} is given twice in {text!r}")
        declared[name] = value
    if "bits" in declared and "range" in declared:
        raise ArgumentTypeError(
            f"expected either bits or black..white, got both in {text!r}"
        )
    try:
        if band_text in sensors():
            return Source.from_sensor(band_text, **declared)
        if "bands" in declared:
            raise ArgumentTypeError(
                f"bands= selects bands of a sensor, got {describe_value(band_text)}: "
                "name the bands before the first colon"
            )
        return Source(parse_bands(band_text), **declared)
    except GraypipeError as error:
        raise ArgumentTypeError(str(error)) from None


def _parse_source_part(part: str) -> tuple[str, Any]:
    """Return the name and the value of the `Source` argument given by ``part``."""
    if part == "clip":
        return "clip", True
    bits_or_range = BITS_OR_RANGE.fullmatch(part)
    if bits_or_range and bits_or_range["bits"]:
        return "bits", int(bits_or_range["bits"])
    if bits_or_range:
        return "range", (float(bits_or_range["black"]), float(bits_or_range["white"]))
    name, _, value = part.partition("=")
    if name == "nodata" and re.fullmatch(f"{NODATA}|{NODATA_PER_BAND}", value):
        values = [_parse_nodata(number) for number in value.split(",")]
        return "nodata", values[0] if len(values) == 1 else values
    if name == "bands":
        return "bands", parse_bands(value)
    if name == "layout":
        return "layout", value
    if name == "dtype":
        return "dtype", parse_dtype(value)
    raise ArgumentTypeError(
        "after the colon, expected bits (gray:12), black..white (gray:-160..240), "
        f"clip, nodata=0, layout=CHW or dtype=uint16, got {describe_value(part)}"
    )


def _parse_nodata(text: str) -> float | None:
    """Return a number, or None for "none"."""
    if text == "none":
        return None
    return _parse_number(text)


def _parse_number(text: str) -> float:
    """Return an int if ``text`` is an integer: large ones are not exact as floats."""
    if re.fullmatch(r"[-+]?\d+", text):
        return int(text)
    return float(text)


def parse_bands(text: str) -> tuple[str, ...]:
    """Return the names of the bands in ``text``, such as "gray", "RGBY" or "NIR,"."""
    # With a trailing comma, the text is one name, not one band per letter.
    names = [name.strip() for name in text.split(",")]
    if len(names) > 1 and not names[-1]:
        names.pop()
    for name in names:
        if not re.fullmatch(BAND_NAME, name):
            raise ArgumentTypeError(
                f"expected bands such as gray, RGBY or B02,B03,B04, got {text!r}: band "
                "names must not contain spaces or any of : = * +"
            )
    if "," in text:
        return tuple(names)
    if not re.fullmatch("[A-Z]+", names[0]):
        _check_spelling(text)
        return tuple(names)
    letters = tuple(names[0])
    if len(set(letters)) < len(letters):
        raise ArgumentTypeError(
            f"{text!r} means one band per letter, but a letter occurs twice: write "
            f"{text + ','!r} for a single band with that name"
        )
    return letters


def _check_spelling(text: str) -> None:
    """Raise ArgumentTypeError for a misspelling such as "gray12" or "rgb"."""
    intended = parse_bands_and_bits(text)
    if intended is None or text == "gray":
        return
    suggestion = ":".join(filter(None, intended))
    raise ArgumentTypeError(
        f"got the bands {text!r}: did you mean {suggestion}? For a single band of that "
        f"name, write {text + ','!r}"
    )


def parse_via(text: str) -> Via:
    """Parse a channel map.

    Parameters
    ----------
    text : str
        For example "R=0.5*R+0.5*Y,G=G,B=B".

    Returns
    -------
    dict
        The argument ``via`` of `graypipe.plan`: for each output, the name of an input,
        the weights of several inputs, or None if nothing follows the equals sign.

    Raises
    ------
    ArgumentTypeError
        If the text is not a channel map.
    """
    mapping: Via = {}
    for part in text.split(","):
        output, equals, terms = (piece.strip() for piece in part.partition("="))
        if not equals or not re.fullmatch(BAND_NAME, output):
            raise ArgumentTypeError(
                f"expected output=bands, such as R=B04,G=B03,B=B02, got {part!r}"
            )
        if output in mapping:
            raise ArgumentTypeError(
                f"the output {output!r} is defined twice: write one sum, such as "
                "R=0.5*R+0.5*Y"
            )
        if not terms:
            mapping[output] = None
        elif re.fullmatch(BAND_NAME, terms):
            mapping[output] = terms
        else:
            mapping[output] = _parse_sum(terms)
    return mapping


def _parse_sum(text: str) -> dict[str, float]:
    """Return the weight of each band in a sum such as "0.5*R+0.5*Y"."""
    weights: dict[str, float] = {}
    position = 0
    # An empty text also enters the loop: it has no term and is rejected.
    while position < len(text) or not weights:
        term = TERM.match(text, position)
        if term is None or term["band"] in weights:
            raise ArgumentTypeError(
                "expected a band, or a sum of different bands such as 0.5*R+0.5*Y or "
                f"1.5*R+-0.5*Y, got {text!r}"
            )
        weights[term["band"]] = float(term["weight"] or 1)
        position = term.end()
    return weights


def make_plan(source: Source, target: Target, via: Via | None) -> Plan:
    """Return the plan of the options --source, --target and --via.

    Raises
    ------
    ChannelError
        If the source cannot be converted to the target. If --via is missing, the
        message shows how to write it.
    """
    if via is None and default_map(source.bands, target.bands) is None:
        raise ChannelError(
            f"cannot infer which of the bands {format_bands(source.bands)} each band "
            f"of {format_bands(target.bands)} is made of: add --via "
            f"{via_entries(source, target)} with a band of the source, or a sum such "
            "as 0.5*R+0.5*Y, after each equals sign; nothing after it means that the "
            "band is missing"
        )
    return plan(source, target, via)


def via_entries(source: Source, target: Target) -> str:
    """Return the value of --via, with three dots for inputs that are not known."""
    facts = None if source.sensor is None else sensor(source.sensor)
    origins = known_origins(source.bands, target.bands, facts)
    entries = []
    for band in target.bands[:MOST_SHOWN]:
        origin, _ = origins.get(band, ("...", None))
        entries.append(f"{band}={origin}")
    return ",".join(entries)


def read_plan(path: str) -> Plan:
    """Return the plan in the JSON file at ``path``."""
    try:
        return Plan.from_json(Path(path).read_text(encoding="utf-8"))
    except (GraypipeError, OSError, ValueError) as error:
        raise ArgumentTypeError(
            f"{path}: expected a file with the output of plan.to_json(): {error}"
        ) from None


def parse_shape(text: str) -> tuple[int, ...]:
    """Return the sizes in ``text``, such as "480x640"."""
    # Limit the number of digits; parsing huge integers is slow.
    if not re.fullmatch(r"\d{1,18}(x\d{1,18})*", text):
        raise ArgumentTypeError(
            f"expected sizes separated by x, such as 480x640, got {text!r}"
        )
    sizes = tuple(int(size) for size in text.split("x"))
    if prod(sizes) > sys.maxsize // MAX_ITEM_SIZE:
        raise ArgumentTypeError(f"the shape {text} is too large for an array")
    return sizes


def parse_dtype(text: str) -> np.dtype[Any]:
    """Return the dtype with this name, such as "uint16"."""
    # NumPy accepts much more than names, for example "u2,u2".
    if re.fullmatch(r"[a-z]+\d*", text):
        with suppress(GraypipeError):
            return supported_dtype(text)
    raise ArgumentTypeError(
        f"expected a dtype such as uint8, uint16 or float32, got {text!r}"
    )
