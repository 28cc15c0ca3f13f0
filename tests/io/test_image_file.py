"""`read` and `facts`: what holds for every format."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from png_files import png
from read_checks import assert_read, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (40, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 40, (21, 34), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "pgm"])
def test_8_bit_gray_keeps_every_level(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(GRAY8).save(path)
    assert_read(path, GRAY8, "gray")


@pytest.mark.parametrize(
    ("suffix", "keywords"),
    [("png", {}), ("bmp", {}), ("ppm", {}), ("webp", {"lossless": True})],
)
def test_8_bit_colour_keeps_every_level(tmp_path, suffix, keywords):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(RGB8).save(path, **keywords)
    assert_read(path, RGB8, "RGB")


@pytest.mark.parametrize("suffix", ["png", "pgm"])
def test_16_bit_gray_keeps_every_level(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    image = Image.fromarray(GRAY16)
    (image if suffix == "png" else image.convert("I")).save(path)
    assert_read(path, GRAY16, "gray")


@pytest.mark.parametrize("suffix", ["png", "bmp", "pbm"])
def test_one_bit_is_read_as_bool(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(GRAY8 > 99).save(path)
    assert_read(path, GRAY8 > 99, "gray")


def test_floats_are_read_as_floats(tmp_path):
    image = RNG.random((21, 34), dtype=np.float32)
    Image.fromarray(image).save(tmp_path / "image.pfm")
    assert_read(tmp_path / "image.pfm", image, "gray")


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp"])
def test_palette_images_become_gray_or_rgb(tmp_path, suffix):
    for colours, bands in [(COLOURS, "RGB"), (COLOURS[:, :1].repeat(3, 1), "gray")]:
        image = Image.fromarray(INDICES)
        image.putpalette(colours.tobytes())
        path = tmp_path / f"image.{suffix}"
        image.save(path, optimize=False)
        expected = colours[INDICES] if bands == "RGB" else colours[:, 0][INDICES]
        assert_read(path, expected, bands)


def test_one_of_several_frames_must_be_chosen(tmp_path):
    frames = [Image.fromarray(np.roll(RGB8, shift, 1)) for shift in (0, 5, 9)]
    for suffix, keywords in [("png", {}), ("webp", {"lossless": True})]:
        path = tmp_path / f"stack.{suffix}"
        frames[0].save(
            path, save_all=True, append_images=frames[1:], duration=100, **keywords
        )
        assert facts(path)["frames"] == 3
        with pytest.raises(gp.ReadError, match=r"stack\..*3 frames.*frame=, 0 to 2"):
            gp.read(path)
        for number, frame in enumerate(frames):
            np.testing.assert_array_equal(gp.read(path, frame=number)[0], frame)
        for wrong in (3, -1, 1.0, True, "1"):
            with pytest.raises(gp.ReadError, match=r"stack\..*from 0 to 2"):
                gp.read(path, frame=wrong)
    Image.fromarray(GRAY8).save(tmp_path / "one.png")
    np.testing.assert_array_equal(gp.read(tmp_path / "one.png", frame=0)[0], GRAY8)


def test_cmyk_is_refused_with_a_cure(tmp_path):
    Image.new("CMYK", (5, 4)).save(tmp_path / "inks.jpg")
    with pytest.raises(gp.ReadError, match=r"inks\.jpg.*CMYK.*convert"):
        gp.read(tmp_path / "inks.jpg")
    assert facts(tmp_path / "inks.jpg")["mode"] == "CMYK"


def test_a_broken_extra_raises_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "imagecodecs.py").write_text("import graypipe_has_no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "imagecodecs", raising=False)
    deep = write(tmp_path / "deep.png", png(RGB8.astype(np.uint16) * 200, 16, 2))
    with pytest.raises(
        ModuleNotFoundError, match="graypipe_has_no_such_module"
    ) as caught:
        gp.read(deep)
    assert not isinstance(caught.value, gp.GraypipeError)


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    for name in ("tifffile", "imagecodecs"):
        monkeypatch.setitem(sys.modules, name, None)
    deep = write(tmp_path / "deep.png", png(RGB8.astype(np.uint16) * 200, 16, 2))
    Image.fromarray(GRAY8).save(tmp_path / "image.tif")
    for path in (deep, tmp_path / "image.tif"):
        with pytest.raises(gp.MissingExtraError, match=rf"{path.name}.*graypipe\[io\]"):
            gp.read(path)


def test_range_on_a_source_with_bits_suggests_bits_none():
    with pytest.raises(gp.RangeError, match=r"pass bits=None"):
        replace(gp.Source(bits=12), range=(0, 100))
    assert replace(gp.Source(bits=12), range=(0, 100), bits=None).range == (0, 100)


def test_object_arrays_suggest_a_list():
    sizes = np.empty(2, object)
    sizes[:] = GRAY8, GRAY8[:5]
    with pytest.raises(
        gp.DTypeError, match="several sizes as a list, or crop them first"
    ):
        gp.plan("gray", "imagenet").batch(sizes)
