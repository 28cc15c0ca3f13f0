"""Kernels of new bands: the methods, the scenes, the training, the figures, and the committed record."""

import copy
import json
import platform
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ttest_1samp
from timm.models import adapt_input_conv
from torch import nn

import graypipe as gp
from benchmarks import threads
from benchmarks.imagenet import photographs, pretrained
from benchmarks.imagenet.methods import re_expressed
from benchmarks.new_bands import __main__ as command
from benchmarks.new_bands import experiment, methods, report, scenes, spectra, training
from benchmarks.new_bands.spectra import BANDS, KNOWN
from graypipe.adapters.torch import fold_into

NM = np.arange(400, 2451, 10.0)
TINY = experiment.QUICK._replace(training=16, validation=8, test=8, epochs=1)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    """Return a small network whose first and last layers are named as those of EfficientNet-Lite0."""
    torch.manual_seed(0)
    network = nn.Sequential()
    network.add_module("_conv_stem", nn.Conv2d(3, 8, 3, stride=2, bias=False))
    network.append(nn.BatchNorm2d(8)).append(nn.ReLU())
    network.append(nn.AdaptiveAvgPool2d(2)).append(nn.Flatten())
    network.add_module("_fc", nn.Linear(32, 10))
    return pretrained.Pretrained(
        network.eval(), pretrained.TARGET, "0" * 64, {"wheel": "1"}
    )


@pytest.fixture(scope="module")
def library():
    """Return spectra that differ in brightness, and canopies that are darker the more water they hold."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0.5, 1, len(NM))

    def canopy(soil, cw, **parameters):
        assert set(parameters) == set(scenes.CANOPY)
        return 0.2 * soil + 0.4 * np.exp(-100 * cw * (spectra.CANOPY_NM > 1300))

    return spectra.Library(
        soils=rng.uniform(0.1, 0.5, (40, 1)) * slope,
        litter=rng.uniform(0.1, 0.5, (12, 1)) * slope[::-1],
        nm=NM,
        canopy=canopy,
        digest="1" * 64,
        versions={"spectra": "1"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with 32 photographs."""
    made = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(1)
    for label in range(32):
        pixels = rng.integers(0, 256, (256, 256, 3), np.uint8)
        Image.fromarray(pixels).save(made / f"{label:04}_n{label}.jpg")
    return made


@pytest.fixture(scope="module")
def images(folder):
    return photographs.read(folder)


@pytest.fixture(scope="module")
def made(model, images, library):
    return experiment.Experiment(TINY, model, images, library)


@pytest.fixture(scope="module")
def kernel():
    return np.random.default_rng(2).normal(size=(8, 3, 3, 3)).astype(np.float32)


def test_known_bands_keep_their_kernels_unless_they_are_shared_or_tiled(kernel):
    found = methods.kernels(kernel, 0)

    assert tuple(found) == methods.METHODS
    assert found[methods.RGB_ONLY] is kernel
    for name in (methods.ZERO, methods.MEAN, methods.RANDOM, methods.COPIED):
        assert (found[name][:, :3] == kernel).all(), name
        assert found[name].shape == (8, len(BANDS), 3, 3)
        assert found[name].dtype == np.float32


def test_new_bands_get_the_kernels_of_their_method(kernel):
    found = methods.kernels(kernel, 0)
    new = {name: found[name][:, 3:] for name in methods.EXTENDED}

    assert not new[methods.ZERO].any()
    average = kernel.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(new[methods.MEAN], average.repeat(4, 1), atol=1e-6)
    assert (new[methods.COPIED] == kernel[:, :1]).all()
    shared = found[methods.NEAREST]
    np.testing.assert_allclose(shared[:, [0, 3, 4, 5, 6]], kernel[:, [0] * 5] / 5)
    assert (shared[:, 1:3] == kernel[:, 1:]).all()


def test_tiled_kernels_are_those_of_timm(kernel):
    expected = adapt_input_conv(len(BANDS), torch.from_numpy(kernel)).numpy()
    np.testing.assert_allclose(
        methods.kernels(kernel, 0)[methods.TILED], expected, rtol=1e-6
    )


def test_random_kernels_are_as_large_as_the_others_and_follow_the_seed(kernel):
    first, again, other = (
        methods.kernels(kernel, seed)[methods.RANDOM] for seed in (0, 0, 1)
    )
    assert (first == again).all()
    assert (first[:, 3:] != other[:, 3:]).all()
    assert np.mean(first[:, 3:] ** 2) == pytest.approx(np.mean(kernel**2))


