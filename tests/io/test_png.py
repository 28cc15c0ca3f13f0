"""PNG: bit depths, transparency, and files that lack pixels."""

import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from png_files import SIGNATURE, chunk, packed, png
from read_checks import assert_on_background, assert_refused, write

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
COLOURS = RNG.integers(0, 256, (40, 3), dtype=np.uint8)
INDICES = RNG.integers(0, 40, (21, 34), dtype=np.uint8)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gray_of_few_bits_is_scaled_exactly(tmp_path, depth):
    levels = RNG.integers(0, 2**depth, (9, 13))
    image, source = gp.read(write(tmp_path / "few.png", png(levels, depth, 0)))
    unit = gp.plan(source, gp.Target("gray", "HW", "float64"))(image)
    np.testing.assert_array_equal(unit, levels / (2**depth - 1))
    if depth > 1:
        np.testing.assert_array_equal(image, levels * (255 // (2**depth - 1)))
        with pytest.raises(gp.ReadError, match=rf"few\.png.*8 bits.*declare {depth}"):
            gp.read(tmp_path / "few.png", bits=depth)


def test_an_index_beyond_the_palette_is_damage(tmp_path):
    path = write(
        tmp_path / "image.png",
        png(INDICES, 8, 3, before=[chunk(b"PLTE", COLOURS[:30].tobytes())]),
    )
    with pytest.raises(
        gp.ReadError, match=r"palette of 30 colours: the file is damaged"
    ):
        gp.read(path)


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
        path = write(
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


def test_transparent_palette_colours_are_alpha(tmp_path):
    opacity = bytes([0, 128]) + b"\xff" * 5
    chunks = [chunk(b"PLTE", COLOURS.tobytes()), chunk(b"tRNS", opacity)]
    path = write(tmp_path / "palette.png", png(INDICES, 8, 3, before=chunks))
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    alphas = np.frombuffer(opacity.ljust(40, b"\xff"), np.uint8)[INDICES]
    pixels = np.dstack([COLOURS[INDICES], alphas])
    assert_on_background(gp.read(path, alpha="white")[0], pixels, "white")
    # No pixel has a transparent colour.
    path.write_bytes(png(INDICES % 30 + 7, 8, 3, before=chunks))
    np.testing.assert_array_equal(gp.read(path)[0], COLOURS[INDICES % 30 + 7])


@pytest.mark.parametrize("samples", [2, 3, 4])
def test_16_bit_colour_and_alpha_keep_every_level(tmp_path, samples):
    pixels = RNG.integers(0, 65536, (37, 50, samples), dtype=np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(imagecodecs.png_encode(pixels))
    assert facts(path)["mode"] == {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}[samples]
    image, source = gp.read(path, alpha="drop")
    expected = pixels[..., 0] if samples == 2 else pixels[..., :3]
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, image.flags.writeable) == (np.uint16, True)
    assert source == gp.Source("gray" if samples == 2 else "RGB", dtype="uint16")
    if samples == 3:
        np.testing.assert_array_equal(
            image, cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[..., ::-1]
        )
        return
    with pytest.raises(gp.ReadError, match="transparent"):
        gp.read(path)
    part = pixels[..., -1:] / 65535
    laid = np.rint(pixels[..., :-1] * part + 65535 * (1 - part)).squeeze()
    np.testing.assert_array_equal(gp.read(path, alpha="white")[0], laid)


# Colour type -> samples per pixel, and the bit depths it allows.
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2)]
KINDS += [(3, 4), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]


@pytest.fixture(params=["libpng", "kernel"])
def filters(request, monkeypatch):
    """Undo filters in one of two ways."""
    monkeypatch.setattr(
        "graypipe.io.png._kernel_is_loaded", lambda: request.param == "kernel"
    )


@pytest.mark.usefixtures("filters")
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_every_kind_and_filter_is_read_exactly(colour, depth, interlaced, capfd):
    for height, width in [(1, 1), (3, 5), (5, 1), (17, 23)]:
        shape = (height, width, SAMPLES[colour])
        pixels = RNG.integers(0, 2**depth, shape)
        palette = RNG.integers(0, 256, (2 ** min(depth, 8), 3), dtype=np.uint8)
        palette[0] = 1, 2, 3
        before = [chunk(b"PLTE", palette.tobytes())] if colour == 3 else []
        image, _ = gp.read(
            filtered(pixels, depth, colour, interlaced, before), alpha="drop"
        )
        expected = pixels[..., : {4: 1, 6: 3}.get(colour)]
        if colour == 3:
            expected = palette[pixels[..., 0]]
        elif depth < 8:
            expected = pixels * (255 // (2**depth - 1)) // {1: 255}.get(depth, 1)
        np.testing.assert_array_equal(
            image, expected.squeeze(-1) if image.ndim == 2 else expected
        )
        assert image.dtype == {1: bool, 16: np.uint16}.get(
            depth if colour != 3 else 8, np.uint8
        )
        assert image.flags.writeable
        assert image.dtype.isnative
    assert capfd.readouterr().err == ""


def filtered(pixels, depth, colour, interlaced, before):
    """Return a PNG whose rows use random filters, its pixels in chunks of 50 bytes."""
    parts = [pixels]
    if interlaced:
        # The passes of section 8.1 of the specification.
        parts = [pixels[::8, ::8], pixels[::8, 4::8], pixels[4::8, ::4]]
        parts += [pixels[::4, 2::4], pixels[2::4, ::2], pixels[::2, 1::2], pixels[1::2]]
    step = max(1, pixels.shape[2] * depth // 8)
    rows = []
    for part in parts:
        above = 0
        for row in part if part.size else []:
            values = np.frombuffer(packed(row, depth), np.uint8).astype(int)
            above = np.broadcast_to(above, values.shape)
            left, corner = (
                np.r_[np.zeros(step, int), v][: v.size] for v in (values, above)
            )
            distances = [
                abs(above - corner),
                abs(left - corner),
                abs(left + above - 2 * corner),
            ]
            paeth = np.choose(np.argmin(distances, 0), [left, above, corner])
            filters = [0, left, above, (left + above) // 2, paeth]
            number = RNG.integers(5)
            coded = (values - filters[number]) % 256
            rows.append(bytes([number, *coded.tolist()]))
            above = values
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    stream = zlib.compress(b"".join(rows))
    coded = [chunk(b"IDAT", stream[at : at + 50]) for at in range(0, len(stream), 50)]
    return b"".join(
        [SIGNATURE, chunk(b"IHDR", header), *before, *coded, chunk(b"IEND")]
    )


def with_stream(stream, pixels=GRAY8):
    """Return an 8-bit gray PNG with this zlib stream as its pixels."""
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 0, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", stream), chunk(b"IEND")]
    return SIGNATURE + b"".join(chunks)


def test_damage_behind_the_last_row_is_an_error():
    rows = b"".join(b"\0" + row.tobytes() for row in GRAY8)
    stream = zlib.compress(rows)
    np.testing.assert_array_equal(gp.read(with_stream(stream))[0], GRAY8)
    unfinished = zlib.compressobj()
    unfinished = unfinished.compress(rows) + unfinished.flush(zlib.Z_SYNC_FLUSH)
    damaged = {
        "wrong checksum": stream[:-1] + bytes([stream[-1] ^ 1]),
        "no checksum": stream[:-4],
        "no end": unfinished,
        "invalid end": unfinished + b"\xff" * 9,
        "too many rows": zlib.compress(rows + rows[:35]),
        "other data": stream + b"junk",
        "nothing": b"",
    }
    for kind, content in damaged.items():
        with pytest.raises(gp.ReadError, match=r"the file is damaged$"):
            pytest.fail(f"{kind}: {gp.read(with_stream(content))}")


@pytest.mark.usefixtures("filters")
def test_unknown_filters_are_damage():
    rows = b"".join(b"\0" + row.tobytes() for row in GRAY8)
    for number in (5, 255):
        damaged = bytes([*rows[:70], number, *rows[71:]])
        with pytest.raises(gp.ReadError, match="filter"):
            gp.read(with_stream(zlib.compress(damaged)))


def test_chunks_out_of_order_are_damage():
    header, *_ = png(GRAY8, 8, 0).partition(b"\0\0\0\0IEND")
    pixels = header[33:]
    header = header[:33]
    end = chunk(b"IEND")
    key = chunk(b"tRNS", struct.pack(">H", GRAY8[3, 4]))
    half = len(pixels) // 2
    split = [chunk(b"IDAT", pixels[8:half]), chunk(b"IDAT", pixels[half:-4])]
    text = chunk(b"tEXt", b"a\0b")
    np.testing.assert_array_equal(
        gp.read(header + text + split[0] + split[1] + text + end)[0], GRAY8
    )
    for chunks in [
        [pixels, key, end],  # after the pixels
        [key, key, pixels, end],  # twice
        [header[8:], pixels, end],
        [split[0], text, split[1], end],
        [chunk(b"IDAX"), pixels, end],  # an unknown chunk that must not be ignored
        [end],
    ]:
        with pytest.raises(gp.ReadError, match=r"chunk"):
            gp.read(header + b"".join(chunks))


def animation(frames, colour, depth=8, before=()):
    """Return an animated PNG of (pixels, left, top, disposal, blending)."""
    height, width = frames[0][0].shape[:2]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", header), *before]
    chunks.append(chunk(b"acTL", struct.pack(">II", len(frames), 0)))
    number = 0
    for index, (pixels, left, top, disposal, blending) in enumerate(frames):
        size = pixels.shape[1], pixels.shape[0]
        control = struct.pack(
            ">IIIIIHHBB", number, *size, left, top, 1, 10, disposal, blending
        )
        chunks.append(chunk(b"fcTL", control))
        stream = zlib.compress(b"".join(b"\0" + packed(row, depth) for row in pixels))
        if index == 0:
            chunks.append(chunk(b"IDAT", stream))
            number += 1
        else:
            chunks.append(chunk(b"fdAT", struct.pack(">I", number + 1) + stream))
            number += 2
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND")


@pytest.mark.parametrize("depth", [8, 16])
def test_frames_are_composed_and_disposed(depth):
    first, *others = RNG.integers(0, 2**depth, (5, 6, 7, 4))
    for pixels in (first, *others):
        pixels[..., 3] = np.where(pixels[..., 3] % 2, 2**depth - 1, 0)
    parts = [part[:3, :4] for part in others]
    # Disposal: keep, clear, restore; blending: replace, lay over.
    ways = [(0, 0), (1, 1), (2, 1), (0, 0)]
    frames = [(first, 0, 0, 0, 0)]
    frames += [(part, 2, 1, *way) for part, way in zip(parts, ways, strict=True)]
    canvas = first.copy()
    region = canvas[1:4, 2:6]
    expected = [first]
    for part, (disposal, blending) in zip(parts, ways, strict=True):
        before = region.copy()
        region[...] = np.where(part[..., 3:] | (not blending), part, region)
        expected.append(canvas.copy())
        if disposal:
            region[...] = 0 if disposal == 1 else before
    data = animation(frames, 6, depth)
    stack, _ = gp.read(data, frame="all", alpha="black")
    alone = [gp.read(data, frame=number, alpha="black")[0] for number in range(5)]
    expected = np.stack(expected)
    visible = expected[..., :3] * (expected[..., 3:] > 0)
    np.testing.assert_array_equal(stack, visible)
    np.testing.assert_array_equal(alone, visible)
    assert facts(data)["frames"] == 5


def test_partly_transparent_frames_are_mixed():
    lower, upper = RNG.integers(0, 256, (2, 6, 7, 4))
    data = animation([(lower, 0, 0, 0, 0), (upper, 0, 0, 0, 1)], 6)
    a, b = upper[..., 3:] / 255, lower[..., 3:] / 255
    alpha = a + b * (1 - a)
    # Composing onto black multiplies the colour by its alpha, each of them rounded.
    mixed = upper[..., :3] * a + lower[..., :3] * b * (1 - a)
    image = gp.read(data, frame=1, alpha="black")[0]
    np.testing.assert_allclose(image, mixed, rtol=0, atol=1.5)
    assert alpha.min() < 1


def test_an_animation_with_a_transparent_colour():
    first = RNG.integers(1, 256, (6, 7, 3))
    first[2, 3] = second = first[0, 0]
    second = np.broadcast_to(second, (3, 4, 3)).copy()
    second[1, 1] = 9, 8, 7
    key = chunk(b"tRNS", struct.pack(">3H", *first[0, 0]))
    data = animation([(first, 0, 0, 0, 0), (second, 1, 2, 0, 0)], 2, before=[key])
    expected = first.copy()
    expected[2:5, 1:5] = second
    expected[(expected == first[0, 0]).all(-1)] = 0
    image = gp.read(data, frame=1, alpha="black")[0]
    np.testing.assert_array_equal(image, expected)


def test_damaged_animations_are_refused():
    frames = [(GRAY8, 0, 0, 0, 0), (GRAY8[:5, :6], 3, 4, 0, 0)]
    data = animation(frames, 0)
    assert gp.read(data, frame="all")[0].shape == (2, 21, 34)
    chunks = {
        "count": (b"acTL", struct.pack(">II", 3, 0)),
        "region": (b"fcTL", struct.pack(">IIIIIHHBB", 1, 6, 5, 33, 4, 1, 10, 0, 0)),
        "length": (b"fcTL", b"short"),
        "order": (b"fdAT", struct.pack(">I", 7) + zlib.compress(b"\0")),
        "pixels": (b"fdAT", struct.pack(">I", 2) + zlib.compress(b"\0")),
    }
    for kind, (name, content) in chunks.items():
        # The last chunk of this type is replaced.
        at = data.rindex(name) - 4
        (length,) = struct.unpack_from(">I", data, at)
        damaged = data[:at] + chunk(name, content) + data[at + 12 + length :]
        with pytest.raises(gp.ReadError, match="damaged"):
            pytest.fail(f"{kind}: {gp.read(damaged, frame=1)}")


def test_the_crc_of_pixel_data_is_checked(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path, compress_level=0)
    data = bytearray(path.read_bytes())
    data[120] ^= 0xFF
    path.write_bytes(data)
    assert_refused(path, "checksum")


def test_missing_rows_are_not_filled_with_black(tmp_path):
    rows = b"".join(b"\0" + row.tobytes() for row in GRAY8[:11])
    path = write(tmp_path / "image.png", with_stream(zlib.compress(rows)))
    with Image.open(path) as opened:
        # Pillow fills the missing rows with black.
        assert not np.asarray(opened)[11:].any()
    assert_refused(path, r"expected \d+ bytes of pixels, got \d+: the file is damaged")


def test_xmp_is_found_among_other_texts():
    texts = [
        chunk(b"iTXt", b'Comment\0\0\0\0\0tiff:Orientation="3"'),
        chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<a tiff:Orientation="6"/>'),
    ]
    for order in (texts, texts[::-1]):
        data = png(GRAY8, 8, 0, before=order)
        assert facts(data)["orientation"] == 6
        with pytest.raises(gp.ReadError, match="orientation 6"):
            gp.read(data)


def test_damaged_ancillary_chunks_are_ignored(tmp_path):
    junk = [
        chunk(b"iCCP", b"\xff" * 9),
        chunk(b"zTXt", b"x\0\0junk"),
        chunk(b"tIME", b"1"),
        chunk(b"pHYs", b""),
    ]
    path = tmp_path / "image.png"
    path.write_bytes(png(GRAY8, 8, 0, before=junk))
    np.testing.assert_array_equal(gp.read(path)[0], GRAY8)
