"""The stem of Keras models: which layers a plan folds into, and which graphs are refused."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import keras
import numpy as np
import pytest
from keras import layers

import graypipe as gp
from graypipe.adapters.keras import ChannelLayer, compare, fold_into
from graypipe.adapters.keras.graph import find_stem

GRAY = gp.Source("gray", range=(0, 255))
PLAN = gp.plan(GRAY, "keras-torch")
MIX = gp.plan(
    gp.Source("RGBY", range=(0, 255)),
    "keras-torch",
    {"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"},
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy"
)  # Keras 3.15


def model_of(*parts, shape=(12, 10, 3), seed=5):
    """Return a functional model of ``parts`` in a row."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input(shape)
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x)


def check(model, plan=PLAN):
    """Assert that folding ``plan`` is exact where it should be; return the folded layer."""
    exact, feed = fold_into(model, plan, exact=True)
    comparison = compare(model, plan, exact, feed)
    assert (
        max(
            comparison.interior.relative,
            comparison.border.relative,
            comparison.model.relative,
        )
        <= 1e-5
    )
    folded, feed = fold_into(model, plan)
    assert compare(model, plan, folded, feed).interior.relative <= 1e-5
    return find_stem(folded).layer


LAYERS = {
    "dilated": layers.Conv2D(6, 3, padding="same", dilation_rate=2, activation="relu"),
    "strided": layers.Conv2D(6, (5, 3), padding="same", strides=(3, 2)),
    "patches": layers.Conv2D(6, 4, strides=4),
    "grouped": layers.Conv2D(6, 3, padding="same", groups=3),
    "depthwise": layers.DepthwiseConv2D(
        3, depth_multiplier=2, padding="same", use_bias=False
    ),
    "separable": layers.SeparableConv2D(
        5, 3, depth_multiplier=2, padding="same", strides=2, activation="relu"
    ),
}


