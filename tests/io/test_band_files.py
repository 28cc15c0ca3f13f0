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
            gp.ChannelError, match=r"^(bands|layout)= is not allowed.*the bands"
        ):
            gp.read_bands(files, **keywords)
    for wrong in ({}, [files["R"]], {"": files["R"]}, iter([files["R"]]), 17):
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


def save_planes(folder, names):
    """Save the planes in turn, under names that contain no band of ``PLANES``."""
    folder.mkdir(exist_ok=True)
    stored = {}
    for number, name in enumerate(names):
        plane = list(PLANES.values())[number % 4] + np.uint16(number)
        Image.fromarray(plane).save(folder / f"17_{name}.png")
        stored[name] = plane
    return stored


@pytest.mark.parametrize("form", [str, lambda path: path])
def test_a_star_stands_for_the_name_of_the_band(files, form):
    image, source = gp.read_bands(form(files["R"].parent / "17_*.png"), bits=12)
    assert source.bands == ("blue", "green", "red", "yellow")
    np.testing.assert_array_equal(image, [PLANES[band] for band in "BGRY"])
    assert (source.bits, source.layout) == (12, "CHW")


def test_numbers_in_names_are_sorted_by_value(tmp_path):
    names = ["B10", "B2", "B1", "B8A", "B08", "nir", "2", "10"]
    stored = save_planes(tmp_path, names)
    image, source = gp.read_bands(tmp_path / "17_*.png")
    assert source.bands == ("2", "10", "B1", "B2", "B08", "B8A", "B10", "nir")
    np.testing.assert_array_equal(image, [stored[name] for name in source.bands])


def test_bands_select_and_order_what_a_star_matches(files):
    path = files["R"].parent / "17_*.png"
    image, source = gp.read_bands(path, bands=("yellow", "red"))
    assert source.bands == ("yellow", "red")
    np.testing.assert_array_equal(image, [PLANES["Y"], PLANES["R"]])


def test_names_are_never_given_to_matches_by_position(files):
    path = files["R"].parent / "17_*.png"
    with pytest.raises(gp.ChannelError, match=r"bands= names 'RGBY', but.*'blue'") as e:
        gp.read_bands(path, bands="RGBY")
    assert 'gp.read_bands({"R": "<one of these>", ...}, pattern=' in str(e.value)
    with pytest.raises(gp.ChannelError, match=r"\('nir',\)"):
        gp.read_bands(path, bands=("red", "nir"))


def test_only_the_star_is_special_in_a_path(tmp_path):
    stored = save_planes(tmp_path / "scan [1]?", ["B", "A"])
    image, source = gp.read_bands(tmp_path / "scan [1]?" / "17_*.png")
    assert source.bands == ("A", "B")
    np.testing.assert_array_equal(image, [stored["A"], stored["B"]])


@pytest.mark.parametrize(
    "path", ["17_*_*.png", "**/17.png", "17_red.png", "RGBY", "17_{}.png", "s3://b/*"]
)
def test_a_path_without_exactly_one_star_is_refused(files, path, monkeypatch):
    monkeypatch.chdir(files["R"].parent)
    with pytest.raises(gp.ReadError, match=r'one "\*".*pattern=.*mapping.*gp\.read'):
        gp.read_bands(path)


def test_a_star_that_matches_nothing_is_an_error(files):
    with pytest.raises(gp.ReadError, match=r"no file matches .*17_\*\.tif"):
        gp.read_bands(files["R"].parent / "17_*.tif")


def test_a_list_of_files_needs_their_bands(files):
    paths = [files["Y"], str(files["B"])]
    image, source = gp.read_bands(paths, bands="YB", bits=12)
    assert source.bands == ("Y", "B")
    np.testing.assert_array_equal(image, [PLANES["Y"], PLANES["B"]])
    assert gp.read_bands(tuple(paths), bands=("a", "b"))[1].bands == ("a", "b")
    with pytest.raises(gp.ChannelError, match=r"list of 2 files.*add bands="):
        gp.read_bands(paths)
    with pytest.raises(gp.ChannelError, match="2 files and 3 bands, 'RGB'"):
        gp.read_bands(paths, bands="RGB")


def test_bands_that_contradict_the_file_names_are_refused(files):
    paths = [files["B"], files["G"], files["R"]]  # as sorted by their names
    with pytest.raises(
        gp.ChannelError,
        match=r"17_blue\.png' is 'red', but only.*17_red\.png' contains",
    ):
        gp.read_bands(paths, bands=("red", "green", "blue"))
    assert gp.read_bands(paths[::-1], bands=("red", "green", "blue"))[1].layout == "CHW"
    mapping = dict(zip(("red", "green", "blue"), paths, strict=True))
    image, _ = gp.read_bands(mapping)  # a mapping is explicit
    np.testing.assert_array_equal(image[0], PLANES["B"])


def test_band_names_fill_a_pattern(tmp_path):
    stored = save_planes(tmp_path, "RGBY")
    image, source = gp.read_bands("YRG", pattern=tmp_path / "17_{}.png")
    assert source.bands == ("Y", "R", "G")
    np.testing.assert_array_equal(image, [stored[band] for band in "YRG"])
    image, source = gp.read_bands(
        ("Y", "R"), bands="AB", pattern=tmp_path / "17_{}.png"
    )
    assert source.bands == ("A", "B")
    np.testing.assert_array_equal(image, [stored["Y"], stored["R"]])
    with pytest.raises(gp.ChannelError, match="2 files and 3 bands"):
        gp.read_bands("YR", bands="RGB", pattern=tmp_path / "17_{}.png")


def test_messages_of_many_files_stay_short(tmp_path):
    save_planes(tmp_path, [f"{number}" for number in range(300)])
    with pytest.raises(gp.ChannelError, match="and 294 more") as e:
        gp.read_bands(tmp_path / "17_*.png", bands="RGBY")
    assert len(str(e.value)) < 600
