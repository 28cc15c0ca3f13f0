"""Which steps keep a broadcast view: each is run, and the strides of its result are read."""

import copy
import io
import pickle
import textwrap
from collections.abc import Callable
from typing import Any

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import torch
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import default_collate

import graypipe as gp

# consumers triggers torch's one warning about read-only arrays when it is imported.
from . import consumers, images  # noqa: F401
from .tensorflow import tf

Array = NDArray[Any]


def outcomes() -> list[dict[str, str]]:
    """Return the outcome of each step.

    "shared": still a view of the image's memory. "one band": new memory for one band.
    "copied": new memory for three bands. "refused": an error.
    """
    gray = images.random((20, 24))
    view = gp.replicate()(gray, layout="HW", copy=False)
    return [
        {"consumer": name, **_outcome(step, view)} for name, step in _steps().items()
    ]


def _outcome(step: Callable[[Array], Any], view: Array) -> dict[str, str]:
    try:
        result = step(view)
    except (ValueError, RuntimeError) as error:
        message = textwrap.shorten(str(error).splitlines()[0], 80, placeholder=" ...")
        return {"outcome": "refused", "detail": f"{type(error).__name__}: {message}"}
    array = np.asarray(result)
    strides = f"strides {tuple(stride // array.itemsize for stride in array.strides)} elements"
    if np.shares_memory(array, view):
        return {"outcome": "shared", "detail": strides}
    for size, stride in zip(array.shape, array.strides, strict=True):
        if size == 3 and stride == 0:
            return {"outcome": "one band", "detail": strides}
    return {"outcome": "copied", "detail": strides}


def _steps() -> dict[str, Callable[[Array], Any]]:
    return _numpy_steps() | _torch_steps() | _other_steps()


def _numpy_steps() -> dict[str, Callable[[Array], Any]]:
    return {
        "NumPy: slice, flip, transpose": lambda v: v[2:, ::-1].transpose(2, 0, 1),
        "NumPy: np.asarray": np.asarray,
        "NumPy: np.ascontiguousarray": np.ascontiguousarray,
        "NumPy: astype(float32)": lambda v: v.astype(np.float32),
        "NumPy: arithmetic": lambda v: v * np.float32(2),
        "NumPy: in-place arithmetic": lambda v: np.subtract(v, 1, out=v),
        "NumPy: np.stack of a batch": lambda v: np.stack([v, v]),
        "NumPy: reshape(-1, 3)": lambda v: v.reshape(-1, 3),
        "NumPy: np.save and np.load": _saved,
        "copy.deepcopy": copy.deepcopy,
        "pickle of the array (worker queue)": lambda v: pickle.loads(
            pickle.dumps(v, 5)
        ),
    }


def _saved(view: Array) -> Array:
    file = io.BytesIO()
    np.save(file, view)
    file.seek(0)
    loaded: Array = np.load(file)
    return loaded


def _torch_steps() -> dict[str, Callable[[Array], Any]]:
    return {
        "torch.from_numpy": torch.from_numpy,
        "torch: permute": lambda v: torch.from_numpy(v).permute(2, 0, 1),
        "torch: float()": lambda v: torch.from_numpy(v).float(),
        "torch: arithmetic": lambda v: torch.from_numpy(v) / 255,
        "torch: in-place arithmetic": lambda v: torch.from_numpy(v).sub_(1),
        "torch: contiguous()": lambda v: torch.from_numpy(v).contiguous(),
        "torch.tensor": torch.tensor,
        "torch: pickle of the tensor": lambda v: pickle.loads(
            pickle.dumps(torch.from_numpy(v), 5)
        ),
        "default_collate": lambda v: default_collate([v, v]),
    }


def _other_steps() -> dict[str, Callable[[Array], Any]]:
    return {
        "tf.convert_to_tensor": lambda v: tf.convert_to_tensor(v).numpy(),
        "albumentations: HorizontalFlip": lambda v: A.HorizontalFlip(p=1)(image=v)[
            "image"
        ],
        "albumentations: CenterCrop": lambda v: A.CenterCrop(10, 12, p=1)(image=v)[
            "image"
        ],
        "albumentations: Normalize": lambda v: A.Normalize()(image=v)["image"],
        "albumentations: ToTensorV2": lambda v: ToTensorV2()(image=v)["image"],
        "cv2.flip": lambda v: cv2.flip(v, 1),
        "PIL Image.fromarray": Image.fromarray,
        "graypipe: another map": lambda v: gp.select("BGR", of="RGB")(
            v, layout="HWC", copy=None
        ),
    }
