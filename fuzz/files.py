"""Image files of every format, damaged at random.

Correct is the image that was written. Formats without checksums may also return what an independent decoder returns: a
flipped bit in a BMP is just another pixel.
"""

# mypy: ignore-errors

import io
import os
import warnings
from functools import cache

# OpenCV prints what it thinks of each damaged file.
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

import graypipe as gp

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


FORMATS = {**WITH_CHECKSUMS, **WITHOUT_CHECKSUMS}


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
    FORMATS[name](file)
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


def case(random: np.random.Generator) -> str:
    """Read a damaged file: it is refused, intact, or what another decoder reads."""
    name = str(random.choice(list(FORMATS)))
    data = damaged(written(name), random)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image, _ = gp.read(data)
    except gp.ReadError:
        return "refused"
    expected, _ = gp.read(written(name))
    if np.array_equal(image, expected):
        return "intact"
    assert name not in WITH_CHECKSUMS, f"{name}: read with other pixels"
    assert matches_another_decoder(image, data), f"{name}: no other decoder agrees"
    return "as another decoder reads it"
