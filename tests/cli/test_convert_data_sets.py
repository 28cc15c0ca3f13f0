"""``graypipe convert`` to WebDataset, Parquet and Zarr, read by the libraries they are for."""

import json
import os

import datasets
import numpy as np
import pytest
import webdataset
import zarr
from image_sets import images, save, tree
from torch.utils.data import DataLoader, Dataset

import graypipe as gp
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.cli import main

# The webdataset library leaves its files to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning",
    "ignore:Exception ignored in.*FileIO:pytest.PytestUnraisableExceptionWarning",
)

RNG = np.random.default_rng(3)
FORMATS = ("webdataset", "parquet", "zarr")
COUNT = 10
IMAGENET = gp.plan("gray", "imagenet")


def convert(folder, out, to, *options, target="imagenet"):
    options = ("--source", "gray", "--target", target, "--to", to, *options)
    if to != "zarr" and "--shard-images" not in options:
        options += ("--shard-images", 4)
    if "--workers" not in options:
        options += ("--workers", 1)
    return main(["convert", str(folder), str(out), *map(str, options)])


@pytest.fixture
def folder(tmp_path):
    """Return a folder with images in the subfolders a and b."""
    images(tmp_path / "in", COUNT)
    return tmp_path / "in"


def expected_samples(folder, plan=IMAGENET):
    """Return the converted image and the label of each image, by its path."""
    samples = {}
    for path in sorted(folder.rglob("*.png")):
        image, _ = gp.read(path)
        name = str(path.relative_to(folder))
        samples[name] = (plan(image), ("a", "b").index(path.parent.name))
    return samples


def assert_equal_samples(found, expected):
    assert list(found) == list(expected)
    for name, (array, label) in expected.items():
        assert found[name][0].dtype == array.dtype
        np.testing.assert_array_equal(found[name][0], array)
        assert found[name][1] == label


def read_shards(out):
    shards = sorted(map(str, out.glob("shard-*.tar")))
    return webdataset.WebDataset(shards, shardshuffle=False).decode()


def load_parquet(out, cache):
    return datasets.load_dataset(
        "parquet",
        data_files=sorted(map(str, out.glob("shard-*.parquet"))),
        split="train",
        cache_dir=str(cache),
    )


def test_webdataset_reads_shards(folder, tmp_path):
    assert convert(folder, tmp_path / "out", "webdataset") == 0
    assert len(list((tmp_path / "out").glob("shard-*.tar"))) == 3
    samples = read_shards(tmp_path / "out")
    found = {
        f"{sample['__key__']}.png": (sample["npy"], sample["cls"]) for sample in samples
    }
    assert_equal_samples(found, expected_samples(folder))
    lines = (tmp_path / "out" / MANIFEST_NAME).read_text().splitlines()
    settings = json.loads(lines[0])
    assert settings["classes"] == ["a", "b"]


def test_data_loader_reads_shards_in_two_processes(folder, tmp_path):
    assert convert(folder, tmp_path / "out", "webdataset") == 0
    samples = read_shards(tmp_path / "out").to_tuple("npy", "cls").batched(2)
    batches = list(webdataset.WebLoader(samples, batch_size=None, num_workers=2))
    total = sum(array.sum() for array, _ in expected_samples(folder).values())
    found = sum(np.asarray(array).sum() for array, _ in batches)
    assert sum(len(labels) for _, labels in batches) == COUNT
    np.testing.assert_allclose(found, total, rtol=1e-4)


@pytest.mark.parametrize("target", ["imagenet", "unit"])
def test_datasets_loads_arrays(folder, tmp_path, target):
    assert convert(folder, tmp_path / "out", "parquet", target=target) == 0
    data = load_parquet(tmp_path / "out", tmp_path / "cache")
    assert data.features["image"] == datasets.Array3D((3, 12, 16), "float32")
    assert data.features["label"] == datasets.ClassLabel(names=["a", "b"])
    found = {
        row["name"]: (row["image"], row["label"]) for row in data.with_format("numpy")
    }
    assert_equal_samples(found, expected_samples(folder, gp.plan("gray", target)))


@pytest.mark.parametrize(
    ("bands", "dtype"), [("gray", "uint8"), ("RGB", "uint8"), ("gray", "uint16")]
)
def test_datasets_loads_pictures(folder, tmp_path, bands, dtype):
    save(folder / "b/wide.png", RNG.integers(0, 256, (5, 30), dtype=np.uint8))
    white = np.iinfo(dtype).max
    layout = "HWC" if bands == "RGB" else "HW"
    plan = gp.plan("gray", gp.Target(bands, layout, dtype, range=(0, white)))
    (tmp_path / "plan.json").write_text(plan.to_json())
    options = ("--plan", tmp_path / "plan.json", "--to", "parquet")
    assert (
        main(["convert", str(folder), str(tmp_path / "out"), *map(str, options)]) == 0
    )
    data = load_parquet(tmp_path / "out", tmp_path / "cache")
    assert data.features["image"] == datasets.Image()
    found = {row["name"]: (np.array(row["image"]), row["label"]) for row in data}
    assert_equal_samples(found, expected_samples(folder, plan))


