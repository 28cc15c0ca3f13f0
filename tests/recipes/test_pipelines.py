"""Recipes in which a plan runs in another library's pipeline: Ray Data, Hugging Face datasets, a torch DataLoader."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from recipes.imagenet import assert_ready, gray

import graypipe as gp

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def scans(tmp_path):
    """Five files of 12 bits, scans/0.png and so on; returned as (N, H, W)."""
    images = np.random.default_rng(29).integers(0, 4096, (5, 12, 16), dtype=np.uint16)
    (tmp_path / "scans").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "scans" / f"{number}.png")
    return images


RAY_SCRIPT = """
import logging
import numpy as np
import ray

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
{recipe}
np.savez("made.npz", x=x, paths=list(paths))
ray.shutdown()
"""


def test_ray_data_adapts_batches_in_its_workers(recipes, tmp_path, scans):
    (tmp_path / "script.py").write_text(
        RAY_SCRIPT.replace("{recipe}", recipes["Ray Data"].code), encoding="utf-8"
    )
    quiet = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    command = [sys.executable, "script.py"]
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env=quiet,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr

    made = np.load(tmp_path / "made.npz")
    places = [int(Path(path).stem) for path in made["paths"]]
    assert sorted(places) == [0, 1, 2, 3, 4]
    assert_ready(made["x"], *gray(scans[places], 0, 4095))


def test_a_ray_data_batch_of_several_sizes_is_refused():
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros((4, 5), np.uint16), np.zeros((5, 4), np.uint16)]
    with pytest.raises(gp.DTypeError):
        gp.plan("gray", "imagenet").batch(ragged)


def test_hugging_face_adapts_what_is_asked_for_and_what_is_kept(run_recipe, scans):
    names = run_recipe("Hugging Face datasets")

    y, scale = gray(scans, 0, 4095)
    for held in (names["on_access"], names["cached"]):
        assert_ready(held[0]["x"], y[0], scale[0])
        assert_ready(np.stack(held[:]["x"]), y, scale)
        assert list(held[:]["label"]) == [0] * 5


@pytest.mark.usefixtures("scans")
def test_hugging_face_computes_anew_for_another_plan_alone(run_recipe):
    names = run_recipe("Hugging Face datasets")

    def cached_as(plan):
        names["plan"] = plan
        return (
            names["scans"]
            .map(names["to_input"], batched=True, remove_columns="image")
            ._fingerprint
        )

    first = cached_as(names["plan"])
    assert cached_as(gp.plan(gp.Source("gray", bits=12), "imagenet")) == first
    assert cached_as(gp.Plan.from_json(names["plan"].to_json())) == first
    assert cached_as(gp.plan(gp.Source("gray", bits=13), "imagenet")) != first


def test_hugging_face_widens_arrays_and_shows_palette_indices(tmp_path):
    import datasets

    plain = datasets.Dataset.from_dict(
        {"image": np.full((1, 4, 5), 255, np.uint8)}
    ).with_format("numpy")[0]["image"]
    assert plain.dtype == np.int64
    with pytest.raises(gp.RangeError, match="bits="):
        gp.plan("gray", "unit")(plain)
    assert (gp.plan(gp.Source("gray", bits=8), "unit")(plain) == 1).all()

    palette = Image.new("P", (5, 4), 1)
    palette.putpalette([0, 0, 0, 200, 200, 200])
    palette.save(tmp_path / "palette.png")
    paths = datasets.Dataset.from_dict({"image": [str(tmp_path / "palette.png")]})
    assert (
        np.asarray(paths.cast_column("image", datasets.Image())[0]["image"]) == 1
    ).all()
    assert (gp.read(paths[0]["image"])[0] == 200).all()


def test_batches_are_adapted_after_the_loader(run_recipe, tmp_path):
    images = np.random.default_rng(39).integers(0, 256, (40, 12, 16), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", np.arange(40))

    names = run_recipe("Convert batches after the DataLoader")

    y, scale = gray(images, 0, 255)
    fresh = names["to_backbone"](names["images"])
    assert isinstance(fresh, names["torch"].Tensor)
    assert_ready(fresh.numpy(), y, scale)
    assert_ready(names["x"], y[32:], scale[32:])
    assert np.shares_memory(names["x"], names["buffer"])
    assert_ready(
        names["buffer"][8:], y[8:32], scale[8:32]
    )  # of the first batch, the second being smaller
