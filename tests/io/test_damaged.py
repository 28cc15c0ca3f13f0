"""Randomly damaged files are read correctly or raise ReadError.

Correct is the image that was written. Formats without checksums may also return what an
independent decoder returns: a flipped bit in a BMP is just another pixel.
"""

import io
import warnings
from functools import cache
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

import graypipe as gp

FILES = 500

ROWS, COLUMNS = np.mgrid[:24, :32]
GRAY8 = ((COLUMNS * 7 + ROWS * 5) % 256).astype(np.uint8)
GRAY8[8:16, 8:20] = np.random.default_rng(11).integers(0, 256, (8, 12))
GRAY16 = GRAY8.astype(np.uint16) * 257 + 3
RGB8 = np.dstack([GRAY8, GRAY8[::-1], GRAY8[:, ::-1]])
RGB16 = np.dstack([GRAY16, GRAY16[::-1], GRAY16[:, ::-1]])


def pillow(pixels, form, **keywords):
    return lambda file: Image.fromarray(pixels).save(file, form, **keywords)


def palette(form):
    image = Image.fromarray(GRAY8 // 4)
    image.putpalette(
        np.random.default_rng(12).integers(0, 256, 192, dtype=np.uint8).tobytes()
    )
    return lambda file: image.save(file, form)


def tiff(pixels, **keywords):
    colour = {"photometric": "rgb"} if pixels.ndim == 3 else {}
    return lambda file: tifffile.imwrite(file, pixels, **colour, **keywords)


WITH_CHECKSUMS = {
    "png 8": pillow(GRAY8, "PNG"),
    "png 16": pillow(GRAY16, "PNG"),
    "png 16 colour": lambda file: file.write(imagecodecs.png_encode(RGB16)),
    "npz": lambda file: np.savez(file, GRAY16),
    "npz compressed": lambda file: np.savez_compressed(file, GRAY16),
}

WITHOUT_CHECKSUMS = {
    "jpeg": pillow(RGB8, "JPEG", quality=90),
    "jpeg progressive": pillow(RGB8, "JPEG", progressive=True),
    "jpeg restarts": pillow(GRAY8, "JPEG", restart_marker_blocks=2),
    "jpeg 12 bits": lambda file: file.write(
        imagecodecs.jpeg8_encode(RGB16 >> 4, level=90, bitspersample=12)
    ),
    "jpeg lossless": lambda file: file.write(
        imagecodecs.jpeg8_encode(GRAY16, lossless=True, bitspersample=16)
    ),
    "gif": palette("GIF"),
    "bmp": pillow(RGB8, "BMP"),
    "bmp palette": palette("BMP"),
    "webp": pillow(RGB8, "WEBP"),
    "webp lossless": pillow(RGB8, "WEBP", lossless=True),
    "ppm": pillow(RGB8, "PPM"),
    "npy": lambda file: np.save(file, GRAY16),
    "tiff": tiff(GRAY16),
    "tiff strips": tiff(RGB8, rowsperstrip=5, metadata=None),
    "tiff planar": tiff(
        np.ascontiguousarray(RGB8.transpose(2, 0, 1)), planarconfig="separate"
    ),
    "bigtiff": tiff(GRAY16, bigtiff=True, metadata=None),
    "tiff lzw": tiff(GRAY16, compression="lzw", predictor=True, rowsperstrip=7),
    "tiff deflate tiles": tiff(
        RGB8, compression="deflate", tile=(16, 16), metadata=None
    ),
    "tiff float": tiff(
        GRAY16.astype(np.float32), compression="deflate", predictor=True
    ),
    "tiff packbits": tiff(RGB8, compression="packbits", metadata=None),
    "tiff zstd": tiff(RGB8, compression="zstd", metadata=None),
    "tiff jpeg": tiff(RGB8, compression="jpeg", metadata=None, tile=(16, 16)),
}


def damaged(data, random):
    """Return `data` after 1 to 3 deletions, changes or insertions, a third near its start."""
    data = bytearray(data)
    for _ in range(random.integers(1, 4)):
        reach = min(len(data), 300) if random.random() < 1 / 3 else len(data)
        at, length = int(random.integers(0, reach)), int(random.integers(1, 9))
        kind = random.integers(0, 3)
        if kind == 0 and len(data) > length:
            del data[at : at + length]
        elif kind == 1:
            for place in range(at, min(at + length, len(data))):
                data[place] ^= int(random.integers(1, 256))
        else:
            data[at:at] = random.bytes(length)
    return bytes(data)


@cache
def written(name):
    file = io.BytesIO()
    (WITH_CHECKSUMS | WITHOUT_CHECKSUMS)[name](file)
    return file.getvalue()


def decoders(data):
    """Yield independent decoders of `data`, some of which return RGB."""
    yield lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    yield lambda: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    yield lambda: imagecodecs.imread(io.BytesIO(data))
    yield lambda: np.load(io.BytesIO(data))
    yield lambda: np.asarray(Image.open(io.BytesIO(data)))
    yield lambda: np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    yield lambda: tifffile.imread(io.BytesIO(data))


def matches_another_decoder(image, data):
    """Whether an independent decoder returns `image`, in any order of axes or bands."""
    for decode in decoders(data):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                other = decode()
            # Any error means that this decoder refuses the file.
            except Exception:
                continue
        if other is not None and other.ndim == image.ndim:
            for candidate in (other, other[..., ::-1], np.moveaxis(other, -1, 0)):
                if candidate.shape == image.shape and np.array_equal(
                    candidate, image, equal_nan=image.dtype.kind == "f"
                ):
                    return True
    return False


def sweep(name, path):
    """Yield (image, source, data) of damaged files that are read; only catch ReadError."""
    random = np.random.default_rng(list(name.encode()))
    read = refused = 0
    for _ in range(FILES):
        data = damaged(written(name), random)
        path.write_bytes(data)
        try:
            image, source = gp.read(path)
        except gp.ReadError as error:
            refused += str(error).startswith(f"{path}: ")
            continue
        read += 1
        yield image, source, data
    assert read + refused == FILES
    assert refused > FILES / 20


@pytest.mark.parametrize("name", WITH_CHECKSUMS)
def test_files_with_checksums_are_intact_or_refused(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(written(name))
    expected, source = gp.read(path)
    for image, read_source, _ in sweep(name, path):
        np.testing.assert_array_equal(image, expected)
        assert read_source == source


@pytest.mark.parametrize("name", WITHOUT_CHECKSUMS)
def test_files_without_checksums_match_another_decoder(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(written(name))
    expected = np.array(gp.read(path)[0])
    wrong = [
        (image.shape, image.dtype)
        for image, _, data in sweep(name, path)
        if not (image.shape == expected.shape and (image == expected).all())
        and not matches_another_decoder(image, data)
    ]
    assert wrong == []


def test_damaged_files_are_closed(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    random = np.random.default_rng(13)
    for name in (*WITH_CHECKSUMS, *WITHOUT_CHECKSUMS):
        for _ in range(10):
            (tmp_path / "image").write_bytes(damaged(written(name), random))
            try:
                image, _ = gp.read(tmp_path / "image")
                del image
            except gp.ReadError:
                pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