def test_datasets_loads_stacks_of_frames(tmp_path):
    stack = RNG.integers(0, 256, (3, 12, 16), dtype=np.uint8)
    save(tmp_path / "in/a.tif", stack, photometric="minisblack")
    assert convert(tmp_path / "in", tmp_path / "out", "parquet", "--frame", "all") == 0
    [row] = load_parquet(tmp_path / "out", tmp_path / "cache").with_format("numpy")
    np.testing.assert_array_equal(row["image"], IMAGENET.batch(stack))


class ZarrImages(Dataset):
    def __init__(self, path):
        self.group = zarr.open_group(path, mode="r")
        self.images = self.group["images"]

    def __len__(self):
        return self.images.shape[0]

    def __getitem__(self, index):
        return self.images[index]


def test_zarr_and_a_data_loader_read_one_array(folder, tmp_path):
    save(folder / "b/black.png", np.zeros((12, 16), np.uint8))
    assert convert(folder, tmp_path / "out", "zarr", target="unit") == 0
    plan = gp.plan("gray", "unit")
    data = ZarrImages(tmp_path / "out/dataset.zarr")
    group = data.group
    assert group.attrs["plan"] == json.loads(plan.to_json())
    assert group.attrs["fingerprint"] == plan.fingerprint
    assert group.attrs["classes"] == ["a", "b"]
    arrays = [batch.numpy()[0] for batch in DataLoader(data, batch_size=1)]
    samples = zip(arrays, group["labels"][:], strict=True)
    found = dict(zip(group["names"][:], samples, strict=True))
    assert_equal_samples(found, expected_samples(folder, plan))
    # Every image has a chunk, even a black one.
    assert len(list((tmp_path / "out/dataset.zarr/images").glob("c.*"))) == COUNT + 1


def test_zarr_stores_rows_of_large_images_as_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("graypipe.batch_jobs.outputs.zarr.MAX_CHUNK_BYTES", 1000)
    arrays = list(images(tmp_path / "in", 2, (13, 16)).values())
    arrays.append(np.zeros((13, 16), np.uint8))
    save(tmp_path / "in/b/black.png", arrays[-1])
    assert convert(tmp_path / "in", tmp_path / "out", "zarr", target="unit") == 0
    group = zarr.open_group(tmp_path / "out/dataset.zarr", mode="r")
    found = group["images"]
    assert found.chunks == (1, 3, 5, 16)
    assert found.shards == (1, 3, 15, 16)
    plan = gp.plan("gray", "unit")
    np.testing.assert_array_equal(found[:], plan.batch(arrays))
    np.testing.assert_array_equal(found[1, :, 4:7], plan(arrays[1])[:, 4:7])
    assert len(list((tmp_path / "out/dataset.zarr/images").glob("c.*"))) == 3


def test_zarr_records_the_target_if_every_file_states_its_source(folder, tmp_path):
    options = ("--target", "unit", "--via", "R=gray,G=gray,B=", "--to", "zarr")
    argv = ["convert", str(folder), str(tmp_path / "out"), *options, "--workers", "1"]
    assert main(argv) == 0
    attributes = zarr.open_group(tmp_path / "out/dataset.zarr", mode="r").attrs
    assert dict(attributes) == {
        "source": "stated by each file",
        "target": {"bands": ["R", "G", "B"]},
        "via": {"R": "gray", "G": "gray", "B": None},
        "classes": ["a", "b"],
    }


@pytest.mark.parametrize("to", FORMATS)
def test_one_worker_and_two_write_the_same_bytes(folder, tmp_path, to):
    for workers in (1, 2):
        out = tmp_path / str(workers)
        assert convert(folder, out, to, "--workers", workers) == 0
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


@pytest.mark.parametrize("to", FORMATS)
def test_resume_rewrites_only_outputs_of_changed_images(folder, tmp_path, to, capsys):
    out = tmp_path / "out"
    assert convert(folder, out, to) == 0
    before = tree(out)
    changed = folder / "b/0009.png"
    save(changed, RNG.integers(0, 256, (12, 16), dtype=np.uint8))
    os.utime(changed, ns=(1, 1))
    capsys.readouterr()
    assert convert(folder, out, to, "--resume") == 0
    count = 1 if to == "zarr" else 2  # the last shard has two images
    assert capsys.readouterr().out.startswith(
        f"{count} files converted, {COUNT - count} were already up to date"
    )
    after = tree(out)
    assert after.keys() == before.keys()
    differing = [name for name in after if after[name] != before[name]]
    assert len(differing) == 2  # with the manifest
    assert convert(folder, tmp_path / "new", to) == 0
    new = tree(tmp_path / "new")
    assert {**after, MANIFEST_NAME: b""} == {**new, MANIFEST_NAME: b""}


