"""What a person types after --source, --target, --via, --shape and --dtype, read into the package's own values.

    --source   gray   gray:12 (bits)   gray:-160..240 (black..white)   RGBY:16   B02,B03:1000..11000   NIR, (one band)
               gray:-160..240:clip   gray:16:nodata=0   B02,B03:layout=CHW:dtype=uint16
    --via      R=B04,G=B03,B=B02   R=0.5*R+0.5*Y,G=G,B=B
    --shape    480x640

Every function takes the text and raises ArgumentTypeError, with one line saying how it is written, for anything else.
"""

import re
import sys
from argparse import ArgumentTypeError
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .. import Plan, Source, Target, preset
from ..engine import element_type
from ..errors import GraypipeError

NUMBER = r"[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"
NAME = r"[^\s:,=*+]+"
VALUES = re.compile(rf"(?P<bits>\d+)|(?P<black>{NUMBER})\.\.(?P<white>{NUMBER})")
SOURCE_HELP = (
    "bands, then bits or black..white, clip, nodata=, layout= (of arrays) and dtype=, with colons between them: gray, "
    "gray:12, gray:-160..240:clip, RGBY:16:nodata=0, B02,B03,B04:1000..11000; capitals are a band a letter, NIR, (with "
    "a comma) is one band"
)
TERM = re.compile(rf"\s*(?:({NUMBER})\s*\*\s*)?({NAME})\s*(?:\+(?!$)|$)")


def source(text: str) -> Source:
    """Return the source that ``text`` declares: bands, and after colons their bits or black..white, and the rest."""
    names, *parts = text.split(":")
    declared: dict[str, Any] = {}
    for part in parts:
        said = _said(part.strip())
        if said.keys() & declared.keys():
            raise ArgumentTypeError(
                f"after the colon, expected each thing once, got {text!r}"
            )
        declared |= said
    try:
        return Source(bands(names), **declared)
    except GraypipeError as error:
        raise ArgumentTypeError(str(error)) from None


def _said(part: str) -> dict[str, Any]:
    """Return the keyword of a Source that ``part`` stands for."""
    values, (name, _, value) = VALUES.fullmatch(part), part.partition("=")
    if values:
        bits, black, white = values.groups()
        return {"bits": int(bits)} if bits else {"range": (float(black), float(white))}
    if part == "clip":
        return {"clip": True}
    if name == "nodata" and re.fullmatch(f"{NUMBER}|nan", value):
        return {
            "nodata": int(value) if re.fullmatch(r"[-+]?\d+", value) else float(value)
        }
    if name == "layout":
        return {"layout": value}
    if name == "dtype":
        return {"dtype": dtype(value)}
    raise ArgumentTypeError(
        f"after the colon, expected bits (gray:12), black..white (gray:-160..240), clip, nodata=0, layout=CHW or "
        f"dtype=uint16, got {part!r}"
    )


def bands(text: str) -> tuple[str, ...]:
    """Return the bands in ``text``: gray, one capital letter a band (RGBY), or names between commas (NIR, is one)."""
    names = [name.strip() for name in text.split(",")]
    if len(names) > 1 and not names[-1]:
        names.pop()
    for name in names:
        if not re.fullmatch(NAME, name):
            raise ArgumentTypeError(
                f"expected bands such as gray, RGBY or B02,B03,B04 (no spaces, : = * or + in a name), got {text!r}"
            )
    if "," in text or not re.fullmatch("[A-Z]+", names[0]):
        return tuple(names)
    if len(set(names[0])) < len(names[0]):
        raise ArgumentTypeError(
            f"{text!r} reads as one band a letter, and a letter repeats: write {text + ','!r} for one band of that name"
        )
    return tuple(names[0])


def target(text: str) -> Target:
    """Return the preset called ``text``."""
    try:
        return preset(text)
    except GraypipeError as error:
        raise ArgumentTypeError(str(error)) from None


def via(text: str) -> dict[str, str | dict[str, float]]:
    """Return the mapping in ``text``, as `gp.mix` takes it: outputs, each the name of a band or a weighted sum."""
    mapping: dict[str, str | dict[str, float]] = {}
    for part in text.split(","):
        output, equals, terms = (piece.strip() for piece in part.partition("="))
        if not equals or not re.fullmatch(NAME, output):
            raise ArgumentTypeError(
                f"expected output=bands, such as R=B04,G=B03,B=B02, got {part!r}"
            )
        if output in mapping:
            raise ArgumentTypeError(
                f"{output!r} is made twice: write one sum, such as R=0.5*R+0.5*Y"
            )
        mapping[output] = terms if re.fullmatch(NAME, terms) else _sum(terms)
    return mapping


def _sum(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    at = 0
    while at < len(text) or not text:
        term = TERM.match(text, at)
        if not term or term[2] in weights:
            raise ArgumentTypeError(
                f"expected a band, or a sum of different bands such as 0.5*R+0.5*Y or 1.5*R+-0.5*Y, got {text!r}"
            )
        weights[term[2]] = float(term[1] or 1)
        at = term.end()
    return weights


def plan_file(text: str) -> Plan:
    """Return the plan in the file ``text``, as `Plan.to_json` writes it."""
    try:
        return Plan.from_json(Path(text).read_text(encoding="utf-8"))
    except (GraypipeError, OSError, ValueError) as error:
        raise ArgumentTypeError(
            f"{text}: expected a file with plan.to_json(): {error}"
        ) from None


def shape(text: str) -> tuple[int, ...]:
    """Return the sizes in ``text``, such as 480x640."""
    if not re.fullmatch(r"\d{1,18}(x\d{1,18})*", text):
        raise ArgumentTypeError(
            f"expected sizes with an x between them, such as 480x640, got {text!r}"
        )
    sizes = tuple(int(size) for size in text.split("x"))
    if (
        prod(sizes) > sys.maxsize // 16
    ):  # 16 bytes: the largest element that an array holds
        raise ArgumentTypeError(f"no array is as large as {text}")
    return sizes


def dtype(text: str) -> np.dtype[Any]:
    """Return the element type called ``text``, such as uint16."""
    try:
        return element_type(
            text if re.fullmatch(r"[a-z]+\d*", text) else "V"
        )  # NumPy reads far more than names
    except GraypipeError:
        raise ArgumentTypeError(
            f"expected an element type such as uint8, uint16 or float32, got {text!r}"
        ) from None
