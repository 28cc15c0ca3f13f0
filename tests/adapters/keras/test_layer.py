"""The Keras layer in real models."""

from pathlib import Path

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import keras
import numpy as np
import pytest
import tensorflow as tf
from adapters.keras.backends import last_line, python
from adapters.keras.layer_checks import assert_close, imagenet
from keras import layers

import graypipe as gp
from graypipe.adapters.keras import ChannelLayer

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(9)
GRAY = RNG.integers(0, 256, (2, 32, 40, 1)).astype(np.float32)
EIGHT = gp.Source("gray", range=(0, 255))

pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy"
)  # Keras 3.15


def test_repeating_equals_concatenating_three_copies():
    inputs = keras.Input((32, 40, 1))
    copies = layers.Concatenate()([inputs, inputs, inputs])
    plan = gp.plan(EIGHT, gp.Target("RGB", range=(0, 255)))
    expanded = ChannelLayer(plan)(inputs)
    assert expanded.shape == copies.shape == (None, 32, 40, 3)
    both = keras.Model(inputs, [copies, expanded])
    np.testing.assert_array_equal(*both.predict(GRAY, verbose=0))


def test_the_first_output_is_the_plan_and_not_noise():
    expected = imagenet(GRAY / 255)
    learned = layers.Conv2D(3, (3, 3), padding="same")
    ours = ChannelLayer(gp.plan(EIGHT, "imagenet"), trainable=True, kernel_size=3)
    assert ours(GRAY).shape == learned(GRAY).shape
    assert [tuple(w.shape) for w in ours.weights] == [
        tuple(w.shape) for w in learned.weights
    ]
    assert np.abs(np.asarray(learned(GRAY)) - expected).max() > 1
    assert_close(ours(GRAY), expected)


def test_efficientnet_gets_three_channels_not_one_by_accident():
    model = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(32, 40, 3), pooling="avg"
    )
    inside = next(
        layer for layer in model.layers if isinstance(layer, layers.Normalization)
    )
    assert inside(GRAY).shape == (2, 32, 40, 3)
    assert inside.compute_output_shape(GRAY.shape) == GRAY.shape
    layer = ChannelLayer(gp.plan(EIGHT, "keras-efficientnet"))
    np.testing.assert_array_equal(layer(GRAY), np.repeat(GRAY, 3, -1))
    assert layer.compute_output_shape(GRAY.shape) == (2, 32, 40, 3)
    expanded = keras.Sequential([keras.Input((32, 40, 1)), layer, model])
    np.testing.assert_array_equal(expanded(GRAY), model(np.repeat(GRAY, 3, -1)))


@pytest.mark.parametrize("name", ["resnet", "vgg19", "mobilenet_v2"])
def test_the_layer_replaces_preprocess_input(name):
    module = getattr(keras.applications, name)
    build = getattr(
        module,
        {"resnet": "ResNet50", "vgg19": "VGG19", "mobilenet_v2": "MobileNetV2"}[name],
    )
    model = build(
        weights=None, include_top=False, input_shape=(32, 40, 3), pooling="avg"
    )
    expected = module.preprocess_input(np.repeat(GRAY, 3, -1))
    inputs = keras.Input((32, 40, 1))
    expanded = ChannelLayer(gp.plan(EIGHT, gp.Target.from_keras(build.__name__)))(
        inputs
    )
    seen, result = keras.Model(inputs, [expanded, model(expanded)])(GRAY)
    np.testing.assert_allclose(
        seen, expected, rtol=0, atol=2e-6 * np.abs(expected).max()
    )
    right = np.asarray(model(expected))
    assert np.abs(right).max() > 0
    np.testing.assert_allclose(result, right, rtol=0, atol=1e-3 * np.abs(right).max())


def test_arrays_and_tensors_are_checked_alike():
    layer = ChannelLayer(gp.plan(gp.Source("RGB", range=(0, 255)), "keras-caffe"))
    rgb = RNG.integers(0, 256, (2, 4, 5, 3)).astype(np.float32)
    for image in (rgb, tf.constant(rgb)):
        np.testing.assert_allclose(
            layer(image),
            rgb[..., ::-1] - np.array([103.939, 116.779, 123.68]),
            rtol=0,
            atol=2e-5,
        )
    for count in (1, 4):
        wrong = np.zeros((2, 4, 5, count), np.float32)
        for image in (wrong, tf.constant(wrong)):
            with pytest.raises(
                gp.ChannelError, match=rf"'RGB' \(3\) on axis -1.*got {count} in shape"
            ):
                layer(image)


