"""Incomplete and unsupported files: an error that names the file, no warning, no open handle."""

import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from png_files import chunk
from read_checks import assert_refused, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(8)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)


def test_missing_and_foreign_files_are_named(tmp_path):
    for name, content in {
        "empty.png": b"",
        "text.png": b"no image",
        "one.tif": b"I",
    }.items():
        (tmp_path / name).write_bytes(content)
        assert_refused(tmp_path / name, r"expected a PNG, JPEG, JPEG 2000")
    assert_refused(tmp_path, "directory: pass its files one by one")
    assert_refused(tmp_path / "missing.png", "No such file")
    with pytest.raises(gp.ReadError, match=r"missing\.png"):
        facts(tmp_path / "missing.png")
    with pytest.raises(gp.ReadError, match=r"text\.png"):
        facts(tmp_path / "text.png")


def test_related_formats_are_refused_with_a_cure(tmp_path):
    (tmp_path / "sound.webp").write_bytes(b"RIFF\x24\0\0\0WAVEfmt ")
    assert_refused(tmp_path / "sound.webp", "WAVE.*sound")


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"%PDF-1.7", "a PDF document.*pdftoppm"),
        (b"\0\0\0\x18ftypheic", r"an HEIF image.*imagecodecs\.heif_decode.*gp\.Source"),
        (b"\0\0\0\x18ftypavif", r"an AVIF image.*imagecodecs\.avif_decode"),
        (b"\0\0\0\x18ftypisom", "video.*ffmpeg"),
        (b"II\xbc\1", r"a JPEG XR image.*imagecodecs\.jpegxr_decode"),
        (b"v/1\1\2", r"an OpenEXR image.*OpenEXR\.File"),
        (b"\x89HDF\r\n\x1a\n", r"an HDF5 file.*h5py\.File"),
        (b"SIMPLE  =   T", r"a FITS file.*astropy\.io\.fits"),
        (b"\x5c\1\0\0".ljust(344, b"\0") + b"n+1\0", r"a NIfTI image.*nibabel\.load"),
        (b"\x1f\x8b\x08\0", r"a gzip file.*gzip\.open\(path\)"),
        (b"words", r"expected a PNG, JPEG.*starts with b'words"),
    ],
)
def test_known_formats_are_named_with_the_call_that_reads_them(tmp_path, start, says):
    for content in (start, start + bytes(600)):
        assert_refused(write(tmp_path / "image", content), says)


def test_permission_errors_name_the_file(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)

    def forbidden(file, *_, **__):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr("builtins.open", forbidden)
    assert_refused(path, "Permission denied")


def test_the_format_is_recognised_by_content_not_name(tmp_path):
    Image.fromarray(GRAY8).save(tmp_path / "image.jpg", "PNG")
    np.testing.assert_array_equal(gp.read(tmp_path / "image.jpg")[0], GRAY8)


@pytest.mark.parametrize(
    "suffix", ["png", "jpg", "gif", "bmp", "webp", "ppm", "npy", "npz"]
)
def test_truncated_files_are_refused(tmp_path, suffix):
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
        assert_refused(path)


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


def test_decompression_bombs_are_refused_before_decoding(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(19_500))
    tracemalloc.start()
    assert_refused(path, r"MAX_IMAGE_PIXELS")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    assert facts(path)["width"] == 19_500


def test_large_images_in_large_files_are_read(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    path_flat = tmp_path / "flat.png"
    path_flat.write_bytes(bomb(500))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    np.testing.assert_array_equal(gp.read(path)[0], GRAY8)
    assert_refused(path_flat, "bomb")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert gp.read(path_flat)[0].shape == (500, 500)


def test_reading_in_threads_keeps_the_warning_filters(tmp_path):
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
def test_files_are_closed_after_success_and_failure(tmp_path, suffix):
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
            # A mapped array keeps its file open while it exists.
            del image
        except gp.ReadError:
            pass
        assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("path", [b"s2/fores.tif", b"scan.png", rb"c:\s2\scan"])
def test_a_path_in_bytes_is_told_to_be_decoded(path):
    cure = r"<bytes>: .*if these bytes are a path, pass path\.decode\(\)"
    with pytest.raises(gp.ReadError, match=cure):
        gp.read(path)


@pytest.mark.parametrize("content", [b"words", b"a/b\n", b"a/b\xff", b""])
def test_other_bytes_are_not_taken_for_a_path(content):
    with pytest.raises(gp.ReadError) as caught:
        gp.read(content)
    assert "decode" not in str(caught.value)