@pytest.mark.parametrize("new", [methods.ZERO, methods.NEAREST, methods.MEAN])
def test_fold_into_gives_the_same_network(model, made, new):
    """The page says so of the methods that the package has."""
    source = scenes.SOURCE
    target = gp.Target(BANDS, "CHW", mean=0.2, std=0.1)
    plan = gp.plan(source, target)
    network = re_expressed(model.network, model.target, experiment.IMAGENET)
    folded, feed = fold_into(network, plan, new=new, of=KNOWN)
    image = np.random.default_rng(0).integers(
        1001, 9000, (32, 32, len(source.bands)), np.uint16
    )

    with torch.inference_mode():
        expected = made.extended(new, 0)(torch.from_numpy(plan(image)[None]))
        actual = folded(torch.from_numpy(feed(image)[None]))
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_bands_are_means_over_their_widths():
    """Of a spectrum that is its own wavelength, every band is its centre."""
    nm = np.arange(400, 2501.0)
    centres = spectra.in_bands(nm, nm)

    np.testing.assert_allclose(centres, spectra.wavelengths(), atol=0.51)
    assert spectra.wavelengths()[:3].tolist() == [665, 560, 490]
    sharp = np.where(np.abs(nm - 865) <= 10, 1.0, 0.0)
    assert spectra.in_bands(sharp, nm)[BANDS.index("B8A")] == 1
    assert spectra.in_bands(sharp, nm)[BANDS.index("B08")] == pytest.approx(
        21 / 115, abs=0.02
    )


def test_measured_spectra_are_read_from_the_files_of_earthlib(tmp_path, monkeypatch):
    rows = [
        ("a", "bare", "soil", "measured"),
        ("b", "bare", "sand", "measured"),
        ("c", "npv", "bark", "measured"),
        ("d", "vegetation", "canopy", "simulated"),
    ]
    data = tmp_path / "data"
    data.mkdir()
    lines = ["NAME,LEVEL_2,LEVEL_3,LEVEL_4", *map(",".join, rows)]
    (data / "spectra.csv").write_text("\n".join(lines), encoding="utf-8")
    header = "ENVI\nsamples = 3\nwavelength = { 0.4 , 0.41 , 2.45 }\n"
    (data / "spectra.sli.hdr").write_text(header, encoding="utf-8")
    np.arange(12, dtype="<f4").tofile(data / "spectra.sli")
    package = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(spectra.importlib.util, "find_spec", lambda _: package)
    monkeypatch.setattr(spectra, "version", lambda _: "1")

    found = spectra.load()

    assert found.soils.tolist() == [[0, 1, 2]]
    assert found.litter.tolist() == [[6, 7, 8]]
    np.testing.assert_allclose(found.nm, [400, 410, 2450])
    assert found.versions == {"prosail": "1", "earthlib": "1"}


def test_parts_share_no_photograph_and_no_spectrum(library, monkeypatch):
    textures = np.arange(30.0).reshape(30, 1, 1)
    seen = []

    def render(part, _name, photograph, _rng):
        seen.append((photograph.item(), *part.soils[:, 0], *part.litter[:, 0]))
        return np.zeros((1, 1, len(BANDS)), np.uint16)

    monkeypatch.setattr(scenes, "render", render)
    counts = (16, 8, 4)
    found = scenes.parts(library, textures, counts, np.random.default_rng(0))

    assert [len(part.labels) for part in found] == list(counts)
    assert np.bincount(found[0].labels).tolist() == [2] * len(scenes.CLASSES)
    values = [
        set().union(*seen[start:stop]) for start, stop in ((0, 16), (16, 24), (24, 28))
    ]
    assert sum(map(len, values)) == len(set().union(*values))
    assert len(set().union(*values)) == 28 + len(library.soils) + len(library.litter)


def test_scenes_are_uint16_and_water_darkens_the_infrared(library):
    textures = np.random.default_rng(0).uniform(size=(40, 14, 14))
    rng = np.random.default_rng(1)

    def brightness(name):
        return np.mean(
            [scenes.render(library, name, texture, rng) for texture in textures],
            axis=(0, 1, 2),
        )

    moist, dry = brightness("closed, moist"), brightness("closed, dry")
    assert (moist[5:] < 0.7 * dry[5:]).all()
    assert (np.abs(moist[:5] / dry[:5] - 1) < 0.2).all()
    image = scenes.render(library, scenes.SOIL, textures[0], rng)
    assert (image.shape, image.dtype) == ((14, 14, len(BANDS)), np.uint16)
    assert image.min() >= 1000


def test_every_class_has_a_pattern(library):
    texture = np.random.default_rng(0).uniform(size=(14, 14))
    rng = np.random.default_rng(1)
    assert len(scenes.CLASSES) == 8
    for name in scenes.CLASSES:
        image = scenes.render(library, name, texture, rng)
        assert np.ptp(image[..., 0].astype(int)) > 0, name