@pytest.mark.parametrize("source", ["gray", gp.Source("gray", dtype="uint8")])
def test_an_undeclared_range_is_refused(source):
    with pytest.raises(
        gp.RangeError, match=r"Keras casts uint8 to float32.*range=\(0, 255\)"
    ):
        ChannelLayer(gp.plan(source, "imagenet"))


def test_a_declared_dtype_is_refused():
    with pytest.raises(
        gp.DTypeError,
        match=r"declares dtype uint16.*replace\(plan.source, dtype=None\)",
    ):
        ChannelLayer(gp.plan(gp.Source("gray", dtype="uint16", bits=12), "imagenet"))


def test_an_integer_target_is_refused():
    with pytest.raises(
        gp.DTypeError, match=r"cannot round.*got uint8.*tf_data.ToBackbone"
    ):
        ChannelLayer(gp.plan(EIGHT, "rgb8"))


@pytest.mark.parametrize("size", [0, 2, -1, 3.0, True, (3, 3)])
def test_the_kernel_size_must_be_an_odd_integer(size):
    with pytest.raises(
        gp.LayoutError, match="kernel_size to be an odd positive integer"
    ):
        ChannelLayer(gp.plan(EIGHT, "imagenet"), trainable=True, kernel_size=size)


def test_invalid_arguments_are_refused_by_the_constructor():
    with pytest.raises(gp.LayoutError, match=r"kernel_size=3 needs trainable=True"):
        ChannelLayer(gp.plan(EIGHT, "imagenet"), kernel_size=3)
    with pytest.raises(
        gp.LayoutError, match=r"'channels_last' or 'channels_first', got 'NCHW'"
    ):
        ChannelLayer(gp.plan(EIGHT, "imagenet"), data_format="NCHW")
    with pytest.raises(gp.DTypeError, match=r"expected plans.*got str"):
        ChannelLayer("imagenet")


def test_uncast_integers_must_hold_the_declared_range():
    with pytest.raises(gp.RangeError, match="uint8 can only represent 0 to 255"):
        ChannelLayer(gp.plan(gp.Source("gray", bits=12), "imagenet"))(
            np.zeros((2, 4, 5, 1), np.uint8)
        )


def test_saved_models_name_the_public_module():
    assert ChannelLayer.__module__ == "graypipe.adapters.keras"
    layer = ChannelLayer(gp.plan(EIGHT, "imagenet"), name="expand")
    saved = keras.saving.serialize_keras_object(layer)
    assert saved["module"] == "graypipe.adapters.keras"
    assert saved["registered_name"] == "graypipe>ChannelLayer"
    assert saved["class_name"] == "ChannelLayer"


LOAD = """
import sys
import keras
try:
    keras.models.load_model(sys.argv[1])
except TypeError as error:
    print(error, file=sys.stderr)
import graypipe.adapters.keras
print(keras.models.load_model(sys.argv[1]).layers[1].plan.fingerprint)
"""


def test_the_error_for_an_unknown_layer_says_what_to_import(tmp_path):
    plan = gp.plan(EIGHT, "imagenet")
    inputs = keras.Input((4, 5, 1))
    keras.Model(inputs, ChannelLayer(plan)(inputs)).save(tmp_path / "model.keras")
    process = python("-c", LOAD, tmp_path / "model.keras", KERAS_BACKEND="tensorflow")
    out, err = process.communicate()
    assert out.splitlines()[-1] == plan.fingerprint, err
    expected = "'hint': 'import graypipe.adapters.keras before loading the model'"
    assert expected in err


def test_the_repr_shows_the_plan_and_the_kernel_size():
    layer = ChannelLayer(
        gp.plan(EIGHT, "imagenet"), trainable=True, kernel_size=3, name="expand"
    )
    shown = f"{layer.plan.source} -> {layer.plan.target}, trainable=True, kernel_size=3"
    assert repr(layer) == f"<ChannelLayer name=expand, {shown}>"
    assert (layer.plan.source.layout, layer.plan.target.layout) == ("HWC", "HWC")


