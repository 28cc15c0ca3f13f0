"""JPEG 2000: depths, bands, alpha, and files that lack tiles."""

import io
import struct

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from read_checks import assert_read, assert_refused, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(9)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)


def encoded(pixels, bits=None, fmt="JP2", **keywords):
    """Return a lossless file."""
    return bytes(
        imagecodecs.jpeg2k_encode(
            pixels,
            level=0,
            reversible=True,
            bitspersample=bits,
            codecformat=fmt,
            **keywords,
        )
    )


def by_pillow(pixels, **keywords):
    """Return a lossless file; with an alpha channel if there are 2 or 4 samples."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG2000", irreversible=False, **keywords)
    return file.getvalue()


def box(name, content):
    return struct.pack(">I4s", 8 + len(content), name) + content


def with_boxes(data, *, colour=None, added=()):
    """Return a JP2 file with other boxes in its header box (jp2h)."""
    at = data.index(b"jp2h") - 4
    (length,) = struct.unpack_from(">I", data, at)
    header = data[at + 8 : at + length]
    start = header.index(b"colr") - 4
    if colour is not None:
        header = header[:start] + box(b"colr", colour)
    return data[:at] + box(b"jp2h", header + b"".join(added)) + data[at + length :]


@pytest.mark.parametrize("fmt", ["JP2", "J2K"])
@pytest.mark.parametrize("pixels", [GRAY8, RGB8, GRAY8 * np.uint16(257)])
def test_gray_and_rgb_are_read_exactly(tmp_path, pixels, fmt, capfd):
    path = write(tmp_path / "image.bin", encoded(pixels, fmt=fmt))
    assert_read(path, pixels, "gray" if pixels.ndim == 2 else "RGB")
    assert capfd.readouterr().err == ""
    # An independent reader of the same file.
    other = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    image, _ = gp.read(path)
    np.testing.assert_array_equal(image, other[..., ::-1] if other.ndim == 3 else other)


@pytest.mark.parametrize("bits", [1, 4, 12, 15, 16, 20])
def test_the_bit_depth_comes_from_the_file(bits):
    dtype = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    pixels = RNG.integers(0, 2**bits, (9, 7)).astype(dtype)
    data = encoded(pixels, bits)
    image, source = gp.read(data)
    np.testing.assert_array_equal(image, pixels)
    assert image.dtype == (bool if bits == 1 else dtype)
    assert facts(data)["dtype"] == image.dtype.name
    unit = gp.plan(source, gp.Target("gray", "HW", "float64"))(image)
    np.testing.assert_allclose(unit, pixels / (2**bits - 1), rtol=1e-15)
    if bits == 12:
        with pytest.raises(gp.ReadError, match="12 bits"):
            gp.read(data, bits=10)


def test_signed_samples_need_a_range():
    pixels = RNG.integers(-900, 900, (9, 7)).astype(np.int16)
    image, source = gp.read(encoded(pixels), range=(-1000, 1000))
    np.testing.assert_array_equal(image, pixels)
    assert source.range == (-1000, 1000)
    with pytest.raises(gp.ReadError, match="declare range="):
        gp.read(encoded(pixels))


def test_scenes_of_many_bands_are_selected_by_position():
    pixels = RNG.integers(0, 4096, (9, 7, 5)).astype(np.uint16)
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    data = encoded(planes, 12, planar=True, mct=False)
    image, source = gp.read(data)
    np.testing.assert_array_equal(image, pixels)
    assert source.bands == ("band1", "band2", "band3", "band4", "band5")
    chosen, _ = gp.read(data, select=("band4", "band1"))
    np.testing.assert_array_equal(chosen, pixels[..., [3, 0]])


@pytest.mark.parametrize("samples", [2, 4])
def test_channel_definitions_name_alpha(samples):
    pixels = RNG.integers(0, 256, (21, 34, samples), dtype=np.uint8)
    data = by_pillow(pixels)
    assert facts(data)["alpha"]
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(data)
    image, source = gp.read(data, alpha="drop")
    np.testing.assert_array_equal(image, pixels[..., :-1].squeeze())
    assert source.bands == (("gray",) if samples == 2 else ("R", "G", "B"))


def test_channel_definitions_order_colours():
    # Channel 0 is blue, 1 is alpha, 2 is red, 3 is green.
    entries = [(0, 0, 3), (1, 1, 0), (2, 0, 1), (3, 0, 2)]
    content = struct.pack(">H", 4) + b"".join(struct.pack(">HHH", *e) for e in entries)
    pixels = RNG.integers(0, 256, (21, 34, 4), dtype=np.uint8)
    plain = encoded(pixels, mct=False)
    data = with_boxes(plain, added=[box(b"cdef", content)])
    image, source = gp.read(data, alpha="drop")
    np.testing.assert_array_equal(image, pixels[..., [2, 3, 0]])
    assert source.bands == ("R", "G", "B")
    for wrong in [
        struct.pack(">H12H", 4, 0, 0, 1, 0, 0, 2, 1, 0, 3, 2, 1, 0),  # channel 0 twice
        struct.pack(
            ">H12H", 4, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 1, 2
        ),  # alpha of a colour
        struct.pack(">H12H", 4, 0, 0, 1, 1, 0, 2, 2, 1, 0, 3, 1, 0),  # two of alpha
    ]:
        with pytest.raises(gp.ReadError, match=r"cdef|alpha"):
            gp.read(with_boxes(plain, added=[box(b"cdef", wrong)]))


def test_other_colour_spaces_are_refused():
    plain = encoded(RGB8)
    for number, name in [(12, "CMYK"), (14, "CIELab"), (18, "sYCC"), (99, "99")]:
        colour = b"\1\0\0" + struct.pack(">I", number)
        with pytest.raises(gp.ReadError, match=f"{name}: convert"):
            gp.read(with_boxes(plain, colour=colour))
    profile = bytes(16) + b"CMYK" + bytes(108)
    with pytest.raises(gp.ReadError, match="CMYK: convert"):
        gp.read(with_boxes(plain, colour=b"\2\0\0" + profile))
    # A profile is not applied, as in all other formats.
    profile = bytes(16) + b"RGB " + bytes(108)
    image, source = gp.read(with_boxes(plain, colour=b"\2\0\0" + profile))
    np.testing.assert_array_equal(image, RGB8)
    assert source.bands == ("R", "G", "B")
    palette = box(b"pclr", struct.pack(">HB", 2, 3) + b"\7\7\7" + bytes(6))
    with pytest.raises(gp.ReadError, match="palettes"):
        gp.read(with_boxes(encoded(GRAY8), added=[palette]))


def test_components_of_different_size_are_refused():
    data = bytearray(encoded(RGB8, mct=False))
    components = data.index(b"\xff\x4f\xff\x51") + 42
    assert data[components : components + 9] == b"\7\1\1" * 3
    data[components + 4 : components + 6] = b"\2\2"
    with pytest.raises(gp.ReadError, match="one size and depth"):
        gp.read(data)


def test_truncated_files_are_refused(tmp_path, capfd):
    for data in (
        encoded(GRAY8),
        encoded(GRAY8, fmt="J2K"),
        by_pillow(GRAY8, tile_size=(16, 16)),
    ):
        for size in [*range(12, len(data) - 1, 7), len(data) - 2, len(data) - 1]:
            path = write(tmp_path / "cut.jp2", data[:size])
            assert_refused(path, r"truncated|damaged")
    assert capfd.readouterr().err == ""


def test_missing_tiles_are_not_filled_with_black():
    data = by_pillow(GRAY8, tile_size=(16, 16), no_jp2=True)
    np.testing.assert_array_equal(gp.read(data)[0], GRAY8)
    start = data.index(b"\xff\x90")
    (length,) = struct.unpack_from(">I", data, start + 6)
    with pytest.raises(gp.ReadError, match="expected 6 tiles, got 5"):
        gp.read(data[:start] + data[start + length :])
    # The first tile declares one more part than it has.
    assert data[start + 11] == 1
    promised = data[: start + 11] + b"\2" + data[start + 12 :]
    with pytest.raises(gp.ReadError, match="expected 2 parts of tile 0, got 1"):
        gp.read(promised)
    without_end = data[:-2]
    with pytest.raises(gp.ReadError, match="does not end after its last tile"):
        gp.read(without_end)


def test_the_header_box_must_agree_with_the_codestream():
    data = bytearray(encoded(GRAY8))
    at = data.index(b"ihdr") + 4
    data[at + 7] += 1  # the width
    with pytest.raises(gp.ReadError, match="contradicts the codestream"):
        gp.read(data)


def test_small_files_of_huge_images_are_refused():
    data = bytearray(encoded(GRAY8, fmt="J2K"))
    data[8:16] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(gp.ReadError, match="decompression bomb"):
        gp.read(data)


def test_orientation_in_metadata_boxes_is_found():
    xmp = bytes.fromhex("BE7ACFCB97A942E89C71999491E3AFAC")
    xmp += b'<rdf:Description tiff:Orientation="3"/>'
    data = encoded(GRAY8) + box(b"uuid", xmp)
    assert facts(data)["orientation"] == 3
    with pytest.raises(gp.ReadError, match="orientation 3"):
        gp.read(data)
    image, _ = gp.read(data, orientation="apply")
    np.testing.assert_array_equal(image, GRAY8[::-1, ::-1])


def test_a_single_frame_can_be_stacked():
    assert gp.read(encoded(GRAY8), frame="all")[0].shape == (1, 21, 34)
    with pytest.raises(gp.ReadError, match="frame= must be 0"):
        gp.read(encoded(GRAY8), frame=1)
