"""Runs docs/yolo.md and docs/tutorials/thermal-yolo.md with Ultralytics.

Ultralytics is AGPL, and replaces functions of OpenCV, Pillow and torch. No extra
depends on it, so pytest does not collect this file: `.ci/run` passes it by name, in an
environment with `pip install ultralytics-opencv-headless`.
"""

# ruff: noqa: E402  # Ultralytics reads these variables when it is imported

import os
import tempfile

SETTINGS_FOLDER = tempfile.TemporaryDirectory()
os.environ["YOLO_CONFIG_DIR"] = SETTINGS_FOLDER.name
os.environ["YOLO_OFFLINE"] = "1"
os.environ["YOLO_AUTOINSTALL"] = "false"

# isort: split
import cv2
import numpy as np
import pytest
import torch
from documentation.code_blocks import blocks_of, run_blocks
from documentation.tutorials import run_tutorial
from PIL import Image
from ultralytics import YOLO
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.patches import imread

import graypipe as gp
from graypipe.adapters.torch import fold_into

# Ultralytics reports to Ray, which warns outside of a trial.
pytestmark = pytest.mark.filterwarnings("ignore")

MODEL = """
nc: 1
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [[1, 2], 1, Detect, [nc]]
"""
STEM = "model.0.conv.weight"
HALF = 2**-11  # relative error of rounding to float16


@pytest.fixture(scope="module")
def stored():
    """Images of 12 bits, (split, N, 4, H, W)."""
    rng = np.random.default_rng(17)
    return rng.integers(0, 4096, (2, 2, 4, 64, 64), dtype=np.uint16)


