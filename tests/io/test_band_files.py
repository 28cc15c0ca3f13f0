"""`read_bands`: one file per band, in the order of the mapping, or errors that name the files."""

import numpy as np
import pytest
from PIL import Image

import graypipe as gp

RNG = np.random.default_rng(7)
PLANES = {band: RNG.integers(0, 4096, (21, 34), dtype=np.uint16) for band in "RGBY"}
WORDS = {"R": "red", "G": "green", "B": "blue", "Y": "yellow"}


@pytest.fixture
def files(tmp_path):
    for band, word in WORDS.items():
        Image.fromarray(PLANES[band]).save(tmp_path / f"17_{word}.png")
    return {band: tmp_path / f"17_{word}.png" for band, word in WORDS.items()}


def test_files_of_one_band_each_are_stacked(files):
    image, source = gp.read_bands(files, bits=12)
    np.testing.assert_array_equal(image, np.stack(list(PLANES.values())))
    assert (image.dtype, image.flags.c_contiguous, image.flags.writeable) == (
        np.uint16,
        True,
        True,
    )
    assert source == gp.Source("RGBY", "CHW", dtype="uint16", bits=12)


def test_the_mapping_sets_order_and_names(files):
    image, source = gp.read_bands({"nuclei": files["B"], "tubules": str(files["R"])})
    np.testing.assert_array_equal(image, np.stack([PLANES["B"], PLANES["R"]]))
    assert source.bands == ("nuclei", "tubules")
    one, alone = gp.read_bands({"DAPI": files["B"]})
    assert (one.shape, alone.bands, alone.layout) == ((1, 21, 34), ("DAPI",), "CHW")


def test_the_pattern_takes_the_word_of_each_band(files):
    pattern = files["R"].parent / "17_{}.png"
    expected = gp.read_bands(files, bits=12)
    for form in (pattern, str(pattern)):
        image, source = gp.read_bands(WORDS, pattern=form, bits=12)
        np.testing.assert_array_equal(image, expected[0])
        assert source == expected[1]
    for wrong in ("17.png", "{}_{}.png"):
        with pytest.raises(gp.ReadError, match=r"one \{\}"):
            gp.read_bands(WORDS, pattern=wrong)


def test_the_range_is_shared_or_one_per_band(files):
    assert gp.read_bands(files, range=(0, 4095))[1].range == (0.0, 4095.0)
    pairs = ((0, 4095), (10, 900), (0, 65535), (5, 6))
    assert gp.read_bands(files, range=pairs)[1].range == pairs
    with pytest.raises(gp.ChannelError, match="expected 4"):
        gp.read_bands(files, range=pairs[:2])


def test_files_that_do_not_match_are_named(files):
    other = files["G"]
    Image.fromarray(PLANES["G"][:-1]).save(other)
    with pytest.raises(
        gp.ReadError,
        match=r"17_red\.png has shape \(21, 34\).*17_green\.png has shape \(20, 34\)",
    ):
        gp.read_bands(files)
    Image.fromarray((PLANES["G"] // 16).astype(np.uint8)).save(other)
    with pytest.raises(
        gp.ReadError, match=r"17_red\.png has .*uint16.*17_green\.png has .*uint8"
    ):
        gp.read_bands(files)
    Image.fromarray(np.dstack([PLANES["G"] // 16] * 3).astype(np.uint8)).save(other)
    with pytest.raises(gp.ReadError, match=r"17_green\.png: the file has 3 bands"):
        gp.read_bands(files)
    other.unlink()
    with pytest.raises(gp.ReadError, match=r"17_green\.png"):
        gp.read_bands(files)


def test_bands_and_layout_keywords_are_refused(files):
    for keywords in ({"bands": "RGBY"}, {"layout": "HWC"}):
        with pytest.raises(
            gp.ChannelError, match=r"^(bands|layout)= is not allowed: .*the bands.*CHW"
        ):
            gp.read_bands(files, **keywords)
    for wrong in ({}, [files["R"]], {"": files["R"]}):
        with pytest.raises(gp.ChannelError):
            gp.read_bands(wrong)


def test_policies_apply_to_every_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for band in "RG":
        Image.fromarray(PLANES[band]).save(tmp_path / f"{band}.png", exif=exif)
    pattern = tmp_path / "{}.png"
    with pytest.raises(gp.ReadError, match=r"R\.png.*orientation 6"):
        gp.read_bands({"R": "R", "G": "G"}, pattern=pattern)
    image, _ = gp.read_bands({"R": "R", "G": "G"}, pattern=pattern, orientation="apply")
    np.testing.assert_array_equal(
        image, np.stack([np.rot90(PLANES[band], -1) for band in "RG"])
    )
