"""Situations in which a plausible wrong tensor would come out: an error with the cure."""

import io

import numpy as np
import pytest

import graypipe as gp

RNG = np.random.default_rng(8)
FRACTIONS = RNG.uniform(0, 1, (20, 30)).astype(np.float32)
DIVIDED = "an earlier step has already divided"
THIRTEEN = tuple(f"B{number:02}" for number in range(1, 14))


def saved(array):
    """Return ``array`` as the content of an .npy file."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


# A file whose pixels were divided before it was written


def test_a_divided_file_is_refused_when_it_is_read():
    with pytest.raises(gp.RangeError, match=DIVIDED):
        gp.read(saved(FRACTIONS), bits=12)
    with pytest.raises(gp.RangeError, match=DIVIDED):
        gp.read(saved(FRACTIONS), range=(-1000, 3000))
    stored = np.round(FRACTIONS * 4095)
    image, source = gp.read(saved(stored), bits=12)
    expected = stored.astype(np.float64) / 4095
    np.testing.assert_allclose(gp.plan(source, "unit")(image)[0], expected, atol=1e-6)


def test_each_cure_for_a_divided_file_works():
    image, source = gp.read(saved(FRACTIONS), range=(0, 1))
    np.testing.assert_array_equal(gp.plan(source, "unit")(image)[0], FRACTIONS)
    image, source = gp.read(saved(FRACTIONS), range=(0, 4), dtype=np.float32)
    np.testing.assert_array_equal(gp.plan(source, "unit")(image)[0], FRACTIONS / 4)


def test_divided_images_of_a_stack_are_refused_one_by_one():
    stack = np.stack([np.round(FRACTIONS * 4095), np.zeros_like(FRACTIONS)])
    gp.read(saved(stack), layout="NHW", bands="gray", bits=12)
    stack[1] = FRACTIONS
    with pytest.raises(gp.RangeError, match=DIVIDED):
        gp.read(saved(stack), layout="NHW", bands="gray", bits=12)
    gp.read(saved(stack), layout="DHW", bands="gray", bits=12)


def test_nodata_of_a_divided_file_are_no_stored_values():
    holes = np.where(FRACTIONS < 0.2, np.float32(-9999), FRACTIONS)
    with pytest.raises(gp.RangeError, match=DIVIDED):
        gp.read(saved(holes), bits=12, nodata=-9999)
    both = np.stack([holes, FRACTIONS], -1)
    with pytest.raises(gp.RangeError, match=DIVIDED):
        gp.read(saved(both), bands="RG", layout="HWC", bits=12, nodata=(-9999, None))


def test_statistics_of_divided_images_are_refused():
    stats = gp.BandStats(gp.Source("gray", bits=12))
    for image in (FRACTIONS, saved(FRACTIONS)):
        with pytest.raises(gp.RangeError, match=DIVIDED):
            stats.update(image)
    stats.update(np.round(FRACTIONS * 4095))
    stats.update(np.zeros_like(FRACTIONS))
    stats.update(saved(np.round(FRACTIONS * 4095)))
    assert stats.count == 3 * FRACTIONS.size
    trusted = gp.BandStats(gp.Source("gray", range=(0, 4), dtype="float32"))
    trusted.update(FRACTIONS)
    np.testing.assert_allclose(trusted.mean, FRACTIONS.mean(), rtol=1e-6)


def test_only_selected_bands_of_a_file_are_tested():
    two = np.stack([FRACTIONS, np.round(FRACTIONS * 4095)], -1)
    options = {"bands": "RG", "layout": "HWC", "bits": 12}
    gp.read(saved(two), **options)
    gp.read(saved(two), select="G", **options)
    with pytest.raises(gp.RangeError, match=DIVIDED):
        gp.read(saved(two), select="R", **options)


# Bands that are taken for others


def test_thirteen_consecutive_names_are_not_mapped_by_position():
    with pytest.raises(gp.ChannelError) as caught:
        gp.plan(THIRTEEN, "imagenet")
    assert "specify the input of each output band" in str(caught.value)
    with pytest.raises(gp.ChannelError, match="declare the bands of the image"):
        gp.read(saved(np.zeros((13, 4, 5), np.uint16)), layout="CHW", bands="RGB")


def test_the_first_cure_for_a_trailing_axis_keeps_one_image():
    image = RNG.integers(0, 256, (40, 50, 1), np.uint8)
    with pytest.raises(gp.LayoutError) as caught:
        gp.plan("gray", "imagenet")(image)
    message = str(caught.value)
    assert message.index("layout='HWC'") < message.index("NHW")
    converted = gp.plan(gp.Source("gray", layout="HWC"), "imagenet")(image)
    np.testing.assert_array_equal(converted, gp.plan("gray", "imagenet")(image[..., 0]))
