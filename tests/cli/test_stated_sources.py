"""``convert`` without ``--source`` takes what each file states, as ``gp.read`` does."""

import json

import numpy as np
import pytest
import tifffile
from image_sets import save
from PIL import Image

import graypipe as gp
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.cli import main

RNG = np.random.default_rng(4)
TO_UNIT = ("--target", "unit", "--to", "npy", "--workers", "1")


@pytest.fixture
def folder(tmp_path):
    """Return a folder of files that state different sources."""
    folder = tmp_path / "in"
    save(folder / "gray.png", RNG.integers(0, 256, (5, 6), dtype=np.uint8))
    save(folder / "deep.png", RNG.integers(0, 65536, (5, 6), dtype=np.uint16))
    save(folder / "rgb.png", RNG.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    inverted = RNG.integers(0, 65536, (5, 6), dtype=np.uint16)
    save(folder / "white_is_0.tif", inverted, photometric="miniswhite")
    save(folder / "float.npy", RNG.random((5, 6)))
    return folder


def convert(folder, *options):
    return main(["convert", str(folder), str(folder.with_name("out")), *options])


def expected(path, target="unit"):
    image, source = gp.read(path)
    return gp.plan(source, target)(image)


def test_each_file_is_converted_from_its_own_source(folder):
    assert convert(folder, *TO_UNIT) == 0
    for path in folder.iterdir():
        output = np.load(folder.with_name("out") / f"{path.stem}.npy")
        np.testing.assert_array_equal(output, expected(path))
    image = tifffile.imread(folder / "white_is_0.tif")
    output = np.load(folder.with_name("out") / "white_is_0.npy")
    np.testing.assert_allclose(output[0], 1 - image / 65535, atol=1e-6)
    deep = np.array(Image.open(folder / "deep.png"))
    output = np.load(folder.with_name("out") / "deep.npy")
    np.testing.assert_allclose(output[0], deep / 65535, atol=1e-6)


def test_files_that_do_not_state_enough_are_refused(folder, capsys):
    save(folder / "four.tif", np.zeros((5, 6, 4), np.uint16), photometric="minisblack")
    save(folder / "signed.npy", np.zeros((5, 6), np.int16))
    assert convert(folder, *TO_UNIT, "--on-error", "skip") == 1
    captured = capsys.readouterr()
    assert "5 files converted" in captured.out
    skipped = [line for line in captured.err.splitlines() if "skipped:" in line]
    assert len(skipped) == 2
    for line, name in zip(skipped, ("four.tif", "signed.npy"), strict=True):
        assert name in line
        assert "no --source is given" in line


def test_a_resumed_job_has_the_same_settings(folder, capsys):
    assert convert(folder, *TO_UNIT) == 0
    assert convert(folder, *TO_UNIT, "--resume") == 0
    assert "5 were already up to date" in capsys.readouterr().out
    manifest = folder.with_name("out") / MANIFEST_NAME
    settings = json.loads(manifest.read_text().splitlines()[0])
    assert settings["source"] == "stated by each file"
    assert settings["target"] == {"bands": ["R", "G", "B"]}
    assert convert(folder, *TO_UNIT, "--source", "gray", "--resume") == 1
    assert "different settings" in capsys.readouterr().err
    assert convert(folder, "--target", "imagenet", *TO_UNIT[2:], "--resume") == 1
    assert "different settings" in capsys.readouterr().err


def test_a_via_applies_to_every_file(folder):
    for path in folder.glob("[!r]*"):
        path.unlink()
    assert convert(folder, *TO_UNIT, "--via", "R=B,G=G,B=R") == 0
    output = np.load(folder.with_name("out") / "rgb.npy")
    np.testing.assert_array_equal(output, expected(folder / "rgb.png")[::-1])


def test_inspect_previews_it(folder, capsys):
    assert main(["inspect", str(folder), "--target", "unit", "--workers", "1"]) == 0
    assert "convert writes: 3x5x6 (CHW) float32 in 5" in capsys.readouterr().out


def test_12_bits_in_16_are_pointed_out(tmp_path, capsys):
    save(tmp_path / "in" / "a.png", np.full((5, 6), 4000, np.uint16))
    assert convert(tmp_path / "in", *TO_UNIT) == 0
    assert "look like 12 bits" in capsys.readouterr().err


@pytest.fixture
def bands(tmp_path):
    """Return a folder with a file that names its four bands, and its pixels."""
    image = RNG.integers(0, 65536, (5, 6, 4), dtype=np.uint16)
    target = gp.Target(("B02", "B03", "B04", "B08"), "HWC", "uint16", range=(0, 65535))
    plan = gp.plan(gp.Source(target.bands), target)
    (tmp_path / "plan.json").write_text(plan.to_json())
    np.save(tmp_path / "x.npy", image)
    folder = tmp_path / "npy"
    folder.mkdir()
    (tmp_path / "x.npy").rename(folder / "x.npy")
    argv = ["convert", str(folder), str(tmp_path / "in"), "--to", "tiff"]
    assert main([*argv, "--plan", str(tmp_path / "plan.json"), "--workers", "1"]) == 0
    (tmp_path / "in" / MANIFEST_NAME).unlink()
    return tmp_path / "in", image


def test_select_chooses_bands_by_name(bands, capsys):
    folder, image = bands
    via = ("--via", "R=B04,G=B03,B=B02")
    assert convert(folder, *TO_UNIT, "--select", "B04,B03,B02", *via) == 0
    output = np.load(folder.with_name("out") / "x.npy")
    np.testing.assert_allclose(
        output, image[..., 2::-1].transpose(2, 0, 1) / 65535, atol=1e-6
    )
    assert convert(folder, *TO_UNIT, "--select", "B04,B03,B08", *via, "--resume") == 1
    assert "select" in capsys.readouterr().err
    assert main(["inspect", str(folder), "--select", "B08", "--workers", "1"]) == 0
    output = capsys.readouterr().out
    assert " B08 " in output
    assert output.endswith(" --select B08 --target imagenet\n")


def test_select_from_declared_bands_names_via(bands, capsys):
    folder, _ = bands
    options = ("--source", "B02,B03,B04,B08", "--select", "B04,B03,B02")
    assert convert(folder, *TO_UNIT, *options) == 2
    assert "--via R=B04,G=B03,B=B02" in capsys.readouterr().err


def test_all_frames_are_stacked(tmp_path, capsys):
    stack = RNG.integers(0, 256, (3, 5, 6), dtype=np.uint8)
    save(tmp_path / "in" / "a.tif", stack, photometric="minisblack")
    for source in ((), ("--source", "gray")):
        out = tmp_path / f"out{len(source)}"
        argv = ["convert", str(tmp_path / "in"), str(out), *source, "--frame", "all"]
        assert main([*argv, *TO_UNIT]) == 0
        output = np.load(out / "a.npy")
        assert output.shape == (3, 3, 5, 6)
        np.testing.assert_allclose(output[:, 1], stack / 255, atol=1e-6)
    for to in ("png", "tiff", "parquet"):
        assert main([*argv, "--target", "rgb8", "--to", to]) == 2
        assert "--to npy, or choose one frame" in capsys.readouterr().err
