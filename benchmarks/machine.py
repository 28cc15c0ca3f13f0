"""The machine and versions of a measurement, without names of hosts, people or folders."""

import os
import platform
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from graypipe import engine

PEERS = (
    "numpy",
    "numba",
    "torch",
    "torchvision",
    "tensorflow",
    "albumentations",
    "opencv-python-headless",
    "scikit-image",
    "pillow",
    "tifffile",
    "imagecodecs",
    "simplejpeg",
)


def describe() -> dict[str, Any]:
    """Return the machine as the result files record it."""
    return {
        "processor": _processor(),
        "architecture": platform.machine(),
        "logical_cores": os.cpu_count() or 1,
        "simd": np.show_config(mode="dicts")["SIMD Extensions"].get("found", []),
        "system": platform.system(),
        "load_average": round(os.getloadavg()[0], 2),
        "engine": engine.name(),
    }


def versions(libraries: Iterable[str] = PEERS) -> dict[str, str]:
    """Return the versions of Python, graypipe and the libraries."""
    project = tomllib.loads(
        (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    )["project"]
    own = {"python": platform.python_version(), "graypipe": project["version"]}
    names = (album() if name == "albumentations" else name for name in libraries)
    return own | {name: version(name) for name in names}


def album() -> str:
    """Return the distribution that `import albumentations` imports."""
    try:
        version("albumentationsx")
    except PackageNotFoundError:
        return "albumentations"
    return "albumentationsx"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
