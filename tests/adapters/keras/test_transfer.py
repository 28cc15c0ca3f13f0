"""Transfer of weights into Keras models from a model, a mapping or a file."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import re
import zipfile
from functools import cache

import h5py
import keras
import numpy as np
import pytest
from keras import layers

import graypipe as gp
from graypipe.adapters.keras import transfer_into

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy"
)  # Keras 3.15

WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
BLOCKS = [(1, 2), (2, 2), (3, 3), (4, 3), (5, 3)]
NAMES = [f"block{block}_conv{i + 1}" for block, count in BLOCKS for i in range(count)]
TO_UNET = {name: f"down{i}" for i, name in enumerate(NAMES)}


@cache
def vgg16():
    """Return VGG16 with random weights and a small classifier; no test changes it."""
    keras.utils.set_random_seed(16)
    whole = keras.applications.VGG16(
        weights=None, include_top=False, input_shape=(32, 32, 3)
    )
    return keras.Model(
        whole.input, layers.Dense(5, name="predictions")(whole.output), name="vgg16"
    )


def unet(bands=3):
    """Return a U-Net whose encoder is that of VGG16, under other names."""
    inputs = x = keras.Input((32, 32, bands))
    skips, names = [], iter(enumerate(WIDTHS))
    for block, count in BLOCKS:
        if block > 1:
            skips.append(x)
            x = layers.MaxPooling2D(name=f"pool{block}")(x)
        for i, width in [next(names) for _ in range(count)]:
            x = layers.Conv2D(
                width, 3, padding="same", activation="relu", name=f"down{i}"
            )(x)
    for level, skip in enumerate(reversed(skips)):
        x = layers.Concatenate()([layers.UpSampling2D()(x), skip])
        x = layers.Conv2D(8, 3, padding="same", activation="relu", name=f"up{level}")(x)
        x = layers.BatchNormalization(name=f"norm{level}")(x)
    return keras.Model(inputs, layers.Conv2D(1, 1, name="mask")(x), name="unet")


def weights(model):
    return {
        weight.path: np.array(keras.ops.convert_to_numpy(weight))
        for weight in model.weights
    }


def test_vgg16_is_copied_into_a_u_net_and_frozen():
    model, source = unet(), vgg16()
    before = weights(model)
    report = transfer_into(model, source, rename=TO_UNET, freeze=True)
    assert set(report.copied) == {
        f"down{i}/{kind}" for i in range(13) for kind in ("kernel", "bias")
    }
    assert report.skipped == tuple(
        (f"predictions/{kind}", f"the target has no 'predictions/{kind}'")
        for kind in ("kernel", "bias")
    )
    assert (report.adapted, set(report.untouched)) == (
        (),
        set(before) - set(report.copied),
    )
    now = weights(model)
    source_weights = weights(source)
    for old, new in TO_UNET.items():
        for kind in ("kernel", "bias"):
            np.testing.assert_array_equal(
                now[f"{new}/{kind}"], source_weights[f"{old}/{kind}"]
            )
    for name in report.untouched:
        np.testing.assert_array_equal(now[name], before[name])
    frozen = {
        layer.name for layer in model.layers if layer.weights and not layer.trainable
    }
    assert frozen == set(TO_UNET.values())
    table = str(report).splitlines()
    assert (
        table[0]
        == f"copied 26, adapted 0, skipped 2, untouched {len(report.untouched)}"
    )
    assert len(table) == 1 + 26 + 2 + len(report.untouched)

    image = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    encoders = [
        keras.Model(net.input, net.get_layer(name).output)
        for net, name in ((model, "down12"), (source, NAMES[-1]))
    ]
    np.testing.assert_array_equal(*(encoder(image) for encoder in encoders))


def test_rename_accepts_layer_indices():
    source, model = vgg16(), unet()
    at = {layer.name: i for i, layer in enumerate(model.layers)}
    rename = {
        i: at[TO_UNET[layer.name]]
        for i, layer in enumerate(source.layers)
        if layer.name in TO_UNET
    }
    assert all(isinstance(part, int) for way in rename.items() for part in way)
    by_index, by_name = (
        transfer_into(model, source, rename=rename),
        transfer_into(unet(), source, rename=TO_UNET),
    )
    assert by_index == by_name
    assert transfer_into(
        unet(), source, rename={1: "down0", "block1_conv2": -1}
    ).copied == (
        "down0/kernel",
        "down0/bias",
    )


@pytest.mark.parametrize("as_map", [False, True])
def test_a_plan_or_channel_map_folds_into_the_first_kernel(as_map):
    plan = gp.plan("gray", "keras-caffe")
    model = unet(bands=1)
    report = transfer_into(
        model,
        vgg16(),
        rename=TO_UNET,
        adapt={"down0/kernel": plan.unit_map if as_map else plan},
        freeze=True,
    )
    assert report.adapted == ("down0/kernel", "down0/bias")
    assert len(report.copied) == 24
    assert not model.get_layer("down0").trainable
    kernel, bias = vgg16().get_layer("block1_conv1").get_weights()
    matrix, offset = (
        np.array(plan.unit_map.matrix)[:, 0],
        np.array(plan.unit_map.offset),
    )
    adapted = model.get_layer("down0").get_weights()
    np.testing.assert_allclose(
        adapted[0][:, :, 0],
        np.einsum("hwio,i->hwo", kernel, matrix),
        rtol=1e-4,
        atol=1e-4,
    )
    np.testing.assert_allclose(
        adapted[1], bias + np.einsum("hwio,i->o", kernel, offset), rtol=1e-4, atol=1e-4
    )
    summed = transfer_into(
        model, vgg16(), rename=TO_UNET, adapt={"down0/kernel": gp.replicate("BGR")}
    )
    assert summed.adapted == ("down0/kernel",)
    np.testing.assert_allclose(
        model.get_layer("down0").get_weights()[0],
        kernel.sum(2, keepdims=True),
        atol=1e-6,
    )


def backbone(seed, first=3, dtype="float32", name="backbone"):
    """Return a model with batch normalisation, attention, recurrence and nested models."""
    keras.utils.set_random_seed(seed)
    conv = layers.Conv2D(4, 3, name="stem", dtype=dtype)
    inner = keras.Sequential(
        [keras.Input((8, 8, first)), conv, layers.BatchNormalization(name="bn")],
        name="encoder",
    )
    nested = keras.Input((6, 6, 4))
    decoder = keras.Model(
        nested, layers.DepthwiseConv2D(3, name="depth")(nested), name="decoder"
    )
    inputs = keras.Input((8, 8, first))
    x = layers.Reshape((16, 4))(decoder(inner(inputs)))
    x = layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    x = layers.Bidirectional(layers.LSTM(3, name="lstm"), name="both")(x)
    model = keras.Model(inputs, layers.Dense(2, name="head")(x), name=name)
    model.set_weights([weight + seed for weight in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a model as each kind of source; the files have an optimizer state as well."""
    model = backbone(3)
    folder = tmp_path_factory.mktemp("files")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    report = transfer_into(backbone(1), model)
    mapping = dict(zip(report.copied, model.weights, strict=True))
    arrays = {
        name: keras.ops.convert_to_numpy(weight) for name, weight in mapping.items()
    }
    paths = {
        "file": folder / "model.keras",
        "weights": str(folder / "model.weights.h5"),
    }
    return {"model": model, "mapping": mapping, "arrays": arrays, **paths}


