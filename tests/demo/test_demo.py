"""The demo: its files, its picture, and checks that can fail."""

import socket
import sys

import numpy as np
import pytest
from image_sets import process
from imagenet import MEAN, STD
from PIL import Image

import graypipe as gp
from graypipe.cli import main
from graypipe.demo import reference, samples
from graypipe.demo.checks import Case, check, tolerance


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo once; return what it prints and its output folder."""
    folder = tmp_path_factory.mktemp("demo") / "new" / "folder"
    done = process("demo", "--out", folder, python_options=("-W", "error"))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, folder


def test_all_cases_are_explained_and_pass(demo):
    printed, folder = demo

    assert printed.count("check  passed: maximum difference") == 4
    assert printed.count("     map  ") == 4
    assert printed.count(" times as long\n") == 4
    assert all(
        f"-> {target}" in printed for target in ("imagenet", "keras-caffe", "rgb8")
    )
    assert "cells: synthetic" in printed
    assert printed.endswith(
        f"all 4 checks passed; wrote {folder / 'graypipe-demo.png'}\n"
    )


def test_every_row_of_the_picture_is_drawn(demo):
    with Image.open(demo[1] / "graypipe-demo.png") as opened:
        pixels = np.asarray(opened.convert("L"), float)

    height, width = pixels.shape
    assert 1200 <= width <= 4000
    assert 1200 <= height <= 4000
    for row in np.array_split(pixels, 4):
        for column in np.array_split(row, 4, axis=1):
            assert column.std() > 20


def test_the_16_bit_photograph_uses_more_than_256_levels(demo):
    with Image.open(demo[1] / "coins-16bit.png") as opened:
        levels = np.unique(np.asarray(opened))

    # Byte 24 of a PNG file is the bit depth.
    assert (demo[1] / "coins-16bit.png").read_bytes()[24] == 16
    assert len(levels) > 5000
    assert levels.max() > 50_000


def test_synthetic_bands_have_12_bits_and_differ(demo):
    planes = []
    for band in "RGBY":
        with Image.open(demo[1] / f"synthetic-{band}.png") as opened:
            planes.append(np.asarray(opened).astype(float))

    assert all(256 < plane.max() <= 4095 for plane in planes)
    assert (
        np.abs(np.corrcoef([plane.ravel() for plane in planes]) - np.eye(4)).max() < 0.9
    )


def test_samples_need_no_network(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the demo must not connect")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    image, source = samples.photograph(tmp_path, "camera")
    assert (image.shape, source.dtype) == ((512, 512), "uint8")
    assert samples.photograph(tmp_path, "moon")[0].std() > 5
    assert samples.photograph_16_bit(tmp_path, "coins")[1].dtype == "uint16"


def test_references_give_known_numbers():
    white = np.full((2, 3), 255, np.uint8)
    merged = reference.rgby12_to_imagenet(
        np.array([[[4095, 0, 2047, 1000]]], np.uint16), "float64"
    )

    assert reference.gray8_to_imagenet(white, "float64")[:, 1, 2] == pytest.approx(
        (1 - np.array(MEAN)) / STD
    )
    assert reference.gray16_to_caffe(white * np.uint16(257), "float64")[
        1, 2
    ] == pytest.approx([151.061, 138.221, 131.32])
    assert reference.gray8_to_rgb8(white, "uint8").tolist() == [[[255] * 3] * 3] * 2
    expected = (np.array([5095 / 8190, 1000 / 8190, 2047 / 4095]) - MEAN) / STD
    assert merged[:, 0, 0] == pytest.approx(expected)


def a_case():
    image = np.random.default_rng(3).integers(0, 256, (20, 31), np.uint8)
    return Case(
        "noise",
        image,
        gp.plan("gray", "imagenet"),
        "imagenet",
        reference.gray8_to_imagenet,
    )


def test_a_check_measures_the_difference_and_the_times():
    result = check(a_case())

    assert result.passed
    assert 0 < result.difference < 1e-5
    assert min(result.time, result.reference_time) > 0


WRONG = {
    "a little off": lambda y: y + np.float32(1e-4),
    "one pixel off": lambda y: np.where(
        np.arange(y.size).reshape(y.shape) == 7, y + 1, y
    ),
    "bands flipped": lambda y: y[::-1],
    "NaN": lambda y: y * np.nan,
    "another shape": lambda y: y[:, :-1],
    "another layout": lambda y: np.moveaxis(y, 0, -1),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_check_finds_a_wrong_result(wrong, monkeypatch):
    right = gp.Plan.__call__
    monkeypatch.setattr(
        gp.Plan, "__call__", lambda plan, image: wrong(right(plan, image))
    )

    assert not check(a_case()).passed


def test_tolerance_is_zero_for_integers_and_small_for_floats():
    assert tolerance(gp.preset("rgb8")) == 0
    assert 1e-6 < tolerance(gp.preset("imagenet")) < 1e-5
    assert 1e-4 < tolerance(gp.preset("keras-caffe")) < 1e-3


def test_a_failed_check_exits_with_1(tmp_path, monkeypatch, capsys):
    right = gp.Plan.__call__
    monkeypatch.setattr(
        gp.Plan, "__call__", lambda plan, image: right(plan, image)[..., ::-1]
    )

    assert main(["demo", "--out", str(tmp_path)]) == 1

    printed = capsys.readouterr()
    assert "FAILED" in printed.out
    assert printed.err.startswith("graypipe: error: ")
    assert "checks failed" in printed.err
    assert printed.err.count("\n") == 1


def test_an_output_folder_that_cannot_be_created_exits_with_1(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")

    assert main(["demo", "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("graypipe: error: ")


@pytest.mark.parametrize("module", ["skimage", "matplotlib"])
def test_a_missing_package_names_the_extra(module, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)

    assert main(["demo", "--out", str(tmp_path / "untouched")]) == 1

    message = capsys.readouterr().err
    assert module in message
    assert 'pip install "graypipe[demo]"' in message
    assert not (tmp_path / "untouched").exists()
