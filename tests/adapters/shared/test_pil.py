"""PIL images in ToBackbone: gray, RGB and palette modes keep every level; other images are refused."""

import io
import pickle

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torchvision import ToBackbone, open_picture

RNG = np.random.default_rng(12)
GRAY = RNG.integers(0, 256, (5, 7), np.uint8)
DEEP = RNG.integers(0, 65536, (5, 7), np.uint16)
RGB = RNG.integers(0, 256, (5, 7, 3), np.uint8)
UNIT = ToBackbone(gp.plan("gray", "unit"), gp.plan("RGB", "unit"))


def opaque(image, alpha=255):
    """Return ``image`` with a band of constant ``alpha``."""
    bands = image[..., None] if image.ndim == 2 else image
    return np.concatenate([bands, np.full_like(bands[..., :1], alpha)], -1)


def palette(colours, transparency=None):
    picture = Image.fromarray(GRAY % len(colours)).convert("P")
    picture.putdata((GRAY % len(colours)).ravel().tolist())
    picture.putpalette(np.array(colours, np.uint8).ravel().tolist())
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


COLOURS = np.array([[255, 0, 0], [0, 128, 9], [3, 4, 5]], np.uint8)
GRAYS = np.array([[9, 9, 9], [200, 200, 200]], np.uint8)
FLOATS = RNG.random((5, 7), np.float32)

