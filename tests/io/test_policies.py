"""The policies for alpha and orientation, over the formats that have them."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from png_files import chunk, png
from read_checks import assert_on_background, assert_refused

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
RGBA8 = RNG.integers(0, 256, (21, 34, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("LA", "png"), ("RGBA", "png"), ("RGBA", "webp")]
)
def test_alpha_policies_apply_unless_opaque(tmp_path, mode, suffix):
    path = tmp_path / f"image.{suffix}"
    pixels = RGBA8[..., [0, 3]] if mode == "LA" else RGBA8
    save = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(pixels, mode if mode == "LA" else None).save(path, **save)
    with pytest.raises(
        gp.ReadError, match=r"image\..*transparent.*alpha='white'.*'drop'"
    ):
        gp.read(path)
    assert facts(path)["alpha"]
    colour = pixels[..., 0] if mode == "LA" else pixels[..., :3]
    np.testing.assert_array_equal(gp.read(path, alpha="drop")[0], colour)
    for ground in ("white", "black"):
        assert_on_background(gp.read(path, alpha=ground)[0], pixels, ground)
    pixels = pixels.copy()
    pixels[..., -1] = 255
    Image.fromarray(pixels, mode if mode == "LA" else None).save(path, **save)
    np.testing.assert_array_equal(gp.read(path)[0], colour)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_policies(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(RGB8).save(
        path, exif=exif, **({"lossless": True} if suffix == "webp" else {})
    )
    with Image.open(path) as opened:
        stored, upright = (
            np.asarray(opened),
            np.asarray(ImageOps.exif_transpose(opened)),
        )
    assert facts(path)["orientation"] == orientation
    if orientation > 1:
        with pytest.raises(
            gp.ReadError,
            match=rf"image\..*orientation {orientation}.*'apply'.*'ignore'",
        ):
            gp.read(path)
    np.testing.assert_array_equal(gp.read(path, orientation="ignore")[0], stored)
    turned, _ = gp.read(path, orientation="apply")
    np.testing.assert_array_equal(turned, upright)
    assert turned.flags.c_contiguous


def test_orientation_in_xmp_is_found(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    for suffix in ("jpg", "webp", "png"):
        path = tmp_path / f"image.{suffix}"
        Image.fromarray(GRAY8).convert("RGB").save(
            path, **({} if suffix == "png" else {"xmp": xmp})
        )
        if suffix == "png":
            text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
            path.write_bytes(png(GRAY8, 8, 0, after=[text]))
        with pytest.raises(gp.ReadError, match="orientation 6"):
            gp.read(path)


def test_damaged_exif_is_an_error_unless_ignored(tmp_path):
    for suffix in ("png", "jpg"):
        path = tmp_path / f"image.{suffix}"
        Image.fromarray(GRAY8).save(path, exif=b"Exif\0\0II*\0\xff\xff\0\0")
        assert_refused(path, "orientation metadata")
        assert gp.read(path, orientation="ignore")[0].shape == GRAY8.shape
