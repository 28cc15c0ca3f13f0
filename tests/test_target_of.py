"""What `Target.of` and the target of `plan` take, and the messages for what they do not take."""

import sys
from types import FunctionType, ModuleType, SimpleNamespace

import numpy as np
import pytest

import graypipe as gp

CFG = {"mean": (0.4, 0.5, 0.6), "std": (0.1, 0.2, 0.3), "input_size": (3, 8, 8)}
HF = {"do_normalize": True, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.1, 0.2, 0.3]}
TARGET = gp.Target(mean=CFG["mean"], std=CFG["std"])
RGB = np.random.default_rng(3).integers(0, 256, (4, 5, 3), dtype=np.uint8)


def keras_function(name, module):
    function = FunctionType((lambda: None).__code__, {}, name)
    function.__module__ = module
    return function


class ViTImageProcessor(SimpleNamespace):
    pass


DESCRIPTIONS = {
    "target": TARGET,
    "timm configuration": CFG,
    "timm configuration as an object": SimpleNamespace(**CFG),
    "timm model": SimpleNamespace(pretrained_cfg=CFG),
    "timm model file": {"architecture": "resnet18", "pretrained_cfg": CFG},
    "torchvision weights": SimpleNamespace(transforms=lambda: SimpleNamespace(**CFG)),
    "torchvision transforms": SimpleNamespace(
        mean=[0.4, 0.5, 0.6], std=[0.1, 0.2, 0.3]
    ),
    "processor configuration": HF,
    "processor": ViTImageProcessor(**HF),
    "processor of text and images": SimpleNamespace(
        image_processor=SimpleNamespace(**HF)
    ),
    "configuration of text and images": {"image_processor": HF},
}


@pytest.mark.parametrize("kind", DESCRIPTIONS)
def test_descriptions_of_models_become_targets(kind):
    assert gp.Target.of(DESCRIPTIONS[kind]) == TARGET
    x = gp.plan("RGB", DESCRIPTIONS[kind])(RGB)
    expected = (RGB / 255 - CFG["mean"]) / CFG["std"]
    np.testing.assert_allclose(np.moveaxis(x, 0, -1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "module", "preset"),
    [
        ("ResNet50", "keras.src.applications.resnet", "keras-caffe"),
        ("ResNet50V2", "keras.applications.resnet_v2", "keras-tf"),
        ("DenseNet121", "tf_keras.src.applications.densenet", "keras-torch"),
        ("preprocess_input", "keras.src.applications.resnet_v2", "keras-tf"),
        ("preprocess_input", "keras.src.applications.vgg16", "keras-caffe"),
    ],
)
def test_functions_of_keras_become_presets(name, module, preset):
    function = keras_function(name, module)
    assert gp.Target.of(function) == gp.preset(preset)
    assert gp.Target.from_keras(function) == gp.preset(preset)
    assert gp.plan("gray", function) == gp.plan("gray", preset)


@pytest.mark.parametrize(
    ("path", "preset"),
    [
        ("keras.applications.resnet50", "keras-caffe"),
        ("keras._tf_keras.keras.applications.mobilenet_v3", "keras-efficientnet"),
        ("tensorflow.keras.applications.nasnet", "keras-tf"),
    ],
)
def test_modules_of_keras_become_presets(path, preset):
    assert gp.Target.of(ModuleType(path)) == gp.preset(preset)


@pytest.mark.parametrize(
    "function",
    [
        keras_function("resnet50", "torchvision.models.resnet"),
        keras_function("resnet50", "timm.models.resnet"),
        keras_function("ResNet50", "my.applications.resnet"),
        keras_function("decode_predictions", "keras.src.applications.resnet"),
        keras_function("preprocess_input", "keras.src.applications.imagenet_utils"),
        ModuleType("keras.applications"),
    ],
)
def test_other_functions_and_modules_are_refused(function):
    with pytest.raises(gp.DTypeError, match="from_torchvision"):
        gp.plan("gray", function)


def test_the_class_of_torchvision_weights_names_its_member():
    weights = type("ResNet50_Weights", (), {"DEFAULT": None})
    with pytest.raises(gp.ChannelError, match=r"ResNet50_Weights\.DEFAULT"):
        gp.plan("gray", weights)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("ImageNet", "imagenet"),
        ("image-net", "imagenet"),
        ("imagnet", "imagenet"),
        ("keras_caffe", "keras-caffe"),
        ("caffe", "keras-caffe"),
        ("clip", "openai-clip"),
        ("RGB8", "rgb8"),
    ],
)
def test_a_name_close_to_a_preset_is_suggested(name, known):
    for call in (gp.preset, gp.Target.of, lambda x: gp.plan("gray", x)):
        with pytest.raises(gp.ChannelError, match=f"did you mean '{known}'"):
            call(name)


