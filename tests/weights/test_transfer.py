"""Transfers copy weights by name and shape, and report each one that they skip."""

import pickle

import numpy as np
import pytest

import graypipe as gp
from graypipe.weights import Report
from graypipe.weights.transfer import resolve_tied_weights

RNG = np.random.default_rng(17)
SOURCE = {
    "features.0.weight": RNG.normal(size=(8, 3, 3, 3)).astype("float32"),
    "features.0.bias": RNG.normal(size=8).astype("float32"),
    "features.2.weight": RNG.normal(size=(4, 8, 3, 3)).astype("float32"),
    "classifier.weight": RNG.normal(size=(10, 4)).astype("float32"),
    "steps": np.array(7),
}
TARGET = {
    "encoder.0.weight": np.zeros((8, 1, 3, 3), "float32"),
    "encoder.0.bias": np.zeros(8, "float32"),
    "encoder.2.weight": np.zeros((4, 8, 3, 3), "float32"),
    "up.weight": np.full((4, 4), 3.0, "float32"),
    "steps": np.array(0),
}


def renamed(name):
    return name.replace("features", "encoder")


def copies(weights):
    return {name: value.copy() for name, value in weights.items()}


def test_a_backbone_is_transferred_into_a_u_net_by_name():
    weights, report = gp.weights.transfer(TARGET, SOURCE, rename=renamed)
    assert report.copied == ("encoder.0.bias", "encoder.2.weight", "steps")
    assert report.adapted == ()
    assert report.skipped == (
        ("features.0.weight", "shape (8, 3, 3, 3), the target's is (8, 1, 3, 3)"),
        ("classifier.weight", "the target has no 'classifier.weight'"),
    )
    assert report.untouched == ("encoder.0.weight", "up.weight")
    assert list(weights) == list(TARGET)
    for new, old in {
        "encoder.0.bias": "features.0.bias",
        "encoder.2.weight": "features.2.weight",
    }.items():
        np.testing.assert_array_equal(weights[new], SOURCE[old])
    assert weights["steps"] == 7
    for name in report.untouched:
        np.testing.assert_array_equal(weights[name], TARGET[name])


def test_kernel_and_bias_are_adapted_together_by_a_map():
    channel_map = gp.plan("gray", "imagenet").unit_map
    first = ("encoder.0.weight", "encoder.0.bias")
    weights, report = gp.weights.transfer(
        TARGET,
        SOURCE,
        rename=renamed,
        adapt={first: lambda w, b: gp.weights.fold(w, b, channel_map, layout="OIHW")},
    )
    matrix, offset = np.array(channel_map.matrix)[:, 0], np.array(channel_map.offset)
    kernel, bias = (
        SOURCE["features.0.weight"].astype("float64"),
        SOURCE["features.0.bias"].astype("float64"),
    )
    np.testing.assert_allclose(
        weights[first[0]][:, 0],
        np.einsum("oihw,i->ohw", kernel, matrix),
        rtol=0,
        atol=1e-5,
    )
    np.testing.assert_allclose(
        weights[first[1]],
        bias + np.einsum("oihw,i->o", kernel, offset),
        rtol=0,
        atol=1e-5,
    )
    assert report.adapted == first
    assert report.copied == ("encoder.2.weight", "steps")
    assert [name for name, _ in report.skipped] == ["classifier.weight"]
    assert report.untouched == ("up.weight",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("encoder.0.weight", gp.plan("gray", "unit")),
        ("encoder.0.weight", gp.plan("gray", "imagenet")),
        (("encoder.0.weight", "encoder.0.bias"), gp.plan("gray", "imagenet")),
        ("encoder.0.weight", gp.replicate()),
    ],
)
def test_the_error_for_a_plan_or_map_shows_the_function_to_pass(key, value):
    arguments = {"rename": renamed, "adapt": {key: value}}
    with pytest.raises(gp.DTypeError, match="functions of arrays") as refused:
        gp.weights.transfer(TARGET, SOURCE, **arguments)
    assert len(str(refused.value)) < 600
    cure = str(refused.value).splitlines()[1].strip().removeprefix("adapt=")
    cure = cure.replace("<name of the bias>", "'encoder.0.bias'")
    names = {"gp": gp, "plan": value, "channel_map": value}
    adapt = eval(cure, names)
    report = gp.weights.transfer(TARGET, SOURCE, rename=renamed, adapt=adapt)[1]
    assert report.adapted[0] == "encoder.0.weight"


