"""Several bands: RGBY merged into normalised RGB, and three of thirteen bands picked and normalised."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

import graypipe as gp

from .. import engines, images
from ..case import Build, Case, Run, same_as
from ..normalisation import MEAN, STD
from ..scale import Scale

Array = NDArray[Any]

YELLOW = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}
WEIGHTS = np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])
MATRIX = (WEIGHTS / (255 * np.array(STD)[:, None])).astype(np.float32)
OFFSET = (-np.array(MEAN) / np.array(STD)).astype(np.float32)

SENTINEL = tuple(f"B{number:02d}" for number in range(1, 14))
PICKED = [3, 2, 1]
WHITE = 10000

TOLERANCE = 1e-5


def cases(scale: Scale) -> Iterator[Build]:
    """Yield the merge in both layouts and the pick from both, in fresh memory."""
    yield lambda: _merge_interleaved(images.random((*scale.shape("224"), 4)))
    yield lambda: _merge_planar(images.random((4, *scale.shape("224"))))
    yield lambda: _pick_planar(images.random((13, *scale.shape("256")), "uint16"))
    yield lambda: _pick_interleaved(images.random((*scale.shape("256"), 13), "uint16"))


def _merge(image: Array, layout: str) -> Run:
    return partial(
        gp.plan(
            gp.Source("RGBY", layout), gp.preset("imagenet", layout=layout), via=YELLOW
        ),
        image,
    )


def _merge_interleaved(image: Array) -> Case:
    tensor, kernel, bias = (
        torch.from_numpy(image),
        torch.from_numpy(MATRIX)[..., None, None],
        torch.from_numpy(OFFSET),
    )
    rows, affine = torch.from_numpy(MATRIX), np.column_stack([MATRIX, OFFSET])

    def convolve() -> torch.Tensor:
        return functional.conv2d(tensor.permute(2, 0, 1)[None].float(), kernel, bias)[
            0
        ].permute(1, 2, 0)

    return Case(
        "RGBY to RGB, HWC",
        {"task": "merge", "layout": "HWC"},
        ours=engines.ours(partial(_merge, image, "HWC")),
        peer={
            "torch 1x1 convolution": convolve,
            "cv2.transform": lambda: cv2.transform(image.astype(np.float32), affine),
            "NumPy matmul": lambda: image.astype(np.float32) @ MATRIX.T + OFFSET,
        },
        hand={
            "NumPy, a plane at a time": lambda: _planes(
                np.moveaxis(image, -1, 0), np.empty_like(image[..., :3], "f4")
            ),
            "torch linear": lambda: functional.linear(tensor.float(), rows, bias),
        },
        check=same_as(image @ MATRIX.astype("f8").T + OFFSET.astype("f8"), TOLERANCE),
    )


def _planes(bands: Array, out: Array) -> Array:
    """Write the merge of ``bands`` into ``out`` (H, W, 3), reading each band once."""
    yellow = bands[3].astype(np.float32)
    for at in range(3):
        plane = bands[at] * MATRIX[at, at]
        if MATRIX[at, 3]:
            plane += yellow * MATRIX[at, 3]
        np.add(plane, OFFSET[at], out=out[..., at])
    return out


def _merge_planar(image: Array) -> Case:
    tensor, kernel, bias = (
        torch.from_numpy(image),
        torch.from_numpy(MATRIX)[..., None, None],
        torch.from_numpy(OFFSET),
    )
    shape, column = (3, *image.shape[1:]), OFFSET[:, None]

    def by_hand() -> Array:
        out = np.empty(shape, np.float32)
        _planes(image, np.moveaxis(out, 0, -1))
        return out

    answer = (
        np.tensordot(MATRIX.astype("f8"), image.astype("f8"), 1)
        + OFFSET.astype("f8")[:, None, None]
    )
    return Case(
        "RGBY to RGB, CHW",
        {"task": "merge", "layout": "CHW"},
        ours=engines.ours(partial(_merge, image, "CHW")),
        peer={
            "torch 1x1 convolution": lambda: functional.conv2d(
                tensor.float()[None], kernel, bias
            )[0],
            "NumPy matmul": lambda: (
                MATRIX @ image.reshape(4, -1).astype(np.float32) + column
            ).reshape(shape),
        },
        hand={"NumPy, a plane at a time": by_hand},
        check=same_as(answer, TOLERANCE),
        left_out={"cv2.transform": "reads and writes HWC only"},
    )


def _pick(image: Array, layout: str) -> Run:
    source = gp.Source(SENTINEL, layout, range=(0, WHITE))
    return partial(
        gp.plan(source, "imagenet", via={"R": "B04", "G": "B03", "B": "B02"}), image
    )


def _pick_planar(image: Array) -> Case:
    tensor, index = torch.from_numpy(image), torch.tensor(PICKED)
    mean, std = (np.array(stat, np.float32)[:, None, None] for stat in (MEAN, STD))
    mean_t, std_t = torch.from_numpy(mean), torch.from_numpy(std)
    return Case(
        "3 of 13 bands, uint16, CHW to CHW",
        {"task": "pick", "layout": "CHW"},
        ours=engines.ours(partial(_pick, image, "CHW")),
        peer={
            "NumPy fancy index chain": lambda: (
                (image[PICKED].astype(np.float32) / np.float32(WHITE) - mean) / std
            ),
            "torch index_select chain": lambda: (
                (tensor.index_select(0, index).float() / WHITE - mean_t) / std_t
            ),
        },
        hand={"NumPy, a plane at a time": lambda: _picked(image)},
        check=_picked_check(image),
    )


def _pick_interleaved(image: Array) -> Case:
    tensor, index = torch.from_numpy(image), torch.tensor(PICKED)
    mean, std = (np.array(stat, np.float32)[:, None, None] for stat in (MEAN, STD))
    mean_t, std_t = torch.from_numpy(mean), torch.from_numpy(std)

    def fancy() -> Array:
        chosen = np.ascontiguousarray(image[..., PICKED].transpose(2, 0, 1))
        return (chosen.astype(np.float32) / np.float32(WHITE) - mean) / std

    def selected() -> torch.Tensor:
        chosen = tensor.index_select(2, index).permute(2, 0, 1).contiguous()
        return (chosen.float() / WHITE - mean_t) / std_t

    return Case(
        "3 of 13 bands, uint16, HWC to CHW",
        {"task": "pick", "layout": "HWC"},
        ours=engines.ours(partial(_pick, image, "HWC")),
        peer={"NumPy fancy index chain": fancy, "torch index_select chain": selected},
        hand={"NumPy, a plane at a time": lambda: _picked(image.transpose(2, 0, 1))},
        check=_picked_check(image.transpose(2, 0, 1)),
    )


def _picked(bands: Array) -> Array:
    out = np.empty((3, *bands.shape[1:]), np.float32)
    for plane, band, mean, std in zip(out, PICKED, MEAN, STD, strict=True):
        np.multiply(bands[band], np.float32(1 / (WHITE * std)), out=plane)
        np.subtract(plane, np.float32(mean / std), out=plane)
    return out


def _picked_check(bands: Array) -> Any:
    mean, std = (np.array(stat)[:, None, None] for stat in (MEAN, STD))
    return same_as((bands[PICKED] / WHITE - mean) / std, TOLERANCE)
