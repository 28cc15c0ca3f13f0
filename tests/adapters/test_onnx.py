"""ONNX models of plans, alone and in front of other models, in onnxruntime and OpenVINO."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
import oracle
import pytest
from hypothesis import given, settings
from imagenet import MEAN, STD
from strategies import DTYPES, cases, expected

import graypipe as gp
from graypipe.adapters.onnx import plan_of, prepend, to_onnx

RNG = np.random.default_rng(17)
BITS12 = gp.plan(gp.Source("gray", bits=12), "imagenet")
IMAGE12 = RNG.integers(0, 4096, (6, 7), np.uint16)
RGBY = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}

# What OpenVINO computes as the plan does; it replaces wider numbers by 32 bits.
OPENVINO_INTEGERS = ("int8", "int16", "uint8", "uint16")
OPENVINO_DTYPES = ("bool", *OPENVINO_INTEGERS, "float16", "float32")


def run_onnxruntime(model, image):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    native = np.ascontiguousarray(image.astype(image.dtype.newbyteorder("=")))
    return session.run(None, {name: native})[0]


def run_openvino(model, image):
    core = openvino.Core()
    loaded = core.read_model(model.SerializeToString())
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(loaded, "CPU", options)
    native = np.ascontiguousarray(image.astype(image.dtype.newbyteorder("=")))
    return compiled(native)[0]


RUNTIMES = {"onnxruntime": run_onnxruntime, "openvino": run_openvino}
both_runtimes = pytest.mark.parametrize("run", RUNTIMES.values(), ids=RUNTIMES)

CT = gp.Source("gray", range=(-160, 240), clip=True, nodata=-2000)
PER_BAND = gp.Source(
    "RGBY", range=(0, 4095), clip=True, nodata=(None, 0, None, 4095), dtype="uint16"
)
FOUR = RNG.integers(0, 4096, (6, 7, 4), np.uint16)
PLANS = {
    "12 bits": (BITS12, IMAGE12),
    "CT": (gp.plan(CT, "imagenet"), RNG.choice([-2000, -900, -160, 0, 40, 900], (6, 7)).astype(np.int16)),
    "MONOCHROME1": (gp.plan(gp.Source("gray", range=(4095, 0)), "imagenet"), IMAGE12),
    "mix": (gp.plan(gp.Source("RGBY", bits=12), "imagenet", RGBY), FOUR),
    "nodata per band": (gp.plan(PER_BAND, "imagenet", RGBY), np.where(FOUR % 3, FOUR, 0).astype(np.uint16)),
    "missing band": (gp.plan(gp.Source("gray", bits=12), "imagenet", {"R": None, "G": "gray", "B": "gray"}), IMAGE12),
    "far from zero": (gp.plan(gp.Source("gray", range=(60000, 60010)), "imagenet"), RNG.integers(59995, 60016, (6, 7)).astype(np.uint16)),
    "far from zero, factor 1": (gp.plan(gp.Source("gray", range=(60000, 60001)), "imagenet"), RNG.integers(59995, 60016, (6, 7)).astype(np.uint16)),
    "floats": (gp.plan(gp.Source("RGB", "CHW", range=(0, 1), clip=True, nodata=float("nan")), "openai-clip"), np.where(RNG.random((3, 6, 7)) < 0.1, np.nan, RNG.normal(0.5, 1, (3, 6, 7))).astype(np.float32)),
    "half precision": (gp.plan(gp.Source("gray", bits=8), gp.preset("imagenet", dtype="float16")), IMAGE12.astype(np.uint8)),
}  # fmt: skip


def assert_right(plan, image, result):
    ranges = plan.source._pairs(image.dtype)
    y, scale = oracle.plan(
        image,
        layout=plan.source.layout,
        out_layout=plan.target.layout,
        ranges=ranges,
        via=plan.via.matrix,
        mean=[
            mean if any(row) else 0
            for mean, row in zip(plan.target.mean, plan.via.matrix, strict=True)
        ],
        std=plan.target.std,
        clip=plan.source.clip,
        nodata=plan.source.nodata,
    )
    assert result.dtype == plan.target.dtype
    oracle.assert_matches(result, y, scale)


@both_runtimes
@pytest.mark.parametrize("kind", PLANS)
def test_models_match_the_oracle(kind, run):
    plan, image = PLANS[kind]
    assert_right(plan, image, run(to_onnx(plan, dtype=image.dtype), image))


@both_runtimes
@pytest.mark.parametrize("dtype", OPENVINO_DTYPES)
def test_every_stored_dtype_of_16_bits_is_read(dtype, run):
    white = 1 if dtype == "bool" else 100
    plan = gp.plan(gp.Source("RGBY", range=(0, white)), "imagenet", RGBY)
    image = RNG.integers(0, white, (5, 6, 4), endpoint=True).astype(dtype)
    assert_right(plan, image, run(to_onnx(plan, dtype=dtype), image))


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int64", "uint64", "float64"])
def test_wide_stored_dtypes_are_read_by_onnxruntime(dtype):
    source = gp.Source("gray", range=(2**24, 2**24 + 4), nodata=2**24 + 1, clip=True)
    image = (2**24 + RNG.integers(-2, 7, (5, 6))).astype(dtype)
    plan = gp.plan(source, "imagenet")
    assert_right(plan, image, run_onnxruntime(to_onnx(plan, dtype=dtype), image))


@settings(max_examples=120, deadline=None)
@given(cases(target_dtypes=sorted({*DTYPES} - {"int64", "uint64"})))
def test_random_plans_match_the_oracle_in_onnxruntime(case):
    image, source, target, via = case
    model = to_onnx(gp.plan(source, target, via), dtype=image.dtype)
    oracle.assert_matches(run_onnxruntime(model, image), *expected(*case))


@settings(max_examples=80, deadline=None)
@given(cases(dtypes=OPENVINO_INTEGERS, target_dtypes=("float16", "float32")))
def test_random_plans_match_the_oracle_in_openvino(case):
    image, source, target, via = case
    plan = gp.plan(source, target, via)
    model = to_onnx(plan, dtype=image.dtype)
    oracle.assert_matches(run_openvino(model, image), *expected(*case))


@both_runtimes
def test_integer_targets_round_and_saturate(run):
    plan = gp.plan(gp.Source("gray", range=(0, 510)), "rgb8")
    image = np.array([[-1, 0, 1, 3, 5, 509, 510, 9999]], np.int16)
    np.testing.assert_array_equal(run(to_onnx(plan, dtype="int16"), image), plan(image))
    floats = np.array([[np.nan, np.inf, -np.inf, 0.5, 1.5]], np.float32)
    plan = gp.plan(gp.Source("gray", range=(0, 1)), gp.Target("gray", "HW", "uint8"))
    np.testing.assert_array_equal(
        run(to_onnx(plan, dtype="float32"), floats), plan(floats)
    )


@both_runtimes
def test_every_12_bit_value_becomes_the_same_8_bit_value(run):
    plan = gp.plan(gp.Source("gray", bits=12), "rgb8")
    image = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    result = run(to_onnx(plan, dtype="uint16"), image)
    np.testing.assert_array_equal(result, plan(image))


@both_runtimes
def test_copies_keep_every_bit(run):
    source = gp.Source("RGB", range=(0, 1), dtype="float32")
    image = RNG.normal(0, 1, (4, 5, 3)).astype(np.float32)
    image.view(np.uint32)[0, 0] = [0x7FC00001, 0xFFFFFFFF, 0x80000000]
    for target in (gp.Target("BGR", "HWC"), gp.Target("RGB", "CHW")):
        plan = gp.plan(source, target)
        assert run(to_onnx(plan), image).tobytes() == plan(image).tobytes()
    plan = gp.plan(gp.Source("gray", bits=8, dtype="uint8"), "rgb8")
    image = RNG.integers(0, 256, (4, 5), np.uint8)
    assert run(to_onnx(plan), image).tobytes() == plan(image).tobytes()


@both_runtimes
def test_a_plan_that_changes_nothing_is_a_valid_model(run):
    plan = gp.plan(gp.Source("RGB", "HWC", bits=8), "rgb8")
    image = RNG.integers(0, 256, (4, 5, 3), np.uint8)
    np.testing.assert_array_equal(run(to_onnx(plan, dtype="uint8"), image), image)


@both_runtimes
def test_nan_stays_in_the_bands_that_read_it(run):
    plan = gp.plan(gp.Source("RGBY", "CHW", range=(0, 1)), "imagenet", RGBY)
    image = RNG.uniform(0, 1, (4, 3, 5)).astype(np.float32)
    image[3, 1, 2] = np.nan
    result = run(to_onnx(plan, dtype="float32"), image)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(plan(image)))
    assert np.isnan(result[:, 1, 2]).tolist() == [True, True, False]


@both_runtimes
def test_one_model_takes_every_size(run):
    plan = BITS12.with_layouts("NHW", "NHWC")
    model = to_onnx(plan, dtype="uint16")
    axes = model.graph.output[0].type.tensor_type.shape.dim
    assert [axis.dim_param or axis.dim_value for axis in axes] == ["N", "H", "W", 3]
    for shape in ((1, 4, 5), (3, 1, 1), (2, 9, 2)):
        image = RNG.integers(0, 4096, shape, np.uint16)
        np.testing.assert_allclose(run(model, image), plan(image), atol=1e-6)


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 20, 21, 22])
def test_every_opset_gives_the_same_numbers(opset):
    for plan, image in PLANS.values():
        model = to_onnx(plan, dtype=image.dtype, opset=opset)
        assert model.opset_import[0].version == opset
        assert_right(plan, image, run_onnxruntime(model, image))


def test_a_declared_dtype_is_the_dtype_of_the_input():
    plan = gp.plan(gp.Source("gray", bits=12, dtype="int16"), "imagenet")
    model = to_onnx(plan)
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT16
    with pytest.raises(gp.DTypeError, match="declares dtype int16, got uint16"):
        to_onnx(plan, dtype="uint16")


def test_what_a_model_cannot_express_is_refused():
    with pytest.raises(gp.RangeError, match=r"an ONNX model.*declare the range"):
        to_onnx(gp.plan("gray", "imagenet"), dtype="uint8")
    with pytest.raises(gp.DTypeError, match=r"got None: pass dtype="):
        to_onnx(BITS12)
    with pytest.raises(gp.RangeError, match=r"uint8 can only represent 0 to 255"):
        to_onnx(BITS12, dtype="uint8")
    with pytest.raises(gp.DTypeError, match="expected plans"):
        to_onnx("imagenet", dtype="uint8")
    for opset in (12, 999, "18"):
        with pytest.raises(gp.GraypipeError, match=r"expected opset 13 to"):
            to_onnx(BITS12, dtype="uint16", opset=opset)
    wide = gp.plan(gp.Source("gray", bits=8), gp.Target("gray", "HW", "int64"))
    with pytest.raises(gp.DTypeError, match="at most 32 bits"):
        to_onnx(wide, dtype="uint8")


def network(
    inputs="float[N, 3, H, W] x",
    body="y = GlobalAveragePool(x)",
    output="float[N, C, P, Q] y",
    opset=18,
):
    """Return a model from its text."""
    return onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": {opset}]>'
        f"net ({inputs}) => ({output}) {{ {body} }}"
    )


def axes_of(model):
    axes = model.graph.input[0].type.tensor_type.shape.dim
    return [axis.dim_param or axis.dim_value for axis in axes]


@both_runtimes
def test_a_merged_model_equals_the_plan_and_the_model(run):
    model = network()
    before = model.SerializeToString()
    merged = prepend(model, BITS12, dtype="uint16")
    assert model.SerializeToString() == before
    assert merged.graph.input[0].name == "graypipe/image"
    assert axes_of(merged) == ["N", "H", "W"]
    images = RNG.integers(0, 4096, (2, 6, 7), np.uint16)
    result = run(merged, images)
    np.testing.assert_allclose(
        result, run(model, BITS12.batch(images)), rtol=1e-5, atol=1e-6
    )
    batched = prepend(model, BITS12.with_layouts("NHW", "NCHW"), dtype="uint16")
    np.testing.assert_array_equal(run(batched, images), result)


def test_sizes_that_the_model_fixes_are_fixed():
    declared = gp.plan(gp.Source("RGB", "HWC", bits=8, dtype="uint8"), "imagenet")
    merged = prepend(network("float[1, 3, 8, width] x"), declared)
    assert axes_of(merged) == [1, 8, "width", 3]
    merged = prepend(network("float[batch, 3, ?, ?] x"), declared)
    assert axes_of(merged) == ["batch", "H", "W", 3]


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_the_plan_takes_the_opset_of_the_model(opset):
    model = network(opset=opset)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    merged = prepend(model, BITS12, dtype="uint16")
    versions = {each.domain: each.version for each in merged.opset_import}
    assert versions == {"": opset, "com.microsoft": 1}
    images = RNG.integers(0, 4096, (2, 6, 7), np.uint16)
    assert run_onnxruntime(merged, images).shape == (2, 3, 1, 1)


def test_operators_of_other_domains_are_kept():
    merged = prepend(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 18, "com.microsoft": 1]>'
            "net (float[N, 3, H, W] x) => (float[N, 3, H, W] y)"
            "{ y = com.microsoft.Gelu(x) }"
        ),
        BITS12,
        dtype="uint16",
    )
    images = RNG.integers(0, 4096, (2, 6, 7), np.uint16)
    assert run_onnxruntime(merged, images).shape == (2, 3, 6, 7)


def test_one_of_several_inputs_is_chosen():
    model = network("float[N, 3, H, W] x, float[N, 3, 1, 1] scale", "y = Mul(x, scale)")
    merged = prepend(model, BITS12, input="x", dtype="uint16")
    names = [each.name for each in merged.graph.input]
    assert names == ["graypipe/image", "scale"]
    for wrong in (None, "pixel_values"):
        with pytest.raises(gp.ChannelError, match=r"input= to be one of 'x', 'scale'"):
            prepend(model, BITS12, input=wrong, dtype="uint16")


def test_old_models_list_weights_among_their_inputs():
    model = network("float[N, 3, H, W] x, float[1] w", "y = Mul(x, w)")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32([2]), "w"))
    merged = prepend(model, BITS12, dtype="uint16")
    result = run_onnxruntime(merged, IMAGE12[None])
    np.testing.assert_allclose(result[0], 2 * BITS12(IMAGE12), atol=1e-5)


def test_models_that_do_not_fit_the_plan_are_refused():
    declared = gp.plan(gp.Source("gray", bits=12, dtype="uint16"), "imagenet")
    for inputs, error, message in (
        ("float16[N, 3, H, W] x", gp.DTypeError, r"takes float16.*dtype='float16'"),
        ("uint8[N, 3, H, W] x", gp.DTypeError, "takes uint8"),
        ("float[N, 1, H, W] x", gp.ChannelError, r"\(N, 1, H, W\).*'NCHW' with C=3"),
        ("float[N, 8, 8, 3] x", gp.ChannelError, r"target='HWC'"),
        ("float[N, D] x", gp.LayoutError, r"shape \(N, D\).*with_layouts"),
        ("float[N, T, 3, H, W] x", gp.LayoutError, "the plan gives 'CHW'"),
    ):
        model = network(inputs, "y = Identity(x)")
        with pytest.raises(error, match=message) as raised:
            prepend(model, declared)
        assert len(str(raised.value)) < 600
    with pytest.raises(gp.DTypeError, match=r"onnx\.load"):
        prepend("model.onnx", declared)
    with pytest.raises(gp.GraypipeError, match=r"got 11: .*convert_version"):
        prepend(network(opset=11), declared)
    with pytest.raises(gp.GraypipeError, match="contains a plan already"):
        prepend(prepend(network(), declared), declared)
    broken = network(body="y = GlobalAveragePool(nothing)")
    with pytest.raises(gp.GraypipeError, match=r"cannot be merged.*check_model"):
        prepend(broken, declared)


def test_the_metadata_contains_the_plan(tmp_path):
    model = network()
    onnx.helper.set_model_props(model, {"author": "someone"})
    merged = prepend(model, BITS12, dtype="uint16")
    onnx.save(merged, tmp_path / "model.onnx")
    again = onnx.load(tmp_path / "model.onnx")
    assert plan_of(again) == BITS12
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    entries = session.get_modelmeta().custom_metadata_map
    assert entries["author"] == "someone"
    assert gp.Plan.from_json(entries["graypipe.plan"]) == BITS12
    assert entries["graypipe.fingerprint"] == BITS12.fingerprint
    assert set(entries) == {"author", "graypipe.plan", "graypipe.fingerprint", "graypipe.version"}  # fmt: skip


def test_models_without_an_intact_plan_are_refused():
    with pytest.raises(gp.ChannelError, match=r"prepend\(model, plan\)"):
        plan_of(network())
    with pytest.raises(gp.DTypeError, match=r"onnx\.load"):
        plan_of(b"")
    model = to_onnx(BITS12, dtype="uint16")
    entries = {each.key: each for each in model.metadata_props}
    other = gp.plan(gp.Source("gray", bits=16), "imagenet")
    entries["graypipe.fingerprint"].value = other.fingerprint
    with pytest.raises(gp.GraypipeError, match="has the fingerprint"):
        plan_of(model)
    entries["graypipe.plan"].value = "{"
    with pytest.raises(gp.ChannelError, match="JSON"):
        plan_of(model)


def test_a_merged_model_needs_no_graypipe(tmp_path):
    onnx.save(prepend(network(), BITS12, dtype="uint16"), tmp_path / "model.onnx")
    np.save(tmp_path / "image.npy", IMAGE12[None])
    code = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
numpy.save("y.npy", session.run(None, {"graypipe/image": numpy.load("image.npy")})[0])
assert "graypipe" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    y = np.load(tmp_path / "y.npy")
    np.testing.assert_allclose(y[0, :, 0, 0], BITS12(IMAGE12).mean((1, 2)), atol=1e-5)


def test_normalisation_is_that_of_imagenet():
    result = run_onnxruntime(to_onnx(BITS12, dtype="uint16"), IMAGE12)
    mean, std = np.reshape(MEAN, (3, 1, 1)), np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(result, (IMAGE12 / 4095 - mean) / std, atol=1e-5)


def test_a_missing_onnx_names_the_extra():
    code = "import sys; sys.modules['onnx'] = None; import graypipe.adapters.onnx"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("graypipe.errors.MissingExtraError")
    assert 'pip install "graypipe[onnx]"' in last