def test_one_weight_is_adapted_by_its_name():
    summed = {"encoder.0.weight": lambda w: w.sum(1, keepdims=True, dtype="float64")}
    weights, report = gp.weights.transfer(TARGET, SOURCE, rename=renamed, adapt=summed)
    assert report.adapted == ("encoder.0.weight",)
    assert weights["encoder.0.weight"].dtype == np.float32
    np.testing.assert_allclose(
        weights["encoder.0.weight"][:, 0], SOURCE["features.0.weight"].sum(1), atol=1e-6
    )


def test_the_report_prints_as_a_table():
    report = gp.weights.transfer(
        TARGET, SOURCE, rename=renamed, adapt={"encoder.0.bias": np.negative}
    )[1]
    assert str(report).splitlines() == [
        "copied 2, adapted 1, skipped 2, untouched 2",
        "copied     encoder.2.weight",
        "copied     steps",
        "adapted    encoder.0.bias",
        "skipped    features.0.weight  shape (8, 3, 3, 3), the target's is (8, 1, 3, 3)",
        "skipped    classifier.weight  the target has no 'classifier.weight'",
        "untouched  encoder.0.weight",
        "untouched  up.weight",
    ]
    assert (
        str(gp.weights.transfer({}, {})[1])
        == "copied 0, adapted 0, skipped 0, untouched 0"
    )
    assert pickle.loads(pickle.dumps(report)) == report
    assert len({report, gp.weights.transfer({}, {})[1]}) == 2


def test_a_mapping_renames_its_keys_and_none_skips():
    mapping = {"features.0.bias": "encoder.0.bias", "steps": None}
    weights, report = gp.weights.transfer(TARGET, SOURCE, rename=mapping)
    assert report.copied == ("encoder.0.bias",)
    assert ("steps", "left out by rename") in report.skipped
    assert len(report.skipped) == 4
    assert weights["steps"] == 0


def test_arguments_are_not_modified_or_shared():
    target, source = copies(TARGET), copies(SOURCE)

    def careless(weight):
        weight[...] = 5
        return weight[:, :1]

    weights, _ = gp.weights.transfer(
        target, source, rename=renamed, adapt={"encoder.0.weight": careless}
    )
    for value in weights.values():
        assert value.flags.writeable
        assert value.flags.c_contiguous
        assert not any(
            np.shares_memory(value, other)
            for other in (*target.values(), *source.values())
        )
        value[...] = 9
    for before, after in ((TARGET, target), (SOURCE, source)):
        for name, value in before.items():
            np.testing.assert_array_equal(after[name], value)


def test_only_floats_are_cast_to_the_dtype_of_the_target():
    target = {
        "a": np.zeros(3, "float16"),
        "b": np.zeros(3, "float32"),
        "c": np.zeros(3, "float32"),
    }
    source = {
        "a": np.array([0.1, np.nan, np.inf]),
        "b": np.arange(6.0)[::2].astype(">f8"),
        "c": np.arange(3),
    }
    weights, report = gp.weights.transfer(target, source)
    np.testing.assert_array_equal(
        weights["a"], np.array([0.1, np.nan, np.inf], "float16")
    )
    np.testing.assert_array_equal(weights["b"], np.array([0, 2, 4], "float32"))
    assert {name: value.dtype.str for name, value in weights.items()} == {
        "a": "<f2",
        "b": "<f4",
        "c": "<f4",
    }
    assert report.skipped == (("c", "dtype int64, the target's is float32"),)
    with pytest.raises(
        gp.RangeError, match="'a' contains 70000, which overflows float16"
    ):
        gp.weights.transfer(target, {"a": np.array([0, 70000.0, 0])})


def test_weights_without_counterpart_need_not_be_arrays():
    checkpoint = {"epoch": 3, "optimizer": {"lr": 0.1}, "w": np.ones(2)}
    weights, report = gp.weights.transfer({"w": np.zeros(2)}, checkpoint)
    np.testing.assert_array_equal(weights["w"], 1)
    assert [name for name, _ in report.skipped] == ["epoch", "optimizer"]


