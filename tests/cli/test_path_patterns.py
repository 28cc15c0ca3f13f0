"""``--include`` and ``--exclude`` select files by their path in the folder."""

import re
import shutil

import numpy as np
import pytest
from image_sets import images, save

from graypipe.cli import main
from graypipe.cli.path_patterns import parse_pattern

CONVERT = ("--source", "gray", "--target", "unit", "--to", "npy", "--workers", "1")
PATHS = (
    "a.png",
    "masks/a.png",
    "train/a.png",
    "train/a_mask.png",
    "train/deep/b.png",
    "train/deep/masks/b.png",
)
MATCHES = {
    "*.png": PATHS,
    "a.png": ("a.png",),
    "**/a.png": ("a.png", "masks/a.png", "train/a.png"),
    "train/*": PATHS[2:],
    "train/**": PATHS[2:],
    "train/**/b.png": ("train/deep/b.png", "train/deep/masks/b.png"),
    "train/**/a.png": ("train/a.png",),
    "**/masks/*": ("masks/a.png", "train/deep/masks/b.png"),
    "*_mask.png": ("train/a_mask.png",),
    "?.png": ("a.png",),
    "[!m]*/a.png": ("train/a.png",),
    "TRAIN/*": (),
    "masks": (),
}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with an image in each of `PATHS`."""
    for number, path in enumerate(PATHS):
        save(tmp_path / "in" / path, np.full((3, 4), number, np.uint8))
    return tmp_path / "in"


def converted(folder, *options):
    """Convert the folder; return the paths of the images of the outputs."""
    out = folder.with_name("out")
    shutil.rmtree(out, ignore_errors=True)
    assert main(["convert", str(folder), str(out), *CONVERT, *options]) == 0
    outputs = out.rglob("*.npy")
    return sorted(str(path.relative_to(out).with_suffix(".png")) for path in outputs)


@pytest.mark.parametrize("pattern", MATCHES)
def test_pattern_is_compared_with_the_relative_path(pattern):
    compiled = parse_pattern(pattern)
    assert tuple(filter(compiled.matches, PATHS)) == MATCHES[pattern]


def test_a_line_feed_in_a_path_is_an_ordinary_character():
    assert parse_pattern("a*.png").matches("a\n.png")
    assert not parse_pattern("a").matches("a\n")


def test_convert_takes_what_is_included_and_not_excluded(folder, capsys):
    assert converted(folder) == sorted(PATHS)
    options = ("--include", "train/*", "--include", "a.png", "--exclude", "**/masks/*")
    assert converted(folder, *options, "--exclude", "*_mask.png") == [
        "a.png",
        "train/a.png",
        "train/deep/b.png",
    ]
    assert capsys.readouterr().err == ""


def test_stats_takes_the_same_options(folder, capsys):
    options = ("--source", "gray", "--workers", "1", "--exclude", "train/*")
    assert main(["stats", str(folder), *options]) == 0
    assert "2 files, uint8, 24 pixels" in capsys.readouterr().out


def test_a_pattern_that_matches_nothing_is_named(folder, capsys):
    assert converted(folder, "--exclude", "masks") == sorted(PATHS)
    assert capsys.readouterr().err == "graypipe: --exclude 'masks' matches no file\n"


def test_selecting_no_file_is_an_error_with_an_example(folder, capsys):
    argv = ["convert", str(folder), str(folder.with_name("out")), *CONVERT]
    assert main([*argv, "--include", str(folder / "*")]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.search(r"select none of the 6 files in .*, such as a\.png$", error)


def test_a_pattern_with_a_suffix_takes_files_not_known_as_images(folder, capsys):
    shutil.copy(folder / "a.png", folder / "train" / "scan.dat")
    shutil.copy(folder / "a.png", folder / "train" / "IM0001")
    (folder / "train" / "notes.txt").touch()
    assert converted(folder, "--include", "*.dat") == ["train/scan.png"]
    assert converted(folder, "--include", "train/IM*") == ["train/IM0001.png"]
    assert capsys.readouterr().err == ""
    assert converted(folder, "--include", "train/*") == sorted(PATHS[2:])
    assert "3 files are left out" in capsys.readouterr().err


def test_other_files_that_are_excluded_are_not_named(folder, capsys):
    (folder / "notes.txt").touch()
    converted(folder, "--exclude", "*.txt")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", [".a.png", "._a.png", ".cache/a.png", ".DS_Store"])
def test_hidden_files_are_left_out(folder, name, capsys):
    save(folder / ".cache" / "a.png", np.zeros((3, 4), np.uint8))
    shutil.copy(folder / "a.png", folder / name)
    assert converted(folder) == sorted(PATHS)
    assert main(["inspect", str(folder)]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "image: 6\n" in captured.out


def test_a_hidden_folder_that_is_passed_is_used(tmp_path):
    images(tmp_path / ".data", 2)
    assert len(converted(tmp_path / ".data")) == 2


def test_resume_with_other_patterns_adds_files(folder, capsys):
    out = folder.with_name("out")
    argv = ["convert", str(folder), str(out), *CONVERT]
    assert main([*argv, "--include", "train/*"]) == 0
    assert main([*argv, "--exclude", "train/*", "--resume"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(
        "2 files converted, 0 were already up to date, "
        "4 outputs have none of these source images"
    )
    assert main([*argv, "--resume"]) == 0
    assert "0 files converted, 6 were" in capsys.readouterr().out


def test_inspect_takes_the_same_options(folder, tmp_path, capsys):
    shutil.copy(folder / "a.png", folder / "train" / "scan.dat")
    save(tmp_path / "one.png", np.zeros((3, 4), np.uint8))
    argv = ["inspect", str(folder), str(tmp_path / "one.png"), "--workers", "1"]
    assert main([*argv, "--include", "train/*", "--exclude", "**/masks/*"]) == 0
    output, _, following = capsys.readouterr().out.partition("next: ")
    assert "masks" not in output
    assert "--exclude '**/masks/*'" in following
    assert "one.png" in output
    assert "image: 5\n" in output  # the content of scan.dat is an image
    argv = ["inspect", str(folder), "--target", "unit", "--source", "gray"]
    assert main([*argv, "--include", "*.dat"]) == 0
    output = capsys.readouterr().out
    assert "left out" not in output
    assert "convert writes: 3x3x4 (CHW) float32 in 1" in " ".join(output.split())
