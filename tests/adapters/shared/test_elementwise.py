"""Elementwise operations, with NumPy as the tensor library, against the oracle."""

from types import SimpleNamespace

import numpy as np
import oracle
import pytest

import graypipe as gp
from graypipe.adapters._shared import elementwise

OPS = SimpleNamespace(
    convert_to_tensor=np.asarray,
    cast=lambda x, dtype: x.astype(dtype),
    take=np.take,
    stack=np.stack,
    any=lambda x, axis, keepdims: np.any(x, axis, keepdims=keepdims),
    zeros_like=np.zeros_like,
    where=np.where,
    isnan=np.isnan,
    clip=np.clip,
    round=np.round,
)

VIAS = {
    "repeat": (1, np.ones((3, 1))),
    "flip": (3, np.eye(3)[::-1]),
    "pick": (5, np.eye(5)[[3, 0, 3]]),
    "mix": (4, np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])),
    "constant": (2, np.array([[0.25, 0.75], [0, 0], [0, 1]])),
    "nothing": (2, np.zeros((3, 2))),
}


def run(plan, image, axis):
    execution = plan._execution(image.dtype)
    assert len(image.shape) == len(plan.source.layout)
    with np.errstate(all="ignore"):
        return elementwise.run(execution, image, axis, OPS)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int64", "float16", "float32", "float64"]
)
@pytest.mark.parametrize(
    "target_dtype", ["float32", "float16", "float64", "uint8", "int32"]
)
@pytest.mark.parametrize("kind", VIAS)
def test_the_result_follows_the_plan(kind, target_dtype, dtype, layout):
    count, via = VIAS[kind]
    rng = np.random.default_rng(3)
    names = tuple("ABCDE"[:count])
    shape = (count, 7, 5) if layout == "CHW" else (7, 5, count)
    image = rng.uniform(0, 120, shape).astype(dtype)
    if image.dtype.kind == "f":
        image[..., 0] = np.nan
    ranges = [(5.0 * j + 2, 5.0 * j + 90) for j in range(count)]
    level = image.ravel()[11].item()
    for clip, nodata in [
        (False, None),
        (True, None),
        (True, level),
        (False, level),
        (False, float("nan")),
    ]:
        source = gp.Source(names, layout, range=ranges, clip=clip, nodata=nodata)
        target = gp.Target(
            "XYZ",
            layout,
            target_dtype,
            range=(0, 255),
            mean=(1, 20, 3),
            std=(2, 1, 0.5),
        )
        plan = gp.plan(source, target, gp.ChannelMap(via, inputs=names, outputs="XYZ"))
        result = run(plan, image, layout.index("C") - 3)
        assert result.dtype == target_dtype
        y, scale = oracle.plan(
            image,
            layout=layout,
            out_layout=layout,
            ranges=ranges,
            via=via,
            mean=target.mean,
            std=target.std,
            target_range=(0, 255),
            clip=clip,
            nodata=nodata,
        )
        oracle.assert_matches(result, y, scale)


def test_moved_pixels_keep_dtype_and_bits():
    image = np.array([[[1, 2**63 - 1]], [[3, -(2**63)]]])
    plan = gp.plan(
        gp.Source("AB", "CHW", range=(0, 1)), gp.Target("BA", "CHW", "int64")
    )
    np.testing.assert_array_equal(run(plan, image, -3), image[::-1])


def test_nodata_of_64_bits_is_compared_as_stored():
    image = np.array([[[2**53, 2**53 + 1]]])
    plan = gp.plan(
        gp.Source("gray", "CHW", range=(0, 2**60), nodata=2**53 + 1),
        gp.Target("gray", "CHW"),
    )
    assert (run(plan, image, -3) == 0).tolist() == [[[False, True]]]


def test_an_integer_target_of_64_bits_is_refused():
    plan = gp.plan(
        gp.Source("gray", "CHW", range=(0, 9)),
        gp.Target("gray", "CHW", "int64", range=(0, 255)),
    )
    with pytest.raises(gp.DTypeError, match="32 bits"):
        run(plan, np.zeros((1, 2, 2), np.uint8), -3)
