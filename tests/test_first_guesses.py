"""What people try first: it works, or the message names the call that does, without printing data."""

import inspect
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import graypipe as gp

GRAY = np.random.default_rng(4).integers(0, 256, (40, 50), dtype=np.uint8)
RGB = np.random.default_rng(4).integers(0, 256, (2, 8, 9, 3), dtype=np.uint8)
PLAN = gp.plan("gray", "imagenet")
SENTINEL = ("B01", "B02", "B03", "B04", "B08", "B8A", "B11", "B12")
MANY = tuple(f"X{number}" for number in range(3000))


class Tensor:
    """A tensor of torch, as far as messages are concerned."""

    shape = (3, 4, 4)


Tensor.__module__ = "torch"


GUESSES = {
    "array as source": (
        lambda: gp.plan(GRAY, "imagenet"),
        "gp.plan('gray', 'imagenet')(image)",
    ),
    "colour array as source": (
        lambda: gp.plan(RGB[0], "imagenet"),
        "gp.plan('RGB', 'imagenet')(image)",
    ),
    "tensor as source": (lambda: gp.plan(Tensor(), "unit"), "gp.plan('RGB', 'unit')"),
    "PIL image as source": (
        lambda: gp.plan(Image.fromarray(GRAY), "unit"),
        "gp.plan('gray', 'unit')(image)",
    ),
    "list of arrays as source": (lambda: gp.plan([GRAY], "unit"), ".batch(images)"),
    "array as bands": (lambda: gp.Source(GRAY), "numpy.ndarray of shape (40, 50)"),
    "file as source": (lambda: gp.plan("a.png", "imagenet"), "gp.read(path)"),
    "path as source": (lambda: gp.plan(Path("a"), "imagenet"), "gp.read(path)"),
    "target first": (
        lambda: gp.plan("imagenet", "gray"),
        "gp.plan('gray', 'imagenet')",
    ),
    "file": (lambda: PLAN("file.png"), "gp.read(path)"),
    "path": (lambda: PLAN(Path("file.png")), "gp.read(path)"),
    "torch tensor": (lambda: PLAN(Tensor()), "graypipe.adapters.torchvision"),
    "list": (lambda: PLAN([GRAY]), "plan.batch takes a list"),
    "list with a batch axis": (
        lambda: gp.plan(gp.Source("RGB", "NHWC"), "unit").batch([RGB]),
        "pass one array",
    ),
    "one band in an axis": (
        lambda: PLAN(GRAY[..., None]),
        "layout='HWC' in the Source",
    ),
    "first axis of one band": (lambda: PLAN(GRAY[None]), "layout='CHW' in the Source"),
    "bits in the name": (
        lambda: gp.plan("gray12", "imagenet"),
        "gp.Source('gray', bits=12)",
    ),
    "lower case": (lambda: gp.Source("rgb"), "did you mean 'RGB'"),
    "capital": (lambda: gp.Source("Gray"), "did you mean 'gray'"),
    "grey": (lambda: gp.Source("grey"), "did you mean 'gray'"),
    "bits of colour": (lambda: gp.Source("RGB_16bit"), "gp.Source('RGB', bits=16)"),
    "band without its zero": (
        lambda: gp.select({"R": "B4"}, of=SENTINEL),
        "did you mean 'B04'",
    ),
    "band in lower case": (
        lambda: gp.plan(SENTINEL, "unit", {"R": "b04", "G": "B03", "B": "B02"}),
        "did you mean 'B04'",
    ),
    "standard": (lambda: gp.luminance("Rec.601"), "did you mean 'rec601'"),
    "image as third argument": (
        lambda: gp.plan("gray", "imagenet", GRAY),
        "gp.plan('gray', 'imagenet')(image)",
    ),
    "capitals": (lambda: gp.plan("GRAY", "imagenet"), "single band, write 'gray'"),
    "bands as target": (lambda: gp.plan("gray", "RGB"), "gp.Target('RGB')"),
    "bits in place of the layout": (lambda: gp.Source("gray", 12), "bits=12"),
    "white alone": (lambda: gp.Source("gray", range=4095), "range=(0, 4095)"),
    "file for statistics": (lambda: gp.BandStats("a.png"), "gp.read(path)"),
    "file as bands": (lambda: gp.Source("scans/a.tif"), "gp.read(path)"),
    "name of a timm model": (
        lambda: gp.Target.from_timm("resnet50"),
        "timm.create_model('resnet50')",
    ),
    "image to explain": (
        lambda: PLAN.explain(GRAY),
        "plan.explain(image.shape, image.dtype)",
    ),
    "gray file as colour": (
        lambda: gp.read(b"P5 1 1 255\n\0", bands="RGB"),
        "declare one band, such as 'gray', which a plan repeats",
    ),
    "colour file as gray": (
        lambda: gp.read(b"P6 1 1 255\n\0\0\0", bands="gray"),
        "declare all 3 in the order of the file",
    ),
}


