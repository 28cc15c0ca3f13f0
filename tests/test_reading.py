"""Reading: every level of the file, or a ReadError that names it."""

import warnings

import numpy as np
import pytest
from PIL import Image

import graypipe as gp

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(("image", "bands"), [(GRAY8, "gray"), (GRAY16, "gray"), (RGB8, "RGB")])
def test_every_level_is_read_back(tmp_path, suffix, image, bands):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(image).save(path)
    read, source = gp.read(path)
    np.testing.assert_array_equal(read, image)
    assert (read.dtype, read.flags.writeable, read.dtype.isnative) == (image.dtype, True, True)
    assert source == gp.Source(bands, dtype=image.dtype)
    assert gp.plan(source, "imagenet")(read).shape == (3, 21, 34)


def test_big_endian_tiff_is_read_in_native_order(tmp_path):
    path = tmp_path / "image.tif"
    Image.frombytes("I;16B", (34, 21), GRAY16.astype(">u2").tobytes()).save(path)
    read, _ = gp.read(path)
    np.testing.assert_array_equal(read, GRAY16)
    assert read.dtype.isnative


def test_jpeg_is_read_as_its_decoder_gives_it(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(RGB8).save(path, quality=95)
    with Image.open(path) as opened:
        expected = np.asarray(opened.convert("RGB"))
    np.testing.assert_array_equal(gp.read(str(path))[0], expected)


def test_keywords_go_into_the_source_and_must_fit_the_file(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY16).save(path)
    _, source = gp.read(path, bits=16, bands=("NIR",), nodata=0)
    assert source == gp.Source(("NIR",), dtype="uint16", bits=16, nodata=0)
    for keywords, error in [
        ({"range": (-5, 5)}, gp.RangeError),
        ({"dtype": "uint8"}, gp.DTypeError),
        ({"bands": "RGB"}, gp.ReadError),
        ({"layout": "HWC"}, gp.ReadError),
        ({"bits": 40}, gp.RangeError),
    ]:
        with pytest.raises(error):
            gp.read(path, **keywords)


def test_eight_bits_are_never_taken_for_more(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    with pytest.raises(gp.RangeError, match="bits="):
        gp.read(path, bits=12)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "I", "F", "CMYK", "PA"])
def test_modes_that_need_a_decision_are_refused(tmp_path, mode):
    suffix = "png" if mode in ("1", "LA", "P", "RGBA") else "tif"
    path = tmp_path / f"image.{suffix}"
    Image.new(mode, (5, 4)).save(path)
    with pytest.raises(gp.ReadError, match="image"):
        gp.read(path)


def test_sixteen_bit_colour_is_refused_rather_than_cut(tmp_path):
    import struct
    import zlib

    rows = b"".join(b"\0" + RNG.bytes(5 * 6) for _ in range(4))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    path = tmp_path / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))
    with Image.open(path) as opened:
        assert opened.mode == "RGB"
    with pytest.raises(gp.ReadError, match="more bits"):
        gp.read(path)


def test_turned_images_and_stacks_of_frames_are_refused(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GRAY8).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(GRAY8).save(tmp_path / "stack.tif", save_all=True, append_images=[Image.fromarray(GRAY8)])
    for name, says in [("turned.png", "turned"), ("stack.tif", "2 frames")]:
        with pytest.raises(gp.ReadError, match=says):
            gp.read(tmp_path / name)


def test_a_transparent_colour_is_refused(tmp_path):
    Image.fromarray(GRAY8).save(tmp_path / "image.png", transparency=7)
    with pytest.raises(gp.ReadError):
        gp.read(tmp_path / "image.png")


def test_what_is_no_whole_image_is_a_read_error_that_names_the_file(tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(GRAY16).save(whole)
    data = whole.read_bytes()
    broken = {
        "empty.png": b"",
        "text.png": b"no image",
        "cut.png": data[: len(data) // 2],
        "flip.png": data[:80] + b"\xff" + data[81:],
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    Image.fromarray(GRAY8).save(tmp_path / "other.bmp")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in [*broken, "other.bmp", "missing.png", "."]:
            with pytest.raises(gp.ReadError) as caught:
                gp.read(tmp_path / name)
            assert str(tmp_path) in str(caught.value)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    for limit in (600, 100):  # Pillow warns from the limit on, and raises from twice the limit on
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with pytest.raises(gp.ReadError, match="MAX_IMAGE_PIXELS"):
                gp.read(path)


def test_reading_in_threads_leaves_the_warning_filters_alone(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: gp.read(path)[0], range(300)))
    assert warnings.filters == before
    assert all((image == GRAY8).all() for image in images)


def test_the_order_of_the_files_bands_is_not_for_the_keywords_to_change(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(RGB8).save(path)
    with pytest.raises(gp.ReadError, match="order"):
        gp.read(path, bands="BGR")
    assert gp.read(path, bands=("B04", "B03", "B02"))[1].bands == ("B04", "B03", "B02")


def test_no_file_stays_open(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        gp.read(path)
    path.unlink()
