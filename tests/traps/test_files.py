"""Traps of files: tags that decide what the stored numbers mean, on TIFF files of a few pixels with edited tags."""

import struct

import numpy as np
import pytest
from PIL import Image

import graypipe as gp

WIDTH, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 256, 258, 262, 339


def tiff(path, array, edit):
    """Save ``array`` as a TIFF file whose tags then say something else about the same bytes."""
    Image.fromarray(array).save(path, tiffinfo={SAMPLE_FORMAT: 1})
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in edit:
            struct.pack_into("<HHII", data, entry, tag, 3, 1, edit[tag])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_t04_where_zero_is_white_a_plan_shows_it_white_at_every_depth(tmp_path, dtype):
    stored = np.array([[0, np.iinfo(dtype).max]], dtype)
    path = tiff(tmp_path / "white.tif", stored, edit={PHOTOMETRIC: 0})
    if dtype == "uint16":  # Pillow hands out such a file as if 0 were black
        with pytest.raises(gp.ReadError, match="0 is white"):
            gp.read(path)
        return
    image, source = gp.read(path)
    np.testing.assert_array_equal(gp.plan(source, gp.Target("gray", "HW"))(image), [[1, 0]])


def test_t05_signed_bytes_do_not_wrap_to_bright_ones(tmp_path):
    stored = np.array([[128, 255, 0, 127]], np.uint8)  # -128, -1, 0, 127
    with pytest.raises(gp.ReadError, match=r"signed\.tif.*expected"):
        gp.read(tiff(tmp_path / "signed.tif", stored, edit={SAMPLE_FORMAT: 2}))


def test_t11_packed_12_bit_pixels_are_not_read_as_16_bits(tmp_path):
    stored = np.array([[0x00, 0x0F, 0xFF]], np.uint8)  # two pixels of 12 bits: 0 and 4095
    path = tiff(tmp_path / "packed.tif", stored, edit={WIDTH: 2, BITS: 12})
    with pytest.raises(gp.ReadError, match=r"bits per sample \[12\]"):
        gp.read(path)


def test_t14_a_second_sample_is_not_dropped_in_silence(tmp_path):
    path = tmp_path / "two.tif"
    Image.fromarray(np.array([[[10, 200], [10, 200]]], np.uint8)).save(path)
    with pytest.raises(gp.ReadError, match=r"two\.tif"):
        gp.read(path)