@pytest.mark.parametrize("guess", GUESSES)
def test_the_message_names_the_call_that_works(guess):
    call, cure = GUESSES[guess]
    with pytest.raises(gp.GraypipeError) as caught:
        call()
    assert cure in str(caught.value)
    assert len(str(caught.value)) <= 600


def test_equally_close_bands_are_not_suggested():
    with pytest.raises(gp.ChannelError) as caught:
        gp.select({"R": "B8"}, of=SENTINEL)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("bands", ["B02", "NIR", "x", "gray:12x"])
def test_other_names_are_not_taken_for_misspellings(bands):
    if bands == "NIR":
        assert gp.Source(bands).bands == ("N", "I", "R")
        return
    with pytest.raises(gp.ChannelError) as caught:
        gp.Source(bands)
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "cure"),
    [
        ("size", "resize before or after the plan"),
        ("bits", "gp.plan(gp.Source('gray', bits=...), 'imagenet')"),
        ("range", "gp.plan(gp.Source('gray', range=...), 'imagenet')"),
        ("nodata", "gp.plan(gp.Source('gray', nodata=...), 'imagenet')"),
        ("layout", "gp.Source('gray', layout=...) or gp.preset"),
        ("mean", "gp.plan('gray', gp.preset('imagenet', mean=...))"),
        ("threads", "plan.batch(images, threads=...)"),
        ("out", "plan(image, out=...)"),
        ("foo", "it takes source, target and via"),
    ],
)
def test_unknown_keywords_of_plan_name_the_call(keyword, cure):
    with pytest.raises(TypeError) as caught:
        gp.plan("gray", "imagenet", **{keyword: 1})
    assert f"unexpected keyword argument '{keyword}'" in str(caught.value)
    assert cure in str(caught.value)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("ToBackbone", "graypipe.adapters.torchvision, .albumentations or .tf_data"),
        ("ChannelLayer", "graypipe.adapters.torch or .keras"),
        ("fold_into", "graypipe.adapters.torch or .keras"),
        ("from_timm", "gp.Target.from_timm"),
        ("from_dicom", "gp.Source.from_dicom"),
        ("imread", "did you mean 'read'"),
        ("Preset", "did you mean 'preset'"),
    ],
)
def test_names_that_are_elsewhere_are_answered_with_the_place(name, cure):
    with pytest.raises(AttributeError) as caught:
        getattr(gp, name)
    assert cure in str(caught.value)


def test_unknown_names_are_unknown():
    for name in ("xyz", "from_xyz", "__wrapped__"):
        with pytest.raises(AttributeError) as caught:
            getattr(gp, name)
        assert str(caught.value) == f"module 'graypipe' has no attribute {name!r}"


class Model:
    """A model of a library that does not say how its input is normalised."""

    state_dict = None


@pytest.mark.parametrize(
    ("package", "cure"),
    [
        ("torchvision", "ResNet50_Weights.DEFAULT"),
        ("transformers", "AutoImageProcessor.from_pretrained"),
    ],
)
def test_models_without_statistics_name_the_call_of_their_library(
    package, cure, monkeypatch
):
    monkeypatch.setattr(Model, "__module__", f"{package}.models")
    with pytest.raises(gp.ChannelError) as caught:
        gp.plan("gray", Model())
    assert cure in str(caught.value)
    assert "from_timm" not in str(caught.value)


@pytest.mark.parametrize(
    "other", [{"max_pixel_value": 1.0}, {"normalization": "image"}]
)
def test_a_transform_that_normalises_otherwise_is_refused(other):
    normalize = {
        "mean": (0.5,) * 3,
        "std": (0.2,) * 3,
        "max_pixel_value": 255.0,
        "normalization": "standard",
    }
    assert gp.Target.of(normalize) == gp.Target(mean=(0.5,) * 3, std=(0.2,) * 3)
    with pytest.raises(gp.ChannelError, match="expected a Normalize with"):
        gp.Target.of({**normalize, **other})


