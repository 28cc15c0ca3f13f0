"""What holds of the Keras layer under every backend: checks that run in a process of their own, one a backend.

`python layer_checks.py` runs them under KERAS_BACKEND and prints, as JSON, what each of them raised.
"""

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
from adapters.keras.backends import checks_of, run
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


def found(y):
    return keras.ops.convert_to_numpy(y)


def refused(error, what, *words):
    """Assert that ``what()`` raises ``error`` itself with ``words`` in its message."""
    with pytest.raises(error) as raised:
        what()
    assert raised.type is error
    for word in words:
        assert word in str(raised.value)


def imagenet(unit):
    """(..., 1) unit intensities -> (..., 3), in float64."""
    return (np.asarray(unit, np.float64) - MEAN) / STD


def close(y, expected):
    np.testing.assert_allclose(found(y), expected, rtol=0, atol=4e-6)


def moved(x, data_format):
    return np.moveaxis(x, -1, -3) if data_format == "channels_first" else x


def cases():
    """Yield plans of every kind, images (2, 7, 5, C) of every dtype, data formats, and what the oracle says."""
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
            yield plan, data_format, *(moved(x, data_format) for x in (image, y, scale))


def check_it_is_what_the_plan_means():
    for plan, data_format, image, y, scale in cases():
        made = ChannelLayer(plan, data_format=data_format)(image)
        assert keras.backend.standardize_dtype(made.dtype) == "float32"
        oracle.assert_matches(found(made), y, scale)


def check_s09_a_trainable_layer_starts_as_the_plan():
    for size, (plan, data_format, image, y, scale) in zip(
        cycle([1, 3, 5]), cases(), strict=False
    ):
        made = ChannelLayer(
            plan, trainable=True, kernel_size=size, data_format=data_format
        )(image)
        oracle.assert_matches(found(made), y, scale)


def check_leading_axes_are_free():
    video = RNG.integers(0, 256, (2, 3, 6, 5, 1), np.uint8)
    for trainable in (False, True):
        layer = ChannelLayer(gp.plan(EIGHT, "imagenet"), trainable)
        y = found(layer(video))
        close(y, imagenet(video / 255))
        np.testing.assert_array_equal(y[1], found(layer(video[1])))


def check_integers_of_32_bits_and_levels_that_float32_lacks_are_computed_in_float64():
    exact = gp.plan(gp.Source("gray", range=(60000.1, 60010.1)), "unit")
    image = RNG.uniform(60000, 60010, (2, 6, 5, 1)).astype(np.float32)
    wide = RNG.integers(2**30, 2**30 + 1000, (2, 6, 5, 1), np.int32)
    whole = gp.plan(gp.Source("gray", range=(2**30, 2**30 + 1000)), "unit")
    if BACKEND != "jax":
        close(
            ChannelLayer(exact)(image),
            np.repeat((image.astype(np.float64) - 60000.1) / 10, 3, -1),
        )
        close(ChannelLayer(whole)(wide), np.repeat((wide - 2**30) / 1000, 3, -1))
        return
    import jax

    refused(
        gp.DTypeError, lambda: ChannelLayer(exact)(image), "float64", "jax_enable_x64"
    )
    refused(gp.DTypeError, lambda: ChannelLayer(whole)(wide), "int32", "jax_enable_x64")
    jax.config.update("jax_enable_x64", True)
    try:
        close(
            ChannelLayer(exact)(image),
            np.repeat((image.astype(np.float64) - 60000.1) / 10, 3, -1),
        )
        close(ChannelLayer(whole)(wide), np.repeat((wide - 2**30) / 1000, 3, -1))
    finally:
        jax.config.update("jax_enable_x64", False)


def check_a_narrow_window_far_from_zero_keeps_its_digits_when_compiled():
    plan = gp.plan(gp.Source("gray", range=(60000, 60001)), gp.Target("RGB", mean=0.5))
    image = (60000 + RNG.uniform(0, 1, (2, 6, 5, 1))).astype(np.float32)
    for trainable in (False, True):
        model = keras.Sequential(
            [keras.Input((6, 5, 1)), ChannelLayer(plan, trainable)]
        )
        close(
            model.predict(image, verbose=0),
            np.repeat(image.astype(np.float64) - 60000.5, 3, -1),
        )


def check_t26_the_summary_says_the_shape_that_the_call_gives():
    for data_format, shape, made in [
        ("channels_last", (None, None, 1), (None, None, None, 3)),
        ("channels_first", (1, 8, None), (None, 3, 8, None)),
    ]:
        layer = ChannelLayer(gp.plan(EIGHT, "imagenet"), data_format=data_format)
        symbol = layer(keras.Input(shape))
        assert (symbol.shape, symbol.dtype) == (made, "float32")
        assert layer.compute_output_shape((None, *shape)) == made
        image = moved(np.zeros((2, 8, 4, 1), np.float32), data_format)
        assert (
            tuple(layer(image).shape)
            == moved(np.zeros((2, 8, 4, 3)), data_format).shape
        )
        inputs = keras.Input(shape)
        learns = ChannelLayer(
            layer.plan, trainable=True, kernel_size=3, data_format=data_format
        )
        model = keras.Model(inputs, learns(inputs))
        np.testing.assert_array_equal(
            model.predict(image, verbose=0), found(layer(image))
        )