@pytest.mark.parametrize("kind", ["model", "mapping", "arrays", "file", "weights"])
def test_every_kind_of_source_fills_an_equal_model(files, kind):
    model = backbone(1)
    report = transfer_into(model, files[kind], freeze=True)
    assert (report.adapted, report.skipped, report.untouched) == ((), (), ())
    assert len(report.copied) == len(model.weights)
    for result, expected in zip(
        model.get_weights(), files["model"].get_weights(), strict=True
    ):
        np.testing.assert_array_equal(result, expected)
    assert {
        "encoder/stem/kernel",
        "encoder/bn/moving_mean",
        "decoder/depth/kernel",
        "head/bias",
    } <= set(report.copied)
    assert {"attention/query/kernel", "both/backward_lstm/lstm_cell/bias"} <= set(
        report.copied
    )
    assert model.trainable_weights == []
    assert model.trainable


@pytest.mark.parametrize("kind", ["model", "file", "weights"])
def test_rename_maps_layers_and_weights_or_is_a_function(files, kind):
    model = backbone(1)
    before = weights(model)
    report = transfer_into(
        model,
        files[kind],
        rename={"encoder/stem": "decoder/depth", "decoder": None, "head": None},
    )
    assert "decoder/depth/bias" in report.copied  # (4,) in both
    assert len([why for _, why in report.skipped if why == "left out by rename"]) == 4
    assert [why for _, why in report.skipped if "shape" in why] == [
        "shape (3, 3, 3, 4), the target's is (3, 3, 4, 1)"
    ]
    np.testing.assert_array_equal(
        model.get_layer("head").get_weights()[0], before["head/kernel"]
    )
    only = transfer_into(
        backbone(1),
        files[kind],
        rename=lambda name: name if name.startswith("head/") else None,
    )
    assert only.copied == ("head/kernel", "head/bias")


