"""BandStats: updates, merges, windows and normalizations, and what is refused."""

import io
import sys
from operator import attrgetter

import numpy as np
import pytest
from stats.data_sets import SOURCES, gather, scenes, through

import graypipe as gp

RNG = np.random.default_rng(90)


def test_merging_leaves_the_other_statistics_as_they_are():
    image = RNG.integers(0, 256, (5, 6), dtype=np.uint8)
    first, second = gp.BandStats("gray"), gather("gray", [image])
    before = second.to_json()
    first.merge(second)
    assert first == second
    first.update(image)
    assert second.to_json() == before


def test_images_without_a_single_pixel_of_data_change_nothing():
    empty, full = (
        np.zeros((4, 5), np.uint8),
        RNG.integers(1, 255, (4, 5), dtype=np.uint8),
    )
    source = gp.Source(nodata=0)
    stats = gather(source, [empty, np.zeros((0, 5), np.uint8)])
    assert stats.count == 0
    assert gp.BandStats.from_json(stats.to_json()) == stats != gp.BandStats(source)
    with pytest.raises(
        gp.RangeError,
        match=r"no valid pixels.*every pixel so far is nodata in a band.*update",
    ):
        _ = stats.mean
    stats.update(full)
    assert stats == gather(source, [full])


def test_empty_images_have_no_statistics():
    stats = gather("gray", [np.zeros((0, 5), np.uint8)])
    assert stats.count == 0
    with pytest.raises(gp.RangeError, match="all images so far are empty: call update"):
        _ = stats.mean


QUERIES = {
    **{
        name: attrgetter(name)
        for name in ("mean", "std", "min", "max", "covariance", "constant")
    },
    "percentile": lambda stats: stats.percentile(50),
    "window": lambda stats: stats.window(2, 98),
    "normalization": lambda stats: stats.normalization(),
    "pca": lambda stats: stats.pca(),
}


@pytest.mark.parametrize("query", QUERIES)
def test_queries_without_pixels_are_an_error_and_never_nan(query):
    with pytest.raises(gp.RangeError, match="no images have been added: call update"):
        QUERIES[query](gp.BandStats("RGB"))


def test_update_refuses_other_images_and_adds_nothing():
    stats = gather("RGB", [RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)])
    before = stats.to_json()
    for image, error, message in (
        (np.zeros((4, 5, 4), np.uint8), gp.ChannelError, "3 bands.*C=4"),
        (np.zeros((4, 5), np.uint8), gp.LayoutError, "'HWC', 3 bands"),
        (np.zeros((4, 5, 3), np.uint16), gp.DTypeError, "so far are uint8, got uint16"),
        (np.zeros((4, 5, 3), complex), gp.DTypeError, "complex128"),
        ([[[1, 2, 3]]], gp.DTypeError, "expected a NumPy array"),
        (np.ma.masked_equal(np.zeros((4, 5, 3), np.uint8), 0), gp.DTypeError, "masked"),
    ):
        with pytest.raises(error, match=message):
            stats.update(image)
    assert stats.to_json() == before


def test_a_refused_first_image_does_not_fix_the_dtype():
    stats = gp.BandStats(gp.Source(bits=12))
    with pytest.raises(gp.RangeError, match="uint8 can only represent 0 to 255"):
        stats.update(np.zeros((2, 2), np.uint8))
    stats.update(np.zeros((2, 2), np.uint16))
    assert stats.dtype == "uint16"


def test_statistics_of_another_source_or_dtype_do_not_merge():
    stats = gather("RGB", [np.zeros((2, 2, 3), np.uint8)])
    with pytest.raises(
        gp.ChannelError,
        match=r"of the same source, .*'R', 'G', 'B'.*got.*'B', 'G'",
    ):
        stats.merge(gp.BandStats("BGR"))
    with pytest.raises(gp.DTypeError, match="so far are uint8, got int16"):
        stats.merge(gather("RGB", [np.zeros((2, 2, 3), np.int16)]))
    with pytest.raises(gp.DTypeError, match=r"gp\.BandStats, got dict"):
        stats.merge({})
    stats.merge(gp.BandStats("RGB"))
    assert stats.count == 4


