"""Files that are no whole image: an error that names the file, before half an image, a warning or an open handle."""

import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_files import chunk, png

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(8)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)


def refuse(path, match=None):
    """Both ways into a file name it in their error; what is said matches where the pixels are asked for."""
    with pytest.raises(gp.ReadError, match=match) as caught:
        gp.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_is_no_file_or_no_image_is_named(tmp_path):
    for name, content in {
        "empty.png": b"",
        "text.png": b"no image",
        "one.tif": b"I",
    }.items():
        (tmp_path / name).write_bytes(content)
        refuse(tmp_path / name, r"expected a PNG, JPEG, TIFF")
    refuse(tmp_path, "directory: pass its files one by one")
    refuse(tmp_path / "missing.png", "No such file")
    with pytest.raises(gp.ReadError, match=r"missing\.png"):
        facts(tmp_path / "missing.png")
    with pytest.raises(gp.ReadError, match=r"text\.png"):
        facts(tmp_path / "text.png")


def test_an_open_file_is_no_path():
    with pytest.raises(
        gp.ReadError,
        match="expected the path of a file, got a BytesIO: write it to a file first",
    ):
        gp.read(BytesIO(b"P5 1 1 255 a"))


def test_relatives_of_formats_are_named_with_what_to_do(tmp_path):
    (tmp_path / "sound.webp").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    refuse(tmp_path / "sound.webp", "WAVE.*sound")
    Image.fromarray(GRAY8).save(tmp_path / "image.jpg")
    data = bytearray((tmp_path / "image.jpg").read_bytes())
    start = data.index(b"\xff\xc0")
    data[start + 4] = 12
    (tmp_path / "deep.jpg").write_bytes(data)
    refuse(
        tmp_path / "deep.jpg",
        r"expected 8 bits a sample, got 12: decode it with imagecodecs.*bits=12",
    )
    data[start + 1] = 0xF7
    (tmp_path / "ls.jpg").write_bytes(data)
    refuse(tmp_path / "ls.jpg", "JPEG-LS stream: decode it with imagecodecs")


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)

    def forbidden(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", forbidden)
    refuse(path, "Permission denied")


def test_a_file_is_known_by_its_bytes_and_not_by_its_name(tmp_path):
    Image.fromarray(GRAY8).save(tmp_path / "image.jpg", "PNG")
    np.testing.assert_array_equal(gp.read(tmp_path / "image.jpg")[0], GRAY8)


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "gif", "bmp", "webp", "ppm", "npy", "npz"]
)
def test_no_cut_file_is_read_as_half_an_image(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    if suffix == "npy":
        np.save(path, GRAY8)
    elif suffix == "npz":
        np.savez_compressed(path, GRAY8)
    else:
        Image.fromarray(RGB8).save(
            path, **({"lossless": True} if suffix == "webp" else {})
        )
    whole = path.read_bytes()
    for kept in sorted(
        {
            *range(1, 40),
            *range(40, len(whole) - 1, max(1, len(whole) // 60)),
            len(whole) - 3,
        }
    ):
        path.write_bytes(whole[:kept])
        refuse(path)


def test_coded_pixels_of_a_jpeg_that_end_early_are_not_filled_with_gray(tmp_path):
    path = tmp_path / "image.jpg"
    smooth = np.add.outer(np.arange(160), np.arange(240) % 97).astype(np.uint8)
    for keywords in ({}, {"progressive": True}, {"restart_marker_blocks": 4}):
        Image.fromarray(smooth).save(path, quality=90, **keywords)
        whole = path.read_bytes()
        gp.read(path)
        path.write_bytes(whole[: len(whole) * 2 // 3] + b"\xff\xd9")
        with Image.open(path) as opened:
            opened.load()  # as if nothing were missing
        refuse(
            path,
            r"before the image does|scans are missing|parts of its pixels are missing",
        )


def test_sums_of_a_png_are_checked_for_pixels_too(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path, compress_level=0)
    data = bytearray(path.read_bytes())
    data[120] ^= 0xFF
    path.write_bytes(data)
    refuse(path, "checksum")


@pytest.mark.parametrize("depth", [8, 16])
def test_a_png_whose_pixels_stop_short_is_truncated(tmp_path, depth):
    short = png(GRAY8[:11], depth, 0)
    header = struct.pack(">IIBBBBB", 34, 21, depth, 0, 0, 0, 0)
    path = tmp_path / "image.png"
    path.write_bytes(short[:8] + chunk(b"IHDR", header) + short[33:])
    with Image.open(path) as opened:
        assert not np.asarray(opened)[11:].any()  # as if the rest were black
    refuse(path, "pixels end early")


def test_a_gif_whose_frame_does_not_fill_its_screen_is_refused(tmp_path):
    path = tmp_path / "image.gif"
    Image.fromarray(GRAY8).save(path)
    data = bytearray(path.read_bytes())
    data[6:8] = (40).to_bytes(2, "little")
    path.write_bytes(data)
    refuse(path, "does not fit its screen")


def test_more_than_one_image_in_a_ppm_is_refused(tmp_path):
    path = tmp_path / "two.pgm"
    Image.fromarray(GRAY8).save(path)
    path.write_bytes(path.read_bytes() * 2)
    refuse(path, "more than one image")


def bomb(side):
    """Return a PNG of side x side black pixels in a few kilobytes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    packer = zlib.compressobj(9)
    rows = (
        b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    )
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", header, chunk(b"IDAT", rows), chunk(b"IEND")]
    )


def test_a_decompression_bomb_is_refused_before_it_takes_memory(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(19_500))
    tracemalloc.start()
    refuse(path, r"MAX_IMAGE_PIXELS")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert facts(path)["width"] == 19_500


def test_a_large_image_in_proportion_to_its_file_is_read_without_a_warning(
    tmp_path, monkeypatch
):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    path_flat = tmp_path / "flat.png"
    path_flat.write_bytes(bomb(500))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(gp.read(path)[0], GRAY8)
    refuse(path_flat, "bomb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert gp.read(path_flat)[0].shape == (500, 500)


def test_damaged_notes_beside_the_pixels_have_no_say(tmp_path):
    junk = [
        chunk(b"iCCP", b"\xff" * 9),
        chunk(b"zTXt", b"x\0\0junk"),
        chunk(b"tIME", b"1"),
        chunk(b"pHYs", b""),
    ]
    path = tmp_path / "image.png"
    path.write_bytes(png(GRAY8, 8, 0, before=junk))
    np.testing.assert_array_equal(gp.read(path)[0], GRAY8)


def test_damaged_exif_is_an_error_unless_it_is_to_be_ignored(tmp_path):
    for suffix in ("png", "jpg"):
        path = tmp_path / f"image.{suffix}"
        Image.fromarray(GRAY8).save(path, exif=b"Exif\0\0II*\0\xff\xff\0\0")
        refuse(path, "EXIF")
        assert gp.read(path, orientation="ignore")[0].shape == GRAY8.shape


def test_reading_in_threads_leaves_the_warning_filters_alone(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: gp.read(path)[0], range(300)))
    assert warnings.filters == before
    assert all((image == GRAY8).all() for image in images)


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "gif", "bmp", "webp", "ppm", "npy", "npz"]
)
def test_no_file_stays_open_whether_it_can_be_read_or_not(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    if suffix in ("npy", "npz"):
        (np.save if suffix == "npy" else np.savez_compressed)(path, GRAY8)
    else:
        Image.fromarray(GRAY8).save(path)
    whole = path.read_bytes()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for content in (whole, whole[:-7], whole[: len(whole) // 2], whole[:9]):
        path.write_bytes(content)
        try:
            image, _ = gp.read(path)
            del image  # a mapped array keeps its file as long as it lives
        except gp.ReadError:
            pass
        assert len(list(Path("/proc/self/fd").iterdir())) == before
