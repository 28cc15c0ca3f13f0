"""Traps of TIFF, T1 to T27: tags that decide what the stored numbers mean, edited in files of a few pixels."""

import struct

import numpy as np
import pytest
from PIL import Image

import graypipe as gp

WIDTH, BITS, PHOTOMETRIC, SAMPLES, PLANAR, SAMPLE_FORMAT = 256, 258, 262, 277, 284, 339


def tiff(path, array, edit):
    """Save ``array`` as a TIFF file whose tags then say something else about the same bytes."""
    Image.fromarray(array).save(path, tiffinfo={SAMPLE_FORMAT: 1})
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<I", data, 4)[0]
    for entry in range(
        start + 2, start + 2 + 12 * struct.unpack_from("<H", data, start)[0], 12
    ):
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in edit:
            struct.pack_into("<HHII", data, entry, tag, 3, 1, edit[tag])
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_t04_where_zero_is_white_a_plan_shows_it_white_at_every_depth(tmp_path, dtype):
    stored = np.array([[0, np.iinfo(dtype).max]], dtype)
    image, source = gp.read(tiff(tmp_path / "white.tif", stored, edit={PHOTOMETRIC: 0}))
    np.testing.assert_array_equal(
        gp.plan(source, gp.Target("gray", "HW"))(image), [[1, 0]]
    )


def test_t05_signed_bytes_do_not_wrap_to_bright_ones(tmp_path):
    stored = np.array([[128, 255, 0, 127]], np.uint8)  # -128, -1, 0, 127
    path = tiff(tmp_path / "signed.tif", stored, edit={SAMPLE_FORMAT: 2})
    with pytest.raises(gp.ReadError, match=r"signed\.tif: the file holds int8.*range="):
        gp.read(path)
    image, _ = gp.read(path, range=(-128, 127))
    np.testing.assert_array_equal(image, [[-128, -1, 0, 127]])


def test_t11_packed_12_bit_pixels_are_12_bits(tmp_path):
    stored = np.array(
        [[0x00, 0x0F, 0xFF]], np.uint8
    )  # two pixels of 12 bits: 0 and 4095
    image, source = gp.read(
        tiff(tmp_path / "packed.tif", stored, edit={WIDTH: 2, BITS: 12})
    )
    np.testing.assert_array_equal(image, [[0, 4095]])
    assert source.bits == 12


def test_t14_tags_that_disagree_on_the_samples_are_damage(tmp_path):
    stored = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for edit in ({SAMPLES: 2}, {SAMPLES: 1}, {PLANAR: 9}):
        with pytest.raises(gp.ReadError, match=r"tags\.tif: "):
            gp.read(tiff(tmp_path / "tags.tif", stored, edit=edit))


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_g06_16_bit_pixels_from_pillow_keep_every_level(tmp_path, byte_order):
    levels = np.arange(0, 65536, 257, np.uint16).reshape(16, 16)
    path = tmp_path / "levels.tif"
    little = byte_order == "<"
    Image.frombytes(
        "I;16" if little else "I;16B",
        (16, 16),
        levels.astype(f"{byte_order}u2").tobytes(),
    ).save(path)
    image, source = gp.read(path)
    assert image.dtype == np.uint16
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, levels)
    assert np.unique(gp.plan(source, "imagenet")(image)[0]).size == 256
