"""Presets of models for other bands: each against the formula of its library, with numbers written out."""

import numpy as np
import pytest
import sentinel2

import graypipe as gp
from graypipe.preset_definitions import PRESETS

S2_L1C = list(sentinel2.L1C)
S2_L2A = [band for band in S2_L1C if band != "B10"]
PRITHVI = ["BLUE", "GREEN", "RED", "NIR_NARROW", "SWIR_1", "SWIR_2"]

# Name: bands, range of the stored values, and subtracted and divided by
STORED = {
    "prithvi-eo-1": (
        PRITHVI,
        (0, 10000),
        [775, 1081, 1229, 2497, 2204, 1611],
        [1282, 1270, 1399, 1368, 1292, 1155],
    ),
    "prithvi-eo-2": (
        PRITHVI,
        (0, 10000),
        [1087, 1342, 1433, 2734, 1958, 1363],
        [2248, 2179, 2178, 1850, 1242, 1049],
    ),
    "terramind-1-s2l2a": (
        S2_L2A,
        (0, 10000),
        [
            1390.458,
            1503.317,
            1718.197,
            1853.91,
            2199.1,
            2779.975,
            2987.011,
            3083.234,
            3132.22,
            3162.988,
            2424.884,
            1857.648,
        ],
        [
            2106.761,
            2141.107,
            2038.973,
            2134.138,
            2085.321,
            1889.926,
            1820.257,
            1871.918,
            1753.829,
            1797.379,
            1434.261,
            1334.311,
        ],
    ),
    "terramind-1-s2l1c": (
        S2_L1C,
        (0, 10000),
        [
            2357.089,
            2137.385,
            2018.788,
            2082.986,
            2295.651,
            2854.537,
            3122.849,
            3040.56,
            3306.481,
            1473.847,
            506.07,
            2472.825,
            1838.929,
        ],
        [
            1624.683,
            1675.806,
            1557.708,
            1833.702,
            1823.738,
            1733.977,
            1732.131,
            1679.732,
            1727.26,
            1024.687,
            442.165,
            1331.411,
            1160.419,
        ],
    ),
    "terramind-1-rgb": (
        list("RGB"),
        (0, 255),
        [87.271, 80.931, 66.667],
        [58.767, 47.663, 42.631],
    ),
    "clay-1.5-sentinel-2-l2a": (
        [
            "blue",
            "green",
            "red",
            "rededge1",
            "rededge2",
            "rededge3",
            "nir",
            "nir08",
            "swir16",
            "swir22",
        ],
        (0, 10000),
        [1105, 1355, 1552, 1887, 2422, 2630, 2743, 2785, 2388, 1835],
        [1809, 1757, 1888, 1870, 1732, 1697, 1742, 1648, 1470, 1379],
    ),
    "clay-1.5-naip": (
        ["red", "green", "blue", "nir"],
        (0, 255),
        [110.16, 115.41, 98.15, 139.04],
        [47.23, 39.82, 35.43, 49.86],
    ),
    "clay-1.5-landsat-c2l1": (
        ["red", "green", "blue", "nir08", "swir16", "swir22"],
        (0, 65535),
        [10678, 10563, 11083, 14792, 12276, 10114],
        [6025, 5411, 5468, 6746, 5897, 4850],
    ),
    "ssl4eo-s12": (S2_L1C, (0, 10000), [0] * 13, [10000] * 13),
    "ssl4eo-s12-stats": (
        S2_L1C,
        (0, 10000),
        [
            1612.9,
            1397.6,
            1322.3,
            1373.1,
            1561.0,
            2108.4,
            2390.7,
            2318.7,
            2581.0,
            837.7,
            22.0,
            2195.2,
            1537.4,
        ],
        [
            791.0,
            854.3,
            878.7,
            1144.9,
            1127.5,
            1164.2,
            1276.0,
            1249.5,
            1345.9,
            577.5,
            47.5,
            1340.0,
            1142.9,
        ],
    ),
    "ssl4eo-s12-s1": (["VV", "VH"], (-50, 0), [-12.59, -20.26], [5.26, 5.91]),
    "satlas-landsat": (
        [f"B{number}" for number in range(1, 12)],
        (0, 65535),
        [4000] * 11,
        [16320] * 11,
    ),
}

# Name: bands, mean and std that are scaled from mean - 2 std to mean + 2 std
TWO_STD = {
    "satmae": (
        S2_L1C,
        [
            1370.19,
            1184.38,
            1120.77,
            1136.26,
            1263.74,
            1645.40,
            1846.87,
            1762.60,
            1972.62,
            582.73,
            14.77,
            1732.16,
            1247.92,
        ],
        [
            633.15,
            650.28,
            712.13,
            965.23,
            948.98,
            1108.07,
            1258.36,
            1233.15,
            1364.39,
            472.38,
            14.31,
            1310.37,
            1087.60,
        ],
    ),
    "olmoearth-s2l2a": (
        [
            "B02",
            "B03",
            "B04",
            "B08",
            "B05",
            "B06",
            "B07",
            "B8A",
            "B11",
            "B12",
            "B01",
            "B09",
        ],
        [
            1188.94,
            1407.77,
            1513.06,
            2755.48,
            1890.99,
            2483.78,
            2722.73,
            2885.57,
            2562.85,
            1914.14,
            1115.85,
            3269.81,
        ],
        [
            1859.19,
            1727.74,
            1740.78,
            1612.26,
            1754.73,
            1622.12,
            1621.82,
            1611.36,
            1441.55,
            1328.89,
            1955.70,
            2651.09,
        ],
    ),
}