def test_repr_shows_dtype_pixels_and_constant_bands():
    assert repr(gp.BandStats("RGB")) == "BandStats('RGB', no images)"
    image = RNG.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    image[..., 1] = 7
    assert (
        repr(gather("RGB", [image]))
        == "BandStats('RGB', uint8, 2,000 pixels, constant: ('G',))"
    )


def test_statistics_are_mutable_and_not_hashable():
    with pytest.raises(TypeError, match="unhashable"):
        hash(gp.BandStats("gray"))
    assert gp.BandStats("gray") != "gray"


@pytest.mark.parametrize("dtype", ["float16", "float32", "int32", "uint64"])
def test_only_percentiles_need_the_extra_io(dtype, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastdigest", None)
    image = np.array([[0, 2], [4, 6]], dtype)
    stats = gather(gp.Source("gray", range=(0, 8)), [image, image])
    assert (stats.count, stats.mean, stats.min, stats.max) == (8, 3, 0, 6)
    assert stats.std == np.sqrt(5)
    assert stats.normalization() == ((3 / 8,), (np.sqrt(5) / 8,))
    for use in (
        lambda: stats.percentile(50),
        lambda: stats.window(2, 98),
        lambda: gp.BandStats.from_json(stats.to_json()).percentile([1, 2]),
    ):
        with pytest.raises(
            gp.MissingExtraError,
            match=r'need fastdigest.*pip install "graypipe\[io\]"',
        ):
            use()


def saved(folder, name, array):
    """Save an array as .npy, which the core reads, and return the path."""
    np.save(folder / name, array)
    return folder / f"{name}.npy"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16"])
def test_files_and_their_arrays_give_the_same_statistics(tmp_path, dtype):
    image = RNG.integers(0, 200, (4, 6, 5)).astype(dtype)
    path = saved(tmp_path, "scene", image)
    source = gp.Source("RGBY", "CHW", nodata=7)
    expected = gather(source, [image] * 5)
    with path.open("rb") as file:
        content = path.read_bytes()
        files = [path, str(path), content, file, io.BytesIO(content)]
        assert gather(source, files) == expected


def test_a_file_is_read_with_the_fields_of_the_source(tmp_path):
    """Without layout="CHW", the axes of an array on disk would be H, W and C."""
    path = saved(tmp_path, "scene", np.zeros((2, 6, 5), np.uint16))
    assert gather(gp.Source("RG", "CHW", bits=12), [path]).count == 30
    with pytest.raises(gp.ChannelError, match=r"scene\.npy: .*2 bands"):
        gp.BandStats("RG").update(path)
    with pytest.raises(gp.DTypeError, match=r"scene\.npy: .*declares dtype uint8"):
        gp.BandStats(gp.Source("RG", "CHW", dtype="uint8")).update(path)


def test_options_of_reading_are_for_files(tmp_path):
    path = tmp_path / "stack.npz"
    np.savez(path, first=np.zeros((2, 3), np.uint8), second=np.ones((2, 3), np.uint8))
    stats = gp.BandStats("gray")
    stats.update(path, frame="second")
    assert (stats.count, stats.mean) == (6, 1)
    with pytest.raises(gp.ReadError, match="stack"):
        stats.update(path)
    with pytest.raises(gp.DTypeError, match="how a file is read, but got ndarray"):
        stats.update(np.zeros((2, 3), np.uint8), frame=0)


def test_a_refused_pixel_of_a_file_names_the_file(tmp_path):
    path = saved(tmp_path, "holes", np.full((2, 2), np.nan, np.float32))
    with pytest.raises(gp.RangeError, match=r"holes\.npy: cannot compute"):
        gp.BandStats("gray").update(path)
    with pytest.raises(gp.ReadError, match="absent"):
        gp.BandStats("gray").update(tmp_path / "absent.png")


OCEAN = ("B01", "B02", "B03", "B04", "B05")


@pytest.mark.parametrize("name", SOURCES)
def test_a_plan_with_the_normalization_gives_mean_0_and_std_1(name):
    source, images = SOURCES[name], scenes()
    mean, std = gather(source, images).normalization()
    keep = np.concatenate(
        [(image != source.nodata).all(-1).ravel() for image in images]
    )
    assert keep.all() == (source.nodata is None)
    plan = gp.plan(source, gp.Target("RGBY", "HWC", "float64", mean=mean, std=std))
    y = through(plan, images, keep)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(y.std(0), 1, rtol=1e-12)


@pytest.mark.parametrize("bands", [1, 3])
def test_a_window_is_a_range_that_a_source_takes(bands):
    images = scenes(bands)
    images = [image[..., 0] for image in images] if bands == 1 else images
    source = gp.Source("gray" if bands == 1 else "RGB")
    window = gather(source, images).window(2, 98)
    expected = np.percentile(np.stack(images).reshape(-1, bands), (2, 98), axis=0)
    np.testing.assert_allclose(
        np.array(window).reshape(bands, 2), expected.T, rtol=1e-12
    )
    assert gp.Source(source.bands, range=window, clip=True).range == window


def test_a_window_of_a_reversed_range_stays_reversed():
    image = np.arange(101, dtype=np.uint8).reshape(1, 101)
    assert gather(gp.Source(), [image]).window(10, 90) == (10, 90)
    assert gather(gp.Source(range=(255, 0)), [image]).window(10, 90) == (90, 10)


@pytest.mark.parametrize(
    "percentiles", [(98, 2), (5, 5), (-1, 50), (0, 101), (float("nan"), 5), ("2", 98)]
)
def test_windows_of_invalid_percentiles_are_refused(percentiles):
    stats = gather("gray", [np.arange(10, dtype=np.uint8).reshape(2, 5)])
    with pytest.raises(gp.RangeError, match="percentile"):
        stats.window(*percentiles)


def test_only_unit_intensities_are_clipped():
    image = np.array([[0, 100, 200, 255]], np.uint8)
    stats = gather(gp.Source(range=(100, 200), clip=True), [image])
    assert (stats.min, stats.max, stats.mean) == (0, 255, 138.75)
    np.testing.assert_allclose(stats.normalization(), [[0.5], [0.5]], rtol=1e-15)


def test_an_unknown_range_is_an_error_where_it_is_needed():
    image = RNG.integers(-100, 100, (5, 6), dtype=np.int16)
    stats = gather("gray", [image])
    np.testing.assert_allclose(stats.mean, image.mean())
    assert stats.window(0, 100) == (image.min(), image.max())
    for query in (
        stats.normalization,
        lambda: stats.pca("R", like=gp.Target("R", "HWC")),
    ):
        with pytest.raises(
            gp.RangeError,
            match=r"int16 does not imply a black and a white level: declare range=",
        ):
            query()
    with pytest.raises(
        gp.RangeError, match="int16 does not imply a black and a white level"
    ):
        gp.BandStats(gp.Source(clip=True)).update(image)


def test_statistics_stay_with_their_bands():
    images = scenes(5)
    stats = gather(gp.Source(OCEAN, bits=12), images)
    mean, std = stats.normalization()
    shuffled = (3, 1, 4, 0, 2)
    names = tuple(OCEAN[i] for i in shuffled)
    target = gp.Target(
        names,
        "HWC",
        "float64",
        mean=[mean[i] for i in shuffled],
        std=[std[i] for i in shuffled],
    )
    y = through(gp.plan(stats.source, target), images)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-12)
    assert stats.pca().inputs == OCEAN


