"""Dataset.map to the normalised image: one epoch over gray images in memory, in batches, one by one, and of many sizes.

The epoch is drained inside tf.data, one element at a time on one thread; only the last one reaches Python.
"""

from collections.abc import Callable, Iterator
from functools import partial

from ..tensorflow import tf

# isort: split
import numpy as np

import graypipe as gp
from graypipe.adapters.tf_data import ToBackbone

from .. import images, normalisation
from ..case import Build, Case, Run, same_as
from ..engines import OURS
from ..normalisation import MEAN, STD, Array
from ..scale import Scale

Map = Callable[[tf.Tensor], tf.Tensor]

BATCHES, SIZES = 8, 50
CHAIN = "tf.image chain"
KNOWN, OPEN = "known size", "open size"


def cases(scale: Scale) -> Iterator[Build]:
    """Yield dtypes, batches and single images of known and of open size, and a folder of many sizes."""
    for dtype in ("uint8", "uint16"):
        yield partial(_batched, scale, dtype, KNOWN)
        yield partial(_batched, scale, dtype, OPEN)
        yield partial(_per_image, scale, dtype)
    yield partial(_folder, scale)


def _batched(scale: Scale, dtype: str, size: str) -> Case:
    stored = _stored(scale, dtype)
    batches = (
        tf.data.Dataset.from_tensor_slices(stored)
        .batch(scale.batch, drop_remainder=size == KNOWN)
        .cache()
    )
    name = f"tf.data, batches of {scale.batch}, {size}, {dtype}"
    return _case(
        name,
        {"task": "batched", "batches": size, "dtype": dtype},
        batches,
        stored[-scale.batch :],
    )


def _per_image(scale: Scale, dtype: str) -> Case:
    stored = _stored(scale, dtype)
    single = tf.data.Dataset.from_tensor_slices(stored).cache()
    return _case(
        f"tf.data, per image, {dtype}",
        {"task": "per image", "dtype": dtype},
        single,
        stored[-1],
    )


def _folder(scale: Scale) -> Case:
    height, width = scale.shape("224")
    shapes = [
        (height - i % SIZES % height, width + i % SIZES, 1)
        for i in range(BATCHES * scale.batch)
    ]
    stored = [images.random(shape) for shape in shapes]
    spec = tf.TensorSpec((None, None, 1), tf.uint8)
    single = tf.data.Dataset.from_generator(lambda: iter(stored), output_signature=spec)
    counted = single.apply(tf.data.experimental.assert_cardinality(len(stored))).cache()
    return _case(
        "tf.data, per image, many sizes, uint8",
        {"task": "many sizes", "dtype": "uint8"},
        counted,
        stored[-1],
    )


def _stored(scale: Scale, dtype: str) -> Array:
    return images.random((BATCHES * scale.batch, *scale.shape("224"), 1), dtype)


def _case(
    name: str, facts: dict[str, str], dataset: tf.data.Dataset, last: Array
) -> Case:
    white = np.iinfo(last.dtype).max
    plan = gp.plan(
        gp.Source("gray", range=(0, white)), gp.preset("imagenet", layout="HWC")
    )
    return Case(
        name,
        {"size": "224", **facts},
        ours={OURS: _epoch(dataset, ToBackbone(plan))},
        peer={CHAIN: _epoch(dataset, _chain)},
        hand={
            how: _epoch(dataset, run) for how, run in _by_hand(plan, last.ndim).items()
        },
        check=same_as(normalisation.oracle(last[..., 0] * (255 / white)), 1e-5),
    )


def _epoch(dataset: tf.data.Dataset, run: Map) -> Run:
    mapped = dataset.map(run, num_parallel_calls=1)
    rest = mapped.skip(len(dataset) - 1)
    return lambda: next(iter(rest))


def _chain(x: tf.Tensor) -> tf.Tensor:
    unit = tf.image.convert_image_dtype(
        x, tf.float32
    )  # first, since grayscale_to_rgb has no uint16
    return (tf.image.grayscale_to_rgb(unit) - MEAN) / STD


def _by_hand(plan: gp.Plan, rank: int) -> dict[str, Map]:
    matrix, offset = (np.float32(part) for part in (plan.map.matrix, plan.map.offset))
    array_plan = plan.with_layouts(
        source="HWC" if rank == 3 else "NHWC", target="HWC" if rank == 3 else "NHWC"
    )

    def affine(x: tf.Tensor) -> tf.Tensor:
        return tf.cast(x, tf.float32) * matrix[:, 0] + offset

    def convolution(x: tf.Tensor) -> tf.Tensor:
        pixels = tf.reshape(tf.cast(x, tf.float32), (1, 1, -1, 1))
        y = tf.nn.bias_add(
            tf.nn.conv2d(pixels, matrix.reshape(1, 1, 1, 3), 1, "VALID"), offset
        )
        return tf.reshape(y, tf.concat([tf.shape(x)[:-1], [3]], 0))

    return {
        "cast · a + b": affine,
        "1x1 convolution": convolution,
        "numpy_function around the plan": lambda x: tf.numpy_function(
            array_plan, [x], tf.float32, stateful=False
        ),
    }