@pytest.mark.parametrize("to", FORMATS)
def test_removed_images_leave_the_outputs(folder, tmp_path, to):
    out = tmp_path / "out"
    assert convert(folder, out, to) == 0
    for path in sorted((folder / "a").iterdir())[:3]:
        path.unlink()
    assert convert(folder, out, to, "--resume") == 0
    assert convert(folder, tmp_path / "new", to) == 0
    names = tree(tmp_path / "new")
    after = tree(out)
    assert {**after, MANIFEST_NAME: b""} == {**names, MANIFEST_NAME: b""}


def test_skipped_images_are_missing_in_shards_until_they_are_repaired(folder, tmp_path):
    broken = folder / "a/0004.png"
    content, state = broken.read_bytes(), broken.stat()
    broken.write_bytes(content[:-30])
    out = tmp_path / "out"
    assert convert(folder, out, "webdataset", "--on-error", "skip") == 1
    assert len(list(read_shards(out))) == COUNT - 1
    broken.write_bytes(content)
    os.utime(broken, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert convert(folder, out, "webdataset", "--resume") == 0
    assert convert(folder, tmp_path / "new", "webdataset") == 0
    after, new = tree(out), tree(tmp_path / "new")
    assert {**after, MANIFEST_NAME: b""} == {**new, MANIFEST_NAME: b""}


@pytest.mark.parametrize("to", ["parquet", "zarr"])
def test_the_first_image_of_another_shape_is_named(folder, tmp_path, to, capsys):
    save(folder / "b/0007.png", np.zeros((12, 17), np.uint8))
    assert convert(folder, tmp_path / "out", to) == 1
    error = capsys.readouterr().err
    assert "b/0007.png: expected the shape (3, 12, 16)" in error
    assert "--to webdataset" in error
    with pytest.raises(FileNotFoundError):
        zarr.open_group(tmp_path / "out/dataset.zarr", mode="r")


def test_zarr_skips_no_images(folder, tmp_path, capsys):
    assert convert(folder, tmp_path / "out", "zarr", "--on-error", "skip") == 2
    assert "use --on-error fail" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_shard_images_needs_shards(folder, tmp_path, capsys):
    assert convert(folder, tmp_path / "out", "npy", "--shard-images", 2) == 2
    assert "--to webdataset or --to parquet" in capsys.readouterr().err
    assert convert(folder, tmp_path / "out", "parquet", "--shard-images", 0) == 2


def test_another_list_of_classes_or_size_of_shards_is_refused(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert convert(folder, out, "webdataset") == 0
    resumed = ("--shard-images", 5, "--resume")
    assert convert(folder, out, "webdataset", *resumed) == 1
    assert "shard_images: 4 -> 5" in capsys.readouterr().err
    images(folder / "before", 2)
    assert convert(folder, out, "webdataset", "--resume") == 1
    assert "classes: " in capsys.readouterr().err


def test_dots_in_names_become_underscores_in_keys(tmp_path):
    save(tmp_path / "in/v1.0/scan.1.png", np.zeros((2, 3), np.uint8))
    save(tmp_path / "in/v1.0/scan.2.png", np.zeros((2, 3), np.uint8))
    assert convert(tmp_path / "in", tmp_path / "out", "webdataset") == 0
    keys = [sample["__key__"] for sample in read_shards(tmp_path / "out")]
    assert keys == ["v1.0/scan_1", "v1.0/scan_2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x.y.png", "x_y.png"), "both have the key x_y"),
        (("x.png", "x.tif"), "both have the key x"),
        (("__x__/1.png",), "webdataset library skips"),
        (("line\nbreak/1.png",), "webdataset library skips"),
    ],
)
def test_names_that_webdataset_would_lose_are_refused(tmp_path, capsys, names, message):
    for name in names:
        save(tmp_path / "in" / name, np.zeros((2, 3), np.uint8))
    assert convert(tmp_path / "in", tmp_path / "out", "webdataset") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", FORMATS)
def test_images_outside_of_folders_have_no_label(tmp_path, to):
    save(tmp_path / "in/1.png", np.zeros((2, 3), np.uint8))
    assert convert(tmp_path / "in", tmp_path / "none", to) == 0
    save(tmp_path / "in/x/y/2.png", np.zeros((2, 3), np.uint8))
    out = tmp_path / "out"
    assert convert(tmp_path / "in", out, to) == 0
    if to == "webdataset":
        [without] = read_shards(tmp_path / "none")
        first, second = read_shards(out)
        assert ("cls" in without, "cls" in first, second["cls"]) == (False, False, 0)
    elif to == "parquet":
        without = load_parquet(tmp_path / "none", tmp_path / "cache")
        data = load_parquet(out, tmp_path / "cache")
        assert without.column_names == ["image", "name"]
        assert data["label"][:] == [None, 0]
        assert data.features["label"].names == ["x/y"]
    else:
        without = zarr.open_group(tmp_path / "none/dataset.zarr", mode="r")
        group = zarr.open_group(out / "dataset.zarr", mode="r")
        assert "labels" not in without
        assert group["labels"][:].tolist() == [-1, 0]
        assert group.attrs["classes"] == ["x/y"]