PICTURES = {
    "1": (Image.fromarray(GRAY > 99), (GRAY > 99)),
    "L": (Image.fromarray(GRAY), GRAY / 255),
    "I;16": (Image.fromarray(DEEP), DEEP / 65535),
    "I;16B": (
        Image.frombytes("I;16B", (7, 5), DEEP.astype(">u2").tobytes()),
        DEEP / 65535,
    ),
    "I;16L": (
        Image.frombytes("I;16L", (7, 5), DEEP.astype("<u2").tobytes()),
        DEEP / 65535,
    ),
    "F": (Image.fromarray(FLOATS), FLOATS),
    "RGB": (Image.fromarray(RGB), RGB / 255),
    "LA, opaque": (Image.fromarray(opaque(GRAY)), GRAY / 255),
    "RGBA, opaque": (Image.fromarray(opaque(RGB)), RGB / 255),
    "P of grays": (palette(GRAYS), GRAYS[GRAY % 2, 0] / 255),
    "P of colours": (palette(COLOURS), COLOURS[GRAY % 3] / 255),
    "P, opaque": (palette(GRAYS, b"\xff\xff"), GRAYS[GRAY % 2, 0] / 255),
    "P, unused colour transparent": (palette(COLOURS, 7), COLOURS[GRAY % 3] / 255),
    "PA, opaque": (palette(COLOURS).convert("PA"), COLOURS[GRAY % 3] / 255),
    "PA of grays, opaque": (palette(GRAYS).convert("PA"), GRAYS[GRAY % 2, 0] / 255),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_mode_keeps_every_level(name):
    picture, unit = PICTURES[name]
    assert picture.mode == name.split()[0].rstrip(",")
    planes = np.stack([unit] * 3) if unit.ndim == 2 else unit.transpose(2, 0, 1)
    np.testing.assert_allclose(UNIT(picture), planes, rtol=0, atol=2e-7)


def test_32_bit_integers_need_a_range():
    picture = Image.fromarray(np.array([[0, 70_000, 100_000]], np.int32))
    assert picture.mode == "I"
    with pytest.raises(gp.RangeError, match=r"int32 does not imply.*declare range="):
        UNIT(picture)
    declared = ToBackbone(gp.plan(gp.Source("gray", range=(0, 100_000)), "unit"))
    np.testing.assert_allclose(declared(picture)[0, 0], [0, 0.7, 1], rtol=0, atol=1e-7)


TRANSPARENT = {
    "LA": Image.fromarray(opaque(GRAY, 254)),
    "RGBA": Image.fromarray(opaque(RGB, 0)),
    "P, a used colour": palette(COLOURS, 1),
    "P, alpha of each colour": palette(COLOURS, b"\xff\xff\x80"),
}


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparent_parts_are_refused(name):
    with pytest.raises(gp.ChannelError, match=r"transparent.*alpha='white'"):
        UNIT(TRANSPARENT[name])


def test_a_transparent_level_is_refused_if_pixels_have_it():
    for picture, level, other in [
        (Image.fromarray(np.uint8([[3, 4]])), 3, 5),
        (Image.fromarray(np.uint16([[300, 400]])), 300, 500),
        (Image.fromarray(np.uint8([[[1, 2, 3]]])), (1, 2, 3), (1, 2, 4)),
    ]:
        plain = UNIT(picture)
        picture.info["transparency"] = other
        assert (UNIT(picture) == plain).all()
        picture.info["transparency"] = level
        with pytest.raises(gp.ChannelError, match="transparent"):
            UNIT(picture)


def test_alpha_is_a_band_if_a_plan_names_it():
    four = ToBackbone(gp.plan("RGBA", "unit", {"R": "A", "G": "G", "B": "B"}))
    x = four(Image.fromarray(opaque(RGB, 51)))
    np.testing.assert_allclose(x[0], np.full((5, 7), 0.2), rtol=0, atol=1e-7)
    np.testing.assert_allclose(
        x[1:], RGB.transpose(2, 0, 1)[1:] / 255, rtol=0, atol=2e-7
    )


def test_alpha_is_no_band_of_another_name():
    rgbn = ToBackbone(gp.plan("RGBN", "unit", {"R": "N", "G": "G", "B": "B"}))
    with pytest.raises(gp.ChannelError, match="transparent"):
        rgbn(Image.fromarray(opaque(RGB, 51)))
    with pytest.raises(
        gp.ChannelError,
        match=r"'RGBN' \(4\), got 3 bands in a PIL image of mode 'RGBA'.*a band 'A'",
    ):
        rgbn(Image.fromarray(opaque(RGB)))
    two = ToBackbone(gp.plan(("VV", "VH"), "unit", {"R": "VV", "G": "VH", "B": "VH"}))
    with pytest.raises(gp.ChannelError, match="transparent"):
        two(Image.fromarray(opaque(GRAY, 51)))
    with_alpha = ToBackbone(
        gp.plan(("gray", "A"), "unit", {"R": "gray", "G": "A", "B": "A"})
    )
    np.testing.assert_allclose(
        with_alpha(Image.fromarray(opaque(GRAY, 51)))[1:], 0.2, rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "RGBX"])
def test_other_modes_are_a_type_error(mode):
    with pytest.raises(TypeError, match=rf"mode '{mode}'.*convert it first"):
        UNIT(Image.fromarray(RGB).convert(mode))


DEEP_RGB = RNG.integers(0, 65536, (5, 7, 3), np.uint16)
SIGNED = np.array([[-5, 100, 3]])
DEEP_PALETTE = {
    "photometric": "palette",
    "colormap": np.arange(768, dtype=np.uint16).reshape(3, 256),
}
TIFFS = {
    "16-bit colour": (DEEP_RGB, {"photometric": "rgb"}),
    "16-bit colour, compressed": (
        DEEP_RGB,
        {"photometric": "rgb", "compression": "zlib"},
    ),
    "16-bit colour, planar": (
        DEEP_RGB.transpose(2, 0, 1),
        {"photometric": "rgb", "planarconfig": "separate"},
    ),
    "16 bits, white is zero": (DEEP, {"photometric": "miniswhite"}),
    "floats, white is zero": (FLOATS, {"photometric": "miniswhite"}),
    "12 bits": (
        DEEP >> 4,
        {"bitspersample": 12, "photometric": "minisblack", "byteorder": "<"},
    ),
    "signed, 8 bits": (SIGNED.astype(np.int8), {}),
    "32 bits, unsigned": (
        np.array([[3_000_000_000, 2]], np.uint32),
        {"byteorder": "<"},
    ),
    "a fourth band": (
        opaque(RGB, 9),
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
    ),
    "a palette of 16 bits": (GRAY, DEEP_PALETTE),
}