def test_textures_are_ranks_of_the_luminance():
    levels = np.array([[10, 200], [90, 30]], np.uint8).repeat(4, 0).repeat(4, 1)
    photograph = np.stack([levels] * 3, axis=-1)
    found = scenes.textures(photograph[None])
    np.testing.assert_allclose(found, [[[0, 1], [2 / 3, 1 / 3]]])


def test_exchanged_bands_are_those_of_another_scene():
    values = np.arange(1, 7, dtype=np.uint16)[:, None, None, None]
    pixels = np.broadcast_to(values, (6, 2, 2, len(BANDS)))
    part = scenes.Scenes(pixels, np.arange(6))

    found = scenes.exchanged(part, experiment.NEW_BANDS, np.random.default_rng(0))

    assert (found.images[..., :3] == pixels[..., :3]).all()
    others = found.images[:, 0, 0, 3:]
    assert (others == others[:, :1]).all()
    assert sorted(others[:, 0]) == list(range(1, 7))
    assert (others[:, 0] != values[:, 0, 0, 0]).all()
    assert (pixels == values).all()


def test_bands_are_normalised_with_the_statistics_of_the_training_part(made):
    data = made.data(0, experiment.OWN)
    pixels = data.training.inputs.double().permute(1, 0, 2, 3).flatten(1)
    torch.testing.assert_close(
        pixels.mean(1), torch.zeros(len(BANDS)).double(), rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        pixels.std(1), torch.ones(len(BANDS)).double(), rtol=0, atol=1e-3
    )
    assert len(data.validation.inputs), len(data.test.inputs) == (8, 8)


def test_zero_kernels_give_the_features_of_rgb_whatever_the_bands(made):
    for bands in (experiment.OWN, experiment.EXCHANGED):
        found = made.probes(0, bands)
        assert tuple(found) == methods.METHODS
        assert found[methods.ZERO]["accuracy"] == found[methods.RGB_ONLY]["accuracy"]
        assert found[methods.ZERO]["change"] < 1e-5
        assert found[methods.COPIED]["change"] > 0.01


def test_a_probe_is_chosen_on_the_validation_part():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    inputs = torch.randn(60, 4, generator=generator) + 10 * labels[:, None]
    parts = [training.Part(inputs[start::3], labels[start::3]) for start in (0, 1, 2)]
    shuffled = [part._replace(labels=labels[:20]) for part in parts]

    found = training.probe(*shuffled, strengths=(1.0, 10.0))

    assert found.strength in (1.0, 10.0)
    assert 0 <= found.accuracy <= 1
    separable = training.Part(inputs, labels)
    assert training.probe(separable, separable, separable).accuracy == 1