@pytest.mark.parametrize("plan", [PLAN, MIX], ids=["gray", "RGBY"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_kind_of_convolution_becomes_a_plain_one(name, plan):
    layer = type(LAYERS[name]).from_config(LAYERS[name].get_config())
    folded_layer = check(model_of(layer, layers.ReLU()), plan)
    assert type(folded_layer) is layers.Conv2D
    assert (
        folded_layer.groups,
        folded_layer.name,
        folded_layer.strides,
        folded_layer.padding,
    ) == (
        1,
        layer.name,
        layer.strides,
        layer.padding,
    )
    assert folded_layer.dilation_rate == layer.dilation_rate
    assert folded_layer.kernel.shape[2] == len(plan.source.bands)
    assert folded_layer.activation is layer.activation


def test_a_folded_depthwise_model_equals_the_original():
    model = model_of(
        layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), layers.ReLU()
    )
    image = np.random.default_rng(1).integers(0, 256, (2, 12, 10), np.uint8)
    expected = np.asarray(model(PLAN.batch(image)))
    exact, feed = fold_into(model, PLAN, exact=True)
    np.testing.assert_allclose(exact(feed.batch(image)), expected, rtol=0, atol=1e-5)
    folded, feed = fold_into(model, PLAN)
    off = np.abs(folded(feed.batch(image)) - expected)
    assert off[:, 1:-1, 1:-1].max() <= 1e-5
    assert off.max() > 1e-3


def test_a_centre_per_band_removes_the_border_difference():
    model = model_of(layers.Conv2D(4, 3, padding="same"))
    comparison = compare(model, MIX, *fold_into(model, MIX))
    assert comparison.border.relative < 1e-3


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2),
        layers.DepthwiseConv1D(3, padding="same"),
        layers.SeparableConv1D(4, 3, padding="same"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_one_dimensional_convolutions_are_folded(layer):
    folded_layer = check(model_of(layers.ZeroPadding1D(1), layer, shape=(20, 3)))
    assert type(folded_layer) is layers.Conv1D
    _, feed = fold_into(
        model_of(type(layer).from_config(layer.get_config()), shape=(20, 3)), PLAN
    )
    assert feed.target.layout == "HWC"  # the rows of an image


def test_three_dimensional_convolutions_are_folded():
    model = model_of(
        layers.ZeroPadding3D(1), layers.Conv3D(4, 3, strides=2), shape=(6, 8, 7, 3)
    )
    with pytest.raises(
        gp.LayoutError, match="reads volumes, but the layout of the source is 'HW'"
    ):
        fold_into(model, PLAN)
    volumes = gp.Source("gray", "THW", range=(0, 255))
    folded_layer = check(model, gp.plan(volumes, "keras-torch"))
    assert type(folded_layer) is layers.Conv3D
    assert fold_into(model, gp.plan(volumes, "keras-torch"))[1].target.layout == "THWC"


def test_the_image_size_may_be_unknown():
    stem = layers.Conv2D(4, 3, padding="same", strides=2)
    folded, feed = fold_into(model_of(stem, shape=(None, None, 3)), PLAN)
    assert folded.input_shape == (None, None, None, 1)
    image = np.full((1, 30, 41), 9, np.uint8)
    assert folded(feed.batch(image)).shape == (1, 15, 21, 4)


@pytest.mark.parametrize("kind", ["functional", "sequential", "twice"])
def test_the_stem_is_found_in_nested_models(kind):
    stem = layers.Conv2D(4, 3, name="stem")
    inner = model_of(stem, layers.ReLU(), shape=(14, 12, 3))
    if kind == "sequential":
        inner = keras.Sequential([keras.Input((14, 12, 3)), stem, layers.ReLU()])
    inner.name = "encoder"
    if kind == "twice":
        inner = keras.Sequential([keras.Input((14, 12, 3)), inner], name="outer")
    head = keras.Sequential(
        [keras.Input((12, 10, 4)), layers.Dense(2, name="head")], name="decoder"
    )
    model = model_of(layers.ZeroPadding2D(1), inner, head)
    path = {"twice": ("outer", "encoder", "stem")}.get(kind, ("encoder", "stem"))
    assert (
        find_stem(model).path
        == find_stem(model, "stem").path
        == find_stem(model, "/".join(path)).path
        == path
    )
    inner.trainable = False
    folded_layer = check(model)
    assert folded_layer.name == "stem"
    assert not folded_layer.trainable


def test_the_stem_is_found_in_sequential_models():
    stem = layers.Conv2D(4, 3, name="stem")
    model = keras.Sequential(
        [
            keras.Input((12, 10, 3), name="image"),
            layers.ZeroPadding2D(2),
            stem,
            layers.ReLU(),
        ]
    )
    check(model)
    folded, _ = fold_into(model, PLAN)
    assert isinstance(folded, keras.Sequential)
    assert [part.name for part in folded.layers] == [part.name for part in model.layers]
    lazy = keras.Sequential([layers.Conv2D(4, 3)])
    with pytest.raises(
        gp.ChannelError,
        match=r"no weights yet: begin it with keras.Input, or call it once",
    ):
        fold_into(lazy, PLAN)
    lazy(np.zeros((1, 12, 10, 3)))
    assert fold_into(lazy, PLAN)[0].input_shape == (1, 12, 10, 1)


def test_structured_inputs_and_several_outputs_are_kept():
    inputs = keras.Input((12, 10, 3), name="image")
    a = layers.Conv2D(4, 3, padding="same")(inputs)
    b = layers.BatchNormalization()(keras.ops.relu(a) / 2)
    for structure in ([inputs], {"image": inputs}):
        model = keras.Model(structure, {"a": a, "b": b})
        check(model)
        folded, feed = fold_into(model, PLAN)
        image = feed.batch(np.zeros((1, 12, 10), np.uint8))
        arguments = [image] if isinstance(structure, list) else {"image": image}
        outputs = folded(arguments)
        assert {name: part.shape for name, part in outputs.items()} == {
            "a": (1, 12, 10, 4),
            "b": (1, 12, 10, 4),
        }


@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.Model):
    """A functional model whose call does more than its graph."""

    def call(self, inputs):
        return super().call(inputs * 2)


class Wrapped(keras.Model):
    """A functional model whose __call__ does more than its graph."""

    def __call__(self, inputs, *args, **kwargs):
        return super().__call__(inputs * 2, *args, **kwargs)


class Written(keras.Model):
    def __init__(self):
        super().__init__()
        self.stem = layers.Conv2D(4, 3)

    def call(self, inputs):
        return self.stem(inputs)


class Standardised(layers.Conv2D):
    """A subclass of a convolution, which may use its kernel in another way."""


def two_stems():
    inputs = keras.Input((12, 10, 3))
    return keras.Model(
        inputs,
        [
            layers.Conv2D(4, 3, name="one")(inputs),
            layers.Conv2D(4, 3, name="two")(inputs),
        ],
    )


def skipping():
    inputs = keras.Input((12, 10, 3))
    padded = layers.ZeroPadding2D(1)(inputs)
    return keras.Model(
        inputs,
        layers.Concatenate(name="skip")(
            [layers.Conv2D(4, 3, name="one")(padded), inputs]
        ),
    )


