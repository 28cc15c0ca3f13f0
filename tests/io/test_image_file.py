"""Reading with Pillow alone: every level of the file, or an error that names it."""

import struct
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps
from png_files import chunk, png

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
RGBA8 = RNG.integers(0, 256, (21, 34, 4), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (40, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 40, (21, 34), dtype=np.uint8)


def written(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "pgm"])
def test_every_level_of_8_bit_gray_is_read_back(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(GRAY8).save(path)
    assert_read(path, GRAY8, "gray")


@pytest.mark.parametrize(
    ("suffix", "keywords"),
    [("png", {}), ("bmp", {}), ("ppm", {}), ("webp", {"lossless": True})],
)
def test_every_level_of_colour_is_read_back(tmp_path, suffix, keywords):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(RGB8).save(path, **keywords)
    assert_read(path, RGB8, "RGB")


@pytest.mark.parametrize("suffix", ["png", "pgm"])
def test_every_level_of_16_bit_gray_is_read_back(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    image = Image.fromarray(GRAY16)
    (image if suffix == "png" else image.convert("I")).save(path)
    assert_read(path, GRAY16, "gray")


@pytest.mark.parametrize("suffix", ["png", "bmp", "pbm"])
def test_one_bit_is_read_as_truth_values(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(GRAY8 > 99).save(path)
    assert_read(path, GRAY8 > 99, "gray")


def test_floats_are_read_as_floats(tmp_path):
    image = RNG.random((21, 34), dtype=np.float32)
    Image.fromarray(image).save(tmp_path / "image.pfm")
    assert_read(tmp_path / "image.pfm", image, "gray")


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_of_gray_are_spread_over_the_range_exactly(tmp_path, depth):
    levels = RNG.integers(0, 2**depth, (9, 13))
    image, source = gp.read(written(tmp_path / "few.png", png(levels, depth, 0)))
    unit = gp.plan(source, gp.Target("gray", "HW", "float64"))(image)
    np.testing.assert_array_equal(unit, levels / (2**depth - 1))
    if depth > 1:
        np.testing.assert_array_equal(image, levels * (255 // (2**depth - 1)))
        with pytest.raises(gp.ReadError, match=rf"few\.png.*8 bits.*declare {depth}"):
            gp.read(tmp_path / "few.png", bits=depth)


def test_jpeg_is_read_as_its_decoder_gives_it(tmp_path):
    path = tmp_path / "image.jpg"
    for image, bands in [(GRAY8, "gray"), (RGB8, "RGB")]:
        for keywords in ({}, {"progressive": True}, {"restart_marker_blocks": 2}):
            Image.fromarray(image).save(path, quality=95, **keywords)
            with Image.open(path) as opened:
                assert_read(path, np.asarray(opened), bands)


def test_what_the_jpeg_standard_lets_pass_is_read(tmp_path):
    path = tmp_path / "image.jpg"
    Image.fromarray(RGB8).save(path, quality=95)
    whole = path.read_bytes()
    with Image.open(path) as opened:
        expected = np.asarray(opened)
    scan = whole.index(b"\xff\xda")
    end = scan + 2 + int.from_bytes(whole[scan + 2 : scan + 4], "big")
    filled = whole[:scan] + b"\xff\xff\xff" + whole[scan:]
    unsaid = (
        whole[: end - 3] + b"\0\0\0" + whole[end:]
    )  # which coefficients come, where only all of them can
    for data in (filled, unsaid, whole + b"what a camera adds"):
        np.testing.assert_array_equal(gp.read(written(path, data))[0], expected)


def assert_read(path, expected, bands):
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, image.flags.writeable, image.dtype.isnative) == (
        expected.dtype,
        True,
        True,
    )
    assert source == gp.Source(bands, dtype=expected.dtype)
    assert gp.plan(source, "imagenet")(image).shape == (3, *expected.shape[:2])
    known = facts(path)
    assert (known["height"], known["width"], known["dtype"]) == (
        *expected.shape[:2],
        expected.dtype.name,
    )
    assert (known["frames"], known["bands"], known["alpha"], known["orientation"]) == (
        1,
        len(source.bands),
        False,
        1,
    )


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp"])
def test_palettes_become_what_they_show(tmp_path, suffix):
    for colours, bands in [(COLOURS, "RGB"), (COLOURS[:, :1].repeat(3, 1), "gray")]:
        image = Image.fromarray(INDICES)
        image.putpalette(colours.tobytes())
        path = tmp_path / f"image.{suffix}"
        image.save(path, optimize=False)
        expected = colours[INDICES] if bands == "RGB" else colours[:, 0][INDICES]
        assert_read(path, expected, bands)


def test_a_pixel_outside_its_palette_is_damage(tmp_path):
    path = written(
        tmp_path / "image.png",
        png(INDICES, 8, 3, before=[chunk(b"PLTE", COLOURS[:30].tobytes())]),
    )
    with pytest.raises(gp.ReadError, match=r"palette of 30: the file is damaged"):
        gp.read(path)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("LA", "png"), ("RGBA", "png"), ("RGBA", "webp")]
)
def test_alpha_has_a_policy_unless_it_is_opaque(tmp_path, mode, suffix):
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
        assert_on_ground(gp.read(path, alpha=ground)[0], pixels, ground)
    pixels = pixels.copy()
    pixels[..., -1] = 255
    Image.fromarray(pixels, mode if mode == "LA" else None).save(path, **save)
    np.testing.assert_array_equal(gp.read(path)[0], colour)


def assert_on_ground(image, pixels, ground):
    alpha = pixels[..., -1:] / 255
    mixed = pixels[..., :-1] * alpha + (255 if ground == "white" else 0) * (1 - alpha)
    np.testing.assert_array_equal(image, np.rint(mixed).astype(np.uint8).squeeze())


def test_a_transparent_colour_is_alpha(tmp_path):
    cases = [
        (GRAY8, 8, 0, struct.pack(">H", GRAY8[3, 4]), np.equal(GRAY8, GRAY8[3, 4])),
        (
            GRAY16,
            16,
            0,
            struct.pack(">H", GRAY16[3, 4]),
            np.equal(GRAY16, GRAY16[3, 4]),
        ),
        (
            RGB8,
            8,
            2,
            struct.pack(">3H", *RGB8[3, 4]),
            np.equal(RGB8, RGB8[3, 4]).all(-1),
        ),
        (GRAY8 % 4, 2, 0, struct.pack(">H", 2), GRAY8 % 4 == 2),
        (GRAY8 % 2, 1, 0, struct.pack(">H", 1), GRAY8 % 2 == 1),
    ]
    for pixels, depth, colour, key, clear in cases:
        path = written(
            tmp_path / "keyed.png",
            png(pixels, depth, colour, before=[chunk(b"tRNS", key)]),
        )
        assert facts(path)["alpha"]
        with pytest.raises(gp.ReadError, match="transparent"):
            gp.read(path)
        kept, on_white = gp.read(path, alpha="drop")[0], gp.read(path, alpha="white")[0]
        white = 1 if kept.dtype == bool else np.iinfo(kept.dtype).max
        expected = np.where(clear[..., None] if kept.ndim == 3 else clear, white, kept)
        np.testing.assert_array_equal(on_white, expected)
        path.write_bytes(png(pixels, depth, colour, before=[chunk(b"tRNS", key[:-1])]))
        with pytest.raises(gp.ReadError, match="transparent colour is damaged"):
            gp.read(path)


def test_transparent_colours_of_a_palette_are_alpha(tmp_path):
    opacity = bytes([0, 128]) + b"\xff" * 5
    chunks = [chunk(b"PLTE", COLOURS.tobytes()), chunk(b"tRNS", opacity)]
    path = written(tmp_path / "palette.png", png(INDICES, 8, 3, before=chunks))
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    alphas = np.frombuffer(opacity.ljust(40, b"\xff"), np.uint8)[INDICES]
    pixels = np.dstack([COLOURS[INDICES], alphas])
    assert_on_ground(gp.read(path, alpha="white")[0], pixels, "white")
    path.write_bytes(
        png(INDICES % 30 + 7, 8, 3, before=chunks)
    )  # none of the transparent ones is used
    np.testing.assert_array_equal(gp.read(path)[0], COLOURS[INDICES % 30 + 7])


def test_a_transparent_index_of_a_gif_is_alpha(tmp_path):
    image = Image.fromarray(INDICES)
    image.putpalette(COLOURS.tobytes())
    image.save(tmp_path / "image.gif", transparency=int(INDICES[2, 3]), optimize=False)
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(tmp_path / "image.gif")
    expected = np.where(
        np.equal(INDICES, INDICES[2, 3])[..., None], 255, COLOURS[INDICES]
    )
    np.testing.assert_array_equal(
        gp.read(tmp_path / "image.gif", alpha="white")[0], expected
    )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_has_a_policy(tmp_path, suffix, orientation):
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


def test_orientation_is_found_in_xmp_too(tmp_path):
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


def test_frames_are_chosen_and_never_dropped(tmp_path):
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


def test_frames_of_a_gif_are_composed_colour(tmp_path):
    path = tmp_path / "stack.gif"
    frames = []
    for shift in (0, 5, 9):
        frames.append(Image.fromarray(np.roll(INDICES, shift, 1)))
        frames[-1].putpalette(COLOURS.tobytes())
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(gp.ReadError, match="3 frames"):
        gp.read(path)
    for number, shift in enumerate((0, 5, 9)):
        image, source = gp.read(path, frame=number)
        np.testing.assert_array_equal(image, COLOURS[np.roll(INDICES, shift, 1)])
        assert source.bands == ("R", "G", "B")


def test_images_of_one_jpeg_file_are_frames(tmp_path):
    path = tmp_path / "pair.jpg"
    pair = [Image.fromarray(RGB8), Image.fromarray(RGB8[:, ::-1])]
    pair[0].save(path, "MPO", save_all=True, append_images=pair[1:], quality=90)
    assert facts(path)["frames"] == 2
    with pytest.raises(gp.ReadError, match="2 frames"):
        gp.read(path)
    with Image.open(path) as opened:
        for number in range(2):
            opened.seek(number)
            np.testing.assert_array_equal(
                gp.read(path, frame=number)[0], np.asarray(opened)
            )


def test_inks_and_cut_down_levels_are_refused_with_what_to_do(tmp_path):
    Image.new("CMYK", (5, 4)).save(tmp_path / "inks.jpg")
    with pytest.raises(gp.ReadError, match=r"inks\.jpg.*CMYK.*convert"):
        gp.read(tmp_path / "inks.jpg")
    assert facts(tmp_path / "inks.jpg")["mode"] == "CMYK"
    with pytest.raises(
        gp.ReadError, match=r"levels\.pgm.*maximum level of 4095.*binary"
    ):
        gp.read(written(tmp_path / "levels.pgm", b"P2 2 1 4095 0 4095"))


@pytest.mark.parametrize("most", [100, 1023, 4095, 40000, 65535])
@pytest.mark.parametrize("magic", [b"P5", b"P6"])
def test_ppm_of_any_greatest_level_keeps_its_levels_and_states_its_range(
    tmp_path, most, magic
):
    shape = (6, 7) if magic == b"P5" else (6, 7, 3)
    levels = RNG.integers(0, most + 1, shape).astype(
        np.uint8 if most < 256 else np.uint16
    )
    path = tmp_path / "levels.ppm"
    head = magic + b" 7 6 %d\n" % most
    image, source = gp.read(
        written(path, head + levels.astype(levels.dtype.newbyteorder(">")).tobytes())
    )
    np.testing.assert_array_equal(image, levels)
    assert (image.dtype, image.flags.writeable, facts(path)["dtype"]) == (
        levels.dtype,
        True,
        levels.dtype.name,
    )
    assert source._pairs(None) == ((0, most),) * (1 if magic == b"P5" else 3)
    whole = path.read_bytes()
    for wrong, says in [
        (whole[:-1], "header implies"),
        (whole + b"\0", "more than one image"),
    ]:
        with pytest.raises(gp.ReadError, match=rf"levels\.ppm: .*{says}"):
            gp.read(written(path, wrong))
    if most < 65535:
        with pytest.raises(
            gp.ReadError, match=f"header says {most} at most: the file is damaged"
        ):
            gp.read(written(path, head + b"\xff" * levels.nbytes))


def test_a_range_below_that_of_a_ppm_can_be_declared(tmp_path):
    path = written(tmp_path / "levels.pgm", b"P5 2 1 100\n\0\x32")
    assert gp.read(path, range=(0, 50))[1].range == (0, 50)


def test_plain_text_of_16_bits_keeps_every_level(tmp_path):
    text = " ".join(map(str, GRAY16.ravel().tolist())).encode()
    assert_read(
        written(tmp_path / "plain.pgm", b"P2 34 21 65535 " + text), GRAY16, "gray"
    )


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
        with pytest.raises(error, match=r"image\.png: "):
            gp.read(path, **keywords)
    for policy in ({"alpha": "keep"}, {"orientation": "turn"}):
        with pytest.raises(gp.ReadError, match="must be one of"):
            gp.read(path, **policy)


def test_eight_bits_are_never_taken_for_more(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    with pytest.raises(gp.RangeError, match="bits="):
        gp.read(path, bits=12)


def test_the_order_of_the_files_bands_is_not_for_the_keywords_to_change(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(RGB8).save(path)
    for bands in ("BGR", "GRX", "RBX"):
        with pytest.raises(gp.ReadError, match="order"):
            gp.read(path, bands=bands)
    assert gp.read(path, bands=("B04", "B03", "B02"))[1].bands == ("B04", "B03", "B02")


def test_an_extra_that_is_broken_shows_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "imagecodecs.py").write_text("import graypipe_has_no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "imagecodecs", raising=False)
    deep = written(tmp_path / "deep.png", png(RGB8.astype(np.uint16) * 200, 16, 2))
    with pytest.raises(
        ModuleNotFoundError, match="graypipe_has_no_such_module"
    ) as caught:
        gp.read(deep)
    assert not isinstance(caught.value, gp.GraypipeError)


def test_what_needs_an_extra_says_which(tmp_path, monkeypatch):
    for name in ("tifffile", "imagecodecs"):
        monkeypatch.setitem(sys.modules, name, None)
    deep = written(tmp_path / "deep.png", png(RGB8.astype(np.uint16) * 200, 16, 2))
    Image.fromarray(GRAY8).save(tmp_path / "image.tif")
    for path in (deep, tmp_path / "image.tif"):
        with pytest.raises(gp.MissingExtraError, match=rf"{path.name}.*graypipe\[io\]"):
            gp.read(path)


def test_a_range_on_a_source_with_bits_hints_at_taking_them_out():
    with pytest.raises(gp.RangeError, match=r"pass bits=None"):
        replace(gp.Source(bits=12), range=(0, 100))
    assert replace(gp.Source(bits=12), range=(0, 100), bits=None).range == (0, 100)


def test_an_array_of_objects_hints_at_a_list():
    sizes = np.empty(2, object)
    sizes[:] = GRAY8, GRAY8[:5]
    with pytest.raises(gp.DTypeError, match="go in as a list, or are cropped first"):
        gp.plan("gray", "imagenet").batch(sizes)
