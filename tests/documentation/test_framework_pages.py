"""Runs the pages that need extras, in a folder with the files that they name."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import shutil

import numpy as np
import onnx
import pydicom
import pytest
import rasterio
import tifffile
import torch
from datasets import Dataset, Features, Value
from datasets import Image as Picture
from documentation.code_blocks import blocks_of, run_blocks
from documentation.pages import FRAMEWORK_PAGES
from image_sets import images, tree
from imagenet import MEAN, STD
from PIL import Image
from pydicom.data import get_testdata_file
from transformers import ResNetConfig, ResNetForImageClassification

import graypipe as gp

SENTINEL_2 = (*(f"B{number:02}" for number in range(1, 13)), "B8A")
ORIENTATION_TAG = 0x0112


@pytest.fixture
def rng():
    return np.random.default_rng(14)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder in which the page runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(page, **names):
    """Run the blocks of a page that is in the list of those run here."""
    assert page in FRAMEWORK_PAGES
    return run_blocks(blocks_of(page), {"gp": gp, **names})


def save_image(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


def save_scene(path, scene, names=SENTINEL_2):
    """Write a scene of Sentinel-2 as a GeoTIFF whose bands have names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path,
        "w",
        "GTiff",
        width=16,
        height=12,
        count=len(names),
        dtype="uint16",
        transform=rasterio.Affine(10, 0, 600000, 0, -10, 5000000),
    ) as file:
        file.write(scene)
        file.descriptions = names


def test_albumentations():
    run("docs/albumentations.md")


def test_coming_from():
    run("docs/coming-from.md")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # in torch.onnx
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_deployment(folder):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]>'
        "net (float[N, 3, H, W] x) => (float[N, 3, 1, 1] y)"
        "{ y = GlobalAveragePool(x) }"
    )
    onnx.save(model, folder / "model.onnx")
    plan = gp.plan(gp.Source("gray", dtype="uint16", bits=12), "imagenet")
    (folder / "plan.json").write_text(plan.to_json())
    (folder / "model").mkdir()
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
    run("docs/deployment.md", network=network, checkpoint={})


def test_fitting(folder, rng):
    scans = rng.integers(0, 4096, (4, 12, 16, 4), dtype=np.uint16)
    frames = rng.normal(300, 5, (4, 12, 16)).astype(np.float32)
    for number, scan in enumerate(scans):
        path = folder / f"{number}.tif"
        tifffile.imwrite(path, scan, photometric="minisblack", planarconfig="contig")
    names = run(
        "docs/fitting.md", scans=list(scans), frames=list(frames), folder=folder
    )
    assert names["x"].shape == (3, 12, 16)
    assert names["of_files"].count == names["stats"].count


def test_inspect(folder, rng):
    for number in range(3):
        scan = rng.integers(0, 4096, (12, 16), dtype=np.uint16)
        save_image(folder / f"scans/{number}.png", scan)
    run("docs/inspect.md")


def test_jax(rng):
    run("docs/jax.md", images=rng.integers(0, 256, (4, 12, 16), dtype=np.uint8))


def test_one_affine_map():
    run("docs/one-affine-map.md")


def test_presets():
    run("docs/presets.md")


