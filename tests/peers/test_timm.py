"""timm as the oracle: the evaluation transform of its configurations on the repeated image."""

import numpy as np
import pytest
import timm
import torch
from imagenet import MEAN, STD
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.models import adapt_input_conv

import graypipe as gp

WORDS = {"R": "red", "G": "green", "B": "blue", "Y": "yellow"}
MERGED = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}

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


def test_one_band_with_three_means_is_refused():
    cfg = {
        "input_size": (1, 28, 28),
        "mean": MEAN,
        "std": STD,
    }
    with pytest.raises(
        gp.ChannelError, match=r"3 means but an input size of \(1, 28, 28\).*gp\.Target"
    ):
        gp.Target.from_timm(cfg)


@pytest.fixture
def cells(tmp_path):
    """Write three cells, four files of 12 bits in 16 each; return the folder and (N, 4, H, W)."""
    stored = np.random.default_rng(16).integers(
        0, 4096, (3, 4, 64, 72), dtype=np.uint16
    )
    for number, cell in enumerate(stored):
        for plane, word in zip(cell, WORDS.values(), strict=True):
            Image.fromarray(plane).save(tmp_path / f"{number}_{word}.png")
    return tmp_path, stored


def test_four_files_per_cell_become_a_batch_for_a_model(cells):
    folder, stored = cells
    model = timm.create_model("resnet18", pretrained=False, num_classes=5).eval()
    target = gp.Target.from_timm(model.pretrained_cfg)
    images, sources = zip(
        *(
            gp.read_bands(WORDS, pattern=folder / f"{number}_{{}}.png", bits=12)
            for number in range(3)
        ),
        strict=True,
    )
    assert set(sources) == {gp.Source("RGBY", "CHW", dtype="uint16", bits=12)}
    batch = gp.plan(sources[0], target, via=MERGED).batch(list(images))
    red, green, blue, yellow = np.moveaxis(stored / 4095, 1, 0)
    merged = np.stack([(red + yellow) / 2, (green + yellow) / 2, blue], 1)
    mean, std = (
        np.array(model.pretrained_cfg[name])[:, None, None] for name in ("mean", "std")
    )
    np.testing.assert_allclose(batch, (merged - mean) / std, rtol=0, atol=4e-6)
    with torch.inference_mode():
        assert model(torch.from_numpy(batch)).shape == (3, 5)


def test_a_plan_takes_a_model():
    model = timm.create_model("vit_tiny_patch16_224", pretrained=False)
    expected = transformed(model.pretrained_cfg)
    np.testing.assert_allclose(
        gp.plan("gray", model)(GRAY), expected, rtol=0, atol=4e-6
    )


def test_timm_tiles_the_kernels_and_extend_keeps_them():
    kernel = torch.randn(8, 3, 7, 7)
    tiled = adapt_input_conv(4, kernel)
    assert torch.equal(tiled, kernel[:, [0, 1, 2, 0]] * 0.75)
    extended, _ = gp.weights.extend(kernel, None, "RGBN", layout="OIHW")
    assert (extended[:, :3] == kernel.numpy()).all()
    assert not extended[:, 3].any()
