"""``graypipe convert`` with several --source or --plan options."""

import json

import numpy as np
import pytest
from PIL import Image

import graypipe as gp
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.cli import main

GRAY = gp.plan(gp.Source("gray", dtype="uint8"), "unit")
DEEP = gp.plan(gp.Source("gray", bits=12, dtype="uint16"), "unit")
RGB = gp.plan("RGB", "unit")
SOURCES = (
    *("--source", "gray:dtype=uint8"),
    *("--source", "gray:12:dtype=uint16"),
    *("--source", "RGB"),
)
REST = ("--target", "unit", "--to", "npy", "--workers", "1")


def convert(*argv):
    return main(["convert", *map(str, argv)])


@pytest.fixture
def mixed(tmp_path):
    """Return a folder of images, and what each plan makes of them."""
    random = np.random.default_rng(5)
    folder = tmp_path / "in"
    folder.mkdir()
    images = {
        "gray": (GRAY, random.integers(0, 256, (4, 5), np.uint8)),
        "deep": (DEEP, random.integers(0, 4096, (4, 5), np.uint16)),
        "colour": (RGB, random.integers(0, 256, (4, 5, 3), np.uint8)),
    }
    for name, (_, image) in images.items():
        Image.fromarray(image).save(folder / f"{name}.png")
    rgba = np.dstack([images["colour"][1], np.full((4, 5), 255, np.uint8)])
    Image.fromarray(rgba).save(folder / "opaque.png")
    np.save(folder / "array.npy", images["deep"][1])
    expected = {name: plan(image) for name, (plan, image) in images.items()}
    expected["opaque"] = expected["colour"]
    expected["array"] = expected["deep"]
    return folder, expected


def assert_converted(out, expected):
    assert {path.stem for path in out.glob("*.npy")} == set(expected)
    for name, result in expected.items():
        np.testing.assert_array_equal(np.load(out / f"{name}.npy"), result)


def test_each_file_selects_the_source_that_takes_it(mixed, tmp_path, capsys):
    folder, expected = mixed
    out = tmp_path / "out"
    assert convert(folder, out, *SOURCES, *REST) == 0
    assert_converted(out, expected)
    assert convert(folder, out, *SOURCES, *REST, "--resume") == 0
    assert "5 were already up to date" in capsys.readouterr().out
    settings = json.loads((out / MANIFEST_NAME).read_text().splitlines()[0])
    plans = [gp.Plan.from_json(json.dumps(plan)) for plan in settings["plans"]]
    assert plans == [GRAY, DEEP, RGB]
    assert settings["fingerprints"] == [plan.fingerprint for plan in plans]


def test_plans_from_files_give_the_same_results(mixed, tmp_path):
    folder, expected = mixed
    options = []
    for number, plan in enumerate((GRAY, DEEP, RGB)):
        path = tmp_path / f"{number}.json"
        path.write_text(plan.to_json())
        options += ["--plan", path]
    assert convert(folder, tmp_path / "out", *options, *REST[2:]) == 0
    assert_converted(tmp_path / "out", expected)


def test_other_sources_are_other_settings(mixed, tmp_path, capsys):
    folder, _ = mixed
    out = tmp_path / "out"
    assert convert(folder, out, *SOURCES, *REST) == 0
    more = (*SOURCES, "--source", "RGBY", "--via", "R=R,G=G,B=B")
    assert convert(folder, out, *more, *REST, "--resume") == 1
    assert "written with different settings: plans" in capsys.readouterr().err


def test_a_via_belongs_to_the_source_before_it(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    image = np.arange(4 * 5 * 4, dtype=np.uint8).reshape(4, 5, 4)
    np.save(folder / "four.npy", image)
    np.save(folder / "one.npy", image[..., 0])
    sources = ("--source", "gray", "--source", "RGBY", "--via", "R=Y,G=G,B=B")
    assert convert(folder, tmp_path / "out", *sources, *REST) == 0
    via = {"R": "Y", "G": "G", "B": "B"}
    assert_converted(
        tmp_path / "out",
        {
            "four": gp.plan("RGBY", "unit", via)(image),
            "one": gp.plan("gray", "unit")(image[..., 0]),
        },
    )


def test_a_file_that_no_source_takes_is_named(mixed, tmp_path, capsys):
    folder, _ = mixed
    sources = ("--source", "gray:dtype=uint8", "--source", "RGB")
    assert convert(folder, tmp_path / "out", *sources, *REST) == 1
    assert "array.npy" in capsys.readouterr().err
    (folder / "array.npy").unlink()
    (folder / "deep.png").rename(folder / "a.png")
    np.save(folder / "z.npy", np.zeros((2, 3, 4, 5), np.uint8))
    options = (*sources, *REST, "--on-error", "skip", "--resume")
    assert convert(folder, tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert "a.png" in error
    assert "z.npy" in error


@pytest.mark.parametrize(
    "options",
    [
        ("--source", "gray", "--source", "gray:12"),
        ("--source", "RGB", "--source", "BGR"),
    ],
)
def test_sources_that_take_the_same_files_are_an_error(
    mixed, tmp_path, capsys, options
):
    folder, _ = mixed
    assert convert(folder, tmp_path / "out", *options, *REST) != 0
    assert "--source with dtype=uint8" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [
        ("convert", "in", "out", "--source", "gray", *REST, "--target", "unit"),
        ("convert", "in", "out", *SOURCES, *REST, "--via", "R=R", "--via", "R=G"),
        ("stats", "in", "--source", "gray", "--source", "RGB"),
        ("explain", "--source", "gray", "--source", "RGB", "--target", "unit"),
    ],
)
def test_options_that_are_taken_once_are_not_repeated(argv, capsys):
    assert main(list(argv)) == 2
    assert "given twice" in capsys.readouterr().err
