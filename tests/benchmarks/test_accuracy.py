"""S18 at small scale: the experiment's patches, ways and figures, and its committed record."""

import copy
import json
import platform
import socket
import subprocess
import sys
from pathlib import Path

import imagenet
import numpy as np
import pytest
import torch
from torch.nn.functional import conv2d

from benchmarks.accuracy import data, report
from benchmarks.accuracy.__main__ import NEW_BANDS, PRETRAINED, RECORD
from benchmarks.accuracy.experiment import FULL, QUICK, record, run
from benchmarks.accuracy.model import network
from benchmarks.accuracy.stem_errors import stem_errors
from benchmarks.accuracy.training import accuracy, logits, train
from benchmarks.accuracy.variants import (
    COLOUR,
    EXACT,
    FOLDED,
    ONE_BAND,
    SUMMED,
    THREE_BANDS,
    fed,
    stems,
    with_stem,
)

ROOT = Path(__file__).parents[2]
TINY = QUICK._replace(patches=7, held_out=3, epochs=1)
MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """The experiment runs on one thread, and small networks are no faster on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny():
    return record(TINY, lambda: None)


@pytest.fixture(scope="module")
def patches():
    return data.patches(3, held_out=True, rng=np.random.default_rng(0))[0]


@pytest.fixture(scope="module")
def model():
    """A network with random weights and statistics that are those of no batch."""
    torch.manual_seed(1)
    made = network(10)
    made.norm.running_mean.uniform_(-1, 1)
    made.norm.running_var.uniform_(0.5, 2)
    return made


def kernel(model):
    return model.conv1.weight.detach().numpy()


def gray(patches):
    """Return the luminance as an image file holds it, in units of white, (N, 1, H, W) float64."""
    return np.rint(patches @ [299, 587, 114] / 1000)[:, None] / 255


def by_hand(units):
    """Return (N, 1 or 3, H, W) as ImageNet has it."""
    return torch.from_numpy((units - MEAN[:, None, None]) / STD[:, None, None])


def numbered(height, width):
    """Return an image whose pixels hold their own number, in base 256."""
    number = np.arange(height * width).reshape(height, width)
    return np.stack([number >> 16, number >> 8 & 255, number & 255], axis=-1).astype(
        np.uint8
    )


def test_training_and_held_out_patches_share_no_pixel(monkeypatch):
    monkeypatch.setattr(data, "PHOTOGRAPHS", {"numbered": lambda: numbered(300, 451)})

    seen, held_out = (
        set(
            data.patches(2000, held_out=held_out, rng=rng)[0].reshape(-1, 3).astype(int)
            @ [65536, 256, 1]
        )
        for held_out, rng in (
            (False, np.random.default_rng(0)),
            (True, np.random.default_rng(1)),
        )
    )

    assert min(len(seen), len(held_out)) > 300 * 451 / 5
    assert seen.isdisjoint(held_out)


def test_a_patch_has_the_class_of_the_image_it_was_cut_from(monkeypatch):
    images = {
        str(value): lambda value=value: np.full((200, 150, 3), value, np.uint8)
        for value in (7, 8, 9)
    }
    monkeypatch.setattr(data, "PHOTOGRAPHS", images)

    patches, labels = data.patches(4, held_out=False, rng=np.random.default_rng(0))

    assert patches.shape == (12, 32, 32, 3)
    assert (patches == labels[:, None, None, None] + 7).all()
    assert list(np.bincount(labels)) == [4, 4, 4]


def test_the_photographs_are_in_colour(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a photograph was asked for over the network")

    monkeypatch.setattr(socket, "socket", refuse)

    for name, load in data.PHOTOGRAPHS.items():
        image = load()
        assert (image.ndim, image.shape[2], image.dtype) == (3, 3, np.uint8), name
        assert np.ptp(image.astype(int), axis=2).mean() > 5, name


def test_colour_and_three_bands_are_fed_as_imagenet_has_them(patches):
    plans = {
        name: stem.plan
        for name, stem in stems(np.zeros((1, 3, 7, 7), np.float32)).items()
    }

    colour = by_hand(patches.transpose(0, 3, 1, 2) / 255)
    torch.testing.assert_close(
        fed(plans[COLOUR], patches).double(), colour, rtol=0, atol=1e-6
    )
    torch.testing.assert_close(
        fed(plans[THREE_BANDS], patches).double(),
        by_hand(gray(patches)),
        rtol=0,
        atol=1e-6,
    )


def test_summed_is_what_timm_does(model, patches):
    from timm.models import adapt_input_conv

    stem = stems(kernel(model))[SUMMED]

    torch.testing.assert_close(
        torch.from_numpy(stem.kernel), adapt_input_conv(1, model.conv1.weight.detach())
    )
    assert stem.bias is None
    averaged = torch.from_numpy((gray(patches) - MEAN.mean()) / STD.mean())
    torch.testing.assert_close(
        fed(stem.plan, patches).double(), averaged, rtol=0, atol=1e-6
    )


def test_an_exactly_folded_network_gives_equal_logits(model, patches):
    said = {
        name: logits(with_stem(model, stem), fed(stem.plan, patches))
        for name, stem in stems(kernel(model)).items()
    }
    right = logits(model, by_hand(gray(patches)).float())

    torch.testing.assert_close(said[EXACT], right, rtol=0, atol=1e-5)
    torch.testing.assert_close(said[THREE_BANDS], right, rtol=0, atol=1e-5)
    assert (
        1e-3 < (said[FOLDED] - right).abs().max() < (said[SUMMED] - right).abs().max()
    )


def test_errors_at_the_first_layer_are_relative_l2_distances(model, patches):
    weights = model.conv1.weight.detach().double()
    right = conv2d(by_hand(gray(patches)), weights, stride=2, padding=3)
    one = torch.from_numpy((gray(patches) - MEAN.mean()) / STD.mean())
    error = conv2d(one, weights.sum(1, keepdim=True), stride=2, padding=3) - right

    errors = stem_errors(kernel(model), patches)

    assert errors[SUMMED]["padded"] == pytest.approx(
        (error.norm() / right.norm()).item(), rel=1e-4
    )
    assert errors[FOLDED]["padded"] > 1e-3
    assert (
        max(
            errors[FOLDED]["inside"],
            errors[FOLDED]["unpadded"],
            *errors[EXACT].values(),
        )
        < 1e-6
    )


def test_training_learns_and_leaves_testing_alone():
    images = torch.rand(128, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(128) % 2).long()
    images[labels == 1, 0] += 1
    torch.manual_seed(0)
    model = network(2)

    train(model, images, labels, epochs=4, rate=0.05, seed=0)

    assert accuracy(logits(model, images), labels) == 1
    assert torch.equal(logits(model, images[:5]), logits(model, images[:5]))


def test_the_seed_decides_the_figures(tiny):
    first, second = tiny["runs"]

    assert run(TINY, 1) == second
    assert first["logits"] != second["logits"]


@pytest.fixture(scope="module")
def others():
    """The committed records of the network with ImageNet weights."""
    return [
        json.loads(path.read_text(encoding="utf-8")) for path in (PRETRAINED, NEW_BANDS)
    ]


def test_the_page_shows_means_and_spread_of_the_record(tiny, others):
    made = copy.deepcopy(tiny)
    for found, share in zip(made["runs"], (0.25, 0.35), strict=True):
        found["accuracy"][SUMMED] = {"before": share, "after": 0.41}
        found["accuracy"][FOLDED]["after"] = found["accuracy"][EXACT]["after"] = 0.4
        found["accuracy"][THREE_BANDS]["before"] = 0.5
        found["accuracy"][COLOUR]["before"] = 0.9

    text = report.page(made, *others)

    assert "| summed | 30.0 ± 7.1 % |" in text
    assert "| summed | -20.0 ± 7.1 (-25.0 to -15.0) |" in text
    assert "accuracy changes by -40.0 points" in text
    assert "three bands by -20.0 points for summed kernels" in text
    assert "within\n1.00 points of each other" in text
    assert "**Not a record**" in text


def test_the_command_measures_and_reports(tmp_path, others):
    path = tmp_path / "accuracy.json"

    for arguments in (
        ("--quick", "--out", path),
        ("report", "--out", path, "--docs", tmp_path),
    ):
        command = [sys.executable, "-m", "benchmarks.accuracy", *map(str, arguments)]
        done = subprocess.run(
            command, check=False, cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    found = json.loads(path.read_text(encoding="utf-8"))
    assert [one["seed"] for one in found["runs"]] == [0, 1]
    page = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert page == report.page(found, *others)
    for name in ("accuracy", "accuracy-imagenet", "accuracy-new-bands"):
        assert (tmp_path / "images" / f"{name}.png").stat().st_size > 10_000


@pytest.fixture(scope="module")
def committed():
    return json.loads(RECORD.read_text(encoding="utf-8"))


def test_the_committed_page_is_that_of_the_committed_records(committed, others):
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    assert page == report.page(committed, *others)


def test_the_committed_record_is_a_full_one_and_names_no_host(committed):
    assert committed["settings"] == FULL._asdict()
    assert (committed["scale"], committed["threads"], len(committed["runs"])) == (
        "full",
        1,
        FULL.seeds,
    )
    assert platform.node() not in json.dumps(committed)


def test_committed_figures_are_equal_when_folded_exactly(committed):
    for found in committed["runs"]:
        assert (
            found["accuracy"][EXACT]["before"]
            == found["accuracy"][THREE_BANDS]["before"]
        )
        assert found["agreement"][EXACT] == 1
        assert found["logits"][EXACT] < 1e-5 * found["largest_logit"]


@pytest.mark.parametrize("weights", ["random", "trained"])
def test_folding_is_exact_at_the_first_layer(committed, weights):
    for found in committed["runs"]:
        errors = found["stem"][weights]
        assert list(errors) == list(ONE_BAND)
        assert (
            max(
                errors[FOLDED]["inside"],
                errors[FOLDED]["unpadded"],
                *errors[EXACT].values(),
            )
            < 1e-5
        )