def test_a_renamed_weight_overrides_its_renamed_layer():
    report = transfer_into(
        backbone(1),
        backbone(2),
        rename={
            "encoder/bn/gamma": None,
            "encoder": "encoder",
            "head/bias": "decoder/depth/x",
        },
    )
    assert ("encoder/bn/gamma", "left out by rename") in report.skipped
    assert "encoder/bn/beta" in report.copied
    assert ("head/bias", "the target has no 'decoder/depth/x'") in report.skipped


def test_only_completely_copied_layers_are_frozen():
    model = backbone(1, first=1)
    report = transfer_into(model, backbone(2), freeze=True)
    assert report.untouched == ("encoder/stem/kernel",)
    assert model.get_layer("encoder").get_layer("stem").trainable
    assert not model.get_layer("encoder").get_layer("bn").trainable
    assert [weight.name for weight in model.trainable_weights] == ["kernel", "bias"]


def test_bfloat16_weights_are_read_and_widened(tmp_path):
    source = backbone(2, dtype="bfloat16")
    source.save_weights(tmp_path / "half.weights.h5")
    for half in (source, tmp_path / "half.weights.h5"):
        model = backbone(1)
        assert transfer_into(model, half).untouched == ()
        kernel = model.get_layer("encoder").get_layer("stem").get_weights()[0]
        np.testing.assert_array_equal(
            kernel,
            source.get_layer("encoder").get_layer("stem").get_weights()[0].astype("f4"),
        )


class Written(keras.Model):
    """A subclassed model with its own weight and a list of layers, built when called."""

    def __init__(self):
        super().__init__()
        self.blocks = [
            layers.Conv2D(2, 3, name="block1"),
            layers.Conv2D(2, 3, name="block2"),
        ]
        self.scale = self.add_weight(shape=(), name="scale")

    def call(self, inputs):
        return self.scale * self.blocks[1](self.blocks[0](inputs))


