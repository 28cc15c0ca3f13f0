"""JPEG: what the standard allows, several images in one file, depths, and damage."""

import io
import struct
import sys

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from read_checks import assert_read, assert_refused, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(160), np.arange(240) % 97).astype(np.uint8)

CODINGS = ({}, {"progressive": True}, {"restart_marker_blocks": 2})
END = b"\xff\xd9"


def jpeg(pixels, form="JPEG", **keywords):
    """Return `pixels`, an array or an image, as a file."""
    if isinstance(pixels, np.ndarray):
        pixels = Image.fromarray(pixels)
    file = io.BytesIO()
    pixels.save(file, form, **{"quality": 95, **keywords})
    return file.getvalue()


def decoded(data):
    """Return the pixels of a file as Pillow decodes them."""
    with Image.open(io.BytesIO(data)) as opened:
        return np.asarray(opened)


def segment(data, marker):
    """Return (start, end) of the first segment of a marker, with its marker."""
    start = data.index(bytes([0xFF, marker]))
    return start, start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def with_segment(data, marker, content):
    """Insert a segment after the start of the image."""
    header = struct.pack(">BBH", 0xFF, marker, len(content) + 2)
    return data[:2] + header + content + data[2:]


def planar(files, marker):
    """Return an RGB file with the scans of three gray files.

    The Adobe segment declares RGB; the other headers are those of the first file.
    """
    frame_start, frame_end = segment(files[0], marker)
    headers = [files[0][frame_start + 4 : frame_start + 9], b"\3"]
    headers += [bytes([number, 0x11, 0]) for number in (1, 2, 3)]
    adobe = struct.pack(">BBH", 0xFF, 0xEE, 14) + b"Adobe\0\x64\0\0\0\0\0"
    start, _ = segment(files[0], 0xDA)
    tables = files[0][frame_end:start]
    if marker == 0xC0:
        tables = files[0][segment(files[0], 0xDB)[0] : frame_start] + tables
    data = b"\xff\xd8" + adobe
    data += struct.pack(">BBH", 0xFF, marker, 17) + b"".join(headers) + tables
    for number, file in enumerate(files, 1):
        start, _ = segment(file, 0xDA)
        data += file[start : start + 5] + bytes([number]) + file[start + 6 : -2]
    return data + END


def levels(bits, shape):
    """Return pixels that use all levels of a depth."""
    dtype = np.uint8 if bits <= 8 else np.uint16
    pixels = RNG.integers(0, 2**bits, shape, dtype=dtype)
    pixels.flat[:2] = (0, 2**bits - 1)
    return pixels


def test_jpeg_matches_pillow(tmp_path):
    path = tmp_path / "image.jpg"
    for image, bands in [(GRAY8, "gray"), (RGB8, "RGB")]:
        for coding in CODINGS:
            data = jpeg(image, **coding)
            assert_read(write(path, data), decoded(data), bands)


def test_chroma_samplings_match_pillow():
    names = ("411", "420", "422", "440", "444")
    for name in names:
        sampling = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}")
        options = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
        data = cv2.imencode(".jpg", RGB8, options)[1].tobytes()
        np.testing.assert_array_equal(gp.read(data)[0], decoded(data))


def test_stored_rgb_is_not_converted():
    data = jpeg(RGB8, keep_rgb=True)
    image, source = gp.read(data)
    assert source.bands == ("R", "G", "B")
    np.testing.assert_array_equal(image, decoded(data))
    assert np.abs(image.astype(int) - RGB8).max() < 12


def test_unknown_chroma_samplings_say_how_to_decode(tmp_path):
    data = bytearray(jpeg(RGB8))
    start, _ = segment(data, 0xC0)
    data[start + 11] = 0x42
    path = write(tmp_path / "image.jpg", bytes(data))
    assert_refused(path, r"\(4, 2\).*imagecodecs\.jpeg8_decode\(data\)")


def test_unusual_but_valid_streams_are_read():
    whole = jpeg(RGB8)
    expected = decoded(whole)
    start, end = segment(whole, 0xDA)
    filled = whole[:start] + b"\xff\xff\xff" + whole[start:]
    # Baseline scans always contain all coefficients, so the fields that say which are
    # meaningless, and some encoders write zeros.
    zeroed = whole[: end - 3] + b"\0\0\0" + whole[end:]
    trailing = whole + b"data that cameras append"
    broken_profile = with_segment(whole, 0xE2, b"ICC_PROFILE\0\5\2damaged")
    short_jfif = whole[:2] + whole[segment(whole, 0xE0)[1] :]
    short_jfif = with_segment(short_jfif, 0xE0, b"JFIF\0\1\1")
    for data in (filled, zeroed, trailing, broken_profile, short_jfif):
        np.testing.assert_array_equal(gp.read(data)[0], expected)


