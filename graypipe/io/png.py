"""PNG, decoded by Pillow, or by imagecodecs where Pillow would cut 16 bits to 8.

A decoder is handed what makes the pixels and nothing else: what is damaged or odd in a comment, a profile or a time
stamp has no say.
"""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from ..extras import needs
from . import exif
from .decoded import Stored, check_size, choose
from .pillow import flat, from_pillow, through_palette, with_alpha
from .png_chunks import (
    ADAM7,
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SAMPLES,
    Chunk,
    Header,
    check_frames,
    check_still,
    chunks,
    count,
    first,
    header,
    join,
)

MODES = {GRAY: "L", RGB: "RGB", PALETTE: "P", GRAY_ALPHA: "LA", RGB_ALPHA: "RGBA"}
DEEP = {
    (GRAY, 1): "1",
    (GRAY, 16): "I;16",
    (RGB, 16): "RGB;16",
    (GRAY_ALPHA, 16): "LA;16",
    (RGB_ALPHA, 16): "RGBA;16",
}
"""Pillow's modes, as far as it has them."""


def facts(path: Path) -> dict[str, Any]:
    """Return what the file is, from its chunks."""
    found = chunks(path.read_bytes())
    held = header(found)
    gray = (
        flat(_colours(found))
        if held.colour == PALETTE
        else held.colour in (GRAY, GRAY_ALPHA)
    )
    return {
        "format": "PNG",
        "mode": DEEP.get((held.colour, held.depth), MODES[held.colour]),
        "width": held.width,
        "height": held.height,
        "frames": count(found),
        "bands": 1 if gray else 3,
        "dtype": "bool"
        if (held.colour, held.depth) == (GRAY, 1)
        else f"uint{max(8, held.depth)}",
        "alpha": held.colour in (GRAY_ALPHA, RGB_ALPHA)
        or first(found, b"tRNS") is not None,
        "orientation": exif.orientation(first(found, b"eXIf"), first(found, b"iTXt")),
    }


def decode(path: Path, frame: object) -> Stored:
    """Return frame ``frame`` of a PNG file. Gray of 2 or 4 bits comes in 8, where v of n bits is v·255/(2ⁿ - 1)."""
    data = path.read_bytes()
    found = chunks(data)
    held = header(found)
    chosen = choose(frame, count(found))
    check_size(
        held.width * held.height * SAMPLES[held.colour] * max(1, held.depth // 8),
        len(data),
    )
    stored = _frame(found, held, chosen) if chosen else _still(found, held)
    return stored._replace(
        orientation=exif.orientation(first(found, b"eXIf"), first(found, b"iTXt"))
    )


def _still(found: list[Chunk], held: Header) -> Stored:
    if held.interlaced and held.depth == 16 and held.colour != GRAY:
        check_still(found, held)
        image = _interlaced(found, held)
    else:
        image = _pixels(join(found, (b"IHDR", b"PLTE", b"IDAT", b"IEND")), held)
    if (
        held.interlaced or not image[-1].any()
    ):  # a last row of zeros may be one that was never reached
        check_still(found, held)
    clear = first(found, b"tRNS")
    if held.colour == PALETTE:
        return through_palette(image, _colours(found), _opacity(clear or b""))
    if held.colour in (GRAY_ALPHA, RGB_ALPHA):
        return with_alpha(image)
    layout, bands = ("HW", "gray") if held.colour == GRAY else ("HWC", "RGB")
    alpha = None if clear is None else _keyed(image, clear, held)
    return Stored(
        image, layout, bands, alpha, states={"bits": 8} if held.depth in (2, 4) else {}
    )


def _pixels(data: bytes, held: Header) -> NDArray[Any]:
    """Return (H, W) or (H, W, samples), palettes as indices."""
    if held.depth == 16 and held.colour != GRAY:
        with needs("io", "imagecodecs"):
            import imagecodecs
        return np.asarray(imagecodecs.png_decode(data))
    from PIL.PngImagePlugin import PngImageFile

    with PngImageFile(BytesIO(data)) as image:
        pixels = np.array(image)
    return pixels.astype(pixels.dtype.newbyteorder("="), copy=False)


def _interlaced(found: list[Chunk], held: Header) -> NDArray[Any]:
    """Return 16-bit samples, each pass decoded as an image of its own: for the whole, libpng would warn on stderr."""
    coded = zlib.decompress(
        b"".join(content for name, content in found if name == b"IDAT")
    )
    image, at = np.empty((held.height, held.width, SAMPLES[held.colour]), np.uint16), 0
    for left, top, across, down in ADAM7:
        part = image[top::down, left::across]
        if part.size:
            height, width, samples = part.shape
            size = height * (1 + 2 * width * samples)
            head = struct.pack(">IIBBBBB", width, height, 16, held.colour, 0, 0, 0)
            content = zlib.compress(coded[at : at + size], 1)
            file = [(b"IHDR", head), (b"IDAT", content), (b"IEND", b"")]
            part[...] = _pixels(join(file, (b"IHDR", b"IDAT", b"IEND")), held)
            at += size
    return image


def _frame(found: list[Chunk], held: Header, chosen: int) -> Stored:
    """Return a later frame of an animation, composed by Pillow."""
    from PIL.PngImagePlugin import PngImageFile

    if held.depth != 8:
        raise ReadError(
            f"frames of {held.depth} bits a sample: only the first can be read"
        )
    check_frames(found, held)
    kept = (b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IEND")
    with PngImageFile(BytesIO(join(found, kept))) as image:
        image.seek(chosen)
        return from_pillow(image)


def _colours(found: list[Chunk]) -> NDArray[np.uint8]:
    listed = first(found, b"PLTE") or b""
    if not listed or len(listed) % 3:
        raise ReadError("its palette is missing or damaged")
    return np.frombuffer(listed, np.uint8).reshape(-1, 3)


def _opacity(listed: bytes) -> NDArray[np.uint8] | None:
    """Return the alpha of the palette's colours, those not listed opaque; None where none is listed."""
    return np.frombuffer(listed.ljust(256, b"\xff")[:256], np.uint8) if listed else None


def _keyed(image: NDArray[Any], clear: bytes, held: Header) -> NDArray[Any]:
    """Return the alpha that a transparent colour makes: 0 where the pixel has it, full elsewhere."""
    samples = SAMPLES[held.colour]
    if len(clear) != 2 * samples:
        raise ReadError("its transparent colour is damaged")
    key = np.array(struct.unpack(f">{samples}H", clear)) & (2**held.depth - 1)
    full = 1 if image.dtype == bool else np.iinfo(image.dtype).max
    if held.depth < 8:
        key = key * (full // (2**held.depth - 1))  # spread as the pixels are
    hit = image == key[0] if image.ndim == 2 else (image == key).all(-1)
    return np.where(hit, 0, full).astype(image.dtype)