def test_plan_keeps_its_signature():
    assert list(inspect.signature(gp.plan).parameters) == ["source", "target", "via"]
    assert gp.plan(source="gray", target="unit", via=None) == gp.plan("gray", "unit")


@pytest.mark.parametrize("threads", [1, 2])
def test_batch_takes_arrays_whose_layout_has_n(threads):
    plan = gp.plan(gp.Source("RGB", "NHWC"), "imagenet")
    mean, std = np.array(plan.target.mean), np.array(plan.target.std)
    expected = np.moveaxis((RGB / 255 - mean) / std, -1, 1)
    out = np.empty(expected.shape, np.float32)
    assert plan.batch(RGB, threads=threads, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(plan.batch(RGB, threads=threads), plan(RGB))


def test_the_cure_for_one_band_in_an_axis_works():
    plan = gp.plan(gp.Source("gray", layout="HWC"), "imagenet")
    np.testing.assert_array_equal(plan(GRAY[..., None]), PLAN(GRAY))


HUGE = [
    np.zeros((2000, 2000)),
    [0.5] * 100_000,
    ["x"] * 100_000,
    "x" * 100_000,
    {f"k{i}": i for i in range(5000)},
    [np.zeros((500, 500))],
    b"x" * 100_000,
    10**400,
]

CALLS = {
    "Source": gp.Source,
    "layout": lambda x: gp.Source("gray", x),
    "dtype": lambda x: gp.Source("gray", dtype=x),
    "bits": lambda x: gp.Source("gray", bits=x),
    "range": lambda x: gp.Source("gray", range=x),
    "ranges": lambda x: gp.Source("RG", range=(x, x)),
    "clip": lambda x: gp.Source("gray", clip=x),
    "nodata": lambda x: gp.Source("gray", nodata=x),
    "Target": lambda x: gp.Target(x, "HW"),
    "target range": lambda x: gp.Target(range=x),
    "mean": lambda x: gp.Target(mean=x),
    "std": lambda x: gp.Target(std=x),
    "preset": gp.preset,
    "of": gp.Target.of,
    "from_timm": gp.Target.from_timm,
    "from_hf": gp.Target.from_hf,
    "from_keras": gp.Target.from_keras,
    "plan source": lambda x: gp.plan(x, "imagenet"),
    "plan target": lambda x: gp.plan("gray", x),
    "plan via": lambda x: gp.plan("RGB", "gray", x),
    "via band": lambda x: gp.plan("gray", "unit", {"R": x, "G": "gray", "B": "gray"}),
    "image": PLAN,
    "mix": lambda x: gp.mix(x, of="RGB"),
    "select": lambda x: gp.select({"R": x}, of="RGB"),
    "gains": lambda x: gp.replicate(gains=x),
    "luminance": gp.luminance,
    "matrix": lambda x: gp.ChannelMap(x, inputs="RG", outputs="R"),
    "inputs": lambda x: gp.ChannelMap([[1]], inputs=x, outputs="RG"),
}


def message_of(call, value):
    try:
        call(value)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", CALLS)
def test_messages_are_short_whatever_is_passed(name):
    messages = [message_of(CALLS[name], value) for value in HUGE]
    assert max(map(len, messages)) <= 600


def test_messages_about_thousands_of_bands_are_short():
    plan = gp.plan(gp.Source(MANY, "CHW"), gp.Target("gray", "HW"), {"gray": "X0"})
    for call in (
        lambda: gp.plan(MANY, "imagenet"),
        lambda: gp.plan("RG", gp.Target(MANY)),
        lambda: gp.plan("gray", gp.Target(MANY), gp.replicate("RGB")),
        lambda: gp.preset("imagenet", bands=MANY),
        lambda: gp.Target(MANY, mean=(0.5, 0.5)),
        lambda: gp.Source(MANY, "HW"),
        lambda: gp.select({"R": "nir"}, of=MANY),
        lambda: plan(np.zeros((4, 4, 3), np.uint8)),
    ):
        with pytest.raises(gp.GraypipeError) as caught:
            call()
        assert len(str(caught.value)) <= 600