def shared():
    inputs, stem = (
        keras.Input((12, 10, 3)),
        layers.Conv2D(3, 3, padding="same", name="stem"),
    )
    return keras.Model(inputs, stem(stem(inputs)))


def shared_with_a_nested_model():
    stem = layers.Conv2D(3, 3, padding="same", name="stem")
    return model_of(model_of(stem, layers.ReLU()), stem)


def shared_by_nested_models():
    inner = model_of(layers.Conv2D(3, 3, padding="same", name="stem"))
    return model_of(
        model_of(inner, layers.ReLU()),
        keras.Sequential([keras.Input((12, 10, 3)), inner]),
    )


def returning():
    inputs = keras.Input((12, 10, 3))
    return keras.Model(inputs, [layers.Conv2D(4, 3)(inputs), inputs])


def returning_padded():
    inputs = keras.Input((12, 10, 3))
    padded = layers.ZeroPadding2D(1)(inputs)
    return keras.Model(inputs, {"a": layers.Conv2D(4, 3)(padded), "b": padded})


def stereo():
    left, right, stem = (
        keras.Input((12, 10, 3)),
        keras.Input((12, 10, 3)),
        layers.Conv2D(4, 3),
    )
    return keras.Model([left, right], stem(left) + stem(right))


def doubled():
    inputs = keras.Input((12, 10, 3))
    return Doubled(inputs, layers.Conv2D(4, 3)(inputs))


def wrapped():
    inputs = keras.Input((12, 10, 3))
    return Wrapped(inputs, layers.Conv2D(4, 3)(inputs))


def written():
    model = Written()
    model(np.zeros((1, 12, 10, 3)))
    return model


