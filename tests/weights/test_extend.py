"""Kernels extended to more bands: what stays, what new bands get, and what is refused."""

import numpy as np
import pytest

import graypipe as gp

RNG = np.random.default_rng(8)
KERNEL = RNG.normal(size=(6, 3, 5, 5)).astype(np.float32)  # R, G, B
BIAS = RNG.normal(size=6).astype(np.float32)
S2 = "sentinel-2-l2a"
NEW = ("zero", "nearest", "mean")


def extend(bands, kernel=KERNEL, bias=None, *, layout="OIHW", **options):
    return gp.weights.extend(kernel, bias, bands, layout=layout, **options)


def band(kernel, bands, name):
    return kernel[:, list(bands).index(name)]


def test_known_bands_keep_their_kernel_and_new_ones_are_zero():
    extended, bias = extend("YBRGN")
    assert bias is None
    assert extended.dtype == np.float32
    assert (extended[:, [2, 3, 1]] == KERNEL).all()
    assert not extended[:, [0, 4]].any()


def test_zero_kernels_give_the_result_of_the_original_layer():
    extended, bias = extend("RGBN", bias=BIAS)
    image = RNG.normal(size=(4, 5, 5))
    image[3] = 1e6
    expected = np.einsum("oiyx,iyx->o", KERNEL.astype(float), image[:3]) + BIAS
    actual = np.einsum("oiyx,iyx->o", extended.astype(float), image) + bias
    assert actual == pytest.approx(expected, rel=1e-12)


def test_the_mean_is_that_of_the_known_kernels():
    extended, _ = extend(("R", "G", "B", "NIR"), new="mean")
    assert (extended[:, :3] == KERNEL).all()
    assert extended[:, 3] == pytest.approx(KERNEL.astype(float).mean(axis=1), rel=1e-6)


def test_new_bands_share_the_kernel_of_the_nearest_wavelength():
    bands = gp.sensor(S2).bands
    extended, _ = extend(bands, new="nearest", sensor=S2)
    # By hand: 443 nm is nearest to blue, everything beyond 665 nm to red.
    shares = {"B01": (2, 2), "B02": (2, 2), "B03": (1, 1)}
    for name in bands:
        known, count = shares.get(name, (0, 10 - 1))
        part = band(extended, bands, name)
        assert part == pytest.approx(KERNEL[:, known] / count, rel=1e-6), name


@pytest.mark.parametrize("sensor", ["sentinel-2-l1c", "landsat-8-c2-l1", "naip"])
def test_the_sum_over_the_bands_stays_where_kernels_are_shared(sensor):
    extended, _ = extend(gp.sensor(sensor).bands, new="nearest", sensor=sensor)
    total = KERNEL.astype(float).sum(axis=1)
    assert extended.astype(float).sum(axis=1) == pytest.approx(total, abs=1e-5)


def test_nearest_is_by_distance_and_not_by_order():
    """560 nm lies 80 nm beyond blue and 90 nm before red."""
    extended, _ = extend(
        ("B2", "B3", "B4"),
        KERNEL[:, :2],
        of=("B4", "B2"),
        new="nearest",
        sensor="landsat-8-c2-l1",
    )
    assert extended[:, 0] == pytest.approx(KERNEL[:, 1] / 2)
    assert extended[:, 1] == pytest.approx(KERNEL[:, 1] / 2)
    assert (extended[:, 2] == KERNEL[:, 0]).all()


@pytest.mark.parametrize("new", NEW)
def test_no_band_gets_the_kernel_of_its_position(new):
    """Tiling would give NIR, the fourth band, the whole kernel of the first one."""
    extended, _ = extend(("red", "green", "blue", "nir"), new=new, sensor="naip")
    assert abs(extended[:, 3] - KERNEL[:, 0] * 3 / 4).max() > 0.05


def test_names_of_a_band_are_known_with_a_sensor():
    bands = ("B08", "B02", "B03", "B04")
    extended, _ = extend(bands, sensor=S2)
    assert (extended[:, [3, 2, 1]] == KERNEL).all()
    with pytest.raises(gp.ChannelError, match="with sensor="):
        extend(bands)


def test_other_known_bands_and_layouts():
    gray = KERNEL.transpose(2, 3, 1, 0)[:, :, :1]  # HWIO
    extended, bias = extend(("gray", "depth"), gray, BIAS, of="gray", layout="HWIO")
    assert extended.shape == (5, 5, 2, 6)
    assert (extended[:, :, :1] == gray).all()
    assert (bias == BIAS).all()
    assert bias is not BIAS


def test_own_statistics_are_a_fold_that_scales_each_band():
    """Extend, then fold a plan whose target has the mean and the std of every band."""
    mean, std = (0.4, 0.5, 0.3, 0.2), (0.2, 0.1, 0.3, 0.05)
    bands = ("red", "green", "blue", "nir")
    source = gp.Source.from_sensor("naip", layout="CHW")
    plan = gp.plan(source, gp.Target(bands, dtype="float64", mean=mean, std=std))
    extended, _ = extend(bands, KERNEL.astype(float), new="nearest", sensor="naip")
    folded, bias = gp.weights.fold(extended, None, plan.unit_map, layout="OIHW")
    assert folded[:, 3] == pytest.approx(KERNEL[:, 0].astype(float) / 2 / 0.05)
    image = RNG.integers(0, 256, (4, 5, 5), dtype=np.uint8)
    expected = np.einsum("oiyx,iyx->o", extended, plan(image))
    actual = np.einsum("oiyx,iyx->o", folded, image / 255) + bias
    assert actual == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("bands", "options", "message"),
    [
        ("RGN", {}, "'B' is not one of the bands 'RGN'"),
        (("B04", "B03", "B8A"), {"sensor": S2}, "gp.mix"),
        (("red", "B04", "G", "B"), {"sensor": S2}, "name it once"),
        ("RGBN", {"new": "tile"}, "'zero', 'nearest', 'mean'"),
        ("RGBN", {"new": None}, "'zero', 'nearest', 'mean'"),
        ("RGBN", {"new": "nearest"}, "from_sensor"),
        ("RGBY", {"new": "nearest", "sensor": "human-protein-atlas"}, "not known"),
        ("RGBN", {"sensor": S2}, "no band 'N'"),
        ("RGBN", {"sensor": "nikon"}, r"gp\.sensors\(\)"),
        ("RGBN", {"of": "RG"}, "2"),
        ("RGRB", {}, "distinct"),
    ],
)
def test_errors_name_what_is_wrong(bands, options, message):
    with pytest.raises(gp.ChannelError, match=message) as caught:
        extend(bands, **options)
    assert len(str(caught.value)) < 600


def test_errors_of_the_fold_keep_their_class():
    with pytest.raises(gp.LayoutError):
        extend("RGBN", layout="IHWO")
    with pytest.raises(gp.DTypeError):
        extend("RGBN", KERNEL.astype(np.int8))
