"""The recipe for MONAI: dictionaries of volumes and of two-dimensional images, and the cache of results."""

import os
import pickle

import nibabel
import numpy as np
import pytest
from PIL import Image
from recipes.imagenet import assert_ready, gray

import graypipe as gp
from graypipe.adapters.torchvision import ToBackbone

# MONAI creates this reader for every LoadImaged if pydicom is installed.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader")

AFFINE = np.diag([0.5, 1.0, 2.0, 1.0])


@pytest.fixture
def volumes(tmp_path):
    """Three scans, stored as integers with slope 2 and intercept -1024, with labels; returned in Hounsfield units."""
    rng = np.random.default_rng(7)
    (tmp_path / "ct").mkdir()
    scans, labels = [], []
    for number in range(3):
        stored = rng.integers(0, 1024, (8, 9, 10), dtype=np.int16)
        label = rng.integers(0, 5, stored.shape, dtype=np.uint8)
        scan = nibabel.Nifti1Image(stored, AFFINE)
        scan.header.set_slope_inter(2, -1024)
        nibabel.save(scan, tmp_path / "ct" / f"scan{number}.nii")
        nibabel.save(
            nibabel.Nifti1Image(label, AFFINE),
            tmp_path / "ct" / f"label_scan{number}.nii",
        )
        scans.append(nibabel.load(tmp_path / "ct" / f"scan{number}.nii").get_fdata())
        labels.append(label)
    return np.stack(scans), np.stack(labels)


def windowed(volume):
    """Return (y, scale) of float64 NumPy for one volume, (3, H, W, D)."""
    y, scale = gray(volume.reshape(1, -1), -160, 240, clip=True)
    return (array.reshape(3, *volume.shape) for array in (y, scale))


def unflipped(item):
    """Return image and label, as arrays, of an item that RandFlipd may have flipped."""
    flips = [step["class"] for step in item["image"].applied_operations]
    assert flips == ["RandFlipd"]
    arrays = item["image"].numpy(), item["label"].numpy()
    if item["image"].applied_operations[0]["do_transforms"]:
        arrays = tuple(np.flip(array, axis=1) for array in arrays)
    return arrays


def test_monai_converts_volumes_beside_their_labels(run_recipe, volumes):
    names = run_recipe("MONAI")

    scans, labels = volumes
    is_flipped = set()
    for _ in range(8):
        for index, volume in enumerate(scans):
            item = names["scans"][index]
            is_flipped.add(item["image"].applied_operations[0]["do_transforms"])
            image, label = unflipped(item)
            assert_ready(np.ascontiguousarray(image), *windowed(volume))
            np.testing.assert_array_equal(label[0], labels[index])
            np.testing.assert_array_equal(item["image"].affine[1:], AFFINE[1:])
    assert is_flipped == {True, False}
    assert names["x"].shape == (1, 3, 8, 9, 10)  # of the last batch
    assert names["y"].shape == (1, 1, 8, 9, 10)


def test_monai_undoes_transforms_before_and_after_the_plan(run_recipe, volumes):
    names = run_recipe("MONAI")
    from monai.transforms import Compose, Flipd

    first, last = names["transform"].transforms[:2], names["transform"].transforms[2:]
    flip = Flipd(names["keys"], spatial_axis=1)
    transform = Compose([*first, flip, *last]).set_random_state(0)

    item = transform(names["files"][0])
    restored = transform.inverse(item)
    assert_ready(np.ascontiguousarray(restored["image"]), *windowed(volumes[0][0]))
    np.testing.assert_array_equal(restored["image"].affine, AFFINE)


def test_a_monai_cache_is_not_used_by_another_plan(run_recipe, volumes):
    names = run_recipe("MONAI")
    first = names["scans"].cache_dir
    settings = {**names["cache"], "cache_dir": first}
    assert len(list(first.iterdir())) == 3

    # The key of the cache is the path: with the same folder, old results are used.
    other = gp.plan(gp.Source("gray", range=(-1000, 1000), clip=True), "imagenet")
    names["transform"].transforms[2].plan = other.with_layouts("CHWD", "CHWD")
    dataset = names["PersistentDataset"]
    stale = dataset(names["files"], names["transform"], **settings)
    assert_ready(np.ascontiguousarray(unflipped(stale[0])[0]), *windowed(volumes[0][0]))

    settings["cache_dir"] = first.with_name(f"cache-{other.fingerprint}")
    fresh = dataset(names["files"], names["transform"], **settings)
    expected = other.with_layouts("CHWD", "CHWD")(volumes[0][:1].astype(np.float32))
    np.testing.assert_array_equal(unflipped(fresh[0])[0], expected)


@pytest.mark.usefixtures("volumes")
def test_a_monai_transform_of_a_plan_is_picklable(run_recipe, monkeypatch):
    names = run_recipe("MONAI")
    transform = names["Pland"]("image", names["plan"])
    # Classes are pickled by the name of their module.
    monkeypatch.setattr(names["Pland"], "__module__", __name__)
    monkeypatch.setitem(globals(), "Pland", names["Pland"])
    restored = pickle.loads(pickle.dumps(transform))
    assert (restored.keys, restored.plan) == (("image",), names["plan"])


@pytest.fixture
def slices(tmp_path):
    """A gray PNG file of 12 bits, slice.png; returned as (H, W)."""
    image = np.random.default_rng(3).integers(0, 4096, (12, 16), dtype=np.uint16)
    Image.fromarray(image).save(tmp_path / "slice.png")
    return image


@pytest.mark.usefixtures("volumes")
def test_monai_converts_two_dimensional_images(run_recipe, tmp_path, slices):
    names = run_recipe("MONAI")
    plan = gp.plan(gp.Source("gray", bits=12), "imagenet").with_layouts("CHW", "CHW")
    transform = names["Compose"](
        [
            names["LoadImaged"]("image", reader="PILReader"),
            names["EnsureChannelFirstd"]("image"),
            names["Pland"]("image", plan),
        ]
    )
    x = transform({"image": tmp_path / "slice.png"})["image"]
    assert x.shape == (3, 16, 12)
    assert_ready(x.numpy(), *gray(slices.T, 0, 4095))


def test_to_backbone_takes_monai_tensors(tmp_path, slices):
    from monai.data import MetaTensor
    from monai.transforms import EnsureChannelFirst, LoadImage

    stored = EnsureChannelFirst()(LoadImage(reader="PILReader")(tmp_path / "slice.png"))
    to_backbone = ToBackbone(gp.plan(gp.Source("gray", bits=12), "imagenet"))
    x = to_backbone(stored)
    assert isinstance(x, MetaTensor)
    assert os.fspath(x.meta["filename_or_obj"]) == os.fspath(tmp_path / "slice.png")
    assert_ready(x.numpy(), *gray(slices.T, 0, 4095))


def test_floats_of_monai_need_a_declared_range(slices):
    from monai.data import MetaTensor

    stored = MetaTensor(slices[None].astype(np.float32))
    with pytest.raises(gp.RangeError, match="declare range="):
        ToBackbone(gp.plan("gray", "imagenet"))(stored)
    with pytest.raises(gp.RangeError, match="declare range="):
        gp.plan(gp.Source("gray", "CHW"), "imagenet")(stored.numpy())
