"""What Pillow decodes without a loss as it stands (GIF, BMP, WebP, PPM), and its modes as bands.

Its plugins are used one by one: `PIL.Image.open` would warn where an image is large or odd, and only a change of the
warning filters, which are those of every thread, would stop that.
"""

from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ReadError
from . import exif, gif, ppm
from .decoded import Stored, check_size, choose

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

PPM = ("PpmImagePlugin", "PpmImageFile")
PLUGINS = {
    b"GIF8": ("GifImagePlugin", "GifImageFile"),
    b"BM": ("BmpImagePlugin", "BmpImageFile"),
    b"RIFF": ("WebPImagePlugin", "WebPImageFile"),
    **dict.fromkeys((b"P1", b"P2", b"P3", b"P4", b"P5", b"P6", b"Pf"), PPM),
}
"""Pillow's module and class, by the first bytes of a file."""

MODES = {
    "1": "gray",
    "L": "gray",
    "LA": "gray",
    "I;16": "gray",
    "F": "gray",
    "RGB": "RGB",
    "RGBA": "RGB",
}
"""The bands of Pillow's modes, palettes ("P") apart."""

DTYPES = {"1": "bool", "I;16": "uint16", "F": "float32"}
"""The dtype of a mode, where it is not uint8."""


def facts(path: Path) -> dict[str, Any]:
    """Return what a GIF, BMP, WebP or PPM file is, from its headers."""
    with _open(path.read_bytes()) as image:
        mode = "I;16" if image.mode == "I" else image.mode
        most = ppm.most(image) if image.format == "PPM" else None
        gray = flat(_palette(image)) if mode == "P" else MODES[mode] == "gray"
        return {
            "format": str(image.format).replace("WEBP", "WebP"),
            "mode": mode,
            "width": image.width,
            "height": image.height,
            "frames": getattr(image, "n_frames", 1),
            "bands": 1 if gray else 3,
            "dtype": DTYPES.get(mode, "uint8")
            if most is None
            else ppm.dtype(image).name,
            "alpha": mode in ("LA", "RGBA") or "transparency" in image.info,
            "orientation": _orientation(image),
        }


def decode(path: Path, frame: object) -> Stored:
    """Return frame ``frame`` of a GIF, BMP, WebP or PPM file; colour where palettes may change between frames."""
    data = path.read_bytes()
    with _open(data) as image:
        check_size(image.width * image.height * len(image.getbands()), len(data))
        frames = getattr(image, "n_frames", 1)
        image.seek(choose(frame, frames))
        if image.format == "PPM" and ppm.most(image) is not None:
            return ppm.levels(image, data)
        image.load()
        composed = frames > 1 and image.mode == "P"
        stored = from_pillow(
            image.convert("RGBA" if image.has_transparency_data else "RGB")
            if composed
            else image
        )
        return stored._replace(orientation=_orientation(image))


def _open(data: bytes) -> "ImageFile":
    plugin, name = next(
        held for magic, held in PLUGINS.items() if data.startswith(magic)
    )
    if data.startswith(b"RIFF") and data[8:12] != b"WEBP":
        raise ReadError(
            f"expected a WebP image, got another kind of RIFF file, {data[8:12]!r}, such as sound or video"
        )
    if data.startswith(b"GIF8"):
        gif.check(data)
    image: ImageFile = getattr(import_module(f"PIL.{plugin}"), name)(BytesIO(data))
    if image.format == "PPM":
        ppm.check(image, len(data))
    return image


def _orientation(image: "ImageFile") -> int | None:
    return exif.orientation(image.info.get("exif"), image.info.get("xmp"))


def from_pillow(image: Any) -> Stored:
    """Return what a Pillow image holds, every level; ReadError for modes that are neither gray nor RGB."""
    pixels = np.array(image)
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    clear = image.info.get("transparency")
    if image.mode == "P":
        return through_palette(pixels, _palette(image), _opacity(clear))
    if image.mode == "I":  # a PPM of 16 bits, the only one that is let in here
        return Stored(pixels.astype(np.uint16), "HW", "gray")
    if image.mode not in MODES:
        raise ReadError(
            f"expected gray or RGB, got mode {image.mode!r}: convert it first, for what it shows"
        )
    if image.mode in ("LA", "RGBA"):
        return with_alpha(pixels)
    alpha = (
        None if clear is None else np.where(pixels == clear, 0, 255).astype(np.uint8)
    )
    return Stored(pixels, "HW" if pixels.ndim == 2 else "HWC", MODES[image.mode], alpha)


def with_alpha(pixels: NDArray[Any]) -> Stored:
    """Return gray or RGB for (H, W, 2) or (H, W, 4), the last sample of which is alpha."""
    colour, alpha = pixels[..., :-1], pixels[..., -1]
    if colour.shape[2] == 1:
        return Stored(np.ascontiguousarray(colour[..., 0]), "HW", "gray", alpha)
    return Stored(np.ascontiguousarray(colour), "HWC", "RGB", alpha)


def through_palette(
    indices: NDArray[Any], colours: NDArray[Any], opacity: NDArray[Any] | None = None
) -> Stored:
    """Return what the indices show: gray where every listed colour is, else RGB, in the palette's dtype."""
    if int(indices.max(initial=0)) >= len(colours):
        raise ReadError(
            f"a pixel has colour {indices.max()} of a palette of {len(colours)}: the file is damaged"
        )
    alpha = None if opacity is None else opacity[indices]
    if flat(colours):
        return Stored(np.ascontiguousarray(colours[:, 0])[indices], "HW", "gray", alpha)
    return Stored(colours[indices], "HWC", "RGB", alpha)


def flat(colours: NDArray[Any]) -> bool:
    """Whether every colour, (n, 3), is a gray."""
    return bool((colours == colours[:, :1]).all())


def _palette(image: "ImageFile") -> NDArray[np.uint8]:
    return np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)


def _opacity(clear: Any) -> NDArray[np.uint8] | None:
    """Return the alpha of 256 colours where one of them, by its index, is transparent."""
    return (
        None
        if clear is None
        else np.where(np.arange(256) == clear, 0, 255).astype(np.uint8)
    )
