"""``graypipe stats``: the statistics equal those of NumPy on all pixels."""

import json
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from image_sets import images, save, tree
from PIL import Image

import graypipe as gp
from graypipe.cli import main

GRAY8 = np.random.default_rng(4).integers(0, 256, (21, 34), dtype=np.uint8)


def stats(*argv):
    return main(["stats", *map(str, argv)])


def read_stats(path):
    return gp.BandStats.from_json(path.read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_statistics_of_2000_files_equal_numpy(tmp_path, capsys, workers):
    pixels = (
        np.stack(list(images(tmp_path / "in", 2000, (5, 6, 3)).values()))
        .reshape(-1, 3)
        .astype(np.float64)
    )
    argv = ("--source", "RGB", "--json", tmp_path / "s.json", "--workers", workers)
    assert stats(tmp_path / "in", *argv) == 0

    result = read_stats(tmp_path / "s.json")
    expected = {
        "mean": pixels.mean(0),
        "std": pixels.std(0),
        "min": pixels.min(0),
        "max": pixels.max(0),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(
            getattr(result, name), values, rtol=1e-9, err_msg=name
        )
    np.testing.assert_allclose(
        result.covariance, np.cov(pixels.T, bias=True), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        result.percentile([2, 50, 98]),
        np.percentile(pixels, [2, 50, 98], axis=0),
        rtol=1e-9,
    )
    assert result.count == len(pixels)
    head, names, red, *_ = capsys.readouterr().out.splitlines()
    assert head == "2,000 files, uint8, 60,000 pixels per band"
    assert names.split()[:3] == ["BAND", "MEAN", "STD"]
    assert red.split()[:3] == [
        "R",
        f"{pixels[:, 0].mean():.6g}",
        f"{pixels[:, 0].std():.6g}",
    ]


def test_floats_give_the_same_bytes_with_one_worker_and_two(tmp_path):
    """Sums of floats depend on their order, so the order is that of the files."""
    images(tmp_path / "in", 70, (9, 11), "float32", ".npy")
    for workers in (1, 2):
        argv = (
            "--source",
            "gray",
            "--json",
            tmp_path / f"{workers}.json",
            "--workers",
            workers,
        )
        assert stats(tmp_path / "in", *argv) == 0
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    assert read_stats(tmp_path / "1.json").count == 70 * 99


def test_json_equals_that_of_band_stats_in_python(tmp_path):
    source = gp.Source("gray", bits=12, nodata=0)
    expected = gp.BandStats(source)
    for image in images(tmp_path / "in", 40, dtype="uint16", ending=".npy").values():
        expected.update(image % 4096)
    for path in (tmp_path / "in").rglob("*.npy"):
        np.save(path, np.load(path) % 4096)
    argv = (
        "--source",
        "gray:12:nodata=0",
        "--json",
        tmp_path / "s.json",
        "--workers",
        2,
    )
    assert stats(tmp_path / "in", *argv) == 0
    assert (tmp_path / "s.json").read_text() == expected.to_json() + "\n"


def test_window_and_normalization_are_printed_as_arguments(tmp_path, capsys):
    images(tmp_path / "in", 5, dtype="uint16")
    assert (
        stats(tmp_path / "in", "--source", "gray", "--json", tmp_path / "s.json") == 0
    )

    result = read_stats(tmp_path / "s.json")
    window, normalization = capsys.readouterr().out.splitlines()[-2:]
    assert window == f"window: range={result.window(2, 98)}"
    mean, std = result.normalization()
    assert normalization == f"normalization: mean={mean}, std={std}"


def test_a_constant_band_is_named_and_gives_no_std(tmp_path, capsys):
    flat = np.dstack([GRAY8, np.full_like(GRAY8, 9), GRAY8[::-1]])
    save(tmp_path / "in/a.png", flat)
    assert stats(tmp_path / "in", "--source", "RGB", "--json", tmp_path / "s.json") == 0

    printed = capsys.readouterr().out
    assert "constant: G\n" in printed
    assert (
        "normalization: not available (all pixels have the same value in band 'G'"
        in printed
    )
    assert "window: not available (" in printed
    assert "nan" not in printed + (tmp_path / "s.json").read_text()


def test_nodata_is_excluded(tmp_path):
    image = GRAY8.copy()
    image[2:7] = 0
    save(tmp_path / "in/a.png", image)
    assert (
        stats(
            tmp_path / "in", "--source", "gray:nodata=0", "--json", tmp_path / "s.json"
        )
        == 0
    )
    result = read_stats(tmp_path / "s.json")
    valid = image[image != 0].astype(np.float64)
    assert result.count == valid.size
    np.testing.assert_allclose(
        [result.mean[0], result.std[0]], [valid.mean(), valid.std()], rtol=1e-12
    )


def test_files_of_different_layouts_are_merged(tmp_path):
    bands = np.dstack([GRAY8, GRAY8[::-1], GRAY8[:, ::-1], 255 - GRAY8])
    save(tmp_path / "in/a.tif", bands, photometric="minisblack", planarconfig="contig")
    save(
        tmp_path / "in/b.tif",
        np.moveaxis(bands, -1, 0),
        photometric="minisblack",
        planarconfig="separate",
    )
    argv = ("--source", "B02,B03,B04,B08", "--json", tmp_path / "s.json")
    assert stats(tmp_path / "in", *argv) == 0
    result = read_stats(tmp_path / "s.json")
    assert result.count == 2 * GRAY8.size
    np.testing.assert_allclose(
        result.covariance, np.cov(bands.reshape(-1, 4).T, bias=True), rtol=1e-9
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_files_unlike_the_first_are_skipped_and_reported(tmp_path, capsys, workers):
    images(tmp_path / "in", 40)
    argv = ("--source", "gray", "--workers", workers)
    assert stats(tmp_path / "in", *argv, "--json", tmp_path / "expected.json") == 0
    bad = {
        "a/cut.png": (tmp_path / "in/a/0000.png").read_bytes()[:-20],
        "b/deep.png": save(tmp_path / "deep.png", GRAY8.astype(np.uint16)).read_bytes(),
        "b/white.tif": save(
            tmp_path / "white.tif", GRAY8, photometric="miniswhite"
        ).read_bytes(),
    }
    for name, data in bad.items():
        (tmp_path / "in" / name).write_bytes(data)
    capsys.readouterr()

    assert (
        stats(
            tmp_path / "in", *argv, "--on-error", "skip", "--json", tmp_path / "s.json"
        )
        == 1
    )

    *skipped, last = capsys.readouterr().err.splitlines()
    assert last == "graypipe: error: 3 of 43 files were skipped"
    for line, name in zip(skipped, bad, strict=True):
        assert line.startswith(f"skipped: {tmp_path / 'in' / name}: ")
    assert (tmp_path / "s.json").read_bytes() == (
        tmp_path / "expected.json"
    ).read_bytes()

    assert stats(tmp_path / "in", *argv, "--json", tmp_path / "none.json") == 1
    assert capsys.readouterr().err.startswith(
        f"graypipe: error: {tmp_path / 'in/a/cut.png'}: "
    )
    assert not (tmp_path / "none.json").exists()


def test_a_single_file_is_accepted(tmp_path, capsys):
    assert stats(save(tmp_path / "a.png", GRAY8), "--source", "gray") == 0
    assert f"{GRAY8.mean():.6g}" in capsys.readouterr().out


def test_missing_bands_are_an_error(tmp_path, capsys):
    images(tmp_path / "in", 2)
    assert stats(tmp_path / "in", "--source", "RGB", "--on-error", "skip") == 1
    assert "none of the 2 files" in capsys.readouterr().err


def test_images_are_never_overwritten(tmp_path, capsys):
    images(tmp_path / "in", 2)
    before = tree(tmp_path / "in")
    for option in ("--json", "--plot"):
        assert (
            stats(
                tmp_path / "in", "--source", "gray", option, tmp_path / "in/a/0000.png"
            )
            == 1
        )
        assert "one of the images" in capsys.readouterr().err
        assert (
            stats(
                tmp_path / "in", "--source", "gray", option, tmp_path / "missing/s.png"
            )
            == 1
        )
        assert "does not exist" in capsys.readouterr().err
    assert (
        stats(tmp_path / "in", "--source", "gray", "--plot", tmp_path / "plot.txt") == 1
    )
    assert ".png" in capsys.readouterr().err
    assert tree(tmp_path / "in") == before


def test_outputs_that_look_like_images_are_refused(tmp_path, capsys):
    images(tmp_path / "in", 2)
    before = tree(tmp_path)
    for option, name in (
        ("--json", "in/new.png"),
        ("--json", "new.NPY"),
        ("--plot", "in/a/new.PNG"),
    ):
        assert stats(tmp_path / "in", "--source", "gray", option, tmp_path / name) == 1
        assert "would be picked up as an input image" in capsys.readouterr().err
    assert tree(tmp_path) == before
    # These names are not those of images.
    outputs = ("--json", tmp_path / "in/s.json", "--plot", tmp_path / "in/s.svg")
    assert stats(tmp_path / "in", "--source", "gray", *outputs) == 0
    assert stats(tmp_path / "in", "--source", "gray") == 0


@pytest.mark.parametrize(
    "argv",
    [
        ("scans", "--plot", "store/a.png"),
        ("scans", "--plot", "scans/../store/a.png"),
        ("scans", "--plot", "other/b.png"),
        ("scans", "--plot", "latest.png"),
        ("store/raw", "--json", "here/store/raw"),
        ("store/raw", "--json", "store/../store/raw"),
    ],
)
def test_images_behind_links_are_never_overwritten(tmp_path, monkeypatch, capsys, argv):
    monkeypatch.chdir(tmp_path)
    for image in ("store/a.png", "other/b.png"):
        save(tmp_path / image, GRAY8)
    os.link("store/a.png", "store/raw")
    (tmp_path / "scans").mkdir()
    links = {
        "scans/a.png": "../store/a.png",
        "scans/ext": "../other",
        "here": ".",
        "latest.png": "store/a.png",
    }
    for link, target in links.items():
        (tmp_path / link).symlink_to(target)
    before = tree(tmp_path)
    assert stats(*argv, "--source", "gray", "--workers", 1) == 1
    assert "is one of the images" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_no_plot_is_added_to_folders_behind_links(tmp_path, capsys):
    save(tmp_path / "other/b.png", GRAY8)
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans/ext").symlink_to(tmp_path / "other")
    plot = ("--source", "gray", "--plot")
    assert stats(tmp_path / "scans", *plot, tmp_path / "other/new.png") == 1
    assert "would be picked up as an input image" in capsys.readouterr().err
    assert set(tree(tmp_path)) == {"other/b.png"}
    # A single file may have a plot next to it.
    assert stats(tmp_path / "other/b.png", *plot, tmp_path / "other/new.png") == 0


@pytest.mark.parametrize("option", ["--json", "--plot"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "circle"])
def test_an_output_that_is_no_file_is_refused_before_the_work(
    tmp_path, capsys, option, kind
):
    images(tmp_path / "in", 2)
    output = tmp_path / "s.svg"
    {
        "folder": Path.mkdir,
        "pipe": os.mkfifo,
        "circle": lambda path: path.symlink_to(path),
    }[kind](output)
    before = stat.S_IFMT(output.lstat().st_mode)
    assert stats(tmp_path / "in", "--source", "gray", option, output) == 1
    printed = capsys.readouterr()
    assert (
        f"cannot write {output}: it is a folder, a pipe, a device or a broken link"
        in printed.err
    )
    assert printed.out == ""
    assert stat.S_IFMT(output.lstat().st_mode) == before


def test_a_link_is_kept_and_its_file_is_replaced(tmp_path):
    images(tmp_path / "in", 2)
    (tmp_path / "real.json").write_text("old")
    (tmp_path / "latest.json").symlink_to("real.json")
    assert (
        stats(tmp_path / "in", "--source", "gray", "--json", tmp_path / "latest.json")
        == 0
    )
    assert (tmp_path / "latest.json").readlink() == Path("real.json")
    assert read_stats(tmp_path / "real.json").count == 2 * 12 * 16


def test_cycles_of_links_are_skipped_like_unreadable_files(tmp_path, capsys):
    images(tmp_path / "in", 2)
    for name in ("loop.png", "loop"):
        (tmp_path / "in" / name).symlink_to(name)
    argv = (
        tmp_path / "in",
        "--source",
        "gray",
        "--workers",
        1,
        "--on-error",
        "skip",
        "--plot",
    )
    assert stats(*argv, tmp_path / "p.png") == 1
    assert "1 of 3 files were skipped" in capsys.readouterr().err
    assert stats(*argv, tmp_path / "in/loop/p.png") == 1
    assert "does not exist" in capsys.readouterr().err


def test_a_failed_write_leaves_no_file(tmp_path, capsys):
    images(tmp_path / "in", 2)
    (tmp_path / "s.json").mkdir()
    assert (
        stats(tmp_path / "in", "--source", "gray", "--json", tmp_path / "s.json") == 1
    )
    assert "cannot write " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


@pytest.mark.parametrize(("dtype", "ending"), [("uint8", ".png"), ("float32", ".npy")])
def test_plot_shows_every_band(tmp_path, dtype, ending):
    shape = (12, 16, 3)
    images(tmp_path / "in", 3, shape, dtype, ending)
    drawn = tmp_path / "histograms.png"
    assert stats(tmp_path / "in", "--source", "RGB", "--plot", drawn) == 0
    picture = np.asarray(Image.open(drawn).convert("RGB")).astype(int)
    rows = np.array_split(picture[80:], 3)
    # Each histogram has the colour of its band.
    for row, strongest in zip(rows, range(3), strict=True):
        colourful = row[np.ptp(row, axis=-1) > 60]
        assert len(colourful) > 500
        assert (colourful.argmax(-1) == strongest).mean() > 0.9


def test_missing_matplotlib_is_reported_before_the_work(tmp_path, capsys, monkeypatch):
    images(tmp_path / "in", 2)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert stats(tmp_path / "in", "--source", "gray", "--plot", tmp_path / "p.png") == 1
    printed = capsys.readouterr()
    assert 'pip install "graypipe[demo]"' in printed.err
    assert printed.out == ""


def test_json_contains_the_source(tmp_path):
    images(tmp_path / "in", 2)
    assert (
        stats(tmp_path / "in", "--source", "gray", "--json", tmp_path / "s.json") == 0
    )
    record = json.loads((tmp_path / "s.json").read_text())
    assert record["source"] == {"bands": ["gray"]}


def test_percentiles_without_their_package_are_not_available(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, "fastdigest", None)
    images(tmp_path / "in", 3, (9, 11), "float32", ".npy")
    assert stats(tmp_path / "in", "--source", "gray", "--workers", 1) == 0
    printed = capsys.readouterr().out
    assert "window: not available (percentiles" in printed
    assert "normalization: mean=" in printed
