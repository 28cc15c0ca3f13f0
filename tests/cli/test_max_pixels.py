"""``--max-pixels`` reads large images that are stored in small files."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

import graypipe as gp
from graypipe.cli import main

SIDE = 3000
TO_NPY = ("--target", "unit", "--to", "npy", "--workers", "1")


@pytest.fixture
def mask(tmp_path, monkeypatch):
    """Return a valid mask that is larger than the limit, in a small file."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000_000)
    path = tmp_path / "in" / "mask.png"
    path.parent.mkdir()
    values = np.zeros((SIDE, SIDE), np.uint8)
    values[1000:2000] = 255
    Image.fromarray(values).save(path)
    return path


def needed(text):
    """Return the options that a message names."""
    return re.search(r"--max-pixels \d+", text)[0].split()


def test_the_message_names_an_option_that_works(mask, tmp_path, capsys):
    argv = ["convert", str(mask.parent), str(tmp_path / "out"), "--source", "gray"]
    assert main([*argv, *TO_NPY]) == 1
    error = capsys.readouterr().err
    assert len(error) < 600
    assert main([*argv, *TO_NPY, *needed(error)]) == 0
    image = np.load(tmp_path / "out" / "mask.npy")
    assert image.shape == (3, SIDE, SIDE)
    assert image.mean(dtype=np.float64) == pytest.approx(1 / 3)
    assert Image.MAX_IMAGE_PIXELS == 1_000_000


def test_the_number_of_pixels_is_enough(mask, tmp_path):
    options = ("--source", "gray", *TO_NPY, "--max-pixels", str(SIDE * SIDE))
    assert main(["convert", str(mask.parent), str(tmp_path / "out"), *options]) == 0


def test_stats_and_inspect_take_it(mask, capsys):
    for command in (["stats", "--source", "gray"], ["inspect"]):
        argv = [*command, str(mask.parent), "--workers", "1"]
        assert main(argv) == 1
        captured = capsys.readouterr()
        option = needed(captured.out + captured.err)
        assert main([*argv, *option]) == 0
        capsys.readouterr()


def test_worker_processes_take_it(mask, tmp_path):
    shutil.copy(mask, mask.with_name("second.png"))
    options = ("--source", "gray", *TO_NPY[:-1], "2", "--max-pixels", str(10**9))
    assert main(["convert", str(mask.parent), str(tmp_path / "out"), *options]) == 0


def test_a_lower_limit_refuses(tmp_path, capsys):
    (tmp_path / "in").mkdir()
    Image.new("L", (500, 500)).save(tmp_path / "in" / "a.png")
    argv = ["stats", str(tmp_path / "in"), "--source", "gray", "--workers", "1"]
    assert main(argv) == 0
    assert main([*argv, "--max-pixels", "10000"]) == 1
    assert "--max-pixels 62500" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "20000x20000", "1e9"])
def test_the_value_is_a_number_of_pixels(text, capsys):
    assert main(["inspect", ".", f"--max-pixels={text}"]) == 2
    assert "such as 400000000" in capsys.readouterr().err


def test_gif_names_the_option(tmp_path, monkeypatch):
    Image.new("L", (500, 500)).save(tmp_path / "a.gif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    with pytest.raises(gp.ReadError, match="--max-pixels 250000"):
        gp.read(tmp_path / "a.gif")