def check_t26_three_bands_for_one_are_an_error_at_every_door():
    plan = gp.plan(EIGHT, "imagenet")
    for what in (
        lambda: ChannelLayer(plan)(np.zeros((2, 8, 8, 3), np.float32)),
        lambda: ChannelLayer(plan)(keras.Input((8, 8, 3))),
        lambda: ChannelLayer(plan).compute_output_shape((None, 8, 8, 3)),
        lambda: ChannelLayer(plan).build((None, 8, 8, 3)),
        lambda: keras.Sequential([ChannelLayer(plan)]).build((None, 8, 8, 3)),
    ):
        refused(
            gp.ChannelError, what, "'gray' (1) on axis -1", "got 3 in shape", "8, 8, 3)"
        )
    built = ChannelLayer(plan)
    built(np.zeros((2, 8, 8, 1), np.float32))
    refused(
        gp.ChannelError,
        lambda: built(np.zeros((2, 8, 8, 3), np.float32)),
        "'gray' (1) on axis -1",
        "got 3 in",
    )
    refused(
        gp.ChannelError,
        lambda: built(np.zeros((2, 1, 8, 8), np.float32)),
        "data_format='channels_first'",
    )
    refused(
        gp.ChannelError,
        lambda: ChannelLayer(plan)(keras.Input((8, 8, None))),
        "got None",
    )


def check_t12_t13_a_gray_batch_without_a_channel_axis_is_an_error_with_both_readings():
    layer = ChannelLayer(gp.plan(EIGHT, "imagenet"))
    for shape in ((8, 16, 16), (8, 16, 1), (8, 16, 3), (16, 16)):
        refused(
            gp.LayoutError,
            partial(layer, np.zeros(shape)),
            "expected a batch",
            "x[None]",
            "expand_dims(x, -1)",
        )
    refused(
        gp.LayoutError,
        lambda: ChannelLayer(layer.plan)(keras.Input((16, 16))),
        "(None, 16, 16)",
    )


def models(layer):
    """Yield the three kinds of model, each with a layer of its own configuration."""
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
            close(model(image), imagenet(image / 65535))
            model.set_weights([weight + 0.25 for weight in model.get_weights()])
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.keras"
                model.save(path)
                loaded = keras.models.load_model(path)
            assert len(loaded.weights) == (2 if options else 0)
            np.testing.assert_array_equal(found(loaded(image)), found(model(image)))


def check_the_config_is_json_and_gives_an_equal_layer():
    plan = gp.plan(
        gp.Source("gray", range=(3, 90), clip=True, nodata=float("nan")), "keras-caffe"
    )
    for options in (
        {},
        {"trainable": True, "kernel_size": 5},
        {"data_format": "channels_first", "name": "expand"},
    ):
        layer = ChannelLayer(plan, **options)
        config = layer.get_config()
        again = ChannelLayer.from_config(json.loads(json.dumps(config)))
        assert again.get_config() == config
        assert again.plan == layer.plan
        assert again.plan.fingerprint == plan.fingerprint
        assert again.name == layer.name
        assert keras.saving.get_registered_name(type(again)) == "graypipe>ChannelLayer"


def check_frozen_weights_stay_weights():
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
    np.testing.assert_array_equal(found(again(image)), found(model(image)))
    layer = ChannelLayer.from_config(model.layers[0].get_config())
    layer.build((None, 6, 5, 1))
    assert (len(layer.weights), len(layer.trainable_weights)) == (2, 0)
    layer.trainable = True
    assert len(layer.trainable_weights) == 2
    fixed = ChannelLayer(gp.plan(EIGHT, "imagenet"))
    fixed.trainable = True
    close(fixed(image), imagenet(image / 255))
    assert not fixed.weights
    assert fixed.get_config()["trainable"] is False


def check_mixed_precision_loses_nothing_of_16_bits():
    image = np.linspace(0, 65535, 60).round().reshape(2, 6, 5, 1).astype(np.uint16)
    image[0, 0, 0, 0], image[0, 0, 0] = 65535, 65535
    for policy in ("mixed_float16", "mixed_bfloat16"):
        keras.config.set_dtype_policy(policy)
        try:
            for options in ({}, {"trainable": True, "kernel_size": 3}):
                layer = ChannelLayer(gp.plan(SIXTEEN, "imagenet"), **options)
                close(layer(image), imagenet(image / 65535))
                functional, sequential, wrapped = models(layer)
                for model in (functional, sequential):
                    close(model(image.astype(np.float32)), imagenet(image / 65535))
                    close(model.predict(image, verbose=0), imagenet(image / 65535))
                lazy = keras.Sequential([ChannelLayer.from_config(layer.get_config())])
                for model in (wrapped, lazy):
                    given = partial(model, image.astype(np.float32))
                    refused(
                        gp.RangeError,
                        given,
                        policy.removeprefix("mixed_"),
                        "65535",
                        "keras.Input",
                        "autocast=False",
                    )
                kept = Wrapped(
                    ChannelLayer.from_config(layer.get_config()), autocast=False
                )
                close(kept(image.astype(np.float32)), imagenet(image / 65535))
        finally:
            keras.config.set_dtype_policy("float32")


