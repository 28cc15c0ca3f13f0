"""Checks of the Keras layer that `all_checks` runs under every backend."""

import json
import os
import tempfile
from functools import partial
from itertools import cycle
from pathlib import Path

if os.environ.get("KERAS_BACKEND") == "torch":
    import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

import keras
import numpy as np
import oracle
import pytest
from adapters.keras.backends import checks_of
from imagenet import MEAN, STD

import graypipe as gp
from graypipe.adapters._shared.data_format import DATA_FORMATS
from graypipe.adapters.keras import ChannelLayer

BACKEND = keras.backend.backend()
RNG = np.random.default_rng(26)
EIGHT, SIXTEEN = gp.Source("gray", range=(0, 255)), gp.Source("gray", bits=16)

VIAS = {
    "repeat": ("gray", np.ones((3, 1))),
    "flip": ("RGB", np.eye(3)[::-1]),
    "pick": (("B1", "B2", "B3", "B4", "B5"), np.eye(5)[[3, 0, 3]]),
    "mix": ("RGBY", np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 1, 0]])),
}


def to_numpy(y):
    return keras.ops.convert_to_numpy(y)


def assert_raises(error, call, *words):
    """Assert that ``call()`` raises exactly ``error`` with ``words`` in its message."""
    with pytest.raises(error) as raised:
        call()
    assert raised.type is error
    for word in words:
        assert word in str(raised.value)


def imagenet(unit):
    """(..., 1) unit intensities -> (..., 3), in float64."""
    return (np.asarray(unit, np.float64) - MEAN) / STD


def assert_close(y, expected):
    np.testing.assert_allclose(to_numpy(y), expected, rtol=0, atol=4e-6)


def in_data_format(x, data_format):
    return np.moveaxis(x, -1, -3) if data_format == "channels_first" else x


def cases():
    """Yield (plan, data format, image, expected, scale) of every kind and dtype."""
    guards = cycle([(False, None), (True, 11), (False, float("nan"))])
    vias = cycle(VIAS.values())
    for dtype in ("bool", "uint8", "int16", "uint16", "float16", "float32"):
        for data_format in DATA_FORMATS:
            (bands, via), (clip, nodata) = next(vias), next(guards)
            image = RNG.integers(0, 120, (2, 7, 5, via.shape[1])).astype(dtype)
            if image.dtype.kind == "f" and nodata is not None:
                image[0, 2, 3, 0] = np.nan if np.isnan(nodata) else nodata
            pairs = [
                (0.0, 1.0) if dtype == "bool" else (2.0 + 5 * j, 90.0 + 5 * j)
                for j in range(via.shape[1])
            ]
            source = gp.Source(
                bands,
                range=pairs,
                clip=clip,
                nodata=None if dtype == "bool" else nodata,
            )
            target = gp.Target("XYZ", mean=(0.1, 0.2, 0.3), std=(2, 1, 0.5))
            y, scale = oracle.plan(
                image,
                layout="NHWC",
                out_layout="NHWC",
                ranges=pairs,
                via=via,
                mean=target.mean,
                std=target.std,
                clip=clip,
                nodata=source.nodata,
            )
            plan = gp.plan(
                source, target, gp.ChannelMap(via, inputs=source.bands, outputs="XYZ")
            )
            yield (
                plan,
                data_format,
                *(in_data_format(x, data_format) for x in (image, y, scale)),
            )


def check_results_match_the_oracle():
    for plan, data_format, image, y, scale in cases():
        result = ChannelLayer(plan, data_format=data_format)(image)
        assert keras.backend.standardize_dtype(result.dtype) == "float32"
        oracle.assert_matches(to_numpy(result), y, scale)


def check_a_trainable_layer_starts_as_the_plan():
    for size, (plan, data_format, image, y, scale) in zip(
        cycle([1, 3, 5]), cases(), strict=False
    ):
        result = ChannelLayer(
            plan, trainable=True, kernel_size=size, data_format=data_format
        )(image)
        oracle.assert_matches(to_numpy(result), y, scale)