@pytest.mark.parametrize(
    "name",
    ["resnet50", "vit_base_patch16_224", "clip", "inceptionv3", "mobilenet", "x" * 999],
)
def test_the_name_of_a_model_lists_the_calls_that_work(name):
    with pytest.raises(gp.ChannelError) as caught:
        gp.plan("gray", name)
    message = str(caught.value)
    for call in ("from_timm", "from_torchvision", "from_hf", "from_keras"):
        assert f"gp.Target.{call}(" in message
    assert len(message) <= 600


@pytest.mark.parametrize("name", ["resnet50", "inceptionv3", "mobilenet", "keras"])
def test_the_name_of_a_model_is_not_a_misspelt_preset(name):
    with pytest.raises(gp.ChannelError) as caught:
        gp.preset(name)
    assert "did you mean" not in str(caught.value)


def test_a_name_close_to_a_keras_model_is_suggested():
    with pytest.raises(gp.ChannelError, match="did you mean 'efficientnetb0'"):
        gp.Target.from_keras("efficentnet_b0")


@pytest.mark.parametrize(
    "value",
    [np.zeros((300, 400, 3)), [[0.0] * 5000], None, 5, gp.Source(), object(), np.zeros],
)
def test_what_describes_no_model_is_refused_without_its_data(value):
    with pytest.raises(gp.DTypeError, match=r"gp\.Target or a preset name") as caught:
        gp.plan("gray", value)
    assert len(str(caught.value)) <= 600


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"architectures": ["ViTModel"], "model_type": "vit"},
        SimpleNamespace(model_type="vit"),
        SimpleNamespace(state_dict=dict),
    ],
)
def test_models_without_statistics_name_the_calls(value):
    with pytest.raises(gp.ChannelError, match=r"from_hf\(AutoImageProcessor"):
        gp.plan("gray", value)


def test_no_framework_is_imported():
    before = set(sys.modules)
    for value in DESCRIPTIONS.values():
        gp.Target.of(value)
    assert not {"torch", "keras", "timm", "transformers"} & (set(sys.modules) - before)


def test_timm_configurations_state_bands_and_range():
    cfg = {
        "input_space": "BGR",
        "input_range": [0, 255],
        "mean": (104.0, 117.0, 128.0),
        "std": (1, 2, 4),
    }
    target = gp.Target.from_timm(cfg)
    assert target.bands == ("B", "G", "R")
    x = gp.plan("RGB", target)(RGB)
    expected = (RGB[..., ::-1] - np.array(cfg["mean"])) / cfg["std"]
    np.testing.assert_allclose(np.moveaxis(x, 0, -1), expected, rtol=1e-5, atol=1e-4)
    assert gp.Target.from_timm(
        {**CFG, "input_space": "RGB", "input_range": (0, 1)}
    ) == (TARGET)


@pytest.mark.parametrize(
    "cfg",
    [
        {**CFG, "input_space": "YUV"},
        {**CFG, "input_range": [-1, 1]},
        {**CFG, "input_range": 255},
        {"mean": (0.5,), "std": (0.5,), "input_space": "BGR"},
    ],
)
def test_timm_configurations_that_say_something_else_are_refused(cfg):
    with pytest.raises(gp.ChannelError, match="expected input_"):
        gp.Target.from_timm(cfg)


@pytest.mark.parametrize("kind", [dict, lambda config: SimpleNamespace(**config)])
def test_a_processor_must_say_whether_it_normalises(kind):
    config = {"do_rescale": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    with pytest.raises(gp.ChannelError, match="do_normalize is missing"):
        gp.Target.from_hf(kind(config))
    for value in (True, False):
        target = gp.Target.from_hf(kind({**config, "do_normalize": value}))
        assert target.std == ((0.5,) * 3 if value else 1)


@pytest.mark.parametrize(
    "name",
    [
        "PPLCNetImageProcessor",
        "PPLCNetImageProcessorFast",
        "PPOCRV5ServerDetImageProcessor",
        "PPOCRV6SmallRecImageProcessor",
        "LayoutLMv2FeatureExtractor",
        "UVDocImageProcessor",
    ],
)
def test_processors_that_reorder_bands_in_code_are_refused(name):
    processor = type(name, (SimpleNamespace,), {})(**HF)
    key = "feature_extractor_type" if "Extractor" in name else "image_processor_type"
    for config in (processor, {**HF, key: name}):
        for call in (gp.Target.from_hf, gp.Target.of):
            with pytest.raises(gp.ChannelError, match="reverses the order"):
                call(config)
