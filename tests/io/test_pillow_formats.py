"""GIF and PPM, which Pillow opens: frames, transparency and levels that it would scale."""

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


def test_a_gif_frame_smaller_than_its_screen_is_refused(tmp_path):
    path = tmp_path / "image.gif"
    Image.fromarray(GRAY8).save(path)
    data = bytearray(path.read_bytes())
    data[6:8] = (40).to_bytes(2, "little")
    path.write_bytes(data)
    assert_refused(path, "does not match the screen")


def test_several_images_in_a_ppm_are_refused(tmp_path):
    path = tmp_path / "two.pgm"
    Image.fromarray(GRAY8).save(path)
    path.write_bytes(path.read_bytes() * 2)
    assert_refused(path, "more than one image")