def test_bands_in_scans_of_their_own_are_read(tmp_path):
    path = tmp_path / "image"
    bands = np.moveaxis(RGB8, 2, 0)
    encoders = [
        (jpeg, 0xC0),
        (lambda band: imagecodecs.jpeg8_encode(band, lossless=True), 0xC3),
        (imagecodecs.jpegls_encode, 0xF7),
    ]
    for encode, marker in encoders:
        files = [encode(np.ascontiguousarray(band)) for band in bands]
        expected = np.dstack([gp.read(data)[0] for data in files])
        data = planar(files, marker)
        np.testing.assert_array_equal(gp.read(data)[0], expected)
        start, _ = segment(data, 0xDA)
        missing = data[: data.rindex(data[start : start + 4])] + END
        assert_refused(write(path, missing), "some scans are missing")


def test_images_of_one_file_are_frames(tmp_path):
    pair = [Image.fromarray(RGB8), Image.fromarray(RGB8[:, ::-1])]
    data = jpeg(pair[0], "MPO", save_all=True, append_images=pair[1:])
    path = write(tmp_path / "pair.jpg", data)
    assert facts(path)["frames"] == 2
    with pytest.raises(gp.ReadError, match="2 frames"):
        gp.read(path)
    stack, source = gp.read(path, frame="all")
    assert (stack.shape, source.layout) == ((2, *RGB8.shape), "NHWC")
    with Image.open(path) as opened:
        for number in range(2):
            opened.seek(number)
            image, _ = gp.read(path, frame=number)
            np.testing.assert_array_equal(image, np.asarray(opened))
            np.testing.assert_array_equal(image, stack[number])


def test_images_of_two_sizes_are_no_stack():
    pair = [Image.fromarray(RGB8), Image.fromarray(RGB8[:10])]
    data = jpeg(pair[0], "MPO", save_all=True, append_images=pair[1:])
    assert gp.read(data, frame=1)[0].shape == (10, 34, 3)
    with pytest.raises(gp.ReadError, match=r"frames of one size.*\(10, 34, 3\)"):
        gp.read(data, frame="all")


def test_truncated_scans_are_not_filled_with_gray(tmp_path):
    path = tmp_path / "image.jpg"
    for coding in CODINGS:
        whole = jpeg(SMOOTH, quality=90, **coding)
        gp.read(whole)
        for length in (len(whole) * 2 // 3, len(whole) - 6):
            cut = whole[:length]
            write(path, cut + END)
            with Image.open(path) as opened:
                opened.load()  # Pillow does not report that pixels are missing
            assert_refused(path, "damaged or truncated")
            assert_refused(write(path, cut), "truncated")


def test_a_missing_last_scan_is_noticed(tmp_path):
    whole = jpeg(RGB8, progressive=True)
    last = whole.rindex(b"\xff\xda")
    # The tables of a scan precede it.
    cut = whole[: whole.rindex(b"\xff\xc4", 0, last)] + END
    decoded(cut)
    assert_refused(write(tmp_path / "image.jpg", cut), "some scans are missing")


def test_missing_restart_intervals_are_noticed(tmp_path):
    whole = jpeg(SMOOTH, restart_marker_blocks=2)
    starts = [whole.index(bytes([0xFF, 0xD0 + number])) for number in range(8)]
    # From one marker 0 to the next, so that their numbers continue to match.
    next_cycle = whole.index(b"\xff\xd0", starts[7])
    for end in (starts[1], starts[3], next_cycle):
        cut = whole[: starts[0]] + whole[end:]
        decoded(cut)
        assert_refused(write(tmp_path / "image.jpg", cut), "damaged or truncated")


def test_invalid_codes_are_noticed(tmp_path):
    whole = jpeg(SMOOTH, quality=90)
    _, start = segment(whole, 0xDA)
    damaged = whole[: start + 100] + b"\xf7" * 40 + whole[start + 140 :]
    decoded(damaged)
    assert_refused(write(tmp_path / "image.jpg", damaged), "damaged or truncated")


def test_damaged_headers_are_refused(tmp_path):
    path = tmp_path / "image.jpg"
    whole = jpeg(RGB8)
    start, _ = segment(whole, 0xC0)
    for position in (5, 6), (7, 8), (11,):  # height, width, sampling factors
        data = bytearray(whole)
        for byte in position:
            data[start + byte] = 0
        assert_refused(write(path, bytes(data)), "frame header is damaged")
    short = with_segment(whole, 0xC0, b"\10\0")
    assert_refused(write(path, short), "header .* too short")
    arithmetic = whole.replace(b"\xff\xc0", b"\xff\xc9", 1)
    assert_refused(write(path, arithmetic), "SOF9.*jpegtran")


def test_small_files_of_huge_images_are_refused(tmp_path):
    data = bytearray(jpeg(GRAY8))
    start, _ = segment(data, 0xC0)
    data[start + 5 : start + 9] = b"\xff" * 4
    assert_refused(write(tmp_path / "image.jpg", bytes(data)), "decompression bomb")


@pytest.mark.parametrize("shape", [(21, 34), (21, 34, 3)])
def test_12_bit_jpeg_keeps_its_depth(shape):
    pixels = np.zeros(shape, np.uint16)
    pixels.T[:] = np.add.outer(np.arange(34), np.arange(21)) * 75
    data = imagecodecs.jpeg8_encode(pixels, level=100, bitspersample=12)
    image, source = gp.read(data)
    assert (image.dtype, source.bits) == (np.uint16, 12)
    assert np.abs(image.astype(int) - pixels).max() <= 4
    header = facts(data)
    assert (header["dtype"], header["bands"]) == ("uint16", len(source.bands))


@pytest.mark.parametrize("bits", range(2, 17))
def test_lossless_jpeg_is_read_exactly(bits):
    for shape in (21, 34), (21, 34, 3):
        pixels = levels(bits, shape)
        predictor = 1 + bits % 7
        data = imagecodecs.jpeg8_encode(
            pixels, lossless=True, bitspersample=bits, predictor=predictor
        )
        image, source = gp.read(data)
        np.testing.assert_array_equal(image, pixels)
        assert image.dtype == pixels.dtype
        assert source.bits == (None if bits in (8, 16) else bits)
        np.testing.assert_array_equal(imagecodecs.ljpeg_decode(data), image)


@pytest.mark.parametrize("bits", [8, 16])
def test_jpeg_ls_is_read_exactly(bits):
    for shape in (21, 34), (21, 34, 3):
        pixels = levels(bits, shape)
        data = imagecodecs.jpegls_encode(pixels)
        image, source = gp.read(data)
        np.testing.assert_array_equal(image, pixels)
        assert (image.dtype, source.bits) == (pixels.dtype, None)
        assert facts(data)["format"] == "JPEG-LS"


def test_jpeg_ls_palettes_and_ycbcr_are_refused(tmp_path):
    path = tmp_path / "image.jls"
    whole = imagecodecs.jpegls_encode(RGB8)
    start, _ = segment(whole, 0xDA)
    palette = bytearray(whole)
    palette[start + 6] = 1
    assert_refused(write(path, bytes(palette)), "palette")
    # The header of SPIFF, which not every encoder writes
    spiff = b"SPIFF\0" + bytes([1, 2, 0, 3])
    spiff += struct.pack(">II", *RGB8.shape[:2]) + bytes([3, 8, 6, 0])
    spiff += struct.pack(">II", 1, 1)
    ycbcr = b"\xff\xe8" + struct.pack(">H", 2 + len(spiff)) + spiff
    assert_refused(write(path, whole[:2] + ycbcr + whole[2:]), "colour space 3")


def deep_files():
    pixels = SMOOTH.astype(np.uint16) * 16 + RNG.integers(0, 16, SMOOTH.shape)
    pixels = pixels.astype(np.uint16)
    return {
        "12 bits": imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=12),
        "lossless": imagecodecs.jpeg8_encode(pixels, lossless=True, bitspersample=12),
        "JPEG-LS": imagecodecs.jpegls_encode(pixels),
    }