def test_subclassed_models_name_weights_by_their_layers(tmp_path):
    source, model = Written(), Written()
    for written in (source, model):
        written(np.zeros((1, 9, 9, 3)))
    source.save_weights(tmp_path / "written.weights.h5")
    report = transfer_into(model, source)
    assert set(report.copied) == {
        "scale",
        *(f"block{i}/{kind}" for i in (1, 2) for kind in ("kernel", "bias")),
    }
    other = Written()
    other(np.zeros((1, 9, 9, 3)))
    assert transfer_into(other, tmp_path / "written.weights.h5").untouched == ()
    for result, expected in zip(other.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("call", "raises", "says"),
    [
        ({"source": [1]}, gp.DTypeError, "a Keras model, a mapping.*got list"),
        (
            {"source": "vgg16.h5"},
            gp.ReadError,
            "expected a .keras or .weights.h5 file, got .*: load it into its model",
        ),
        (
            {"model": layers.Dense(2)},
            gp.DTypeError,
            "expected a Keras model, got Dense",
        ),
        (
            {"model": keras.Sequential([layers.Dense(2)])},
            gp.ChannelError,
            "no weights yet",
        ),
        (
            {"rename": {"stem": "x"}},
            gp.ChannelError,
            "rename contains 'stem'.*no layer or weight of that name: its weights are 'encoder/stem/kernel",
        ),
        (
            {"rename": {99: "x"}},
            gp.ChannelError,
            "uses 99 as the index of a layer, but the model has 7 layers",
        ),
        ({"rename": {"head": 99}}, gp.ChannelError, "uses 99"),
        (
            {"source": {"a/kernel": 1}, "rename": {0: "a"}},
            gp.ChannelError,
            "uses 0 as the index of a layer, but the source has no layers",
        ),
        ({"rename": {"encoder/stem": "decoder/depth"}}, gp.ChannelError, "both become"),
        (
            {"adapt": {"encoder/bn/gamma": gp.replicate()}},
            gp.ChannelError,
            "a channel map can only adapt the kernel .*'encoder/bn/gamma'",
        ),
        (
            {"adapt": {"head/kernel": gp.replicate()}},
            gp.ChannelError,
            "kernels with 3 to 5 axes, but 'head/kernel'",
        ),
        (
            {"adapt": {"head/kernel": np.ones((6, 2))}},
            gp.DTypeError,
            "to a function, got 'head/kernel'",
        ),
        ({"rename": [("a", "b")]}, gp.DTypeError, "rename to be a mapping.*got list"),
        (
            {"source": {0: np.ones(2)}},
            gp.DTypeError,
            "names in source to be strings, got 0",
        ),
    ],
)
def test_invalid_arguments_are_refused_and_nothing_is_written(call, raises, says):
    model = backbone(1)
    before = weights(model)
    arguments = {"model": model, "source": backbone(2), **call}
    with pytest.raises(raises, match=f"(?s){says}"):
        transfer_into(arguments.pop("model"), arguments.pop("source"), **arguments)
    for name, weight in weights(model).items():
        np.testing.assert_array_equal(weight, before[name])


def test_keras_2_weights_files_are_refused(tmp_path):
    path = tmp_path / "old.weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["head"]
        file["head/head/kernel:0"] = np.zeros((4, 2), "float32")
    with pytest.raises(
        gp.ReadError, match=r"layout of Keras 2: load it into its model"
    ):
        transfer_into(backbone(1), path)


class Twice(layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.parts = [layers.Dense(2, name="same"), layers.Dense(2, name="same")]

    def call(self, inputs):
        return self.parts[1](self.parts[0](inputs))


def test_ambiguous_weight_names_are_refused():
    model = keras.Sequential([keras.Input((2,)), Twice(name="twice")])
    with pytest.raises(
        gp.ChannelError, match="two weights are called 'twice/same/kernel'"
    ):
        transfer_into(model, model)


def cut(whole):
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    "damage",
    [lambda _: b"<html>404</html>", lambda _: b"", cut],
    ids=["html", "empty", "cut"],
)
@pytest.mark.parametrize("kind", ["model.keras", "model.weights.h5"])
def test_damaged_files_are_refused_by_their_path(tmp_path, kind, damage):
    path = tmp_path / kind
    if kind.endswith(".keras"):
        backbone(2).save(path)
    else:
        backbone(2).save_weights(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        gp.ReadError,
        match=rf"{re.escape(str(path))} is not an? .*file, or it is truncated.*again",
    ):
        transfer_into(backbone(1), path)