def test_nodata_becomes_the_mean_of_the_data_set():
    images = scenes()
    source = gp.Source("RGBY", bits=12, nodata=900)
    mean, std = gather(source, images).normalization()
    images[0][3, 4, 1] = 900
    y = gp.plan(source, gp.Target("RGBY", "HWC", mean=mean, std=std))(images[0])
    assert (y[3, 4] == 0).all()


def test_uint16_is_never_scaled_by_255():
    images = scenes()
    mean, _ = gather("RGBY", images).normalization()
    np.testing.assert_allclose(
        mean, (np.stack(images) / 65535).reshape(-1, 4).mean(0), rtol=1e-9
    )
    assert max(mean) < 1
    with pytest.raises(gp.DTypeError, match="declares dtype uint8, got uint16"):
        gp.BandStats(gp.Source("RGBY", dtype="uint8")).update(images[0])
    with pytest.raises(gp.RangeError, match="uint8 can only represent 0 to 255"):
        gp.BandStats(gp.Source("RGBY", range=(0, 65535))).update(
            images[0].astype(np.uint8)
        )


def test_12_bits_in_uint16_use_the_declared_range():
    images = scenes()
    stats = gather(gp.Source("RGBY", bits=12), images)
    unit = np.stack(images).reshape(-1, 4) / 4095
    np.testing.assert_allclose(
        stats.normalization(), [unit.mean(0), unit.std(0)], rtol=1e-9
    )
    assert stats.max.max() <= 4095


