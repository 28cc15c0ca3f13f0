"""Recipes that look at the pixels first, because the user said so."""

import numpy as np
import pytest
import tifffile
from recipes.imagenet import assert_ready, gray

import graypipe as gp


@pytest.fixture
def rng():
    return np.random.default_rng(19)


def thermal(folder, rng, dtype, scale):
    """Write frames of about 295 K, each with a hot pixel, and return them, (N, H, W)."""
    folder.mkdir()
    kelvin = rng.normal(295, 6, (6, 24, 32))
    kelvin[:, 5, 7] = 600
    frames = (kelvin * scale).astype(dtype)
    for number, frame in enumerate(frames):
        tifffile.imwrite(folder / f"{number}.tif", frame)
    return frames


def test_percentiles_of_all_frames_are_black_and_white_of_each(
    run_recipe, tmp_path, rng
):
    frames = thermal(tmp_path / "thermal", rng, np.uint16, 100)

    names = run_recipe("Thermal images, scaled by percentiles")

    assert_ready(
        names["x"], *gray(frames[0], *np.percentile(frames, (2, 98)), clip=True)
    )
    again = gp.Plan.from_json(names["plan"].to_json())
    np.testing.assert_array_equal(again(frames[3]), names["plan"](frames[3]))


def test_percentiles_of_float32_kelvin_are_estimated(run_recipe, tmp_path, rng):
    frames = thermal(tmp_path / "thermal", rng, np.float32, 1)

    names = run_recipe("Thermal images, scaled by percentiles")

    black, white = names["plan"].source.range
    assert abs((frames < black).mean() - 0.02) < 0.002
    assert abs((frames < white).mean() - 0.98) < 0.002
    assert_ready(names["x"], *gray(frames[0], black, white, clip=True))


def eight_bands(folder, rng):
    """Write scenes that vary along eight directions, three of them strongly, and return them, (N, C, H, W)."""
    folder.mkdir()
    signal = rng.normal(size=(5, 8, 12, 16)) * np.reshape(
        [300, 200, 120, 30, 20, 12, 8, 5], (8, 1, 1)
    )
    turned = np.einsum(
        "ij,njhw->nihw", np.linalg.qr(rng.normal(size=(8, 8)))[0], signal
    )
    scenes = np.clip(np.rint(1000 + turned), 0, 2047).astype(np.uint16)
    for number, scene in enumerate(scenes):
        np.save(folder / f"{number}.npy", scene)
    return scenes


def test_eight_bands_become_whitened_components_of_all_scenes(
    run_recipe, tmp_path, rng
):
    scenes = eight_bands(tmp_path / "scenes", rng)

    names = run_recipe("Eight bands to three principal components")

    pixels = np.moveaxis(scenes, 1, 0).reshape(8, -1).astype(np.float64)
    axes, _, scores = np.linalg.svd(
        pixels - pixels.mean(axis=1, keepdims=True), full_matrices=False
    )
    signs = np.sign(
        axes[np.abs(axes).argmax(axis=0), range(8)]
    )  # the largest loading is positive
    whitened = (signs[:, None] * scores)[:3] * np.sqrt(pixels.shape[1])
    expected = np.moveaxis(whitened.reshape(3, 5, 12, 16), 1, 0)
    assert names["x"].dtype == np.float32
    np.testing.assert_allclose(names["x"], expected[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(names["plan"].batch(scenes), expected, rtol=0, atol=1e-5)


def test_an_image_is_stretched_by_its_own_percentiles(run_recipe, tmp_path, rng):
    image = rng.gamma(4, 150, (24, 32)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "cells.tif", image)

    names = run_recipe("Stretch each image individually")

    assert_ready(names["x"], *gray(image, *np.percentile(image, (2, 98)), clip=True))
    brighter = names["stretched"](image * np.uint16(4), gp.Source("gray", bits=14))
    same = gp.plan(brighter, "imagenet")(
        image * np.uint16(4)
    )  # which is what the page warns of
    np.testing.assert_allclose(same, names["x"], rtol=0, atol=1e-5)
    with pytest.raises(gp.RangeError, match="same value"):
        names["stretched"](np.full((4, 5), 7, np.uint16), gp.Source("gray"))