def test_another_zip_archive_is_no_keras_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme.txt", "weights")
    with pytest.raises(
        gp.ReadError, match=r"other.keras is not a .keras file.*config.json"
    ):
        transfer_into(backbone(1), tmp_path / "other.keras")


@pytest.mark.parametrize("name", ["none.keras", "none.weights.h5"])
def test_missing_files_raise_file_not_found_error(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name):
        transfer_into(backbone(1), tmp_path / name)


def tied():
    """Return a model with one layer in two nested models, and that layer."""
    shared = layers.Conv2D(3, 1, name="shared")
    first, second = (
        keras.Sequential([keras.Input((8, 8, 3)), shared], name=name)
        for name in ("first", "second")
    )
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, second(first(inputs))), shared


def test_two_values_for_a_shared_layer_are_refused():
    model, shared = tied()
    before = shared.get_weights()
    ones = np.ones((1, 1, 3, 3), "float32")
    with pytest.raises(
        gp.ChannelError,
        match="'first/shared/kernel' and 'second/shared/kernel' are one weight",
    ):
        transfer_into(
            model, {"first/shared/kernel": ones, "second/shared/kernel": 2 * ones}
        )
    for weight, old in zip(shared.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    report = transfer_into(
        model, {"first/shared/kernel": ones, "second/shared/kernel": ones}
    )
    assert report.copied == ("first/shared/kernel", "second/shared/kernel")
    np.testing.assert_array_equal(shared.get_weights()[0], ones)


def test_a_shared_layer_is_reported_under_both_names():
    model, shared = tied()
    one = {
        "second/shared/kernel": np.ones((1, 1, 3, 3)),
        "second/shared/bias": np.ones(3),
    }
    report = transfer_into(
        model, one, adapt={"second/shared/bias": np.negative}, freeze=True
    )
    assert report.copied == ("first/shared/kernel", "second/shared/kernel")
    assert report.adapted == ("first/shared/bias", "second/shared/bias")
    assert report.untouched == ()
    assert not shared.trainable
    np.testing.assert_array_equal(shared.get_weights()[1], -np.ones(3))


def test_a_map_with_an_offset_needs_a_bias_in_the_source():
    plan, kernel = (
        gp.plan("gray", "keras-torch"),
        np.random.default_rng(1).normal(size=(3, 3, 3, 4)),
    )
    model = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(4, 3, name="stem")])
    source = {"stem/kernel": kernel}
    with pytest.raises(
        gp.ChannelError, match=r"pass \{\*\*source, 'stem/bias': np.zeros\(\(4,\)\)\}"
    ):
        transfer_into(model, source, adapt={"stem/kernel": plan.unit_map})
    transfer_into(
        model,
        {**source, "stem/bias": np.zeros(4)},
        adapt={"stem/kernel": plan.unit_map},
    )
    expected = np.einsum("hwio,i->o", kernel, np.array(plan.unit_map.offset))
    np.testing.assert_allclose(
        model.get_layer("stem").get_weights()[1], expected, rtol=0, atol=1e-4
    )


def test_a_channel_map_on_a_depthwise_kernel_is_refused():
    def depthwise(bands, **named):
        return keras.Sequential(
            [
                keras.Input((8, 8, bands)),
                layers.DepthwiseConv2D(3, name="stem", **named),
            ]
        )

    plain = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(1, 3, name="stem", use_bias=False)]
    )
    for model in (depthwise(1), plain):
        before = [weight.copy() for weight in model.get_weights()]
        with pytest.raises(
            gp.ChannelError,
            match=r"'stem/kernel' is a depthwise kernel.*pass a function",
        ):
            transfer_into(
                model,
                depthwise(3, use_bias=False),
                adapt={"stem/kernel": gp.replicate()},
            )
        assert all(
            np.array_equal(a, b)
            for a, b in zip(before, model.get_weights(), strict=True)
        )
