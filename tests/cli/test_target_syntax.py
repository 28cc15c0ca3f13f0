"""``--target`` takes presets, models of libraries by name, and JSON files."""

import json
from argparse import ArgumentTypeError

import pytest

import graypipe as gp
from graypipe.cli import main
from graypipe.cli.target_syntax import parse_target


def write(path, record):
    path.write_text(json.dumps(record))
    return str(path)


def test_timm_models_are_named():
    import timm

    name = "vit_base_patch16_siglip_224.webli"
    config = timm.get_pretrained_cfg(name)
    target = parse_target(f"timm:{name}")
    assert (target.mean, target.std) == (config.mean, config.std)
    assert parse_target("timm:resnet50") == gp.preset("imagenet")


def test_torchvision_weights_are_named():
    from torchvision.models import Inception_V3_Weights

    transforms = Inception_V3_Weights.DEFAULT.transforms()
    target = parse_target("torchvision:Inception_V3_Weights.IMAGENET1K_V1")
    assert target.mean == tuple(transforms.mean)


def test_keras_models_are_named():
    assert parse_target("keras:ResNet50") == gp.preset("keras-caffe")


def test_hugging_face_processors_are_named(tmp_path):
    from transformers import ViTImageProcessor

    mean = [0.1, 0.2, 0.3]
    ViTImageProcessor(image_mean=mean).save_pretrained(tmp_path)
    target = parse_target(f"hf:{tmp_path}")
    assert target.mean == tuple(mean)
    # Without transformers, the file alone says the same.
    assert parse_target(str(tmp_path / "preprocessor_config.json")) == target


def test_json_files_hold_plans_and_targets(tmp_path):
    target = gp.Target("BGR", "HWC", range=(0, 255), mean=(1, 2, 3))
    plan = tmp_path / "plan.json"
    plan.write_text(gp.plan("gray", target).to_json())
    assert parse_target(str(plan)) == target
    fields = {"bands": ["B", "G", "R"], "layout": "HWC", "range": [0, 255]}
    path = write(tmp_path / "target.json", {**fields, "mean": [1, 2, 3]})
    assert parse_target(path) == target
    config = {"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
    path = write(tmp_path / "config.json", config)
    assert parse_target(path) == gp.Target.from_timm(config)
    assert parse_target(path).mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("imagenot", "did you mean 'imagenet'"),
        ("resnet50", "write timm:NAME"),
        ("tim:resnet50", "did you mean 'timm:resnet50'"),
        ("timm:resnet5O.a1_in1k", "did you mean timm:resnet50.a1_in1k"),
        ("torchvision:ResNet50", "did you mean torchvision:ResNet50_Weights.DEFAULT"),
        ("torchvision:ResNet50_Weights.V9", "torchvision:ResNet50_Weights.DEFAULT"),
        ("keras:ResNet5O", "did you mean"),
        ("hf:/no/such/folder", "preprocessor_config.json"),
        ("missing.json", "No such file"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(text, advice):
    with pytest.raises(ArgumentTypeError) as error:
        parse_target(text)
    assert advice in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("content", ["", "[1]", "{}", '{"mean": "x"}', '{"a": 1}'])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "target.json"
    path.write_text(content)
    with pytest.raises(ArgumentTypeError, match=r"target\.json: "):
        parse_target(str(path))


def test_a_command_takes_it(capsys):
    assert main(["explain", "--source", "gray", "--target", "keras:ResNet50"]) == 0
    assert main(["explain", "--source", "gray", "--target", "ResNet50"]) == 2
    assert "keras:NAME" in capsys.readouterr().err