@pytest.mark.parametrize("name", TIFFS)
@pytest.mark.parametrize("loaded", [False, True])
def test_tiffs_that_pillow_changes_are_refused(name, loaded, tmp_path):
    pixels, options = TIFFS[name]
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    with Image.open(tmp_path / "a.tif") as picture:
        if loaded:
            picture.load()
        with pytest.raises(
            gp.DTypeError, match=r"this TIFF file without loss.*BitsPerSample.*gp\.read"
        ):
            UNIT(picture)
    with pytest.raises(gp.DTypeError, match=r"a\.tif: Pillow does not"):
        open_picture(tmp_path / "a.tif")


WHOLE_TIFFS = {
    "1": (GRAY > 99, {}),
    "1, white is zero": (GRAY > 99, {"photometric": "miniswhite"}),
    "L": (GRAY, {}),
    "L, white is zero": (GRAY, {"photometric": "miniswhite"}),
    "L, white is zero, compressed": (
        GRAY,
        {"photometric": "miniswhite", "compression": "lzw"},
    ),
    "L, 4 bits": (GRAY >> 4, {"bitspersample": 4, "photometric": "minisblack"}),
    "I;16": (DEEP, {"byteorder": "<"}),
    "I;16B": (DEEP, {"byteorder": ">"}),
    "I;16, compressed": (DEEP, {"byteorder": "<", "compression": "zlib"}),
    "F": (FLOATS, {}),
    "RGB": (RGB, {"photometric": "rgb"}),
    "RGB, planar": (
        RGB.transpose(2, 0, 1).copy(),
        {"photometric": "rgb", "planarconfig": "separate"},
    ),
    "RGBA, opaque": (
        opaque(RGB),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
    ),
    "P": (
        GRAY,
        {
            "photometric": "palette",
            "colormap": RNG.integers(0, 256, (3, 256), np.uint16) * 257,
        },
    ),
}


@pytest.mark.parametrize("name", WHOLE_TIFFS)
def test_lossless_tiffs_equal_what_gp_read_returns(name, tmp_path):
    pixels, options = WHOLE_TIFFS[name]
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    image, source = gp.read(tmp_path / "a.tif")
    expected = gp.plan(source, "unit")(image)
    with Image.open(tmp_path / "a.tif") as picture:
        assert picture.mode == name.split(",")[0]
        np.testing.assert_allclose(UNIT(picture), expected, rtol=0, atol=2e-7)
    np.testing.assert_allclose(
        UNIT(open_picture(tmp_path / "a.tif")), expected, rtol=0, atol=2e-7
    )


def test_signed_tiffs_of_16_and_32_bits_keep_their_sign(tmp_path):
    signed = ToBackbone(gp.plan(gp.Source("gray", range=(-100, 100)), "unit"))
    for dtype in (np.int16, np.int32):
        tifffile.imwrite(tmp_path / "a.tif", SIGNED.astype(dtype))
        np.testing.assert_allclose(
            signed(open_picture(tmp_path / "a.tif"))[0, 0],
            [0.475, 1, 0.515],
            rtol=0,
            atol=1e-7,
        )


def deep_colour(form):
    """Return the bytes of a white RGB image of 16 bits (12 bits in AVIF)."""
    white = np.full((8, 8, 3), 65535, np.uint16)
    if form == "jp2":
        return imagecodecs.jpeg2k_encode(white, codecformat="jp2")
    if form == "avif":
        return imagecodecs.avif_encode(white >> 4, bitspersample=12)
    if form == "ppm":
        return b"P6 8 8 65535\n" + white.tobytes()
    return cv2.imencode(".png", white)[1].tobytes()