def check_half_precision_is_taken_where_it_holds_the_range():
    image = RNG.integers(0, 256, (2, 6, 5, 1)).astype(np.float32)
    for dtype in ("float16", "bfloat16"):
        half = keras.ops.cast(image, dtype)
        close(ChannelLayer(gp.plan(EIGHT, "imagenet"))(half), imagenet(image / 255))
        lost = gp.Source("gray", range=(0, 1), nodata=-9999)
        refused(
            gp.RangeError,
            partial(ChannelLayer(gp.plan(lost, "imagenet")), half),
            dtype,
            "9999",
        )


def check_the_dtype_of_the_target_is_that_of_the_result():
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
            found(y),
            imagenet(image / 255),
            rtol=0,
            atol=2e-3 if dtype == "float16" else 4e-6,
        )


def check_training_moves_the_weights_from_the_plan_to_the_answer():
    plan = gp.plan(gp.Source("gray", range=(0, 255), nodata=0), "imagenet")
    image = RNG.integers(1, 256, (16, 6, 5, 1)).astype(np.float32)
    image[:, 2, 3] = 0
    wanted = imagenet(image / 255) * 1.5 + 0.5
    wanted[:, 2, 3] = 0
    model = keras.Sequential(
        [keras.Input((6, 5, 1)), ChannelLayer(plan, trainable=True, kernel_size=3)]
    )
    start = [np.array(weight) for weight in model.get_weights()]
    np.testing.assert_allclose(start[0][1, 1, 0], 1 / np.array(STD), rtol=1e-6)
    np.testing.assert_allclose(start[1], -np.array(MEAN) / STD, rtol=1e-6)
    assert np.count_nonzero(start[0]) == 3
    model.compile(keras.optimizers.Adam(0.05), "mse")
    before = model.evaluate(image, wanted, verbose=0)
    model.fit(image, wanted, batch_size=16, epochs=40, shuffle=False, verbose=0)
    assert model.evaluate(image, wanted, verbose=0) < before / 10
    assert not any(
        np.array_equal(a, b) for a, b in zip(start, model.get_weights(), strict=True)
    )
    assert not model.predict(image, verbose=0)[:, 2, 3].any()


def check_gradients_flow_through_a_plan_to_the_layer_before_it():
    image = RNG.uniform(0, 1, (8, 6, 5, 1)).astype(np.float32)
    plan = gp.plan(
        gp.Source("gray", range=(0, 1), clip=True, nodata=float("nan")), "imagenet"
    )
    before = keras.layers.Conv2D(1, 1, kernel_initializer="ones")
    model = keras.Sequential([keras.Input((6, 5, 1)), before, ChannelLayer(plan)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    model.fit(image, imagenet(image * 0.5), verbose=0)
    assert 0 < found(before.kernel).item() < 1


def check_padding_is_black_and_so_is_nodata_to_its_neighbours():
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
    np.testing.assert_allclose(found(layer(image))[0, ..., 0], expected, atol=1e-6)


def check_a_layer_takes_one_tensor():
    layer = ChannelLayer(gp.plan(EIGHT, "imagenet"))
    image = np.zeros((2, 6, 5, 1), np.float32)
    for given in ([{"image": image}], [[image]], [image, image]):
        refused(
            gp.DTypeError, partial(layer, *given), "one tensor", "tf_data.ToBackbone"
        )


def check_a_data_set_is_mapped_by_another_adapter():
    import tensorflow as tf

    image = RNG.integers(0, 256, (2, 6, 5, 1), np.uint8)
    layer = ChannelLayer(gp.plan(EIGHT, "imagenet"))
    one = tf.data.Dataset.from_tensor_slices(image)
    labelled = tf.data.Dataset.from_tensors((image, [0, 1]))
    error = gp.LayoutError if BACKEND == "tensorflow" else gp.DTypeError
    refused(error, lambda: one.map(layer), "tf_data.ToBackbone")
    refused(gp.DTypeError, lambda: labelled.map(layer), "tf_data.ToBackbone")
    if BACKEND == "tensorflow":
        close(next(iter(one.batch(2).map(layer))), imagenet(image / 255))
    else:
        refused(
            gp.DTypeError,
            lambda: one.batch(2).map(layer),
            f"under the {BACKEND} backend",
            "tf_data.ToBackbone",
        )
        close(layer(tf.constant(image)), imagenet(image / 255))


CHECKS = checks_of(globals())

if __name__ == "__main__":
    run(CHECKS, BACKEND)
