"""apply of JAX: equal to the plan, eager and transformed, with and without 64 bits."""

import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from imagenet import MEAN, STD

import graypipe as gp
from graypipe.adapters.jax import apply

RNG = np.random.default_rng(11)
BITS = gp.plan(gp.Source("gray", bits=8), "imagenet")
IMAGE = RNG.integers(0, 256, (6, 7), np.uint8)

MATRICES = {
    "repeat": [[1], [1], [1]],
    "merge": [[0.5, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0]],
    "guards": np.eye(3),
    "reversed": np.eye(3),
    "far from zero": [[1], [1], [1]],
}
SOURCES = {
    "repeat": gp.Source("gray", bits=8),
    "merge": gp.Source("RGBY", "CHW", range=(0, 255)),
    "guards": gp.Source("RGB", range=(10, 200), clip=True, nodata=7),
    "reversed": gp.Source("RGB", "CHW", range=[(0, 255), (255, 0), (9, 99)]),
    "far from zero": gp.Source("gray", range=(100, 101)),
}
VIAS = {"merge": {"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"}}


@pytest.fixture
def x64():
    """Enable 64 bits in JAX for one test."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def make(kind, **target):
    return gp.plan(SOURCES[kind], gp.preset("imagenet", **target), VIAS.get(kind))


def image_of(source, dtype):
    shape = {"H": 5, "W": 6, "C": len(source.bands)}
    return RNG.integers(0, 256, [shape[axis] for axis in source.layout]).astype(dtype)


def assert_right(kind, plan, image, result):
    source = plan.source
    expected, scale = oracle.plan(
        image,
        layout=source.layout,
        out_layout=plan.target.layout,
        ranges=source._pairs(image.dtype),
        via=MATRICES[kind],
        mean=MEAN,
        std=STD,
        clip=source.clip,
        nodata=source.nodata,
    )
    assert isinstance(result, jax.Array)
    assert result.dtype == plan.target.dtype
    oracle.assert_matches(np.asarray(result), expected, scale)


@pytest.mark.parametrize("layout", ["CHW", "HWC"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float16", "float32"])
@pytest.mark.parametrize("kind", SOURCES)
def test_results_match_the_oracle(kind, dtype, layout):
    plan = make(kind, layout=layout)
    image = image_of(plan.source, dtype)
    for function in (apply(plan), jax.jit(apply(plan))):
        assert_right(kind, plan, image, function(image))
        assert_right(kind, plan, image, function(jnp.asarray(image)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("target", ["float16", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint32", "int64", "float64"])
@pytest.mark.parametrize("kind", SOURCES)
def test_results_with_64_bits_match_the_oracle(kind, dtype, target):
    plan = make(kind, dtype=target)
    image = image_of(plan.source, dtype)
    for function in (apply(plan), jax.jit(apply(plan))):
        assert_right(kind, plan, image, function(image))


@pytest.mark.usefixtures("x64")
def test_integer_targets_round_as_the_plan_does():
    plan = gp.plan(gp.Source("gray", range=(0, 510)), "rgb8")
    image = np.array([[-1, 0, 1, 3, 5, 509, 510, 9999]], np.int32)
    for function in (apply(plan), jax.jit(apply(plan))):
        np.testing.assert_array_equal(function(image), plan(image))


def test_bands_that_are_only_copied_keep_every_bit():
    source = gp.Source("RGB", range=(0, 1))
    plan = gp.plan(source, gp.Target("BGR", "HWC"))
    image = RNG.normal(0, 1, (4, 5, 3)).astype(np.float32)
    image[0, 0, 0] = np.nan
    result = np.asarray(jax.jit(apply(plan))(image))
    assert result.tobytes() == plan(image).tobytes()


def test_nan_stays_in_its_band_and_nodata_becomes_zero():
    source = gp.Source("RGB", "CHW", range=(0, 1), nodata=float("nan"))
    image = RNG.uniform(0, 1, (3, 4, 5)).astype(np.float32)
    image[1, 2, 3] = np.nan
    result = np.asarray(jax.jit(apply(gp.plan(source, "imagenet")))(image))
    assert (result[:, 2, 3] == 0).all()
    assert np.isfinite(result).all()
    plain = gp.plan(gp.Source("RGB", "CHW", range=(0, 1)), "imagenet")
    result = np.asarray(apply(plain)(image))
    assert np.isnan(result).sum() == 1


def test_vmap_equals_a_batch():
    batch = RNG.integers(0, 256, (3, 6, 7), np.uint8)
    expected = BITS.batch(batch)
    for function in (jax.vmap(apply(BITS)), jax.jit(jax.vmap(apply(BITS)))):
        np.testing.assert_allclose(function(batch), expected, atol=1e-6)


def test_gradients_are_those_of_the_map():
    image = jnp.asarray(IMAGE, jnp.float32)
    for transform in (lambda function: function, jax.jit):
        function = transform(apply(BITS))
        gradient = jax.grad(lambda x, f=function: f(x).sum())(image)
        np.testing.assert_allclose(gradient, (1 / 255 / np.array(STD)).sum(), rtol=1e-6)
    _, tangent = jax.jvp(apply(BITS), (image,), (jnp.ones_like(image),))
    np.testing.assert_allclose(tangent[:, 0, 0], 1 / 255 / np.array(STD), rtol=1e-6)
    guarded = gp.plan(
        gp.Source("gray", range=(10, 200), clip=True, nodata=float("nan")), "imagenet"
    )
    pixels = jnp.array([[5.0, 100.0, jnp.nan, 250.0]])
    gradient = jax.grad(lambda x: apply(guarded)(x).sum())(pixels)
    expected = (1 / 190 / np.array(STD)).sum()
    np.testing.assert_allclose(gradient, [[0, expected, 0, 0]], rtol=1e-6)


def test_any_byte_order_and_strides_are_read():
    image = RNG.integers(0, 256, (8, 9)).astype(">u2")[::2, ::-1]
    plan = gp.plan(gp.Source("gray", bits=16), "imagenet")
    np.testing.assert_allclose(apply(plan)(image), plan(image), atol=1e-6)


def test_time_and_volumes_keep_their_axes():
    plan = gp.plan(gp.Source("RGB", "THWC", bits=8), "imagenet")
    image = RNG.integers(0, 256, (2, 4, 5, 3), np.uint8)
    result = jax.jit(apply(plan))(image)
    np.testing.assert_allclose(result, plan(image), atol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float64"])
def test_what_needs_64_bits_is_refused_without_them(dtype):
    with pytest.raises(gp.DTypeError, match=r"disabled 64 bits.*jax_enable_x64") as e:
        apply(BITS)(IMAGE.astype(dtype))
    assert len(str(e.value)) < 600


def test_targets_and_levels_that_need_64_bits_are_refused_without_them():
    source = gp.Source("gray", bits=8)
    copies = gp.plan(gp.Source("RGB", bits=8), gp.Target("RGB", dtype="float64"))
    for plan, image in (
        (
            gp.plan(gp.Source("gray", range=(0, 510)), "rgb8"),
            IMAGE.astype("uint16"),
        ),
        (gp.plan(source, gp.preset("imagenet", dtype="float64")), IMAGE),
        (gp.plan(gp.Source("gray", range=(0.1, 255)), "unit"), IMAGE.astype("float32")),
        (copies, np.zeros((2, 3, 3))),
    ):
        for function in (apply(plan), jax.jit(apply(plan))):
            with pytest.raises(gp.DTypeError, match="disabled 64 bits"):
                function(image)


def test_half_precision_is_refused_where_it_loses_levels():
    with pytest.raises(gp.DTypeError, match=r"got bfloat16.*pass the stored integers"):
        apply(BITS)(jnp.zeros((2, 3), jnp.bfloat16))
    deep = gp.plan(gp.Source("gray", range=(0, 4096)), "imagenet")
    half = np.zeros((2, 3), np.float16)
    with pytest.raises(gp.RangeError, match=r"4096, got an image in float16"):
        apply(deep)(half)
    declared = gp.Source("gray", range=(0, 4096), dtype="float16")
    assert apply(gp.plan(declared, "imagenet"))(half).shape == (3, 2, 3)


def test_images_that_do_not_match_the_source_are_refused():
    for function in (apply(BITS), jax.jit(apply(BITS))):
        with pytest.raises(gp.LayoutError, match="expected 2 axes"):
            function(IMAGE[None])
    three = apply(gp.plan(gp.Source("RGB", bits=8), "imagenet"))
    with pytest.raises(gp.ChannelError, match="3 bands"):
        three(np.zeros((4, 5, 4), np.uint8))
    declared = apply(gp.plan(gp.Source("gray", dtype="uint8", bits=8), "imagenet"))
    with pytest.raises(gp.DTypeError, match="declares dtype uint8"):
        declared(IMAGE.astype(np.uint16))
    for wrong in ([[1, 2]], np.ma.masked_equal(IMAGE, 0), "image"):
        with pytest.raises(gp.DTypeError):
            apply(BITS)(wrong)


def test_the_range_must_be_declared():
    with pytest.raises(gp.RangeError, match=r"a JAX function.*declare the range"):
        apply(gp.plan("gray", "imagenet"))
    with pytest.raises(gp.DTypeError, match="expected plans"):
        apply("imagenet")


def test_the_function_can_be_pickled():
    again = pickle.loads(pickle.dumps(apply(BITS)))
    np.testing.assert_array_equal(again(IMAGE), apply(BITS)(IMAGE))


def run(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )


def test_no_other_framework_is_imported():
    code = """
import sys, numpy, graypipe as gp
from graypipe.adapters.jax import apply
apply(gp.plan(gp.Source("gray", bits=8), "imagenet"))(numpy.zeros((2, 3), "uint8"))
print({"keras", "tensorflow", "torch"} & set(sys.modules))
"""
    done = run(code)
    assert done.stdout == "set()\n", done.stderr


def test_a_missing_jax_names_the_extra():
    done = run("import sys; sys.modules['jax'] = None; import graypipe.adapters.jax")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("graypipe.errors.MissingExtraError")
    assert 'pip install "graypipe[jax]"' in last