@pytest.mark.parametrize("form", ["png", "jp2", "avif", "ppm"])
def test_16_bit_colour_files_are_refused(form, tmp_path):
    data = deep_colour(form)
    message = {
        "png": r"16 bits per band.*gp\.read",
        "ppm": r"maximum value .* of the file is 65535.*gp\.read",
    }
    with (
        Image.open(io.BytesIO(data)) as picture,
        pytest.raises(
            gp.DTypeError, match=message.get(form, "does not report the bit depth")
        ),
    ):
        UNIT(picture)
    (tmp_path / "deep").write_bytes(data)
    with pytest.raises(gp.DTypeError, match="deep: "):
        open_picture(tmp_path / "deep")


def test_a_format_of_unknown_depth_is_accepted_as_a_copy():
    with Image.open(
        io.BytesIO(imagecodecs.jpeg2k_encode(RGB, codecformat="jp2", level=0))
    ) as picture:
        with pytest.raises(gp.DTypeError, match=r"JPEG2000.*picture\.copy\(\)"):
            UNIT(picture)
        assert UNIT(picture.copy()).shape == (3, 5, 7)


@pytest.mark.parametrize("greatest", [100, 4095])
@pytest.mark.parametrize("magic", ["P2", "P5"])
def test_a_ppm_whose_levels_pillow_scales_is_refused(magic, greatest):
    pixels = (
        b"7 9"
        if magic == "P2"
        else np.array([7, 9], ">u2" if greatest > 255 else "u1").tobytes()
    )
    declared = ToBackbone(gp.plan(gp.Source("gray", bits=12), "unit"))
    data = b"%s 2 1 %d\n" % (magic.encode(), greatest) + pixels
    message = f"of the file is {greatest}, which Pillow scales"
    with (
        Image.open(io.BytesIO(data)) as picture,
        pytest.raises(gp.DTypeError, match=message),
    ):
        declared(picture)


def test_8_bit_files_and_16_bit_gray_files_are_accepted(tmp_path):
    wide = np.arange(640, dtype=np.uint16).reshape(4, 160)
    deep = ToBackbone(gp.plan(gp.Source("gray", bits=16), "unit"))
    for name in (
        "a.bmp",
        "a.png",
        "a.tif",
        "a.webp",
        "a.gif",
        "a.pgm",
        "a.tga",
        "a.jpg",
    ):
        gray = wide.astype(np.uint8)
        options = {"a.webp": {"lossless": True}, "a.jpg": {"quality": 100}}.get(
            name, {}
        )
        Image.fromarray(gray).save(tmp_path / name, **options)
        with Image.open(tmp_path / name) as picture:
            near = 0.02 if name == "a.jpg" else 1e-7
            np.testing.assert_allclose(
                UNIT(picture)[0], gray / 255, rtol=0, atol=near, err_msg=name
            )
    (tmp_path / "a.pgm").write_bytes(
        b"P2 160 4 65535\n" + b" ".join(b"%d" % level for level in wide.ravel())
    )
    Image.fromarray(wide).save(tmp_path / "b.pgm")
    Image.fromarray(wide).save(tmp_path / "a.png")
    for name in ("a.pgm", "b.pgm", "a.png"):
        np.testing.assert_allclose(
            deep(Image.open(tmp_path / name))[0],
            wide / 65535,
            rtol=0,
            atol=1e-7,
            err_msg=name,
        )


@pytest.mark.parametrize("form", ["tiff", "gif", "webp", "png", "mpo"])
def test_files_of_several_images_are_refused(form, tmp_path):
    first, second = Image.fromarray(GRAY), Image.fromarray(GRAY[::-1].copy())
    options = {"lossless": True} if form == "webp" else {}
    first.save(
        tmp_path / "a", format=form, save_all=True, append_images=[second], **options
    )
    for page in (0, 1):
        with Image.open(tmp_path / "a") as picture:
            picture.seek(page)
            with pytest.raises(
                gp.ReadError,
                match=rf"several frames.*frame {page} is selected: choose one",
            ):
                UNIT(picture)
            shown = UNIT(picture.copy())[0]
        if form != "mpo":  # JPEG is lossy
            np.testing.assert_allclose(
                shown, (GRAY, GRAY[::-1])[page] / 255, rtol=0, atol=1e-7
            )
    with pytest.raises(gp.ReadError, match="several frames"):
        open_picture(tmp_path / "a")


