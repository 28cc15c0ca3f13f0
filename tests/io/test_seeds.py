"""S16: fluorescence images of four bands, one file a filter, on their way into a pretrained model."""

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import graypipe as gp

WORDS = {"R": "red", "G": "green", "B": "blue", "Y": "yellow"}
MERGED = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}


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


def test_s16_four_files_a_cell_become_a_batch_for_a_timm_model(cells):
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