def check_any_number_of_leading_axes():
    video = RNG.integers(0, 256, (2, 3, 6, 5, 1), np.uint8)
    for trainable in (False, True):
        layer = ChannelLayer(gp.plan(EIGHT, "imagenet"), trainable)
        y = to_numpy(layer(video))
        assert_close(y, imagenet(video / 255))
        np.testing.assert_array_equal(y[1], to_numpy(layer(video[1])))


def check_float64_is_used_where_float32_is_not_enough():
    exact = gp.plan(gp.Source("gray", range=(60000.1, 60010.1)), "unit")
    image = RNG.uniform(60000, 60010, (2, 6, 5, 1)).astype(np.float32)
    wide = RNG.integers(2**30, 2**30 + 1000, (2, 6, 5, 1), np.int32)
    whole = gp.plan(gp.Source("gray", range=(2**30, 2**30 + 1000)), "unit")
    if BACKEND != "jax":
        assert_close(
            ChannelLayer(exact)(image),
            np.repeat((image.astype(np.float64) - 60000.1) / 10, 3, -1),
        )
        assert_close(ChannelLayer(whole)(wide), np.repeat((wide - 2**30) / 1000, 3, -1))
        return
    import jax

    assert_raises(
        gp.DTypeError, lambda: ChannelLayer(exact)(image), "float64", "jax_enable_x64"
    )
    assert_raises(
        gp.DTypeError, lambda: ChannelLayer(whole)(wide), "int32", "jax_enable_x64"
    )
    jax.config.update("jax_enable_x64", True)
    try:
        assert_close(
            ChannelLayer(exact)(image),
            np.repeat((image.astype(np.float64) - 60000.1) / 10, 3, -1),
        )
        assert_close(ChannelLayer(whole)(wide), np.repeat((wide - 2**30) / 1000, 3, -1))
    finally:
        jax.config.update("jax_enable_x64", False)


def check_compiled_narrow_range_far_from_zero_is_precise():
    plan = gp.plan(gp.Source("gray", range=(60000, 60001)), gp.Target("RGB", mean=0.5))
    image = (60000 + RNG.uniform(0, 1, (2, 6, 5, 1))).astype(np.float32)
    for trainable in (False, True):
        model = keras.Sequential(
            [keras.Input((6, 5, 1)), ChannelLayer(plan, trainable)]
        )
        assert_close(
            model.predict(image, verbose=0),
            np.repeat(image.astype(np.float64) - 60000.5, 3, -1),
        )


def check_symbolic_shape_equals_the_shape_of_the_result():
    for data_format, shape, output_shape in [
        ("channels_last", (None, None, 1), (None, None, None, 3)),
        ("channels_first", (1, 8, None), (None, 3, 8, None)),
    ]:
        layer = ChannelLayer(gp.plan(EIGHT, "imagenet"), data_format=data_format)
        symbol = layer(keras.Input(shape))
        assert (symbol.shape, symbol.dtype) == (output_shape, "float32")
        assert layer.compute_output_shape((None, *shape)) == output_shape
        image = in_data_format(np.zeros((2, 8, 4, 1), np.float32), data_format)
        assert (
            tuple(layer(image).shape)
            == in_data_format(np.zeros((2, 8, 4, 3)), data_format).shape
        )
        inputs = keras.Input(shape)
        learns = ChannelLayer(
            layer.plan, trainable=True, kernel_size=3, data_format=data_format
        )
        model = keras.Model(inputs, learns(inputs))
        np.testing.assert_array_equal(
            model.predict(image, verbose=0), to_numpy(layer(image))
        )


