"""albumentations as the oracle of Normalize on three bands, and its side of the traps."""

import albumentations as A
import numpy as np
import pytest
from imagenet import MEAN, STD

import graypipe as gp

RNG = np.random.default_rng(208)
GRAY = RNG.integers(0, 256, (31, 17), np.uint8)


def test_a_plan_equals_to_rgb_and_normalize():
    peer = A.Compose([A.ToRGB(p=1), A.Normalize(MEAN, STD)])(image=GRAY)["image"]
    x = gp.plan("gray", gp.preset("imagenet", layout="HWC"))(GRAY)
    assert x.dtype == peer.dtype
    np.testing.assert_allclose(x, peer, rtol=0, atol=4e-6)


def test_a_declared_white_level_equals_to_float():
    image = RNG.integers(0, 4096, (31, 17), np.uint16)
    peer = A.ToFloat(max_value=4095, p=1)(image=image)["image"]
    x = gp.plan(gp.Source(bits=12), gp.Target("gray", "HW"))(image)
    np.testing.assert_allclose(x, peer, rtol=0, atol=2e-7)


def test_normalize_gives_thirteen_bands_the_red_statistics():
    image = np.full((4, 5, 13), 100, np.uint8)
    peer = A.Normalize(MEAN, STD)(image=image)["image"]
    assert peer.shape == (4, 5, 13)
    np.testing.assert_allclose(peer, (100 / 255 - MEAN[0]) / STD[0], rtol=0, atol=1e-6)
    bands = tuple(f"B{i:02}" for i in range(13))
    with pytest.raises(gp.ChannelError, match=r"\(13\).*got 3"):
        gp.Target(bands, mean=MEAN, std=STD)


def test_normalize_divides_uint16_by_255():
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    rgb = np.stack([ramp] * 3, -1)
    assert A.Normalize(MEAN, STD)(image=rgb)["image"].max() > 1000
    x = gp.plan("RGB", "imagenet")(rgb)
    wanted = (rgb / 65535 - np.array(MEAN)) / np.array(STD)
    np.testing.assert_allclose(x, np.moveaxis(wanted, -1, 0), rtol=0, atol=4e-6)


def test_normalize_flattens_floats_in_0_to_1():
    rgb = RNG.random((8, 8, 3)).astype(np.float32)
    rgb[0, 0], rgb[0, 1] = 0, 1
    peer = A.Normalize(MEAN, STD)(image=rgb)["image"]
    assert np.ptp(peer[..., 0]) < 0.02
    x = gp.plan("RGB", "imagenet")(rgb)
    np.testing.assert_allclose(
        x, np.moveaxis((rgb - np.array(MEAN)) / np.array(STD), -1, 0), rtol=0, atol=4e-6
    )
    assert np.ptp(x[0]) > 4
