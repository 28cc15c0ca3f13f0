"""What is fitted: windows, normalisation and principal components do to the images what they say."""

from dataclasses import replace

import imagenet
import numpy as np
import pytest

import graypipe as gp
from graypipe.stats.pca import components

RNG = np.random.default_rng(90)
MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)
OCEAN = ("B01", "B02", "B03", "B04", "B05")


def scenes(bands=4, dtype=np.uint16, top=4096, count=4):
    """Return images (H, W, bands) of correlated bands."""
    base = RNG.integers(0, top, (count, 20, 30, bands))
    mixed = base @ RNG.uniform(0, 1, (bands, bands)) / bands
    return list(mixed.astype(dtype))


def gather(source, images):
    stats = gp.BandStats(source)
    for image in images:
        stats.update(image)
    return stats


def through(plan, images, keep=None):
    """Return what the plan makes of all pixels, (pixels, bands)."""
    y = np.stack([plan(image) for image in images]).reshape(-1, len(plan.target.bands))
    return y if keep is None else y[keep]


SOURCES = {
    "declared bits": gp.Source("RGBY", bits=12),
    "implied by uint16": gp.Source("RGBY"),
    "per band, one reversed": gp.Source(
        "RGBY", range=((0, 4095), (3000, 10), (5, 2000), (0.5, 1999.25))
    ),
    "clipped": gp.Source(
        "RGBY",
        range=((500, 1200), (1500, 700.25), (600.5, 1100), (0, 65535)),
        clip=True,
    ),
    "clipped, nodata": gp.Source("RGBY", range=(700.1, 1500.7), clip=True, nodata=900),
    "nodata": gp.Source("RGBY", bits=12, nodata=900),
}


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


@pytest.mark.parametrize("name", SOURCES)
def test_components_have_mean_0_std_1_and_no_correlation(name):
    source, images = SOURCES[name], scenes()
    keep = np.concatenate(
        [(image != source.nodata).all(-1).ravel() for image in images]
    )
    via = gather(source, images).pca("RGB", like="imagenet")
    y = through(
        gp.plan(source, gp.preset("imagenet", layout="HWC", dtype="float64"), via),
        images,
        keep,
    )
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(np.cov(y.T, ddof=0), np.eye(3), atol=1e-9)
    unit = through(
        gp.plan(source, gp.Target("RGB", "HWC", "float64"), via), images, keep
    )
    np.testing.assert_allclose(unit.mean(0), MEAN, atol=1e-9)
    np.testing.assert_allclose(unit.std(0), STD, atol=1e-9)


def test_components_equal_a_singular_value_decomposition():
    images = scenes()
    via = gather(gp.Source("RGBY", bits=12), images).pca("RGB", like=gp.Target("RGB"))
    unit = np.stack(images).reshape(-1, 4) / 4095
    centred = unit - unit.mean(0)
    _, sizes, rows = np.linalg.svd(centred, full_matrices=False)
    for i, row in enumerate(via.matrix):
        expected = rows[i] / sizes[i] * np.sqrt(len(unit))
        expected *= np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(row, expected, rtol=1e-8)
    np.testing.assert_allclose(
        via.offset, -np.array(via.matrix) @ unit.mean(0), rtol=1e-8
    )


@pytest.mark.parametrize("noise", [-1e-12, 0, 1e-12])
def test_the_sign_of_a_component_does_not_depend_on_rounding(noise):
    covariance = np.array(
        [[1, -0.5], [-0.5, 1 + noise]]
    )  # loadings of equal size and opposite sign
    via = components(
        np.zeros(2),
        covariance,
        inputs=("R", "G"),
        outputs="R",
        like=gp.Target("R", "HWC"),
    )
    np.testing.assert_allclose(
        via.matrix, [[1 / np.sqrt(3), -1 / np.sqrt(3)]], rtol=1e-9
    )


def test_components_take_the_statistics_of_like_by_name():
    images = scenes()
    stats = gather(gp.Source("RGBY", bits=12), images)
    flipped = stats.pca("BGR", like="imagenet")
    unit = through(
        gp.plan(stats.source, gp.Target("BGR", "HWC", "float64"), flipped), images
    )
    np.testing.assert_allclose(unit.mean(0), MEAN[::-1], atol=1e-9)
    assert stats.pca("BGR", like=gp.preset("imagenet")) == flipped
    assert stats.pca() == stats.pca("RGB", like="imagenet")


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
    with pytest.raises(gp.RangeError, match="uint8 holds 0 to 255"):
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
            match=r"bands 'G', 'Y': one value everywhere, so std is 0: leave",
        ):
            query()
    with pytest.raises(
        gp.RangeError, match=r"percentiles 2 and 98 are one value in bands 'G', 'Y'"
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
        gp.RangeError, match=r"band 'G': one value everywhere once clipped"
    ):
        stats.normalization()


def test_statistics_of_other_bands_are_not_mixed():
    stats, other = gp.BandStats("RGBY"), gather("YBGR", scenes())
    with pytest.raises(gp.ChannelError, match="of one source merge"):
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
    with pytest.raises(gp.ChannelError, match="mean holds one number per band"):
        gp.Target("RGB", mean=mean, std=std)
    with pytest.raises(
        gp.ChannelError, match=r"'RG' has 2 principal components, got 3 outputs 'RGB'"
    ):
        gather("RG", scenes(2)).pca("RGB")


def test_dependent_bands_give_fewer_components():
    images = [
        np.concatenate([image[..., :2], image[..., :1], image[..., 1:2]], -1)
        for image in scenes()
    ]
    stats = gather(gp.Source("RGBY", bits=12), images)
    with pytest.raises(
        gp.RangeError, match=r"'RGBY' vary in 2 independent ways, expected at least 3"
    ):
        stats.pca("RGB")
    assert len(stats.pca("RG", like=gp.Target("RG")).outputs) == 2


def test_like_must_have_statistics_of_unit_intensities():
    stats = gather("RGBY", scenes())
    with pytest.raises(
        gp.RangeError, match=r"values from 0 to 255, expected those of unit intensities"
    ):
        stats.pca("RGB", like="keras-caffe")
    with pytest.raises(
        gp.DTypeError, match=r"gp\.Target or the name of a preset, got int"
    ):
        stats.pca("RGB", like=3)
    with pytest.raises(gp.RangeError):
        stats.pca("RGB", like=replace(gp.preset("imagenet"), range=(0, 255)))


def test_a_narrow_range_far_from_zero_keeps_its_digits():
    image = RNG.integers(60000, 60011, (50, 60), dtype=np.uint16)
    stats = gather(gp.Source(range=(60000, 60010)), [image])
    unit = (image.astype(np.float64) - 60000) / 10
    np.testing.assert_allclose(
        stats.normalization(), [[unit.mean()], [unit.std()]], rtol=1e-11
    )
