"""PNG: bit depths, transparency, and files that lack pixels."""

import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from png_files import SIGNATURE, chunk, png
from read_checks import assert_on_background, assert_refused, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (40, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 40, (21, 34), dtype=np.uint8)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gray_of_few_bits_is_scaled_exactly(tmp_path, depth):
    levels = RNG.integers(0, 2**depth, (9, 13))
    image, source = gp.read(write(tmp_path / "few.png", png(levels, depth, 0)))
    unit = gp.plan(source, gp.Target("gray", "HW", "float64"))(image)
    np.testing.assert_array_equal(unit, levels / (2**depth - 1))
    if depth > 1:
        np.testing.assert_array_equal(image, levels * (255 // (2**depth - 1)))
        with pytest.raises(gp.ReadError, match=rf"few\.png.*8 bits.*declare {depth}"):
            gp.read(tmp_path / "few.png", bits=depth)


def test_an_index_beyond_the_palette_is_damage(tmp_path):
    path = write(
        tmp_path / "image.png",
        png(INDICES, 8, 3, before=[chunk(b"PLTE", COLOURS[:30].tobytes())]),
    )
    with pytest.raises(
        gp.ReadError, match=r"palette of 30 colours: the file is damaged"
    ):
        gp.read(path)


def test_a_transparent_colour_is_alpha(tmp_path):
    cases = [
        (GRAY8, 8, 0, struct.pack(">H", GRAY8[3, 4]), np.equal(GRAY8, GRAY8[3, 4])),
        (
            GRAY16,
            16,
            0,
            struct.pack(">H", GRAY16[3, 4]),
            np.equal(GRAY16, GRAY16[3, 4]),
        ),
        (
            RGB8,
            8,
            2,
            struct.pack(">3H", *RGB8[3, 4]),
            np.equal(RGB8, RGB8[3, 4]).all(-1),
        ),
        (GRAY8 % 4, 2, 0, struct.pack(">H", 2), GRAY8 % 4 == 2),
        (GRAY8 % 2, 1, 0, struct.pack(">H", 1), GRAY8 % 2 == 1),
    ]
    for pixels, depth, colour, key, clear in cases:
        path = write(
            tmp_path / "keyed.png",
            png(pixels, depth, colour, before=[chunk(b"tRNS", key)]),
        )
        assert facts(path)["alpha"]
        with pytest.raises(gp.ReadError, match="transparent"):
            gp.read(path)
        kept, on_white = gp.read(path, alpha="drop")[0], gp.read(path, alpha="white")[0]
        white = 1 if kept.dtype == bool else np.iinfo(kept.dtype).max
        expected = np.where(clear[..., None] if kept.ndim == 3 else clear, white, kept)
        np.testing.assert_array_equal(on_white, expected)
        path.write_bytes(png(pixels, depth, colour, before=[chunk(b"tRNS", key[:-1])]))
        with pytest.raises(gp.ReadError, match="transparent colour is damaged"):
            gp.read(path)


def test_transparent_palette_colours_are_alpha(tmp_path):
    opacity = bytes([0, 128]) + b"\xff" * 5
    chunks = [chunk(b"PLTE", COLOURS.tobytes()), chunk(b"tRNS", opacity)]
    path = write(tmp_path / "palette.png", png(INDICES, 8, 3, before=chunks))
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    alphas = np.frombuffer(opacity.ljust(40, b"\xff"), np.uint8)[INDICES]
    pixels = np.dstack([COLOURS[INDICES], alphas])
    assert_on_background(gp.read(path, alpha="white")[0], pixels, "white")
    # No pixel has a transparent colour.
    path.write_bytes(png(INDICES % 30 + 7, 8, 3, before=chunks))
    np.testing.assert_array_equal(gp.read(path)[0], COLOURS[INDICES % 30 + 7])


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_16_bit_colour_and_alpha_keep_every_level(tmp_path, samples):
    pixels = RNG.integers(0, 65536, (37, 50, samples), dtype=np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(pixels))
    assert facts(path)["mode"] == {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}[samples]
    image, source = gp.read(path, alpha="drop")
    expected = pixels[..., 0] if samples == 2 else pixels[..., :3]
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, image.flags.writeable) == (np.uint16, True)
    assert source == gp.Source("gray" if samples == 2 else "RGB", dtype="uint16")
    if samples == 3:
        np.testing.assert_array_equal(
            image, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
        )
        return
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    part = pixels[..., -1:] / 65535
    laid = np.rint(pixels[..., :-1] * part + 65535 * (1 - part)).squeeze()
    np.testing.assert_array_equal(gp.read(path, alpha="white")[0], laid)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 18), (37, 41)])
def test_interlaced_16_bit_colour_is_silent_on_stderr(tmp_path, capfd, shape):
    pixels = RNG.integers(0, 65536, (*shape, 3), dtype=np.uint16)
    path = tmp_path / "interlaced.png"
    path.write_bytes(interlaced(pixels))
    np.testing.assert_array_equal(gp.read(path)[0], pixels)
    assert capfd.readouterr().err == ""
    np.testing.assert_array_equal(
        gp.read(path)[0], cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
    )


def interlaced(pixels):
    """Return an interlaced PNG, with the passes of section 8.1 of the specification."""
    passes = [pixels[::8, ::8], pixels[::8, 4::8], pixels[4::8, ::4], pixels[::4, 2::4]]
    passes += [pixels[2::4, ::2], pixels[::2, 1::2], pixels[1::2]]
    rows = [
        b"\0" + row.astype(">u2").tobytes()
        for part in passes
        if part.size
        for row in part
    ]
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 1)
    coded = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return SIGNATURE + chunk(b"IHDR", header) + coded + chunk(b"IEND")


def test_the_crc_of_pixel_data_is_checked(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path, compress_level=0)
    data = bytearray(path.read_bytes())
    data[120] ^= 0xFF
    path.write_bytes(data)
    assert_refused(path, "checksum")


@pytest.mark.parametrize("depth", [8, 16])
def test_missing_rows_are_not_filled_with_black(tmp_path, depth):
    short = png(GRAY8[:11], depth, 0)
    header = struct.pack(">IIBBBBB", 34, 21, depth, 0, 0, 0, 0)
    path = tmp_path / "image.png"
    path.write_bytes(short[:8] + chunk(b"IHDR", header) + short[33:])
    with Image.open(path) as opened:
        # Pillow fills the missing rows with black.
        assert not np.asarray(opened)[11:].any()
    assert_refused(path, r"expected \d+ bytes of pixels, got \d+: the file is damaged")


def test_damaged_ancillary_chunks_are_ignored(tmp_path):
    junk = [
        chunk(b"iCCP", b"\xff" * 9),
        chunk(b"zTXt", b"x\0\0junk"),
        chunk(b"tIME", b"1"),
        chunk(b"pHYs", b""),
    ]
    path = tmp_path / "image.png"
    path.write_bytes(png(GRAY8, 8, 0, before=junk))
    np.testing.assert_array_equal(gp.read(path)[0], GRAY8)
