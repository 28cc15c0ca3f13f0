"""timm as the oracle: the evaluation transform of its configurations on the repeated image."""

import numpy as np
import pytest
import timm
from imagenet import MEAN, STD
from PIL import Image
from timm.data import create_transform, resolve_data_config

import graypipe as gp

GRAY = np.random.default_rng(31).integers(0, 256, (32, 32), np.uint8)
CFGS = [
    cfg
    for cfg in map(timm.get_pretrained_cfg, timm.list_models(pretrained=True))
    if cfg is not None
]
FAMILIES = {(tuple(cfg.mean), tuple(cfg.std)): cfg for cfg in CFGS}


def transformed(cfg):
    """(3, H, W) float32: what timm makes of the gray image saved as RGB, nothing resized or cropped."""
    data = resolve_data_config(
        {"input_size": (3, 32, 32), "crop_pct": 1.0}, pretrained_cfg=cfg
    )
    return create_transform(**data)(Image.fromarray(np.stack([GRAY] * 3, -1))).numpy()


@pytest.mark.parametrize("family", list(FAMILIES), ids=str)
def test_each_family_of_statistics_equals_timm_s_own_transform(family):
    cfg = FAMILIES[family]
    expected = transformed(cfg.to_dict())
    for said in (
        cfg,
        cfg.to_dict(),
        resolve_data_config({}, pretrained_cfg=cfg.to_dict()),
    ):
        x = gp.plan("gray", gp.Target.from_timm(said))(GRAY)
        assert x.dtype == expected.dtype
        np.testing.assert_allclose(x, expected, rtol=0, atol=4e-6)


def test_every_configuration_makes_a_target_of_its_statistics():
    assert len(CFGS) > 500
    for cfg in CFGS:
        target = gp.Target.from_timm(cfg)
        assert (target.mean, target.std) == (tuple(cfg.mean), tuple(cfg.std))
        assert target.bands == ("R", "G", "B")


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("imagenet", "resnet18"),
        ("inception", "inception_v3.tf_in1k"),
        ("openai-clip", "vit_base_patch16_clip_224.openai"),
    ],
)
def test_a_preset_equals_the_transform_of_a_model_of_its_family(name, model):
    expected = transformed(timm.get_pretrained_cfg(model).to_dict())
    np.testing.assert_allclose(gp.plan("gray", name)(GRAY), expected, rtol=0, atol=4e-6)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_a_created_model_states_its_configuration(name):
    model = timm.create_model(name, pretrained=False)
    expected = transformed(model.pretrained_cfg)
    for cfg in (
        model.pretrained_cfg,
        model.default_cfg,
        resolve_data_config({}, model=model),
    ):
        np.testing.assert_allclose(
            gp.plan("gray", gp.Target.from_timm(cfg))(GRAY), expected, rtol=0, atol=4e-6
        )


def test_a_configuration_for_one_band_with_three_means_is_refused():
    cfg = {
        "input_size": (1, 28, 28),
        "mean": MEAN,
        "std": STD,
    }
    with pytest.raises(
        gp.ChannelError, match=r"3 means but an input size of \(1, 28, 28\).*gp\.Target"
    ):
        gp.Target.from_timm(cfg)