def test_constant_bands_are_named_and_never_divide_by_0():
    images = scenes()
    for image in images:
        image[..., 1] = 77
        image[..., 3] = 78
    stats = gather(gp.Source("RGBY", bits=12), images)
    assert stats.constant == ("G", "Y")
    assert (stats.std[[1, 3]] == 0).all()
    for query in (stats.normalization, stats.pca):
        with pytest.raises(
            gp.RangeError,
            match=r"all pixels have the same value in bands 'G', 'Y', so std is 0: remove",
        ):
            query()
    with pytest.raises(
        gp.RangeError,
        match=r"percentiles 2 and 98 have the same value in bands 'G', 'Y'",
    ):
        stats.window(2, 98)


def test_a_band_that_clipping_makes_constant_is_named():
    images = [image + np.uint16(100) for image in scenes()]
    source = gp.Source(
        "RGBY", range=((0, 4095), (0, 50), (0, 4095), (0, 4095)), clip=True
    )
    stats = gather(source, images)
    assert stats.constant == ()
    with pytest.raises(
        gp.RangeError,
        match=r"all pixels after clipping have the same value in band 'G'",
    ):
        stats.normalization()


def test_statistics_of_other_bands_are_not_mixed():
    stats, other = gp.BandStats("RGBY"), gather("YBGR", scenes())
    with pytest.raises(gp.ChannelError, match="statistics of the same source"):
        stats.merge(other)
    with pytest.raises(gp.ChannelError, match="none for 'Y'"):
        other.pca("RGY", like="imagenet")
    with pytest.raises(
        gp.ChannelError, match=r"statistics of 'RGB', but the outputs are 'BGY'"
    ):
        other.pca("BGY", like=gp.preset("imagenet"))


def test_statistics_are_not_stretched_over_more_bands():
    stats = gather("RGBY", scenes())
    mean, std = stats.normalization()
    with pytest.raises(
        gp.ChannelError, match="mean to be a number, or one number per band"
    ):
        gp.Target("RGB", mean=mean, std=std)
    with pytest.raises(
        gp.ChannelError, match=r"at most 2 outputs for the bands 'RG', got 3, 'RGB'"
    ):
        gather("RG", scenes(2)).pca("RGB")


def test_a_narrow_range_far_from_zero_keeps_its_digits():
    image = RNG.integers(60000, 60011, (50, 60), dtype=np.uint16)
    stats = gather(gp.Source(range=(60000, 60010)), [image])
    unit = (image.astype(np.float64) - 60000) / 10
    np.testing.assert_allclose(
        stats.normalization(), [[unit.mean()], [unit.std()]], rtol=1e-11
    )
