"""The NumPy engine: how it cuts blocks, which precision it computes in, and that blocks do not show."""

import numpy as np
import pytest

import graypipe as gp
from graypipe.engine import numpy_engine
from graypipe.engine.spec import AffineSpec

RNG = np.random.default_rng(2)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1),
        (7, 5),
        (3, 100),
        (300, 70),
        (2, 3, 5, 7),
        (1, 20_000),
        (20_000, 1),
        (3, 0),
        (0, 3),
    ],
)
@pytest.mark.parametrize("size", [1, 6, 64, 8192])
def test_blocks_cover_every_pixel_once(shape, size):
    counts = np.zeros(shape, int)
    for block in numpy_engine.blocks(shape, size):
        assert counts[block].size <= size
        counts[block] += 1
    assert (counts == 1).all()


@pytest.mark.parametrize("shape", [(97, 131), (1, 20_011), (20_011, 1), (3, 8193)])
def test_results_do_not_depend_on_where_a_block_ends(shape):
    image = RNG.integers(0, 65536, (*shape, 3), dtype=np.uint16)
    plan = gp.plan(gp.Source("RGB", range=(100, 5000), clip=True, nodata=7), "imagenet")
    whole = plan(image)
    flat = gp.plan(plan.source, "imagenet")(image.reshape(-1, 1, 3)).reshape(3, *shape)
    assert whole.tobytes() == flat.tobytes()


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("uint8", "float32", "float32"),
        ("uint16", "float16", "float32"),
        ("float16", "float32", "float32"),
        ("float32", "float32", "float32"),
        ("int32", "float32", "float64"),
        ("uint64", "float16", "float64"),
        ("float64", "float32", "float64"),
        ("uint8", "float64", "float64"),
        ("uint8", "uint8", "float64"),
        ("float32", "int16", "float64"),
    ],
)
def test_the_precision_is_the_one_the_design_states(source, target, expected):
    spec = AffineSpec(((0.5,),), (1.0,), (0.0,))
    assert spec.compute_dtype(np.dtype(source), np.dtype(target)) == expected


@pytest.mark.parametrize(
    "spec",
    [
        AffineSpec(((0.5,),), (1.0,), (0.1,)),
        AffineSpec(((0.5,),), (1.0,), (0.0,), clip=((0.0, 0.7),)),
        AffineSpec(((1e-40,),), (1.0,), (0.0,)),
        AffineSpec(((1.0,),), (1e38,), (0.0,)),
        AffineSpec(((1.0,),), (0.0,), (1e300,)),
        AffineSpec(((0.5,) * 17,), (1.0,), (0.0,) * 17),
    ],
)
def test_what_float32_could_not_hold_is_computed_in_float64(spec):
    assert spec.compute_dtype(np.dtype("uint8"), np.dtype("float32")) == "float64"


def test_a_sum_of_many_bands_stays_within_the_tolerance():
    image = RNG.integers(0, 256, (4, 5, 300), dtype=np.uint8)
    names = tuple(f"B{i}" for i in range(300))
    result = gp.plan(
        names, gp.Target("gray", "HW"), {"gray": dict.fromkeys(names, 0.01)}
    )(image)
    np.testing.assert_allclose(result, (image / 255 * 0.01).sum(-1), rtol=2e-7)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_the_largest_integers_saturate_instead_of_wrapping(dtype):
    info = np.iinfo(dtype)
    x = np.array([[float(info.max), 2.0**70, float(info.min), -(2.0**70), 2.0**62]])
    result = gp.ChannelMap([[2]], inputs="A", outputs="A")(
        x, layout="HW", out_layout="HW", dtype=dtype
    )
    double = [info.max, info.max, info.min, info.min, min(2**63, info.max)]
    np.testing.assert_array_equal(result, np.array([double], dtype))