def check_a_wrong_band_count_is_always_an_error():
    plan = gp.plan(EIGHT, "imagenet")
    for call in (
        lambda: ChannelLayer(plan)(np.zeros((2, 8, 8, 3), np.float32)),
        lambda: ChannelLayer(plan)(keras.Input((8, 8, 3))),
        lambda: ChannelLayer(plan).compute_output_shape((None, 8, 8, 3)),
        lambda: ChannelLayer(plan).build((None, 8, 8, 3)),
        lambda: keras.Sequential([ChannelLayer(plan)]).build((None, 8, 8, 3)),
    ):
        assert_raises(
            gp.ChannelError, call, "'gray' (1) on axis -1", "got 3 in shape", "8, 8, 3)"
        )
    built = ChannelLayer(plan)
    built(np.zeros((2, 8, 8, 1), np.float32))
    assert_raises(
        gp.ChannelError,
        lambda: built(np.zeros((2, 8, 8, 3), np.float32)),
        "'gray' (1) on axis -1",
        "got 3 in",
    )
    assert_raises(
        gp.ChannelError,
        lambda: built(np.zeros((2, 1, 8, 8), np.float32)),
        "data_format='channels_first'",
    )
    assert_raises(
        gp.ChannelError,
        lambda: ChannelLayer(plan)(keras.Input((8, 8, None))),
        "got None",
    )


def check_a_batch_without_a_channel_axis_is_an_error():
    layer = ChannelLayer(gp.plan(EIGHT, "imagenet"))
    for shape in ((8, 16, 16), (8, 16, 1), (8, 16, 3), (16, 16)):
        assert_raises(
            gp.LayoutError,
            partial(layer, np.zeros(shape)),
            "expected a batch of shape (N, ..., H, W, C)",
            "fewer than 4 axes",
            "x[None]",
            "expand_dims(x, -1)",
        )
    assert_raises(
        gp.LayoutError,
        lambda: ChannelLayer(layer.plan)(keras.Input((16, 16))),
        "(None, 16, 16)",
    )


def models(layer):
    """Yield a functional, a sequential and a subclassed model with such a layer."""
    config = layer.get_config()
    inputs = keras.Input((6, 5, 1))
    functional = keras.Model(inputs, ChannelLayer.from_config(config)(inputs))
    sequential = keras.Sequential(
        [keras.Input((6, 5, 1)), ChannelLayer.from_config(config)]
    )
    wrapped = Wrapped(ChannelLayer.from_config(config))
    yield from (functional, sequential, wrapped)


@keras.saving.register_keras_serializable(package="tests")
class Wrapped(keras.Model):
    def __init__(self, layer, **options):
        super().__init__(**options)
        self.layer = (
            keras.saving.deserialize_keras_object(layer)
            if isinstance(layer, dict)
            else layer
        )

    def call(self, inputs):
        return self.layer(inputs)

    def get_config(self):
        return {
            **super().get_config(),
            "layer": keras.saving.serialize_keras_object(self.layer),
        }


def check_saved_models_load_and_give_the_same_values():
    image = RNG.integers(0, 65536, (2, 6, 5, 1), np.uint16).astype(np.float32)
    for options in ({}, {"trainable": True, "kernel_size": 3}):
        for model in models(ChannelLayer(gp.plan(SIXTEEN, "imagenet"), **options)):
            assert_close(model(image), imagenet(image / 65535))
            model.set_weights([weight + 0.25 for weight in model.get_weights()])
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.keras"
                model.save(path)
                loaded = keras.models.load_model(path)
            assert len(loaded.weights) == (2 if options else 0)
            np.testing.assert_array_equal(
                to_numpy(loaded(image)), to_numpy(model(image))
            )


def check_the_config_is_json_and_restores_the_layer():
    plan = gp.plan(
        gp.Source("gray", range=(3, 90), clip=True, nodata=float("nan")), "keras-caffe"
    )
    for options in (
        {},
        {"trainable": True, "kernel_size": 5},
        {"data_format": "channels_first", "name": "expand"},
        {"dtype": "mixed_bfloat16"},
        {"dtype": keras.DTypePolicy("float64")},
    ):
        layer = ChannelLayer(plan, **options)
        config = layer.get_config()
        again = ChannelLayer.from_config(json.loads(json.dumps(config)))
        assert again.get_config() == config
        assert again.plan == layer.plan
        assert again.plan.fingerprint == plan.fingerprint
        assert again.name == layer.name
        assert again.dtype_policy == layer.dtype_policy
        assert keras.saving.get_registered_name(type(again)) == "graypipe>ChannelLayer"