def test_files_are_checked_before_they_are_cropped(tmp_path):
    for label, pixels in {"deep": DEEP, "gray": GRAY, "rgb": RGB}.items():
        (tmp_path / label).mkdir()
        assert cv2.imwrite(
            str(tmp_path / label / "1.png"),
            pixels[..., ::-1] if pixels.ndim == 3 else pixels,
        )
    crops = v2.Compose([v2.CenterCrop((5, 5)), UNIT])
    files = pickle.loads(
        pickle.dumps(ImageFolder(tmp_path, crops, loader=open_picture))
    )
    for (x, _), unit in zip(
        files, (DEEP / 65535, GRAY / 255, RGB.transpose(2, 0, 1) / 255), strict=True
    ):
        np.testing.assert_allclose(
            x, np.broadcast_to(unit[..., 1:6], (3, 5, 5)), rtol=0, atol=2e-7
        )
    (tmp_path / "deep" / "2.png").write_bytes(deep_colour("png"))
    with pytest.raises(gp.DTypeError, match=r"2\.png: .*16 bits per band"):
        ImageFolder(tmp_path, crops, loader=open_picture)[1]


def test_open_picture_closes_the_file_and_keeps_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GRAY).save(tmp_path / "a.jpg", exif=exif)
    picture = open_picture(tmp_path / "a.jpg")
    assert (picture.format, picture.size) == (None, (7, 5))
    assert ImageOps.exif_transpose(picture).size == (5, 7)
    assert (UNIT(pickle.loads(pickle.dumps(picture))) == UNIT(picture)).all()


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiffs_that_pillow_would_rotate_are_refused(compression, tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        GRAY,
        compression=compression,
        extratags=[(274, "H", 1, 6, True)],
    )
    with (
        Image.open(tmp_path / "a.tif") as picture,
        pytest.raises(gp.DTypeError, match=r"Orientation 6\): .*gp\.read"),
    ):
        UNIT(picture)
    with pytest.raises(gp.DTypeError, match="Orientation 6"):
        open_picture(tmp_path / "a.tif")


def test_rgb_under_a_gray_plan_names_the_loader():
    with pytest.raises(gp.ChannelError, match=r'convert\("RGB"\).*loader=open_picture'):
        ToBackbone(gp.plan("gray", "imagenet"))(Image.fromarray(RGB))
    with pytest.raises(
        gp.ChannelError, match=r"'RGB' \(3\), got 1 band in a PIL image of mode 'L'"
    ):
        ToBackbone(gp.plan("RGB", "imagenet"))(Image.fromarray(GRAY))


def test_a_plan_for_another_order_of_bands_is_refused():
    picture = Image.fromarray(RGB)
    with pytest.raises(
        gp.ChannelError, match=r"in the order 'BGR'.*has the order 'RGB'"
    ):
        ToBackbone(gp.plan("BGR", "imagenet"))(picture)
    names = ToBackbone(
        gp.plan(("B04", "B03", "B02"), "unit", {"R": "B04", "G": "B03", "B": "B02"})
    )
    assert (names(picture) == UNIT(picture)).all()


def test_pictures_are_neither_changed_nor_rotated():
    for picture, _ in PICTURES.values():
        before = picture.copy()
        UNIT(picture)
        assert (picture.mode, picture.info, picture.tobytes()) == (
            before.mode,
            before.info,
            before.tobytes(),
        )
    turned = Image.fromarray(GRAY)
    turned.getexif()[0x0112] = 6
    assert UNIT(turned).shape == (3, 5, 7)
