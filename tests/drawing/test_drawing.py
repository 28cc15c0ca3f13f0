"""`Plan.show` draws an image before and after a plan, and after common mistakes.

It needs matplotlib, unlike the tests in tests/test_*.py.
"""

import numpy as np
import pytest
from doctests import run_examples
from PIL import Image

import graypipe as gp
from graypipe.drawing import wrong_choices

IMAGENET = gp.preset("imagenet")
GRAY12 = gp.plan(gp.Source("gray", bits=12), "imagenet")


@pytest.fixture
def image12():
    rng = np.random.default_rng(0)
    return rng.integers(0, 4096, (40, 60)).astype(np.uint16)


def normalised(unit):
    """Return (H, W) or (3, H, W) unit intensities as ImageNet expects them."""
    mean = np.array(IMAGENET.mean)[:, None, None]
    std = np.array(IMAGENET.std)[:, None, None]
    return (unit - mean) / std


def titles(figure):
    return [axes.get_title().split("\n")[0] for axes in figure.axes]


def test_figure_has_every_band_and_mistake(image12):
    figure = GRAY12.show(image12)
    assert titles(figure) == [
        "gray: black 0, white 4095",
        "intensities from 0 to 1",
        *(f"{band}: {low:.4g} to {high:.4g}" for band, low, high in extremes(image12)),
        "stored values",
        "output values",
        'Pillow: convert("RGB")',
        "range not declared",
        "mean and std of the first band for all bands",
    ]


def extremes(image):
    output = GRAY12(image)
    for band, plane in zip("RGB", output, strict=True):
        yield band, plane.min(), plane.max()


def test_pictures_show_the_output_as_intensities(image12):
    figure = GRAY12.show(image12)
    (picture,) = figure.axes[1].images
    unit = np.repeat(image12[..., None] / 4095, 3, -1)
    assert np.allclose(picture.get_array(), unit, atol=1e-6)


def test_mistakes_are_what_they_say(image12):
    outputs = dict(wrong_choices(GRAY12, image12))
    through_pillow = np.asarray(Image.fromarray(image12).convert("RGB")) / 255
    expected = {
        'Pillow: convert("RGB")': normalised(np.moveaxis(through_pillow, -1, 0)),
        "range not declared": normalised(image12 / 65535),
        "mean and std of the first band for all bands": np.broadcast_to(
            (image12 / 4095 - IMAGENET.mean[0]) / IMAGENET.std[0], (3, 40, 60)
        ),
    }
    assert outputs.keys() == expected.keys()
    for title, output in outputs.items():
        assert np.allclose(output, expected[title], atol=1e-5), title


def test_a_mistake_that_changes_nothing_is_left_out():
    plan = gp.plan(gp.Source("gray", bits=8, nodata=0), "unit")
    image = np.full((8, 8), 7, np.uint8)
    assert list(wrong_choices(plan, image)) == []


def test_ignored_nodata_is_a_mistake():
    plan = gp.plan(gp.Source("gray", range=(0, 3000), nodata=-9999), "imagenet")
    image = np.full((8, 8), 1500, np.int16)
    image[0, 0] = -9999
    outputs = dict(wrong_choices(plan, image))
    expected = normalised(np.where(image == -9999, -9999, 1500) / 3000)
    assert np.allclose(outputs["nodata not declared"], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("source", "target", "image"),
    [
        (gp.Source("gray"), "rgb8", np.zeros((5, 7), bool)),
        (gp.Source("gray", range=(4095, 0)), "unit", np.zeros((5, 7), np.uint16)),
        (gp.Source("gray"), "imagenet", np.full((5, 7), np.nan, np.float32)),
        (gp.Source("RGB", "CHW"), "keras-caffe", np.zeros((3, 5, 7), np.uint8)),
        (
            gp.Source(tuple(f"B{n}" for n in range(13)), range=(0, 1e4)),
            gp.Target(tuple(f"B{n}" for n in range(13))),
            np.ones((5, 7, 13), np.uint16),
        ),
    ],
    ids=["bool", "0 is white", "NaN", "CHW", "13 bands"],
)
def test_any_single_image_is_drawn(source, target, image, tmp_path):
    figure = gp.plan(source, target).show(image)
    figure.savefig(tmp_path / "figure.png", dpi=20)
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width == 280


def test_a_pil_image_is_drawn():
    figure = gp.plan("gray", "imagenet").show(Image.new("L", (7, 5), 100))
    assert titles(figure)[0] == "gray: black 0, white 255"


def test_several_images_are_refused():
    plan = gp.plan(gp.Source("gray", "NHW"), "imagenet")
    with pytest.raises(gp.LayoutError, match=r'with_layouts\("HW"\)\.show'):
        plan.show(np.zeros((2, 5, 7), np.uint8))


def test_an_image_that_the_plan_refuses_raises_the_same_error():
    with pytest.raises(gp.LayoutError, match="expected 2 axes"):
        gp.plan("gray", "imagenet").show(np.zeros((5, 7, 3), np.uint8))


def test_the_example_of_show_runs():
    report = run_examples("graypipe.plan", lambda name: name.endswith(".show"))
    assert not report, report
