"""Checks of folding and transfer that `all_checks` runs under every backend."""

import os
import tempfile
from pathlib import Path

if os.environ.get("KERAS_BACKEND") == "torch":
    import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

import keras
import numpy as np
from adapters.keras.backends import checks_of
from keras import layers

import graypipe as gp
from graypipe.adapters.keras import compare, fold_into, transfer_into

BACKEND = keras.backend.backend()
PLAN = gp.plan(gp.Source("gray", range=(0, 255)), "keras-torch")
IMAGE = np.random.default_rng(2).integers(0, 256, (2, 20, 16), np.uint8)


def backbone(data_format="channels_last", dtype="float32"):
    keras.utils.set_random_seed(4)
    shape, axis = (
        ((3, 20, 16), 1) if data_format == "channels_first" else ((20, 16, 3), -1)
    )
    inputs = keras.Input(shape)
    x = layers.ZeroPadding2D(((1, 2), (3, 0)), data_format=data_format)(inputs)
    x = layers.Conv2D(
        8, 3, strides=2, data_format=data_format, name="stem", dtype=dtype
    )(x)
    x = layers.BatchNormalization(axis=axis, name="norm")(x)
    return keras.Model(
        inputs, layers.GlobalAveragePooling2D(data_format=data_format)(layers.ReLU()(x))
    )


def check_the_folded_model_equals_the_original():
    for data_format in ("channels_last", "channels_first"):
        if (BACKEND, data_format) == ("tensorflow", "channels_first"):
            continue  # TensorFlow has no channels-first convolution on a CPU
        model = backbone(data_format)
        layout = "CHW" if data_format == "channels_first" else "HWC"
        plan = PLAN.with_layouts(target=layout)
        expected = keras.ops.convert_to_numpy(model(plan.batch(IMAGE)))
        exact, feed = fold_into(model, plan, exact=True)
        assert feed.target.layout == layout
        result = keras.ops.convert_to_numpy(exact(feed.batch(IMAGE)))
        np.testing.assert_allclose(
            result, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
        )
        folded, feed = fold_into(model, plan)
        assert feed.target.layout == layout
        comparison = compare(model, plan, folded, feed)
        assert (
            comparison.interior.relative <= 1e-5 < comparison.border.relative < 0.2
        ), comparison


def check_folding_keeps_half_precision():
    model = backbone(dtype="bfloat16")
    folded, feed = fold_into(model, PLAN, exact=True)
    assert folded.get_layer("stem").kernel.dtype == "bfloat16"
    assert 1e-5 < compare(model, PLAN, folded, feed).model.relative < 0.02


def check_a_folded_model_can_be_saved_and_transferred():
    folded, feed = fold_into(backbone(), PLAN)
    expected = keras.ops.convert_to_numpy(folded(feed.batch(IMAGE)))
    other, _ = fold_into(backbone(), PLAN)
    other.set_weights([weight * 0 for weight in other.get_weights()])
    with tempfile.TemporaryDirectory() as folder:
        folded.save(Path(folder) / "gray.keras")
        folded.save_weights(Path(folder) / "gray.weights.h5")
        loaded = keras.models.load_model(Path(folder) / "gray.keras")
        for source in (
            folded,
            Path(folder) / "gray.keras",
            Path(folder) / "gray.weights.h5",
        ):
            other.set_weights([weight * 0 for weight in other.get_weights()])
            report = transfer_into(other, source, freeze=True)
            assert len(report.copied) == 6
            assert not other.trainable_weights
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(other(feed.batch(IMAGE))), expected
            )
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(loaded(feed.batch(IMAGE))), expected
    )


def check_folding_keeps_shared_layers_and_frozen_weights():
    shared, inputs = layers.Dense(4, name="shared"), keras.Input((20, 16, 3))
    x = layers.Conv2D(4, 3, name="stem")(inputs)
    one, two = (
        keras.Sequential([keras.Input((18, 14, 4)), shared], name=name)
        for name in ("one", "two")
    )
    model = keras.Model(inputs, one(x) + two(x))
    shared.bias.trainable = False
    folded, feed = fold_into(model, PLAN, exact=True)
    assert [weight.shape for weight in folded.trainable_weights] == [
        (3, 3, 2, 4),
        (4,),
        (4, 4),
    ]
    expected = keras.ops.convert_to_numpy(model(PLAN.batch(IMAGE)))
    result = keras.ops.convert_to_numpy(folded(feed.batch(IMAGE)))
    np.testing.assert_allclose(
        result, expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )
    ones = {"two/shared/kernel": np.ones((4, 4)), "two/shared/bias": np.ones(4)}
    assert len(transfer_into(folded, ones).copied) == 4


CHECKS = checks_of(globals())
