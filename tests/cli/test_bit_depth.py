"""``convert`` says if all uint16 images look like fewer than 16 bits."""

import numpy as np
import pytest
from image_sets import save

from graypipe.cli import main

NOTE = (
    "graypipe: all uint16 files: values up to 4081 of 65535 look like 12 bits: declare "
    "bits=12 if the device delivers 12 bits, such as --source gray:12\n"
)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of images of uint16 whose highest value is 4081."""
    for number in range(20):
        image = np.full((5, 6), number, np.uint16)
        image[2, 3] = 4000 + 9 * min(number, 9)
        save(tmp_path / "in" / f"{number:02}.png", image)
    return tmp_path / "in"


def convert(folder, source, *options):
    """Convert the folder, and return the exit code."""
    out = str(folder.with_name("out"))
    argv = ("--source", source, "--target", "unit", "--to", "npy", *options)
    return main(["convert", str(folder), out, *argv])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_images_of_12_bits_are_named_at_the_end(folder, capsys, workers):
    assert convert(folder, "gray", "--workers", workers) == 0
    assert capsys.readouterr().err == NOTE


@pytest.mark.parametrize("source", ["gray:12", "gray:16", "gray:0..4095"])
def test_a_declared_depth_needs_no_advice(folder, capsys, source):
    assert convert(folder, source, "--workers", "1") == 0
    assert capsys.readouterr().err == ""


def test_one_image_of_16_bits_is_enough(folder, capsys):
    save(folder / "bright.png", np.full((5, 6), 40_000, np.uint16))
    assert convert(folder, "gray", "--workers", "1") == 0
    assert capsys.readouterr().err == ""


def test_masks_and_8_bit_images_need_no_advice(folder, capsys):
    for path in folder.iterdir():
        path.unlink()
    save(folder / "mask.png", np.eye(6, dtype=np.uint16))
    save(folder / "dark.png", np.full((5, 6), 9, np.uint8))
    assert convert(folder, "gray", "--workers", "1") == 0
    assert capsys.readouterr().err == ""


def test_it_is_not_said_if_a_file_ends_the_command(folder, capsys):
    (folder / "zz.png").write_bytes(b"damaged")
    assert convert(folder, "gray", "--workers", "1") == 1
    assert "look like" not in capsys.readouterr().err
    assert convert(folder, "gray", "--workers", "1", "--resume") == 1
