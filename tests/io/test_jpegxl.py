"""JPEG XL: depths, alpha, animations, and files that lack data."""

import struct

import imagecodecs
import numpy as np
import pytest
from read_checks import assert_read, assert_refused, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(10)
GRAY8 = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
FRAMES = np.stack([RGB8, 255 - RGB8, RGB8 // 2])


def encoded(pixels, **keywords):
    """Return a lossless file."""
    return bytes(imagecodecs.jpegxl_encode(pixels, **keywords))


def animated(frames=FRAMES):
    return encoded(frames, photometric="rgb")


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize(
    "pixels",
    [
        GRAY8,
        RGB8,
        GRAY8 * np.uint16(257),
        RGB8 * np.uint16(257),
        GRAY8 / np.float32(300),
    ],
)
def test_gray_and_rgb_are_read_exactly(tmp_path, pixels, container, capfd):
    path = write(tmp_path / "image.bin", encoded(pixels, usecontainer=container))
    assert_read(path, pixels, "gray" if pixels.ndim == 2 else "RGB")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "size",
    [(1, 1), (9, 16), (24, 32), (24, 30), (40, 48), (3, 600), (600, 3), (4, 9000)],
)
def test_sizes_are_read_from_the_header(size):
    pixels = np.zeros(size, np.uint8)
    header = facts(encoded(pixels))
    assert (header["height"], header["width"]) == size


@pytest.mark.parametrize("bits", [1, 4, 10, 12, 15])
def test_the_bit_depth_comes_from_the_file(bits):
    dtype = np.uint8 if bits <= 8 else np.uint16
    pixels = RNG.integers(0, 2**bits, (9, 7)).astype(dtype)
    data = encoded(pixels, bitspersample=bits)
    image, source = gp.read(data)
    np.testing.assert_array_equal(image, pixels)
    assert image.dtype == (bool if bits == 1 else dtype)
    assert facts(data)["dtype"] == image.dtype.name
    unit = gp.plan(source, gp.Target("gray", "HW", "float64"))(image)
    np.testing.assert_allclose(unit, pixels / (2**bits - 1), rtol=1e-15)
    if bits == 12:
        with pytest.raises(gp.ReadError, match="12 bits"):
            gp.read(data, bits=10)


@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_kept_apart(samples, dtype):
    pixels = RNG.integers(0, np.iinfo(dtype).max, (20, 30, samples), dtype=dtype)
    data = encoded(pixels)
    assert facts(data)["alpha"]
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(data)
    image, source = gp.read(data, alpha="drop")
    np.testing.assert_array_equal(image, pixels[..., :-1].squeeze())
    assert source.bands == (("gray",) if samples == 2 else ("R", "G", "B"))


def test_gray_with_other_channels_has_several_bands():
    pixels = RNG.integers(0, 256, (5, 20, 30), dtype=np.uint8)
    data = encoded(pixels, planar=True, photometric="gray")
    image, source = gp.read(data)
    np.testing.assert_array_equal(image, pixels)
    assert (source.layout, source.bands[-1]) == ("CHW", "band5")
    assert facts(data)["bands"] == 5


def test_frames_of_animations(tmp_path):
    data = animated()
    assert facts(data)["frames"] == 3
    np.testing.assert_array_equal(gp.read(data, frame="all")[0], FRAMES)
    np.testing.assert_array_equal(gp.read(data, frame=1)[0], FRAMES[1])
    path = write(tmp_path / "animation.jxl", data)
    assert_refused(path, "got 3 frames")
    with pytest.raises(gp.ReadError, match="from 0 to 2"):
        gp.read(data, frame=3)


def test_animations_that_end_between_frames_are_refused(capfd):
    data = animated()
    lengths = set()
    for size in range(12, len(data), 3):
        lengths.add(len(cut_frames(data[:size])))
        with pytest.raises(gp.ReadError):
            gp.read(data[:size], frame="all")
    # imagecodecs returns the frames before the cut.
    assert lengths >= {0, 2}
    assert capfd.readouterr().err == ""


def cut_frames(data):
    try:
        frames = imagecodecs.jpegxl_decode(data)
    except (imagecodecs.JpegxlError, RuntimeError):
        return []
    return frames if frames.ndim == 4 else [frames]


@pytest.mark.parametrize("container", [False, True])
def test_truncated_files_are_refused(tmp_path, container, capfd):
    data = encoded(GRAY8, usecontainer=container)
    for size in [*range(12, len(data) - 1, 7), len(data) - 1]:
        path = write(tmp_path / "cut.jxl", data[:size])
        assert_refused(path, r"truncated|damaged$")
    assert capfd.readouterr().err == ""


def test_damaged_boxes_are_refused():
    data = encoded(GRAY8, usecontainer=True)
    text = struct.pack(">I4s", 12, b"xml ") + b"<x/>"
    np.testing.assert_array_equal(gp.read(data + text)[0], GRAY8)
    for damaged in [
        data + text[:-1],
        data + b"\0\0\0\3xml ",
        data.replace(b"jxlc", b"jxlx"),
    ]:
        with pytest.raises(gp.ReadError, match=r"damaged|truncated"):
            gp.read(damaged)


def test_orientation_is_left_to_the_caller():
    # Bits 33 to 35 of an animation of this size, the lowest bit first.
    data = bytearray(animated())
    data[4] |= (6 - 1) << 1
    assert facts(data)["orientation"] == 6
    assert (facts(data)["height"], facts(data)["width"]) == (20, 30)
    with pytest.raises(gp.ReadError, match="orientation 6"):
        gp.read(data, frame=0)
    stored, _ = gp.read(data, frame=0, orientation="ignore")
    np.testing.assert_array_equal(stored, RGB8)
    upright, _ = gp.read(data, frame=0, orientation="apply")
    np.testing.assert_array_equal(upright, np.rot90(RGB8, -1))


def test_float16_is_refused():
    # The versions of libjxl in imagecodecs before 2026.10 decode these values wrongly.
    pixels = np.linspace(3.1e-5, 6e-5, 600).astype(np.float16).reshape(20, 30)
    data = encoded(pixels)
    with pytest.raises(gp.ReadError, match="got floating-point samples of 16 bits"):
        gp.read(data)


def test_small_files_of_huge_images_are_refused(monkeypatch):
    data = encoded(np.zeros((300, 400), np.uint8))
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 100)
    with pytest.raises(gp.ReadError, match="decompression bomb"):
        gp.read(data)