def test_reading(folder, rng):
    deep = rng.integers(0, 4096, (4, 12, 16), dtype=np.uint16)
    save_image(folder / "scan.png", (deep[0] // 16).astype(np.uint8))
    rgba = rng.integers(0, 256, (12, 16, 4), dtype=np.uint8)
    save_image(folder / "cut-out.png", rgba)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    rgb = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    save_image(folder / "phone.jpg", rgb, exif=exif)
    later_pages = [Image.fromarray(page) for page in deep[1:]]
    save_image(folder / "stack.tif", deep[0], save_all=True, append_images=later_pages)
    save_image(folder / "microscope.png", deep[0])
    np.save(folder / "cube.npy", deep)
    for plane, word in zip(deep, ("red", "green", "blue", "yellow"), strict=True):
        save_image(folder / f"17_{word}.png", plane)
    scene = rng.integers(1000, 11001, (13, 12, 16), dtype=np.uint16)
    save_scene(folder / "sentinel.tif", scene)

    ct = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    ct.WindowCenter, ct.WindowWidth = 40, 400
    ct.save_as(folder / "ct.dcm")
    shutil.copy(get_testdata_file("rtdose.dcm", download=False), folder / "cine.dcm")

    names = run("docs/reading.md")

    assert names["x"].shape == (3, 12, 16)


def test_resizing():
    run("docs/resizing.md")


def test_show(folder, rng, capsys):
    scan = rng.integers(1, 4096, (12, 16), dtype=np.uint16)
    scan[0, 0] = 0  # the value of nodata
    save_image(folder / "scan.png", scan)
    names = run("docs/show.md")
    assert len(names["figure"].axes) == 11
    printed = capsys.readouterr().out.splitlines()
    (shown,) = [
        block for block in blocks_of("docs/show.md") if block.language == "text"
    ]
    assert printed == shown.code.splitlines()


@pytest.mark.filterwarnings(
    # The webdataset library leaves its files to the garbage collector.
    "ignore:unclosed file:ResourceWarning",
    "ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning",
)
def test_scale(folder):
    scans = images(folder / "scans", 9, dtype="uint16")
    save_image(folder / "mixed" / "gray.png", np.full((12, 16), 7, np.uint8))
    save_image(folder / "mixed" / "deep.png", np.full((12, 16), 4095, np.uint16))
    save_image(folder / "mixed" / "colour.png", np.full((12, 16, 3), 7, np.uint8))
    save_image(folder / "photos/train/1.png", np.full((12, 16), 7, np.uint8))
    save_scene(folder / "tiles/1.tif", np.full((13, 12, 16), 7, np.uint16))
    # tests/recipes/urls.py runs the commands that need an S3 server.
    blocks = [b for b in blocks_of("docs/scale.md") if "s3://" not in b.code]
    names = run_blocks(blocks, {"gp": gp})
    plan = gp.plan(gp.Source("gray", bits=16), "imagenet")
    tensors = list(names["tensors"])
    for (array, label), (path, scan) in zip(tensors, scans.items(), strict=True):
        np.testing.assert_array_equal(array, plan(scan))
        assert label == ("a", "b").index(path.parent.name)
    assert len(tree(folder / "arrays")) == 4
    assert len(tree(folder / "tensors")) == 10  # nine images and the manifest
    assert len(tree(folder / "pictures")) == 10
    assert len(tree(folder / "shards")) == 4


def test_sensors(folder, rng):
    scene = rng.integers(1001, 11001, (12, 16, 12), dtype=np.uint16)
    tifffile.imwrite(
        folder / "scene.tif", scene, photometric="minisblack", planarconfig="contig"
    )
    names = run("docs/sensors.md")
    assert names["x"].shape == (3, 12, 16)


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy"  # Keras 3.15
)
def test_sum():
    run("docs/sum.md")


def test_tensorflow(folder, rng):
    for number in range(5):
        path = folder / "scans" / "ab"[number % 2] / f"{number}.png"
        save_image(path, rng.integers(0, 256, (32, 40), np.uint8))
    ramp = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)
    save_image(folder / "scans16" / "a" / "ramp.png", ramp)
    save_image(folder / "scans16" / "b" / "dark.png", ramp // 2)
    x = rng.integers(0, 256, (2, 32, 40, 1)).astype(np.float32)
    normalised = (x / 255 - np.array(MEAN)) / np.array(STD)
    bands = [name for name in SENTINEL_2 if name != "B10"]
    scene = rng.integers(1001, 11001, (12, 12, 16), dtype=np.uint16)
    scene_files = [folder / "scene.tif", folder / "reversed.tif"]
    save_scene(scene_files[0], scene, bands)
    save_scene(scene_files[1], scene[::-1], bands[::-1])
    names = run(
        "docs/tensorflow.md",
        scene_files=scene_files,
        folder=folder / "scans",
        folder16=folder / "scans16",
        x=x,
        y=normalised,
    )
    np.testing.assert_array_equal(names["labels"], [0, 1])
    expected = np.stack([ramp, ramp // 2]) / 65535 * 255
    np.testing.assert_allclose(names["images"][..., 1], expected, rtol=1e-5)
    red = (scene[bands.index("B04")] - 1000) / 10000 * 255
    np.testing.assert_allclose(names["first"][..., 2], red - 123.68, atol=1e-3)


def test_torch(folder, rng):
    image = rng.integers(0, 256, (32, 40), np.uint8)
    save_image(folder / "a" / "1.png", image)
    save_image(folder / "b" / "1.png", rng.integers(0, 256, (32, 40, 3), np.uint8))
    run(
        "docs/torch.md",
        image=image,
        folder=folder,
        gray_file=folder / "a" / "1.png",
        stored=torch.from_numpy(rng.integers(0, 256, (6, 1, 32, 40), np.uint8)),
        labels=torch.arange(6),
        checkpoint_file=folder / "last.ckpt",
    )


def test_transformers(folder, rng, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    scans = list(rng.integers(0, 4096, (3, 260, 280), np.uint16))
    features = Features({"image": Picture(), "label": Value("int64")})
    pictures = [Image.fromarray(scan) for scan in scans]
    save_image(folder / "photo.png", rng.integers(0, 256, (40, 50, 3), np.uint8))
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    run(
        "docs/transformers.md",
        scans=scans,
        model=ResNetForImageClassification(config).eval(),
        data_set=Dataset.from_dict(
            {"image": pictures, "label": [0, 1, 0]}, features=features
        ),
    )


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy"  # Keras 3.15
)
@pytest.mark.filterwarnings("ignore:This model usually expects 1 or 3 input channels")
def test_weights(folder, rng):
    run(
        "docs/weights.md",
        image=rng.integers(0, 256, (64, 80), np.uint8),
        images=rng.integers(0, 256, (2, 64, 64), np.uint8),
        folder=folder,
    )
