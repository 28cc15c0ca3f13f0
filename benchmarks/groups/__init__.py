"""The groups of cases, in the order of the target table. A group's ``cases(scale)`` yields builders of cases, so that
the images of a case exist only while it is measured."""

from collections.abc import Callable
from importlib import import_module

from ..case import Case
from ..scale import Scale

GROUPS = (
    "expand",
    "overhead",
    "normalise",
    "mix",
    "strided",
    "torchvision",
    "loader",
    "albumentations",
    "tf_data",
    "keras_layer",
    "folded",
    "files",
    "convert",
    "jobs",
    "views",
    "imports",
    "peaks",
    "first_call",
    "zero_copy",
)

ELSEWHERE = ("albumentationsx",)
"""Groups that need an environment of their own: measured by `--only` there, reported with the others."""


def cases(group: str, scale: Scale) -> list[Callable[[], Case]]:
    """Return the builders of the cases of ``group``, importing its peers now."""
    return list(import_module(f".{group}", __name__).cases(scale))