@pytest.mark.parametrize("name", ["12 bits", "lossless", "JPEG-LS"])
def test_truncated_deep_files_are_refused(tmp_path, name):
    path = tmp_path / "image"
    whole = deep_files()[name]
    for length in (len(whole) // 3, len(whole) * 2 // 3, len(whole) - 2):
        assert_refused(write(path, whole[:length]), "truncated")
    for length in (len(whole) // 2, len(whole) - 30):
        assert_refused(write(path, whole[:length] + END))


def test_missing_restart_intervals_of_deep_files_are_noticed(tmp_path):
    """A restart interval that is declared, and then not found."""
    whole = deep_files()["12 bits"]
    data = with_segment(whole, 0xDD, struct.pack(">H", 5))
    assert_refused(write(tmp_path / "image.jpg", data), "restart intervals are missing")


def test_lossless_ycbcr_is_refused(tmp_path):
    """JFIF declares YCbCr, from which libjpeg does not convert lossless samples."""
    data = imagecodecs.jpeg8_encode(levels(8, (21, 34, 3)), lossless=True)
    start, end = segment(data, 0xEE)
    data = data[:start] + data[end:]
    data = with_segment(data, 0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")
    assert_refused(
        write(tmp_path / "image.jpg", data), "cannot be decoded .*conversion"
    )


def test_levels_above_the_depth_are_refused(tmp_path):
    data = imagecodecs.jpeg8_encode(levels(16, (21, 34)), lossless=True, predictor=1)
    data = bytearray(data)
    start, _ = segment(data, 0xC3)
    data[start + 4] = 12
    assert_refused(write(tmp_path / "image.jpg", bytes(data)), "12 bits per sample")


@pytest.mark.parametrize("package", ["simplejpeg", "imagecodecs"])
def test_missing_decoders_are_named(monkeypatch, package):
    files = {"simplejpeg": jpeg(GRAY8), "imagecodecs": deep_files()["JPEG-LS"]}
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        gp.MissingExtraError, match=rf"{package} is not .*graypipe\[io\]"
    ):
        gp.read(files[package])
    assert facts(files[package])["bands"] == 1
