"""Principal components: order, sign, mean, std, and what is refused."""

from dataclasses import replace

import imagenet
import numpy as np
import pytest
from stats.data_sets import SOURCES, gather, scenes, through

import graypipe as gp
from graypipe.stats.pca import principal_components

MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)


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
    # Loadings of equal magnitude and opposite sign.
    covariance = np.array([[1, -0.5], [-0.5, 1 + noise]])
    via = principal_components(
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


def test_dependent_bands_give_fewer_components():
    images = [
        np.concatenate([image[..., :2], image[..., :1], image[..., 1:2]], -1)
        for image in scenes()
    ]
    stats = gather(gp.Source("RGBY", bits=12), images)
    with pytest.raises(
        gp.RangeError,
        match=r"at least 3 independent components of the bands 'RGBY', got 2",
    ):
        stats.pca("RGB")
    assert len(stats.pca("RG", like=gp.Target("RG")).outputs) == 2


def test_like_must_have_statistics_of_unit_intensities():
    stats = gather("RGBY", scenes())
    with pytest.raises(
        gp.RangeError, match=r"statistics of unit intensities.*got range \(0, 255\)"
    ):
        stats.pca("RGB", like="keras-caffe")
    with pytest.raises(
        gp.DTypeError, match=r"gp\.Target or the name of a preset, got int"
    ):
        stats.pca("RGB", like=3)
    with pytest.raises(gp.RangeError):
        stats.pca("RGB", like=replace(gp.preset("imagenet"), range=(0, 255)))