@pytest.fixture(scope="module")
def page(tmp_path_factory, stored):
    """The names that the page defines, run in a folder with files and a small model."""
    folder = tmp_path_factory.mktemp("yolo")
    for split, images in zip(("train", "val"), stored, strict=True):
        for data in ("scans", "stacks", "gray/labels", "stained/labels"):
            (folder / data / split).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image[0]).save(folder / f"scans/{split}/{number}.png")
            np.save(folder / f"stacks/{split}/{number}.npy", image)
            for data in ("gray", "stained"):
                label = folder / f"{data}/labels/{split}/{number}.txt"
                label.write_text("0 0.5 0.5 0.4 0.4\n")
    (folder / "model.yaml").write_text(MODEL)
    options = {
        "project": str(folder / "runs"),
        "epochs": 1,
        "imgsz": 64,
        "batch": 2,
        "workers": 0,
        "device": "cpu",
        "plots": False,
        "verbose": False,
        # Nothing is learned, so the weights can be compared.
        "optimizer": "SGD",
        "lr0": 0.0,
        "warmup_epochs": 0,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        torch.manual_seed(0)
        YOLO("model.yaml").save("yolo11n.pt")
        names = run_blocks(blocks_of("docs/yolo.md"), {"options": options})
    return {**names, "folder": folder}


def received(path, image):
    """Return what the model at ``path`` receives from Ultralytics for an image file."""
    model = YOLO(path)
    inputs = []
    model.model.model[0].register_forward_pre_hook(lambda _, args: inputs.append(*args))
    model.predict(image, imgsz=64, conf=1e-6, device="cpu", verbose=False)
    return inputs[-1].numpy()


def outputs(model, x):
    with torch.no_grad():
        return model.float().eval()(torch.from_numpy(x)[None])[0].numpy()


def unit(stored):
    """Return the intensity of 12-bit values that were rounded to 8 bits, in float64."""
    return np.rint(stored.astype(np.float64) / 4095 * 255) / 255


@pytest.mark.parametrize(
    ("data", "suffix", "channels"), [("gray", "png", 1), ("stained", "tif", 4)]
)
def test_models_receive_the_intensities_of_deep_files(
    page, stored, data, suffix, channels
):
    folder = page["folder"]
    path = folder / f"{data}/images/val/1.{suffix}"
    expected = unit(stored[1, 1, :channels])[None]
    np.testing.assert_allclose(
        received(folder / f"{data}.pt", path), expected, rtol=1e-6
    )
    pixels = np.rint(expected[0] * 255).astype(np.uint8).transpose(1, 2, 0)
    np.testing.assert_allclose(
        received(folder / f"{data}.pt", pixels), expected, rtol=1e-6
    )


@pytest.mark.parametrize(("data", "channels"), [("gray", 1), ("stained", 4)])
def test_folded_models_agree_with_the_original_behind_the_plan(
    page, stored, data, channels
):
    mixes = {
        1: np.ones((3, 1)),
        4: np.array([[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 1, 0]]),
    }
    x = unit(stored[1, 0, :channels])
    rgb = np.einsum("oc,chw->ohw", mixes[channels], x).astype(np.float32)
    expected = outputs(YOLO(page["folder"] / "yolo11n.pt").model, rgb)
    loaded = YOLO(page["folder"] / f"{data}.pt").model
    actual = outputs(loaded, x.astype(np.float32))
    assert loaded.yaml["channels"] == channels
    difference = np.linalg.norm(actual - expected) / np.linalg.norm(expected)
    assert difference < HALF
    swapped = outputs(loaded, x[::-1].astype(np.float32).copy())
    if channels == 4:
        assert np.abs(swapped - actual).max() > 100 * np.abs(actual - expected).max()


@pytest.mark.parametrize(("run", "data"), [("train", "gray"), ("train-2", "stained")])
def test_training_starts_with_the_folded_convolution(page, run, data):
    folder = page["folder"]
    trained = YOLO(folder / f"runs/{run}/weights/last.pt").model.state_dict()[STEM]
    folded = YOLO(folder / f"{data}.pt").model.state_dict()[STEM]
    torch.testing.assert_close(trained.float(), folded.float(), rtol=2 * HALF, atol=0)


def test_the_folded_convolution_sums_or_mixes_the_kernels(page):
    folder = page["folder"]
    kernel, gray, stained = (
        YOLO(folder / f"{name}.pt").model.state_dict()[STEM].double()
        for name in ("yolo11n", "gray", "stained")
    )
    r, g, b = kernel.unbind(1)
    close = {"rtol": 2 * HALF, "atol": HALF * kernel.abs().max().item()}
    torch.testing.assert_close(gray[:, 0], r + g + b, **close)
    mixed = torch.stack([r / 2, g / 2, b, (r + g) / 2], 1)
    torch.testing.assert_close(stained, mixed, **close)


def test_a_new_band_with_a_kernel_of_zeros_changes_nothing(page, stored):
    model = YOLO(page["folder"] / "yolo11n.pt").model.float()
    plan = gp.plan(gp.Source("RGBN", bits=8), gp.Target("RGBN"))
    folded, feed = fold_into(model, plan, new="zero")
    assert feed.unit_map.offset == (0, 0, 0, 0)
    x = unit(stored[0, 0]).astype(np.float32)
    np.testing.assert_allclose(
        outputs(folded, x), outputs(model, x[:3].copy()), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize(("target", "has_bias"), [("unit", False), ("imagenet", True)])
def test_ultralytics_loses_the_bias_of_a_fold_with_a_mean(page, target, has_bias):
    model = YOLO(page["folder"] / "yolo11n.pt").model.float()
    folded, _ = fold_into(model, gp.plan(gp.Source("gray", bits=8), target))
    bias = STEM.replace("weight", "bias")
    assert (bias in folded.state_dict()) == has_bias
    built_again = DetectionModel(folded.yaml, ch=1, verbose=False)
    built_again.load(folded)
    assert bias not in built_again.state_dict()


def test_ultralytics_keeps_the_high_byte_of_deep_files(page, stored):
    read = imread(page["folder"] / "scans/val/0.png", cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(read[..., 0], stored[1, 0, 0] >> 8)
    assert len(np.unique(read)) == 16


def test_ultralytics_does_not_read_all_interleaved_bands(page, tmp_path):
    from graypipe.batch_jobs.outputs.tiff import write_tiff

    pages = imread(page["folder"] / "stained/images/val/0.tif", cv2.IMREAD_UNCHANGED)
    assert pages.shape == (64, 64, 4)
    path = tmp_path / "interleaved.tif"
    with path.open("wb") as file:
        write_tiff(file, pages, tuple("RGBY"))
    read = imread(path, cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(read, pages[..., :1])


def test_the_tutorial_finds_people_in_thermal_images(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = run_tutorial("docs/tutorials/thermal-yolo.md", capsys)
    assert names["model"].model.model[0].conv.in_channels == 1
