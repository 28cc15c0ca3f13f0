"""JPEG: what the standard allows, several images in one file, and truncated scans."""

import numpy as np
import pytest
from PIL import Image
from read_checks import assert_read, assert_refused, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)


def test_jpeg_matches_pillow(tmp_path):
    path = tmp_path / "image.jpg"
    for image, bands in [(GRAY8, "gray"), (RGB8, "RGB")]:
        for keywords in ({}, {"progressive": True}, {"restart_marker_blocks": 2}):
            Image.fromarray(image).save(path, quality=95, **keywords)
            with Image.open(path) as opened:
                assert_read(path, np.asarray(opened), bands)


def test_unusual_but_valid_streams_are_read(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(RGB8).save(path, quality=95)
    whole = path.read_bytes()
    with Image.open(path) as opened:
        expected = np.asarray(opened)
    scan = whole.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(whole[scan + 2 : scan + 4], "big")
    filled = whole[:scan] + b"\xff\xff\xff" + whole[scan:]
    # Baseline scans always contain all coefficients, so the fields that say which are
    # meaningless, and some encoders write zeros.
    zeroed = whole[: end - 3] + b"\0\0\0" + whole[end:]
    trailing = whole + b"data that cameras append"
    for data in (filled, zeroed, trailing):
        np.testing.assert_array_equal(gp.read(write(path, data))[0], expected)


def test_images_of_one_file_are_frames(tmp_path):
    path = tmp_path / "pair.jpg"
    pair = [Image.fromarray(RGB8), Image.fromarray(RGB8[:, ::-1])]
    pair[0].save(path, "MPO", save_all=True, append_images=pair[1:], quality=90)
    assert facts(path)["frames"] == 2
    with pytest.raises(gp.ReadError, match="2 frames"):
        gp.read(path)
    with Image.open(path) as opened:
        for number in range(2):
            opened.seek(number)
            np.testing.assert_array_equal(
                gp.read(path, frame=number)[0], np.asarray(opened)
            )


def test_truncated_scans_are_not_filled_with_gray(tmp_path):
    path = tmp_path / "image.jpg"
    smooth = np.add.outer(np.arange(160), np.arange(240) % 97).astype(np.uint8)
    for keywords in ({}, {"progressive": True}, {"restart_marker_blocks": 4}):
        Image.fromarray(smooth).save(path, quality=90, **keywords)
        whole = path.read_bytes()
        gp.read(path)
        path.write_bytes(whole[: len(whole) * 2 // 3] + b"\xff\xd9")
        with Image.open(path) as opened:
            opened.load()  # Pillow does not report that pixels are missing
        assert_refused(
            path,
            r"before the image does|scans are missing|restart intervals are missing",
        )