def test_a_tensor_of_unknown_rank_is_refused():
    data = tf.data.Dataset.from_tensors(
        tf.io.encode_png(np.zeros((4, 5, 1), np.uint8))
    ).map(tf.io.decode_image)
    with pytest.raises(gp.LayoutError, match=r"unknown rank.*tf_data.ToBackbone"):
        data.map(ChannelLayer(gp.plan(EIGHT, "imagenet")))


def test_the_default_data_format_is_that_of_keras():
    plan = gp.plan(gp.Source("gray", "CHW", range=(0, 255)), "imagenet")
    assert ChannelLayer(plan).data_format == "channels_last"
    keras.config.set_image_data_format("channels_first")
    try:
        layer = ChannelLayer(plan)
    finally:
        keras.config.set_image_data_format("channels_last")
    assert layer(np.zeros((2, 1, 4, 5))).shape == (2, 3, 4, 5)
    assert ChannelLayer.from_config(layer.get_config()).data_format == "channels_first"


@pytest.mark.parametrize("options", [{}, {"trainable": True, "kernel_size": 3}])
def test_graphs_of_unknown_size_know_the_band_count(options):
    layer = ChannelLayer(gp.plan(EIGHT, "imagenet"), **options)
    layer.build(GRAY.shape)
    for compiled in (False, True):
        for shape in ((None, None, None, 1), (None, None, None, None, 1)):
            run = tf.function(
                layer.__call__,
                input_signature=[tf.TensorSpec(shape)],
                jit_compile=compiled,
            )
            assert run.get_concrete_function().output_shapes.as_list() == [
                *shape[:-1],
                3,
            ]
            image = GRAY if len(shape) == 4 else GRAY[None]
            assert_close(run(image), imagenet(image / 255))


def test_an_exported_model_computes_the_same(tmp_path):
    inputs = keras.Input((None, None, 1))
    model = keras.Model(
        inputs, ChannelLayer(gp.plan(EIGHT, "imagenet"), trainable=True)(inputs)
    )
    model.export(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    assert_close(loaded.serve(tf.constant(GRAY)), imagenet(GRAY / 255))


WITHOUT = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name == {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Nowhere())
import graypipe as gp
try:
    import graypipe.adapters.keras
except gp.MissingExtraError as error:
    print(error)
"""


@pytest.mark.parametrize("missing", ["keras", "tensorflow"])
def test_a_missing_framework_names_the_extra(missing):
    process = python("-c", WITHOUT.format(missing=missing), KERAS_BACKEND="tensorflow")
    assert (
        last_line(process)
        == f'{missing} is not installed: pip install "graypipe[tensorflow]"'
    )


@pytest.mark.parametrize(
    "broken",
    ["import a_part_of_keras", "raise RuntimeError('a_part_of_keras is broken')"],
)
def test_a_broken_framework_shows_its_own_error(tmp_path, broken):
    (tmp_path / "keras.py").write_text(broken)
    process = python("-c", "import graypipe.adapters.keras", PYTHONPATH=str(tmp_path))
    error = process.communicate()[1]
    assert process.returncode == 1
    assert "a_part_of_keras" in error.splitlines()[-1]
    assert "MissingExtraError" not in error


def test_the_import_changes_no_setting_and_starts_no_device():
    code = """
import sys, keras
def settings():
    config = keras.config
    return config.floatx(), config.epsilon(), config.image_data_format(), config.dtype_policy().name, config.backend()
before, modules = settings(), {name.partition(".")[0] for name in sys.modules}
import graypipe.adapters.keras
brought = {name.partition(".")[0] for name in sys.modules} - modules - sys.stdlib_module_names
import tensorflow as tf
tf.config.set_visible_devices([], "CPU")  # an error once devices are in use
tf.config.threading.set_inter_op_parallelism_threads(1)
print(settings() == before, brought)
"""
    assert (
        last_line(python("-c", code, KERAS_BACKEND="tensorflow")) == "True {'graypipe'}"
    )