UNIT = {
    "dpn": lambda u: (u - np.array([124, 117, 104]) / 255) * 0.0167 * 255,
    "dinov3-sat493m": lambda u: (u - [0.430, 0.411, 0.296]) / [0.213, 0.156, 0.143],
    "satlas": lambda u: u,
    "seco": lambda u: (
        ((255 * u - [3, 2, 0]) / [85, 101, 129] - [0.485, 0.456, 0.406])
        / [0.229, 0.224, 0.225]
    ),
}

TESTED_ELSEWHERE = {"torchxrayvision", "satlas-sentinel-2"} | {
    # tests/test_target.py
    "imagenet",
    "inception",
    "openai-clip",
    "unit",
    "rgb8",
    "keras-caffe",
    "keras-tf",
    "keras-torch",
    "keras-efficientnet",
}


def convert(name, bands, stored_range, stored):
    """The preset, applied to float64 stored values of shape (H, W, bands)."""
    source = gp.Source(bands, "HWC", range=stored_range)
    target = gp.preset(name, layout="HWC", dtype="float64")
    assert list(target.bands) == bands
    return gp.plan(source, target)(stored)


def stored_values(stored_range, bands):
    low, high = stored_range
    rng = np.random.default_rng(3)
    # Below black and above white too: nothing is clipped.
    return rng.uniform(low - 0.1 * high, 1.2 * high + 1, (4, 5, bands))


@pytest.mark.parametrize("name", STORED)
def test_statistics_in_stored_values_are_exact(name):
    bands, stored_range, mean, std = STORED[name]
    stored = stored_values(stored_range, len(bands))
    expected = (stored - mean) / std
    result = convert(name, bands, stored_range, stored)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TWO_STD)
def test_presets_scale_from_two_std_below_to_two_std_above(name):
    bands, mean, std = TWO_STD[name]
    mean, std = np.array(mean), np.array(std)
    stored = stored_values((0, 10000), len(bands))
    expected = (stored - (mean - 2 * std)) / (4 * std)
    result = convert(name, bands, (0, 10000), stored)
    # The numbers above are rounded to 0.005.
    np.testing.assert_allclose(result, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", UNIT)
def test_rgb_presets_give_the_formula_of_their_library(name):
    image = np.random.default_rng(5).integers(0, 256, (4, 5, 3), np.uint8)
    target = gp.preset(name, layout="HWC", dtype="float64")
    expected = UNIT[name](image / 255)
    np.testing.assert_allclose(
        gp.plan("RGB", target)(image), expected, rtol=1e-12, atol=1e-12
    )


def test_torchxrayvision_maps_one_band_to_hounsfield_like_values():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    result = gp.plan("gray", "torchxrayvision")(image)
    expected = (2 * (image.astype(np.float32) / 255) - 1) * 1024
    assert result.shape == (1, 16, 16)
    np.testing.assert_allclose(result[0], expected, rtol=1e-6, atol=1e-3)


def test_satlas_divides_true_colour_by_255_and_other_bands_by_8160():
    bands = ["B04", "B03", "B02", "B05", "B06", "B07", "B08", "B11", "B12"]
    stored_range = ((0, 255),) * 3 + ((0, 10000),) * 6
    stored = np.random.default_rng(7).uniform(0, 255, (4, 5, 9))
    result = convert("satlas-sentinel-2", bands, stored_range, stored)
    expected = stored / ([255] * 3 + [8160] * 6)
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-12)


def test_both_baselines_of_sentinel_2_give_the_same_values():
    bands = STORED["prithvi-eo-1"][0]
    old = np.random.default_rng(9).integers(0, 9000, (4, 5, 6), np.uint16)
    target = gp.preset("prithvi-eo-1")
    before = gp.plan(gp.Source(bands, range=(0, 10000)), target)(old)
    since = gp.plan(gp.Source(bands, range=(1000, 11000)), target)(old + 1000)
    np.testing.assert_allclose(before, since, rtol=1e-5, atol=1e-5)


def test_a_preset_of_bands_needs_a_map_from_other_bands():
    with pytest.raises(gp.ChannelError, match="BLUE"):
        gp.plan("RGB", "prithvi-eo-1")


def test_presets_lists_every_name_in_order():
    assert list(gp.presets()) == sorted(PRESETS)


def test_every_preset_is_tested():
    assert set(PRESETS) == set(STORED) | set(TWO_STD) | set(UNIT) | TESTED_ELSEWHERE


def test_the_error_for_an_unknown_preset_names_a_close_one():
    with pytest.raises(gp.ChannelError, match="did you mean 'prithvi-eo-2'") as raised:
        gp.preset("prithvi_eo_2x")
    assert len(str(raised.value)) < 600
