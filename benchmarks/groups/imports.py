"""Imports in new interpreters, without the start of Python itself."""

from collections.abc import Iterator
from functools import partial

from ..case import Build, Case
from ..processes import seconds
from ..scale import Scale


def cases(scale: Scale) -> Iterator[Build]:  # noqa: ARG001
    """Yield the one case."""
    yield _case


def _case() -> Case:
    return Case(
        "import",
        {"task": "import"},
        ours={"graypipe": partial(seconds, "", "import graypipe")},
        peer={
            "numpy": partial(seconds, "", "import numpy"),
            "cv2": partial(seconds, "", "import cv2"),
            "skimage gray2rgb": partial(
                seconds, "", "from skimage.color import gray2rgb"
            ),
        },
        check=_positive,
        gauge="reported",
    )


def _positive(name: str, result: float) -> None:
    assert result > 0, name