REFUSED = {
    "two stems": (
        two_stems,
        r"one layer that reads the image.*got 2 \('one', 'two'\).*ChannelLayer in front",
    ),
    "a skip": (skipping, r"got 2 \('one', 'skip'\)|got 2 \('skip', 'one'\)"),
    "shared": (shared, "'stem' is shared and reads other tensors besides the image"),
    "shared, nested": (
        shared_with_a_nested_model,
        "'stem' is shared and reads other tensors besides the image",
    ),
    "shared, twice nested": (
        shared_by_nested_models,
        "'stem' is shared and reads other tensors besides the image",
    ),
    "returned": (returning, "returns the image itself"),
    "returned, padded": (returning_padded, "returns the image itself"),
    "two images": (stereo, "a model with one input, the image, got 2"),
    "own call": (
        doubled,
        "is of class Doubled, which overrides `call`, `__call__` or `get_config`",
    ),
    "own __call__": (
        wrapped,
        "is of class Wrapped, which overrides `call`, `__call__` or `get_config`",
    ),
    "subclassed": (
        written,
        "is of class Written, which overrides `call`, `__call__` or `get_config`",
    ),
    "own layer": (
        lambda: model_of(Standardised(4, 3)),
        r"Standardised '\w+' reads the image, but a plan can only be folded into",
    ),
    "flat": (
        lambda: model_of(layers.Flatten(), layers.Dense(3)),
        "Flatten '.*' reads the image.*into Conv1D, Conv2D",
    ),
    "batch norm": (
        lambda: model_of(layers.BatchNormalization(), layers.Conv2D(4, 3)),
        "normalises its input: BatchNorm",
    ),
    "arithmetic": (
        lambda: model_of(lambda x: x / 255, layers.Conv2D(4, 3)),
        "TrueDivide '.*' reads the image",
    ),
    "a plan": (
        lambda: model_of(ChannelLayer(PLAN), layers.Conv2D(4, 3), shape=(9, 9, 1)),
        "ChannelLayer 'ch.* reads",
    ),
    "nested": (
        lambda: model_of(model_of(layers.Rescaling(2), layers.Conv2D(4, 3))),
        "normalises its input: Rescaling",
    ),
    "nested, written": (lambda: model_of(written()), "is of class Written"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_without_a_single_stem_is_refused(case):
    build, says = REFUSED[case]
    with pytest.raises(gp.ChannelError, match=says):
        fold_into(build(), PLAN)


def test_a_layer_name_does_not_override_the_graph():
    with pytest.raises(gp.ChannelError, match=r"got 2 \('one', 'two'\)"):
        fold_into(two_stems(), PLAN, layer="one")
    with pytest.raises(gp.ChannelError, match=r"read by 'stem', not by 'conv1'"):
        fold_into(model_of(layers.Conv2D(4, 3, name="stem")), PLAN, layer="conv1")
    with pytest.raises(gp.DTypeError, match="expected a Keras model, got Conv2D"):
        fold_into(layers.Conv2D(4, 3), PLAN)


def test_padding_of_the_channel_axis_is_refused():
    model = model_of(
        layers.ZeroPadding2D(1, data_format="channels_first"), layers.Conv2D(4, 3)
    )
    with pytest.raises(
        gp.ChannelError, match=r"expected a map with 5 outputs.*got 3, 'RGB'"
    ):
        fold_into(model, PLAN)


def test_lora_weights_are_merged_into_the_folded_kernel():
    model = model_of(layers.Conv2D(4, 3, name="stem"))
    model.get_layer("stem").enable_lora(2)
    model.set_weights([weight + 0.1 for weight in model.get_weights()])
    folded_layer = check(model)
    assert folded_layer.lora_rank is None


def test_a_layer_in_two_nested_models_stays_one_layer():
    shared, inputs = layers.Conv2D(4, 1, name="shared"), keras.Input((12, 10, 3))
    x = layers.Conv2D(4, 3, padding="same", name="stem")(inputs)
    nested = [
        keras.Sequential([keras.Input((12, 10, 4)), shared], name=name)
        for name in ("one", "two")
    ]
    model = keras.Model(inputs, nested[0](x) + nested[1](x))
    check(model)
    folded, _ = fold_into(model, PLAN)
    assert folded.get_layer("one").get_layer("shared") is folded.get_layer(
        "two"
    ).get_layer("shared")
    assert len(folded.trainable_variables) == len(model.trainable_variables) == 4


def test_weight_sharing_that_a_copy_would_lose_is_refused():
    shared = layers.Dense(3)
    model = model_of(
        layers.Conv2D(3, 3),
        layers.TimeDistributed(shared),
        layers.TimeDistributed(shared),
    )
    assert len(model.weights) == 4
    with pytest.raises(
        gp.ChannelError,
        match="share weights, but their configuration does not record it",
    ):
        fold_into(model, PLAN)


def test_a_single_frozen_weight_stays_frozen():
    model = model_of(
        layers.Conv2D(4, 3, name="stem"), layers.BatchNormalization(name="norm")
    )
    model.get_layer("norm").gamma.trainable = False
    model.get_layer("stem").bias.trainable = False
    folded, _ = fold_into(model, PLAN)
    assert [weight.path for weight in folded.trainable_weights] == [
        "stem/kernel",
        "norm/beta",
    ]
    model.get_layer("stem").kernel.trainable = False
    folded, _ = fold_into(model, PLAN)
    assert [weight.path for weight in folded.trainable_weights] == ["norm/beta"]


class Nameless(layers.Layer):
    """A custom layer without `get_config`: Keras guesses one without the name."""

    def __init__(self, units=4, **options):
        super().__init__(**options)
        self.dense = layers.Dense(units)

    def call(self, inputs):
        return self.dense(inputs)


@pytest.mark.parametrize("units", [{}, {"units": 5}], ids=["plain", "sized"])
def test_custom_layers_without_get_config_are_copied(units):
    model = model_of(layers.Conv2D(4, 3, name="stem"), Nameless(name="mine", **units))
    check(model)
    folded, _ = fold_into(model, PLAN)
    assert [part.name for part in folded.layers[1:]] == ["stem", "mine"]
    assert type(folded.layers[2]) is Nameless


class Opaque(Doubled):
    """The same, of a class that Keras cannot create from a configuration."""

    def __init__(self, inputs, outputs, **options):
        super().__init__(inputs, outputs, **options)


def test_a_nested_model_keeps_its_overridden_call():
    inputs = keras.Input((10, 8, 4))
    check(
        model_of(
            layers.Conv2D(4, 3, name="stem"), Doubled(inputs, layers.Dense(2)(inputs))
        )
    )
    with pytest.raises(
        TypeError, match="Unable to revive model from config"
    ):  # Keras' own
        fold_into(
            model_of(layers.Conv2D(4, 3), Opaque(inputs, layers.Dense(2)(inputs))), PLAN
        )


def test_comparing_unrelated_models_is_refused():
    model = model_of(layers.Conv2D(4, 3))
    for other in (
        model_of(layers.Conv2D(7, 3)),
        model_of(layers.Conv2D(4, 3), layers.Dense(2)),
    ):
        with pytest.raises(
            gp.ChannelError, match=r"expected .*the result of fold_into for that model"
        ):
            compare(model, PLAN, other, PLAN)
    with pytest.raises(
        gp.ChannelError,
        match=r"images of the same size, got \(12, 10\) and \(24, 10\): compare",
    ):
        compare(model, PLAN, model_of(layers.Conv2D(4, 3), shape=(24, 10, 3)), PLAN)