@pytest.mark.parametrize(
    ("call", "raises", "message"),
    [
        (
            {"source": list(SOURCE)},
            gp.DTypeError,
            "expected source to be a mapping of names to arrays.*got list",
        ),
        (
            {"target": gp.replicate()},
            gp.DTypeError,
            "expected target to be a mapping of names to arrays.*got ChannelMap",
        ),
        (
            {"target": {"w": {"lr": 1}}},
            gp.DTypeError,
            "'w' of the target must be an array of numbers, got dict",
        ),
        (
            {"rename": {"feature.0.bias": "b"}},
            gp.ChannelError,
            "'feature.0.bias', but the source has no such weight.*features",
        ),
        (
            {"rename": lambda _: "w"},
            gp.ChannelError,
            "'features.0.weight' and 'features.0.bias'.*both become 'w'",
        ),
        (
            {"rename": {"features.0.bias": "steps"}},
            gp.ChannelError,
            "'features.0.bias' and 'steps'.*become 'steps'",
        ),
        (
            {"adapt": gp.replicate()},
            gp.DTypeError,
            "a mapping of names of the target to functions.*got ChannelMap",
        ),
        (
            {"adapt": {"up.weight": np.negative}},
            gp.ChannelError,
            "contains 'up.weight', but no weight of the source.*available: 'encoder.0",
        ),
        (
            {"adapt": {"features.0.bias": abs}},
            gp.ChannelError,
            "'features.0.bias', but the target has no such weight: it has 'encoder.0",
        ),
        (
            {"adapt": {"steps": abs, ("steps",): tuple}},
            gp.ChannelError,
            "each name once, got 'steps' twice",
        ),
        (
            {"adapt": {"encoder.0.weight": abs}},
            gp.LayoutError,
            r"'encoder.0.weight' does not match.*\(8, 3, 3, 3\)",
        ),
        (
            {"adapt": {"steps": float}},
            gp.LayoutError,
            "'steps' does not match.*dtype float64",
        ),
        (
            {"adapt": {"encoder.0.bias": lambda b: (b, None)}},
            gp.DTypeError,
            "the result of adapt for 'encoder.0.bias' must",
        ),
        (
            {"adapt": {("encoder.0.bias", "steps"): lambda b, _: [b]}},
            gp.ChannelError,
            "must return 2 weights, got 1",
        ),
        (
            {"adapt": {("encoder.0.bias", "steps"): lambda *_: None}},
            gp.DTypeError,
            "'steps'.*must return a tuple of 2 weights, got NoneType",
        ),
        (
            {"adapt": {"steps": np.ones(3)}},
            gp.DTypeError,
            "to a function, got 'steps' and ndarray",
        ),
        (
            {"adapt": {7: abs}},
            gp.DTypeError,
            "a name of the target, or a tuple of names.*got 7",
        ),
        (
            {"rename": [("a", "b")]},
            gp.DTypeError,
            "rename to be a mapping or a function.*got list",
        ),
        (
            {"source": {7: np.ones(3)}, "rename": None},
            gp.DTypeError,
            "names in source to be strings, got 7",
        ),
        (
            {"target": {None: np.ones(3)}},
            gp.DTypeError,
            "names in target to be strings, got None",
        ),
    ],
)
def test_invalid_arguments_are_refused(call, raises, message):
    call = {"target": TARGET, "source": SOURCE, "rename": renamed, **call}
    with pytest.raises(raises, match=f"(?s){message}"):
        gp.weights.transfer(call.pop("target"), call.pop("source"), **call)


def test_a_missing_bias_is_requested_as_zeros():
    channel_map = gp.plan("gray", "imagenet").unit_map
    source = {
        name: weight for name, weight in SOURCE.items() if name != "features.0.bias"
    }
    first = ("encoder.0.weight", "encoder.0.bias")
    adapt = {first: lambda w, b: gp.weights.fold(w, b, channel_map, layout="OIHW")}
    with pytest.raises(
        gp.ChannelError,
        match=r"contains 'encoder.0.bias', but no weight of the source.*add zeros.*: pass \{\*\*source, 'encoder.0.b",
    ):
        gp.weights.transfer(TARGET, source, rename=renamed, adapt=adapt)
    source |= {"encoder.0.bias": np.zeros(8)}
    weights, _ = gp.weights.transfer(TARGET, source, rename=renamed, adapt=adapt)
    kernel = SOURCE["features.0.weight"].astype("float64")
    expected = np.einsum("oihw,i->o", kernel, np.array(channel_map.offset))
    np.testing.assert_allclose(weights["encoder.0.bias"], expected, rtol=0, atol=1e-5)


def test_names_of_a_tied_weight_share_one_outcome():
    report = Report(("b",), ("c",), (("x", "why"),), ("a", "d", "e"))
    storage = {"a": 1, "b": 1, "c": 2, "d": 2, "e": 3}
    weights = {name: np.zeros(2) for name in storage}
    assert resolve_tied_weights(report, weights, storage) == Report(
        ("a", "b"), ("c", "d"), (("x", "why"),), ("e",)
    )
    with pytest.raises(
        gp.ChannelError,
        match=r"'b' and 'c' are one weight of the target.*different values: skip one of them by renaming it to None",
    ):
        resolve_tied_weights(
            report, {**weights, "c": np.ones(2)}, dict.fromkeys(storage, 1)
        )