def test_fine_tuning_learns_and_repeats(made):
    labels = torch.arange(64) % 2
    inputs = torch.randn(64, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    part = training.Part(inputs + 3 * labels[:, None, None, None], labels)

    def tuned():
        network = training.with_head(made.network, 2, seed=0)
        shares = training.fine_tune(
            network, part, {1: part, 4: part}, epochs=4, rate=0.01, seed=0
        )
        return shares, network

    (shares, network), (again, other) = tuned(), tuned()

    assert shares == again
    assert set(shares) == {1, 4}
    assert shares[4] > 0.9
    assert (network._conv_stem.weight == other._conv_stem.weight).all()
    assert (network._conv_stem.weight != made.network._conv_stem.weight).any()


def test_too_few_photographs_are_an_error(model, images, library):
    with pytest.raises(ValueError, match="at least 64 photographs, got 32"):
        experiment.Experiment(experiment.QUICK, model, images, library)


@pytest.fixture
def arguments(folder, tmp_path, monkeypatch, model, library):
    """Return the arguments of the command, which uses the small network and few scenes."""
    monkeypatch.setattr(pretrained, "load", lambda: model)
    monkeypatch.setattr(spectra, "load", lambda: library)
    monkeypatch.setattr(experiment, "QUICK", TINY)
    monkeypatch.setattr(threads, "pin_environment", lambda: None)
    path = tmp_path / "new_bands.json"
    return ["--images", str(folder), "--quick", "--out", str(path)]


def results(path):
    record = json.loads(Path(path).read_text(encoding="utf-8"))
    return {tuple(run["name"]): run["result"] for run in record["runs"]}


def test_the_command_continues_where_it_was_stopped(
    arguments, tmp_path, monkeypatch, capsys
):
    class Stopped(Exception):
        pass

    calls = []

    def stop(*details):
        calls.append(details)
        if len(calls) == 3:
            raise Stopped
        return {"early": 0.25, "late": 0.5}

    with monkeypatch.context() as patch:
        patch.setattr(
            experiment.Experiment, "tuned", lambda _, *details: stop(*details)
        )
        with pytest.raises(Stopped):
            command.main(arguments)
        assert not Path(arguments[-1]).exists()
        command.main(arguments)

    assert capsys.readouterr().out == f"{arguments[-1]}\n"
    names = list(experiment.steps(TINY))
    assert list(results(arguments[-1])) == names
    assert len(calls) == 1 + sum(name[0] == "tuned" for name in names)
    assert [path.name for path in tmp_path.iterdir()] == ["new_bands.json"]
    record = json.loads(Path(arguments[-1]).read_text(encoding="utf-8"))
    assert (record["scale"], record["photographs"]["count"]) == ("quick", 32)
    assert record["versions"]["spectra"] == record["versions"]["wheel"] == "1"
    assert "**Not a record**" in report.section(record)


def test_runs_of_another_measurement_are_not_continued(arguments):
    unfinished = Path(arguments[-1]).with_suffix(".runs")
    unfinished.write_text(json.dumps({"settings": {}}) + "\n", encoding="utf-8")

    with pytest.raises(SystemExit, match="delete it, or pass another --out"):
        command.main(arguments)


def test_missing_wheels_are_answered_with_the_command_to_type(
    folder, monkeypatch, model
):
    monkeypatch.setattr(pretrained, "load", lambda: model)
    monkeypatch.setattr(threads, "pin_environment", lambda: None)
    monkeypatch.setattr(spectra.importlib.util, "find_spec", lambda _: None)

    with pytest.raises(SystemExit, match="pip install --no-deps prosail earthlib"):
        command.main(["--images", str(folder)])


def test_an_interval_is_that_of_students_t():
    points = np.array([70.0, 72.0, 75.0, 71.0, 69.0])
    expected = ttest_1samp(points, 0).confidence_interval(0.95)
    found = report.interval(points)
    assert found == pytest.approx((points.mean(), expected.low, expected.high))


@pytest.fixture(scope="module")
def committed():
    return json.loads(command.RECORD.read_text(encoding="utf-8"))


@pytest.fixture
def tuned(committed):
    """Return a record in which seeds differ, and the mean kernels gain 2 points for even seeds and 3 for odd ones."""
    changed = copy.deepcopy(committed)
    settings = experiment.FULL._replace(tuned=(0, 1, 2, 3, 4), control=(0, 2))
    changed["settings"] |= {"tuned": settings.tuned, "control": settings.control}
    runs = [run for run in changed["runs"] if run["name"][0] != "tuned"]
    for name in experiment.steps(settings):
        if name[0] == "tuned":
            _, bands, seed, method = name
            share = 0.3 + 0.1 * int(seed)
            if method == methods.MEAN and bands == experiment.OWN:
                share += 0.02 + 0.01 * (int(seed) % 2)
            result = {"early": 0.25, "late": share}
            runs.append({"name": name, "result": result, "seconds": 1.0})
    return changed | {"runs": runs}


def test_differences_are_those_of_the_same_seed(tuned):
    found = report.difference(tuned, report.LATE, methods.MEAN, methods.ZERO)

    expected = ttest_1samp([2, 3, 2, 3, 2], 0).confidence_interval(0.95)
    assert found == pytest.approx((2.4, expected.low, expected.high))
    control = report.difference(
        tuned, report.LATE, methods.MEAN, methods.RGB_ONLY, experiment.EXCHANGED
    )
    assert control == pytest.approx((0, 0, 0))


def test_the_section_shows_what_was_measured(tuned):
    expected = ttest_1samp([2, 3, 2, 3, 2], 0).confidence_interval(0.95)
    cell = f"+2.4 ({expected.low:+.1f} to {expected.high:+.1f})"

    assert f"| {cell} | {cell} |" in report.section(tuned)
    untuned = copy.deepcopy(tuned)
    untuned["settings"] |= {"tuned": [], "control": []}
    assert "not part of this record" in report.section(untuned)
    assert cell not in report.section(untuned)
    for record, panels in ((tuned, 2), (untuned, 1)):
        assert len(report.picture(record).axes) == panels
    assert "$" not in report.section(tuned)


def test_the_committed_record_is_a_full_one_and_names_no_host(committed):
    assert (committed["scale"], committed["threads"]) == ("full", 1)
    names = [tuple(run["name"]) for run in committed["runs"]]
    assert names == list(experiment.steps(experiment.FULL))
    assert platform.node() not in json.dumps(committed)
    assert str(Path.home()) not in json.dumps(committed)


def test_committed_features_with_zero_kernels_are_those_of_rgb(committed):
    for run in committed["runs"]:
        if run["name"][0] == "probe":
            zero, rgb = run["result"][methods.ZERO], run["result"][methods.RGB_ONLY]
            assert zero["accuracy"] == rgb["accuracy"]
            assert zero["change"] < 1e-5


def test_new_bands_tell_classes_apart_that_colour_does_not(committed):
    for run in committed["runs"]:
        if run["name"][0] == "statistics":
            assert run["result"]["all"] > run["result"]["RGB"] + 0.2
