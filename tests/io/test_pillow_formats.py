"""GIF, BMP, WebP and PPM: frames, transparency, masks and levels that Pillow would scale."""

import struct

import cv2
import numpy as np
import pytest
from PIL import Image
from read_checks import assert_read, assert_refused, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
COLOURS = RNG.integers(0, 256, (40, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 40, (21, 34), dtype=np.uint8)


def test_a_transparent_gif_index_is_alpha(tmp_path):
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


def test_frames_of_a_gif_are_composed_as_rgb(tmp_path):
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


@pytest.mark.parametrize("maximum", [100, 1023, 4095, 40000, 65535])
@pytest.mark.parametrize("magic", [b"P5", b"P6"])
def test_ppm_of_any_maximum_keeps_its_levels(tmp_path, maximum, magic):
    shape = (6, 7) if magic == b"P5" else (6, 7, 3)
    levels = RNG.integers(0, maximum + 1, shape).astype(
        np.uint8 if maximum < 256 else np.uint16
    )
    path = tmp_path / "levels.ppm"
    head = magic + b" 7 6 %d\n" % maximum
    image, source = gp.read(
        write(path, head + levels.astype(levels.dtype.newbyteorder(">")).tobytes())
    )
    np.testing.assert_array_equal(image, levels)
    assert (image.dtype, image.flags.writeable, facts(path)["dtype"]) == (
        levels.dtype,
        True,
        levels.dtype.name,
    )
    assert source._pairs(None) == ((0, maximum),) * (1 if magic == b"P5" else 3)
    whole = path.read_bytes()
    for wrong, says in [
        (whole[:-1], "header implies"),
        (whole + b"\0", "more than one image"),
    ]:
        with pytest.raises(gp.ReadError, match=rf"levels\.ppm: .*{says}"):
            gp.read(write(path, wrong))
    if maximum < 65535:
        with pytest.raises(
            gp.ReadError,
            match=f"exceeds the maximum of {maximum} in the header: the file is damaged",
        ):
            gp.read(write(path, head + b"\xff" * levels.nbytes))


def test_a_range_below_the_ppm_maximum_can_be_declared(tmp_path):
    path = write(tmp_path / "levels.pgm", b"P5 2 1 100\n\0\x32")
    assert gp.read(path, range=(0, 50))[1].range == (0, 50)


def test_16_bit_plain_text_keeps_every_level(tmp_path):
    text = " ".join(map(str, GRAY16.ravel().tolist())).encode()
    assert_read(
        write(tmp_path / "plain.pgm", b"P2 34 21 65535 " + text), GRAY16, "gray"
    )


GIF_COLOURS = bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30])
GRAY_RAMP = bytes([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])


