"""Files of a folder that the commands do not take for images."""

import shutil

import numpy as np
import pytest
from image_sets import images, save

from graypipe.cli import main

CONVERT = ("--source", "gray", "--target", "unit", "--to", "npy", "--workers", "1")


@pytest.fixture
def folder(tmp_path):
    """Return a folder of two images, a copy with an unknown suffix, and other files."""
    folder = tmp_path / "in"
    images(folder, 2)
    first = min(path for path in folder.rglob("*") if path.is_file())
    shutil.copy(first, folder / "scan.xyz")
    (folder / "line\nfeed.txt").touch()
    return folder


@pytest.mark.parametrize("command", ["convert", "stats"])
def test_they_are_counted_and_named(folder, tmp_path, capsys, command):
    options = (str(tmp_path / "out"), *CONVERT)
    if command == "stats":
        options = ("--source", "gray", "--workers", "1")
    assert main([command, str(folder), *options]) == 0
    captured = capsys.readouterr()
    assert "2 files" in captured.out
    (note,) = captured.err.splitlines()
    assert "2 files are left out" in note
    for name in ("scan.xyz", "line feed.txt"):
        assert name in note


def test_many_are_counted_and_some_named(folder, tmp_path, capsys):
    for number in range(500):
        (folder / f"{number}.txt").touch()
    assert main(["convert", str(folder), str(tmp_path / "out"), *CONVERT]) == 0
    note = capsys.readouterr().err
    assert "502 files are left out" in note
    assert "..." in note
    assert len(note) < 600


def test_a_folder_of_images_alone_needs_no_note(tmp_path, capsys):
    images(tmp_path / "in", 2)
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out"), *CONVERT]) == 0
    assert capsys.readouterr().err == ""


def test_convert_takes_a_folder(tmp_path, capsys):
    save(tmp_path / "one.png", np.zeros((4, 5), np.uint8))
    for name, cure in (("one.png", "got a file: pass its folder"), ("no", "no such")):
        path = str(tmp_path / name)
        assert main(["convert", path, str(tmp_path / "out"), *CONVERT]) == 1
        assert cure in capsys.readouterr().err


def test_a_missing_via_is_answered_with_the_option(tmp_path, capsys):
    images(tmp_path / "in", 1)
    names = "B01,B02,B03,B04"
    options = ("--source", names, *CONVERT[2:])
    argv = ["convert", str(tmp_path / "in"), str(tmp_path / "out"), *options]
    assert main(argv) == 1
    assert "add --via R=...,G=...,B=... " in capsys.readouterr().err
    assert main(["explain", "--source", "RGBY", "--target", "unit"]) == 1
    message = capsys.readouterr().err
    assert "add --via R=R,G=G,B=B " in message
    argv = ["explain", "--source", "RGBY", "--target", "unit", "--via", "R=R,G=G,B=B"]
    assert main(argv) == 0


def test_a_divided_file_is_not_converted(tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    divided = np.random.default_rng(1).uniform(0, 1, (9, 9)).astype(np.float32)
    np.save(folder / "a.npy", divided)
    twelve_bits = ("--source", "gray:12", *CONVERT[2:])
    assert main(["convert", str(folder), str(tmp_path / "out"), *twelve_bits]) == 1
    assert "an earlier step has already divided" in capsys.readouterr().err
    assert main(["stats", str(folder), "--source", "gray:12"]) == 1
    assert "an earlier step has already divided" in capsys.readouterr().err
    trusted = ("--source", "gray:12:dtype=float32", *CONVERT[2:])
    assert main(["convert", str(folder), str(tmp_path / "out"), *trusted]) == 0
