"""One nodata value per band: outputs are 0 where a band that they read has no data."""

import json

import numpy as np
import oracle
import pytest
from PIL import Image

import graypipe as gp
from graypipe.cli.source_syntax import parse_source

NAN = float("nan")
BANDS = ("R", "G", "B", "depth")
COLOUR_AND_DEPTH = gp.Source(BANDS, range=(0, 255), nodata=(None, None, None, 0))
IMAGE = np.random.default_rng(3).integers(0, 3, (40, 50, 4)).astype(np.uint8)


def test_black_colours_stay_where_only_depth_has_nodata():
    plan = gp.plan(COLOUR_AND_DEPTH, gp.Target(BANDS, mean=0.5, std=0.25))
    result = plan(IMAGE)
    expected = (np.moveaxis(IMAGE, 2, 0) / 255 - 0.5) / 0.25
    expected[3][IMAGE[..., 3] == 0] = 0
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_an_output_is_zero_where_any_band_it_reads_is_nodata():
    source = gp.Source("XYZ", dtype="float32", range=(0, 1), nodata=(NAN, -1, None))
    via = {"R": {"X": 0.5, "Z": 0.5}, "G": {"X": 0.5, "Y": 0.5}, "B": "Z"}
    image = np.full((2, 3, 3), 0.5, np.float32)
    image[0, 0, 0] = NAN
    image[0, 1, 1] = -1
    result = gp.plan(source, gp.Target("RGB", mean=0.25), via)(image)
    expected = np.full((3, 2, 3), 0.25)
    expected[:2, 0, 0] = 0
    expected[1, 0, 1] = 0
    np.testing.assert_array_equal(result, expected)


def test_nan_spreads_from_a_band_without_nodata():
    source = gp.Source("XY", range=(0, 1), nodata=(NAN, None))
    image = np.full((1, 2, 2), NAN, np.float32)
    result = gp.plan(source, gp.Target("XY"))(image)
    assert (result[0] == 0).all()
    assert np.isnan(result[1]).all()


def test_integer_targets_are_zero_there_too():
    plan = gp.plan(COLOUR_AND_DEPTH, gp.Target(BANDS, "HWC", "uint8", range=(9, 255)))
    result = plan(IMAGE)
    assert (result[..., 3][IMAGE[..., 3] == 0] == 0).all()
    assert (result[..., :3] >= 9).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_and_out_equal_single_images(threads):
    plan = gp.plan(COLOUR_AND_DEPTH, gp.Target(BANDS, mean=0.5))
    images = np.stack([IMAGE, IMAGE[::-1]])
    out = np.empty((2, 4, 40, 50), np.float32)
    plan.batch(images, out=out, threads=threads)
    np.testing.assert_array_equal(out, [plan(image) for image in images])


def test_a_range_is_implied_without_the_pixels_that_are_nodata():
    source = gp.Source("XY", nodata=(-9999, None))
    image = np.full((2, 2, 2), 0.5, np.float32)
    image[0, 0, 0] = -9999
    plan = gp.plan(source, gp.Target("XY"))
    assert plan(image)[0, 0, 0] == 0
    image[0, 0, 1] = -9999
    with pytest.raises(gp.RangeError, match="-9999"):
        plan(image)


def test_sources_keep_the_values_and_distinguish_them_from_one_value():
    source = gp.Source("RGB", range=(0, 1), nodata=[None, NAN, 0])
    assert source.nodata[0] is None
    assert source == gp.Source("RGB", range=(0, 1), nodata=(None, NAN, 0))
    assert hash(source) == hash(gp.Source("RGB", range=(0, 1), nodata=(None, NAN, 0)))
    assert gp.Source("RGB", nodata=(0, 0, 0)) != gp.Source("RGB", nodata=0)
    assert gp.Source("RGB", nodata=(None, None, None)) == gp.Source("RGB")
    assert gp.Source("gray", nodata=(0,)) == gp.Source("gray", nodata=0)


def test_json_holds_one_value_per_band():
    source = gp.Source("RGB", range=(0, 1), nodata=(None, NAN, 0))
    plan = gp.plan(source, "imagenet")
    assert json.loads(plan.to_json())["source"]["nodata"] == [None, "nan", 0.0]
    assert gp.Plan.from_json(plan.to_json()) == plan
    assert plan.fingerprint != gp.plan(gp.Source("RGB", range=(0, 1)), "imagenet")


@pytest.mark.parametrize(
    ("nodata", "message"),
    [
        ((0, None), "expected nodata to be one value, or 3 values"),
        ((0, "x", 1), "nodata"),
        ((0, float("inf"), 1), "nodata"),
        (((0, 1), 0, 0), "nodata"),
    ],
)
def test_wrong_values_are_refused(nodata, message):
    with pytest.raises(gp.GraypipeError, match=message):
        gp.Source("RGB", range=(0, 1), nodata=nodata)


def test_a_value_that_the_dtype_cannot_hold_is_refused():
    with pytest.raises(gp.RangeError, match="nodata value of -1"):
        gp.Source("RG", dtype="uint8", nodata=(None, -1))


def test_views_and_folds_are_refused():
    plan = gp.plan(COLOUR_AND_DEPTH, gp.Target(BANDS, "HWC", "uint8", range=(0, 255)))
    with pytest.raises(gp.CopyRequiredError, match="nodata"):
        plan.view(IMAGE)


def test_explain_lists_the_bands_with_nodata():
    plan = gp.plan(COLOUR_AND_DEPTH, gp.Target(BANDS))
    assert "(nodata: depth 0)" in plan.explain()


def test_invert_takes_the_plan():
    plan = gp.plan(COLOUR_AND_DEPTH, gp.Target(BANDS, "HWC"))
    np.testing.assert_array_equal(plan.invert(plan(IMAGE), dtype="uint8"), IMAGE)


def test_statistics_leave_out_incomplete_pixels():
    stats = gp.BandStats(COLOUR_AND_DEPTH)
    stats.update(IMAGE)
    complete = IMAGE[IMAGE[..., 3] != 0].astype(float)
    np.testing.assert_allclose(stats.mean, complete.mean(axis=0))
    assert gp.BandStats.from_json(stats.to_json()) == stats


def test_the_command_line_takes_one_value_per_band():
    source = parse_source("R,G,B,depth:0..255:nodata=none,none,none,0")
    assert source == COLOUR_AND_DEPTH


def test_each_file_of_a_band_has_its_own_nodata(tmp_path):
    for band, pixels in zip("XY", np.moveaxis(IMAGE[..., :2], 2, 0), strict=True):
        Image.fromarray(pixels).save(tmp_path / f"{band}.pgm")
    files = {band: tmp_path / f"{band}.pgm" for band in "XY"}
    image, source = gp.read_bands(files, nodata=(None, 0))
    assert source.nodata == (None, 0)
    result = gp.plan(source, gp.Target("XY", mean=0.5))(image)
    y, scale = oracle.plan(
        image,
        layout="CHW",
        out_layout="CHW",
        ranges=[(0, 255)] * 2,
        via=np.eye(2),
        mean=0.5,
        std=1,
        nodata=(None, 0),
    )
    oracle.assert_matches(result, y, scale)
    with pytest.raises(gp.ChannelError, match="2 values"):
        gp.read_bands(files, nodata=(None, 0, 0))


def test_selected_bands_keep_their_nodata(tmp_path):
    np.save(tmp_path / "image.npy", IMAGE)
    _, source = gp.read(
        tmp_path / "image.npy",
        layout="HWC",
        bands=BANDS,
        nodata=(1, None, None, 0),
        select=("depth", "R"),
    )
    assert source.nodata == (0, 1)