def gif_frame(left, top, indices, *, disposal=0, table=b""):
    """Return a frame of 2-bit indices: extension, descriptor and uncompressed codes."""
    control = b"!\xf9\x04" + bytes([disposal << 2, 0, 0, 0, 0])
    height, width = np.shape(indices)
    descriptor = struct.pack("<4HB", left, top, width, height, 0x81 if table else 0)
    # A clear code (4) before each index keeps codes at 3 bits; 5 is the end.
    codes = [code for value in np.ravel(indices) for code in (4, int(value))] + [5]
    number = sum(code << 3 * place for place, code in enumerate(codes))
    content = number.to_bytes((3 * len(codes) + 7) // 8, "little")
    pixels = bytes([2, len(content)]) + content + b"\0"
    return control + b"," + descriptor + table + pixels


def gif(width, height, *frames, table=GIF_COLOURS):
    screen = struct.pack("<HHBBB", width, height, 0x81, 3, 0)
    return b"GIF89a" + screen + table + b"".join(frames) + b";"


SMALL = gif_frame(1, 0, [[0, 1], [2, 0]])


def test_a_gif_is_transparent_where_no_frame_covers_it(tmp_path):
    path = write(tmp_path / "image.gif", gif(3, 3, SMALL))
    assert_refused(path, "parts of the image are transparent: use alpha=")
    assert facts(path)["alpha"]
    image, source = gp.read(path, alpha="white")
    assert source.bands == ("R", "G", "B")
    expected = np.full((3, 3, 3), 255)
    expected[:2, 1:] = np.reshape(list(GIF_COLOURS), (4, 3))[[[0, 1], [2, 0]]]
    np.testing.assert_array_equal(image, expected)
    _, (other,) = cv2.imdecodemulti(
        np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB
    )
    np.testing.assert_array_equal(image[:2, 1:], other[:2, 1:])


def test_frames_of_a_gif_are_composed_on_a_transparent_screen():
    patch = gif_frame(0, 2, [[1]])
    keep = gif(3, 3, SMALL, patch)
    restore = gif(3, 3, gif_frame(1, 0, [[0, 1], [2, 0]], disposal=3), patch)
    for data, covered in [(keep, np.s_[:2, 1:]), (restore, np.s_[2:, :1])]:
        stack, source = gp.read(data, frame="all", alpha="white")
        assert (stack.shape, source.layout) == ((2, 3, 3, 3), "NHWC")
        _, others = cv2.imdecodemulti(
            np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB
        )
        np.testing.assert_array_equal(stack[1][2, 0], [0, 255, 0])
        np.testing.assert_array_equal(stack[1][covered], others[1][covered])
        np.testing.assert_array_equal(stack[1][2, 1:], 255)
        np.testing.assert_array_equal(
            gp.read(data, frame=1, alpha="white")[0], stack[1]
        )
    np.testing.assert_array_equal(
        gp.read(restore, frame=1, alpha="white")[0][:2, 1:], 255
    )


def test_colour_frames_after_a_gray_one_keep_their_colours(tmp_path):
    whole = gif_frame(0, 0, [[0, 1], [2, 3]])
    colour = gif_frame(0, 0, [[1, 2]], table=GIF_COLOURS)
    path = write(tmp_path / "image.gif", gif(2, 2, whole, colour, table=GRAY_RAMP))
    stack, source = gp.read(path, frame="all")
    assert (source.bands, facts(path)["bands"]) == (("R", "G", "B"), 3)
    _, others = cv2.imdecodemulti(
        np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB
    )
    np.testing.assert_array_equal(stack, others)


def test_frames_of_a_gif_with_gray_palettes_are_gray(tmp_path):
    frames = [gif_frame(0, 0, [[0, 1], [2, 3]]), gif_frame(0, 1, [[1, 1]])]
    for table in (GRAY_RAMP, GRAY_RAMP[::-1]):
        path = write(tmp_path / "image.gif", gif(2, 2, *frames, table=table))
        stack, source = gp.read(path, frame="all")
        assert (source.layout, facts(path)["bands"]) == ("NHW", 1)
        levels = np.array(list(table[::3]), np.uint8)
        np.testing.assert_array_equal(
            stack, levels[[[[0, 1], [2, 3]], [[0, 1], [1, 1]]]]
        )


def test_a_gif_frame_larger_than_its_screen_is_refused(tmp_path):
    path = write(tmp_path / "image.gif", gif(2, 2, SMALL))
    assert_refused(path, "exceeds the screen of 2 x 2")


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
def test_all_frames_of_gif_and_webp_are_a_stack(tmp_path, form):
    path = tmp_path / "stack"
    frames = [Image.fromarray(np.full((4, 5, 3), 40 * n, np.uint8)) for n in range(6)]
    frames[0].save(
        path, form, save_all=True, append_images=frames[1:], lossless=True, duration=50
    )
    expected = [gp.read(path, frame=number)[0] for number in range(6)]
    stack, source = gp.read(path, frame="all")
    np.testing.assert_array_equal(stack, expected)
    assert source.layout == ("NHW" if stack.ndim == 3 else "NHWC")


def bmp(pixels, bits, masks, *, header_size=124, top_down=False, compression=3):
    """Return a BMP file with the integers `pixels`, (H, W), and masks of RGB or RGBA."""
    height, width = pixels.shape
    rows = pixels.astype(f"<u{bits // 8}")
    padded = [row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in rows]
    content = b"".join(padded if top_down else padded[::-1])
    header = struct.pack(
        "<IiiHHIIiiII",
        header_size,
        width,
        -height if top_down else height,
        1,
        bits,
        compression,
        len(content),
        *(0, 0, 0, 0),
    )
    header += struct.pack(f"<{len(masks)}I", *masks)
    header = header.ljust(header_size, b"\0")
    offset = 14 + len(header)
    total = offset + len(content)
    return b"BM" + struct.pack("<IHHI", total, 0, 0, offset) + header + content


@pytest.mark.parametrize(
    ("bits", "masks"),
    [
        (16, (0x7C00, 0x3E0, 0x1F, 0x8000)),
        (16, (0xF00, 0xF0, 0xF, 0xF000)),
        (16, (0xF00, 0xF0, 0xF)),
        (16, (0xF800, 0x7E0, 0x1F)),
        (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
        (32, (0xFF, 0xFF00, 0xFF0000)),
        (32, (0x3FF, 0xFFC00, 0x3FF00000, 0xC0000000)),
        (32, (0x7FF, 0x3FF800, 0xFFC00000)),
    ],
)
@pytest.mark.parametrize("top_down", [False, True])
def test_masks_of_a_bmp_are_honoured(tmp_path, bits, masks, top_down):
    pixels = RNG.integers(0, 2**bits, (5, 7), dtype=np.uint64)
    path = write(tmp_path / "image.bmp", bmp(pixels, bits, masks, top_down=top_down))
    counts = [mask.bit_count() for mask in masks]
    depth = max(8, *counts)
    samples = []
    for mask, count in zip(masks, counts, strict=True):
        levels = (pixels & mask) // (mask & -mask)
        samples.append(np.floor(levels * (2**depth - 1) / (2**count - 1)))
    header = facts(path)
    assert (header["alpha"], header["dtype"]) == (
        len(masks) == 4,
        "uint8" if depth == 8 else "uint16",
    )
    if len(masks) == 4:
        assert_refused(path, "parts of the image are transparent")
    image, source = gp.read(path, alpha="drop")
    np.testing.assert_array_equal(image, np.dstack(samples[:3]))
    assert source._pairs(None) == ((0, 2**depth - 1),) * 3
    if len(masks) == 4:
        opaque = samples[3] / (2**depth - 1)
        mixed = np.rint(image * opaque[..., None])
        np.testing.assert_array_equal(gp.read(path, alpha="black")[0], mixed)


def test_masks_that_pillow_knows_are_decoded_like_by_pillow(tmp_path):
    pixels = RNG.integers(0, 65536, (5, 7), dtype=np.uint64)
    for masks in ((0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)):
        path = write(tmp_path / "image.bmp", bmp(pixels, 16, masks, header_size=56))
        np.testing.assert_array_equal(gp.read(path)[0], np.array(Image.open(path)))


@pytest.mark.parametrize(
    "masks", [(0xF0F, 0xF0, 0xF000), (0xFF00, 0xFF0, 0xF), (0xF, 0, 0xF0)]
)
def test_impossible_masks_of_a_bmp_are_damage(tmp_path, masks):
    data = bmp(np.zeros((2, 2), np.uint64), 16, masks)
    assert_refused(
        write(tmp_path / "image.bmp", data), "masks of 1 to 16 adjacent bits"
    )


def test_a_bmp_with_masks_that_is_too_short_is_refused(tmp_path):
    data = bmp(np.zeros((4, 5), np.uint64), 16, (0xF00, 0xF0, 0xF, 0xF000))
    for kept in (20, 60, len(data) - 1):
        assert_refused(write(tmp_path / "image.bmp", data[:kept]), "truncated")


def test_a_bmp_that_is_too_short_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "image.bmp"
    Image.fromarray(GRAY8).save(path)
    data = bytearray(path.read_bytes())
    path.write_bytes(data[:-2])  # the padding of the last row
    np.testing.assert_array_equal(gp.read(path)[0], GRAY8)
    data[18:26] = struct.pack("<ii", 9000, 9000)
    assert_refused(write(path, data), "header implies 9000 x 9000 pixels")


@pytest.mark.parametrize("maximum", [1, 15, 255, 4095, 65535])
@pytest.mark.parametrize("magic", [b"P2", b"P3"])
def test_plain_text_of_any_maximum_keeps_its_levels(tmp_path, maximum, magic):
    shape = (3, 4) if magic == b"P2" else (3, 4, 3)
    levels = RNG.integers(0, maximum + 1, shape)
    text = " # comment 7\n".join(map(str, levels.ravel().tolist())).encode()
    path = write(tmp_path / "plain.ppm", magic + b" 4 3 %d\n" % maximum + text + b"\n")
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, levels)
    assert facts(path)["dtype"] == image.dtype.name
    assert set(source._pairs(None)) == {(0, maximum)}
    for wrong, says in [
        (text + b" 0", "numbers, got"),
        (text[: text.rindex(b" ")], "numbers, got"),
        (text.replace(b"\n", b"\n-", 1), "other characters"),
        (b"1_0" + text[text.index(b" ") :], "other characters"),
    ]:
        assert_refused(write(path, magic + b" 4 3 %d\n" % maximum + wrong), says)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_newline_after_the_pixels_of_a_pgm_is_ignored(tmp_path, newline):
    path = write(tmp_path / "image.pgm", b"P5 2 1 255\n\x07\x09" + newline)
    np.testing.assert_array_equal(gp.read(path)[0], [[7, 9]])
    for wrong in (b"\n\n", b" ", b"\0"):
        assert_refused(
            write(path, b"P5 2 1 255\n\x07\x09" + wrong), "more than one image"
        )


@pytest.mark.parametrize("suffix", ["gif", "bmp", "webp", "ppm"])
def test_errors_of_pillow_become_sentences(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(GRAY8).convert("RGB").save(path)
    data = bytearray(path.read_bytes())
    if suffix == "gif":
        data[data.index(b",") + 10 + 3 * 256 :] = b"\x01\x01\xff\0;"
    elif suffix == "ppm":
        data[:4] = b"P6 a"
    else:
        del data[40:]
    assert_refused(write(path, data))
    with pytest.raises(gp.ReadError) as caught:
        gp.read(path)
    assert not any(word in str(caught.value) for word in ("Error", "struct", "unpack"))


@pytest.mark.parametrize("head", [b"P5 0 3 255\n", b"P6 3 0 4095\n", b"P2 0 0 9\n"])
def test_a_ppm_without_pixels_is_refused(tmp_path, head):
    assert_refused(write(tmp_path / "image.ppm", head), "Pillow cannot decode")


def test_several_images_in_a_ppm_are_refused(tmp_path):
    path = tmp_path / "two.pgm"
    Image.fromarray(GRAY8).save(path)
    path.write_bytes(path.read_bytes() * 2)
    assert_refused(path, "more than one image")