def check_a_frozen_layer_keeps_its_weights():
    image = RNG.integers(0, 256, (2, 6, 5, 1)).astype(np.float32)
    model = keras.Sequential(
        [
            keras.Input((6, 5, 1)),
            ChannelLayer(gp.plan(EIGHT, "imagenet"), trainable=True),
        ]
    )
    model.set_weights([weight + 0.5 for weight in model.get_weights()])
    model.trainable = False
    assert not model.trainable_weights
    again = keras.models.clone_model(model)
    assert (len(again.weights), len(again.trainable_weights)) == (2, 0)
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(to_numpy(again(image)), to_numpy(model(image)))
    layer = ChannelLayer.from_config(model.layers[0].get_config())
    layer.build((None, 6, 5, 1))
    assert (len(layer.weights), len(layer.trainable_weights)) == (2, 0)
    layer.trainable = True
    assert len(layer.trainable_weights) == 2
    fixed = ChannelLayer(gp.plan(EIGHT, "imagenet"))
    fixed.trainable = True
    assert_close(fixed(image), imagenet(image / 255))
    assert not fixed.weights
    assert fixed.get_config()["trainable"] is False


def check_mixed_precision_keeps_16_bit_images_exact():
    image = np.linspace(0, 65535, 60).round().reshape(2, 6, 5, 1).astype(np.uint16)
    image[0, 0, 0, 0], image[0, 0, 0] = 65535, 65535
    for policy in ("mixed_float16", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            for options in ({}, {"trainable": True, "kernel_size": 3}):
                layer = ChannelLayer(gp.plan(SIXTEEN, "imagenet"), **options)
                assert_close(layer(image), imagenet(image / 65535))
                functional, sequential, wrapped = models(layer)
                for model in (functional, sequential):
                    assert_close(
                        model(image.astype(np.float32)), imagenet(image / 65535)
                    )
                    assert_close(
                        model.predict(image, verbose=0), imagenet(image / 65535)
                    )
                lazy = keras.Sequential([ChannelLayer.from_config(layer.get_config())])
                for model in (wrapped, lazy):
                    call = partial(model, image.astype(np.float32))
                    assert_raises(
                        gp.RangeError,
                        call,
                        policy.removeprefix("mixed_"),
                        "65535",
                        "keras.Input",
                        "autocast=False",
                    )
                kept = Wrapped(
                    ChannelLayer.from_config(layer.get_config()), autocast=False
                )
                assert_close(kept(image.astype(np.float32)), imagenet(image / 65535))
        finally:
            keras.config.set_dtype_policy("float32")


def check_a_dtype_policy_is_kept_and_does_not_change_the_result():
    image = RNG.integers(0, 65536, (2, 6, 5, 1), np.uint16).astype(np.float32)
    for policy in ("float32", "mixed_float16", "bfloat16", "float64"):
        for options in ({}, {"trainable": True}):
            layer = ChannelLayer(gp.plan(SIXTEEN, "imagenet"), dtype=policy, **options)
            assert layer.dtype_policy.name == policy
            inputs = keras.Input((6, 5, 1))
            model = keras.Model(inputs, layer(inputs))
            with tempfile.TemporaryDirectory() as folder:
                model.save(Path(folder) / "model.keras")
                loaded = keras.models.load_model(Path(folder) / "model.keras")
            assert loaded.layers[-1].dtype_policy.name == policy
            for result in (layer(image), model(image), loaded(image)):
                assert keras.backend.standardize_dtype(result.dtype) == "float32"
                assert_close(result, imagenet(image / 65535))


def check_a_saved_policy_does_not_follow_the_global_one():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        config = ChannelLayer(gp.plan(EIGHT, "imagenet")).get_config()
    finally:
        keras.config.set_dtype_policy("float32")
    assert ChannelLayer.from_config(config).dtype_policy.name == "mixed_float16"


def check_a_full_precision_layer_detects_a_cast_of_its_model():
    image = np.full((2, 6, 5, 1), 65535, np.float32)
    early = ChannelLayer(gp.plan(SIXTEEN, "imagenet"))
    keras.config.set_dtype_policy("mixed_float16")
    try:
        explicit = ChannelLayer(gp.plan(SIXTEEN, "imagenet"), dtype="float32")
        for layer in (early, explicit):
            model = keras.Sequential([layer])
            assert_raises(gp.RangeError, partial(model, image), "float16")
            model = keras.Sequential([ChannelLayer.from_config(layer.get_config())])
            assert_raises(
                gp.RangeError, partial(model.predict, image, verbose=0), "float16"
            )
    finally:
        keras.config.set_dtype_policy("float32")


class Frames(keras.Layer):
    """Pass frames on with a mask of those that are not empty, as Masking does."""

    def compute_mask(self, inputs, previous=None):  # noqa: ARG002  # the signature of Keras
        return keras.ops.any(keras.ops.not_equal(inputs, 0), axis=(-3, -2, -1))

    def call(self, inputs):
        return inputs


class KeepMask(keras.Layer):
    """Return the mask of the input."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, inputs, mask=None):  # noqa: ARG002  # the signature of Keras
        return keras.ops.cast(mask, "int32")

    def compute_output_shape(self, input_shape):
        return input_shape[:2]


def check_masks_are_passed_on():
    video = np.ones((2, 3, 6, 5, 1), np.float32)
    video[1, 2] = 0
    inputs = keras.Input((3, 6, 5, 1))
    for options in ({}, {"trainable": True, "kernel_size": 3}):
        layer = ChannelLayer(gp.plan(EIGHT, "imagenet"), **options)
        model = keras.Model(inputs, KeepMask()(layer(Frames()(inputs))))
        mask = to_numpy(model(video))
        np.testing.assert_array_equal(mask, [[1, 1, 1], [1, 1, 0]])


def check_half_precision_input_must_hold_the_range():
    image = RNG.integers(0, 256, (2, 6, 5, 1)).astype(np.float32)
    for dtype in ("float16", "bfloat16"):
        half = keras.ops.cast(image, dtype)
        assert_close(
            ChannelLayer(gp.plan(EIGHT, "imagenet"))(half), imagenet(image / 255)
        )
        lost = gp.Source("gray", range=(0, 1), nodata=-9999)
        assert_raises(
            gp.RangeError,
            partial(ChannelLayer(gp.plan(lost, "imagenet")), half),
            dtype,
            "9999",
        )


def check_the_result_has_the_dtype_of_the_target():
    image = RNG.integers(0, 256, (2, 6, 5, 1)).astype(np.float32)
    for dtype in (
        ("float16", "float32")
        if BACKEND == "jax"
        else ("float16", "float32", "float64")
    ):
        plan = gp.plan(EIGHT, gp.preset("imagenet", dtype=dtype))
        layer = ChannelLayer(plan, trainable=True)
        y = layer(image)
        assert (
            keras.backend.standardize_dtype(y.dtype)
            == layer(keras.Input((6, 5, 1))).dtype
            == dtype
        )
        np.testing.assert_allclose(
            to_numpy(y),
            imagenet(image / 255),
            rtol=0,
            atol=2e-3 if dtype == "float16" else 4e-6,
        )


def check_training_changes_the_weights_and_reduces_the_loss():
    plan = gp.plan(gp.Source("gray", range=(0, 255), nodata=0), "imagenet")
    image = RNG.integers(1, 256, (16, 6, 5, 1)).astype(np.float32)
    image[:, 2, 3] = 0
    expected = imagenet(image / 255) * 1.5 + 0.5
    expected[:, 2, 3] = 0
    model = keras.Sequential(
        [keras.Input((6, 5, 1)), ChannelLayer(plan, trainable=True, kernel_size=3)]
    )
    start = [np.array(weight) for weight in model.get_weights()]
    np.testing.assert_allclose(start[0][1, 1, 0], 1 / np.array(STD), rtol=1e-6)
    np.testing.assert_allclose(start[1], -np.array(MEAN) / STD, rtol=1e-6)
    assert np.count_nonzero(start[0]) == 3
    model.compile(keras.optimizers.Adam(0.05), "mse")
    before = model.evaluate(image, expected, verbose=0)
    model.fit(image, expected, batch_size=16, epochs=40, shuffle=False, verbose=0)
    assert model.evaluate(image, expected, verbose=0) < before / 10
    assert not any(
        np.array_equal(a, b) for a, b in zip(start, model.get_weights(), strict=True)
    )
    assert not model.predict(image, verbose=0)[:, 2, 3].any()


def check_gradients_reach_the_layer_before_the_plan():
    image = RNG.uniform(0, 1, (8, 6, 5, 1)).astype(np.float32)
    plan = gp.plan(
        gp.Source("gray", range=(0, 1), clip=True, nodata=float("nan")), "imagenet"
    )
    before = keras.layers.Conv2D(1, 1, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((6, 5, 1)), before, ChannelLayer(plan)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(image, imagenet(image * 0.5), verbose=0)
    assert 0 < to_numpy(before.kernel).item() < 1


def check_padding_and_nodata_are_black_to_their_neighbours():
    plan = gp.plan(
        gp.Source("gray", range=(50, 250), nodata=float("nan")),
        gp.Target("gray", "HWC"),
    )
    layer = ChannelLayer(plan, trainable=True, kernel_size=3)
    layer.build((None, 3, 3, 1))
    layer.set_weights([np.ones((3, 3, 1, 1), np.float32), np.zeros(1, np.float32)])
    image = np.full((1, 3, 3, 1), 250, np.float32)
    image[0, 0, 0] = np.nan
    expected = np.array([[0, 5, 4], [5, 8, 6], [4, 6, 4]])
    np.testing.assert_allclose(to_numpy(layer(image))[0, ..., 0], expected, atol=1e-6)


def check_more_than_one_tensor_is_an_error():
    layer = ChannelLayer(gp.plan(EIGHT, "imagenet"))
    image = np.zeros((2, 6, 5, 1), np.float32)
    for arguments in ([{"image": image}], [[image]], [image, image]):
        assert_raises(
            gp.DTypeError,
            partial(layer, *arguments),
            "one tensor",
            "tf_data.ToBackbone",
        )


def check_mapping_a_dataset_recommends_the_tf_data_adapter():
    import tensorflow as tf

    image = RNG.integers(0, 256, (2, 6, 5, 1), np.uint8)
    layer = ChannelLayer(gp.plan(EIGHT, "imagenet"))
    one = tf.data.Dataset.from_tensor_slices(image)
    labelled = tf.data.Dataset.from_tensors((image, [0, 1]))
    error = gp.LayoutError if BACKEND == "tensorflow" else gp.DTypeError
    assert_raises(error, lambda: one.map(layer), "tf_data.ToBackbone")
    assert_raises(gp.DTypeError, lambda: labelled.map(layer), "tf_data.ToBackbone")
    if BACKEND == "tensorflow":
        assert_close(next(iter(one.batch(2).map(layer))), imagenet(image / 255))
    else:
        assert_raises(
            gp.DTypeError,
            lambda: one.batch(2).map(layer),
            f"under the {BACKEND} backend",
            "tf_data.ToBackbone",
        )
        assert_close(layer(tf.constant(image)), imagenet(image / 255))


CHECKS = checks_of(globals())
