"""``graypipe convert``: the outputs equal those of the plan in every file format."""

import json
import os
import sys
import termios
import tracemalloc

import imagenet
import numpy as np
import pytest
import tifffile
from image_sets import images, process, save, tree
from PIL import Image

import graypipe as gp
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.cli import main

RNG = np.random.default_rng(9)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)
RGBY16 = RNG.integers(0, 65536, (21, 34, 4), dtype=np.uint16)
IMAGENET = ("--source", "gray", "--target", "imagenet", "--to", "npy", "--workers", 1)
YELLOW = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}
GREEN = {"Grün": "G", "青": "B", "🌱 <é>": "R"}


def convert(*argv):
    return main(["convert", *map(str, argv)])


def gray_target(dtype, white):
    return gp.Target(("gray",), "HW", dtype, range=(0, white))


CASES = {
    "gray to imagenet, npy": (GRAY8, "gray", "imagenet", None, "npy"),
    "gray of 12 bits to caffe, npy": (
        GRAY16 >> 4,
        gp.Source("gray", bits=12),
        "keras-caffe",
        None,
        "npy",
    ),
    "gray to RGB, png": (GRAY8, "gray", "rgb8", None, "png"),
    "16 bits to 8, png": (GRAY16, "gray", gray_target("uint8", 255), None, "png"),
    "16 bits, png": (
        GRAY16,
        gp.Source("gray", range=(65535, 0)),
        gray_target("uint16", 65535),
        None,
        "png",
    ),
    "16 bits a colour, png": (
        GRAY16,
        "gray",
        gp.Target("RGB", "CHW", "uint16", range=(0, 65535)),
        None,
        "png",
    ),
    "gray to imagenet, tiff": (GRAY8, "gray", "imagenet", None, "tiff"),
    "one band with a name, tiff": (
        GRAY8,
        ("NIR",),
        gp.Target(("NIR",), "CHW", "float64"),
        None,
        "tiff",
    ),
    "BGR, tiff": (RGB8, "RGB", gp.preset("imagenet", bands="BGR"), None, "tiff"),
    "yellow merged, tiff": (
        RGBY16,
        "RGBY",
        gp.preset("unit", layout="HWC"),
        YELLOW,
        "tiff",
    ),
    "a name of any letters, tiff": (
        GRAY8,
        ("B<&>",),
        gp.Target(("B<&>",), "HW"),
        None,
        "tiff",
    ),
    "names in any script, tiff": (
        RGB8,
        "RGB",
        gp.Target(("Grün", "青", "🌱 <é>"), "HWC"),
        GREEN,
        "tiff",
    ),
    "four bands, tiff": (
        RGBY16,
        "RGBY",
        gp.Target("YRGB", "CHW", "int16", range=(-9, 9)),
        None,
        "tiff",
    ),
    "colours to gray, png": (
        RGB8,
        "RGB",
        gray_target("uint8", 255),
        gp.luminance(),
        "png",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_files_read_back_equal_the_output_of_the_plan(tmp_path, case):
    image, source, target, via, to = CASES[case]
    path = save(
        tmp_path / "in" / f"deep/er/image{'.tif' if image.ndim == 3 else '.png'}", image
    )
    if image.shape[-1] == 4:
        tifffile.imwrite(path, image, photometric="minisblack", planarconfig="contig")
    plan = gp.plan(source, target, via)
    (tmp_path / "plan.json").write_text(plan.to_json())

    code = convert(
        tmp_path / "in",
        tmp_path / "out",
        "--plan",
        tmp_path / "plan.json",
        "--to",
        to,
        "--workers",
        1,
    )

    assert code == 0
    declared = {}
    if to == "npy":
        declared = {"layout": plan.target.layout, "bands": plan.target.bands}
    if to == "npy" or plan.target.dtype == "int16":
        declared["range"] = (-99, 999)
    suffix = {"npy": ".npy", "png": ".png", "tiff": ".tif"}[to]
    read, read_source = gp.read(tmp_path / f"out/deep/er/image{suffix}", **declared)
    expected = plan.with_layouts(target=read_source.layout)(image)
    assert read.dtype == expected.dtype
    np.testing.assert_array_equal(read, expected)
    assert read_source.bands == plan.target.bands


def test_source_syntax_gives_the_same_plan_as_python(tmp_path):
    save(
        tmp_path / "in/cells.tif",
        RGBY16,
        photometric="minisblack",
        planarconfig="contig",
    )
    merge = ("--via", "R=0.5*R+0.5*Y,G=0.5*G+0.5*Y,B=B")
    code = convert(
        tmp_path / "in",
        tmp_path / "out",
        "--source",
        "RGBY:16",
        "--target",
        "unit",
        *merge,
        "--to",
        "npy",
    )

    plan = gp.plan(gp.Source("RGBY", bits=16), "unit", YELLOW)
    assert code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out/cells.npy"), plan(RGBY16))
    first = (tmp_path / "out" / MANIFEST_NAME).read_text().splitlines()[0]
    assert json.loads(first)["fingerprint"] == plan.fingerprint


def test_all_images_are_converted_and_sources_are_unchanged(tmp_path, capsys):
    arrays = images(tmp_path / "in", 7)
    save(tmp_path / "in/top.TIF".lower(), GRAY8)
    (tmp_path / "in/labels.csv").write_text("a/0000.png,1\n")
    before = tree(tmp_path / "in")

    assert convert(tmp_path / "in", tmp_path / "out", *IMAGENET) == 0

    assert tree(tmp_path / "in") == before
    names = {
        f"{path.relative_to(tmp_path / 'in').with_suffix('.npy')}" for path in arrays
    }
    assert set(tree(tmp_path / "out")) == {*names, "top.npy", MANIFEST_NAME}
    assert capsys.readouterr().out.startswith(
        "8 files converted, 0 were already up to date"
    )
    plan = gp.plan("gray", "imagenet")
    for path, image in arrays.items():
        written = (
            tmp_path / "out" / path.relative_to(tmp_path / "in").with_suffix(".npy")
        )
        np.testing.assert_array_equal(np.load(written), plan(image))


def test_metadata_of_the_file_completes_the_declaration(tmp_path):
    save(tmp_path / "in/white-is-zero.tif", GRAY8, photometric="miniswhite")
    assert convert(tmp_path / "in", tmp_path / "out", *IMAGENET) == 0

    inverted = gp.plan(gp.Source("gray", range=(255, 0)), "imagenet")
    np.testing.assert_array_equal(
        np.load(tmp_path / "out/white-is-zero.npy"), inverted(GRAY8)
    )


def test_declared_layout_applies_to_array_files_only(tmp_path):
    save(tmp_path / "in/a.npy", np.ascontiguousarray(np.moveaxis(RGB8, -1, 0)))
    save(tmp_path / "in/b.png", RGB8)
    source = ("--source", "RGB:layout=CHW", "--target", "unit")
    assert convert(tmp_path / "in", tmp_path / "out", *source, "--to", "npy") == 0

    expected = gp.plan("RGB", "unit")(RGB8)
    for name in ("a", "b"):
        np.testing.assert_array_equal(np.load(tmp_path / f"out/{name}.npy"), expected)


def test_alpha_and_orientation_are_options(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "in/turned.png", np.dstack([RGB8, GRAY8]), exif=exif)
    source = ("--source", "RGB", "--target", "rgb8", "--to", "png")
    assert convert(tmp_path / "in", tmp_path / "refused", *source) == 1

    policies = ("--alpha", "black", "--orientation", "apply")
    assert convert(tmp_path / "in", tmp_path / "out", *source, *policies) == 0
    image, _ = gp.read(tmp_path / "in/turned.png", alpha="black", orientation="apply")
    np.testing.assert_array_equal(gp.read(tmp_path / "out/turned.png")[0], image)
    # These are other policies.
    assert convert(tmp_path / "in", tmp_path / "out", *source, "--resume") == 1


def test_frame_is_an_option(tmp_path):
    save(
        tmp_path / "in/stack.tif",
        np.stack([GRAY8, GRAY8[::-1]]),
        photometric="minisblack",
    )
    assert convert(tmp_path / "in", tmp_path / "out", *IMAGENET, "--frame", 1) == 0
    np.testing.assert_array_equal(
        np.load(tmp_path / "out/stack.npy"), gp.plan("gray", "imagenet")(GRAY8[::-1])
    )


@pytest.mark.parametrize(
    ("plan", "to", "advice"),
    [
        (gp.plan("gray", "imagenet"), "png", "--to npy or --to tiff"),
        (
            gp.plan("RGB", gp.Target("BGR", dtype="uint8", range=(0, 255))),
            "png",
            "--to npy or --to tiff",
        ),
        (
            gp.plan("RGBY", gp.Target("RGBY", dtype="uint8", range=(0, 255))),
            "png",
            "--to npy or --to tiff",
        ),
        (gp.plan("gray", gp.Target(dtype="float16")), "tiff", "npy"),
        (gp.plan(gp.Source("gray", "THW"), "imagenet"), "tiff", "npy"),
        (gp.plan(("near\nIR",), gp.Target(("near\nIR",), "HW")), "tiff", "printable"),
    ],
)
def test_unsuitable_file_formats_are_refused_before_the_work(
    tmp_path, capsys, plan, to, advice
):
    images(tmp_path / "in", 2)
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert (
        convert(
            tmp_path / "in",
            tmp_path / "out",
            "--plan",
            tmp_path / "plan.json",
            "--to",
            to,
        )
        == 1
    )
    assert advice in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("--source", "gray"),
        (),
        ("--plan", "missing.json"),
        ("--plan", "plan.json", "--source", "gray"),
        ("--source", "gray", "--target", "imagenet", "--workers", "0"),
        ("--source", "gray", "--target", "imagenet", "--ray-address", "local"),
        ("--source", "gray", "--target", "imagenet", "--on-error", "ignore"),
    ],
)
def test_arguments_without_a_plan_exit_with_2(tmp_path, monkeypatch, capsys, argv):
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "in", 2)
    (tmp_path / "plan.json").write_text(gp.plan("gray", "imagenet").to_json())
    assert convert("in", "out", *argv, "--to", "npy") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def damaged(folder):
    """Write files that are not gray uint8 images; return a part of each error."""
    data = save(folder / "a/cut.png", GRAY8).read_bytes()
    (folder / "a/cut.png").write_bytes(data[: len(data) // 2])
    save(folder / "b/colour.png", RGB8)
    save(folder / "b/deep.tif", GRAY16)
    (folder / "b/gone.png").symlink_to(folder / "nowhere.png")
    os.mkfifo(folder / "b/pipe.png")
    return {
        "cut.png": "",
        "colour.png": "3 bands",
        "deep.tif": "uint16",
        "gone.png": "No such file",
        "pipe.png": "a pipe",
    }


DEPTH8 = ("--source", "gray:dtype=uint8", *IMAGENET[2:-1])


@pytest.mark.parametrize("workers", [1, 2])
def test_unusable_files_are_skipped_and_reported(tmp_path, capsys, workers):
    images(tmp_path / "in", 40)
    assert convert(tmp_path / "in", tmp_path / "expected", *DEPTH8, workers) == 0
    reasons = damaged(tmp_path / "in")
    capsys.readouterr()

    assert (
        convert(
            tmp_path / "in", tmp_path / "out", *DEPTH8, workers, "--on-error", "skip"
        )
        == 1
    )

    *skipped, last = capsys.readouterr().err.splitlines()
    assert last == "graypipe: error: 5 of 45 files were skipped"
    assert len(skipped) == len(reasons)
    for line, (name, reason) in zip(skipped, reasons.items(), strict=True):
        assert line.startswith(f"skipped: {tmp_path}")
        assert name in line
        assert reason in line
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


@pytest.mark.parametrize("workers", [1, 2])
def test_first_unusable_file_stops_and_resume_continues(tmp_path, capsys, workers):
    arrays = images(tmp_path / "in", 40)
    assert convert(tmp_path / "in", tmp_path / "expected", *DEPTH8, workers) == 0
    bad = list(arrays)[25]
    good = bad.read_bytes()
    state = bad.stat()
    bad.write_bytes(good[:-30])
    capsys.readouterr()

    assert convert(tmp_path / "in", tmp_path / "out", *DEPTH8, workers) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"graypipe: error: {bad}: ")
    assert error.count("\n") == 1
    finished = (tmp_path / "out" / MANIFEST_NAME).read_text().splitlines()[1:]
    assert len(finished) == 25
    bad.write_bytes(good)
    os.utime(bad, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert convert(tmp_path / "in", tmp_path / "out", *DEPTH8, workers, "--resume") == 0
    assert capsys.readouterr().out.startswith(
        "15 files converted, 25 were already up to date"
    )
    assert tree(tmp_path / "out") == tree(tmp_path / "expected")


def test_one_worker_and_two_write_the_same_bytes(tmp_path):
    images(tmp_path / "in", 50)
    for workers in (1, 2):
        assert (
            convert(tmp_path / "in", tmp_path / str(workers), *IMAGENET[:-1], workers)
            == 0
        )
    assert tree(tmp_path / "1") == tree(tmp_path / "2")


def test_memory_does_not_grow_with_the_number_of_files(tmp_path):
    large = RNG.integers(0, 65536, (400, 600), dtype=np.uint16)
    for index in range(40):
        save(tmp_path / "many" / f"{index}.npy", large)
        if index < 4:
            save(tmp_path / "few" / f"{index}.npy", large)
    peaks = []
    # The first run pays for imports.
    for index, folder in enumerate(("few", "few", "many")):
        tracemalloc.start()
        assert convert(tmp_path / folder, tmp_path / f"out{index}", *IMAGENET) == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 2**20


def test_progress_bar_on_a_terminal_counts_the_files(tmp_path):
    images(tmp_path / "in", 3)
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 80))
    done = process(
        *("convert", tmp_path / "in", tmp_path / "out", *IMAGENET),
        capture_output=False,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    shown = b""
    # At its end the terminal raises OSError.
    while b"3/3" not in shown:
        shown += os.read(terminal, 4096)
    os.close(terminal)
    assert done.returncode == 0


def test_missing_tqdm_names_the_extra_and_the_work_is_done(
    tmp_path, capsys, monkeypatch
):
    images(tmp_path / "in", 3)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert convert(tmp_path / "in", tmp_path / "out", *IMAGENET) == 0
    assert 'pip install "graypipe[io]"' in capsys.readouterr().err


def test_missing_ray_names_the_extra(tmp_path, capsys, monkeypatch):
    images(tmp_path / "in", 3)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert convert(tmp_path / "in", tmp_path / "out", *IMAGENET, "--engine", "ray") == 1
    assert 'pip install "graypipe[ray]"' in capsys.readouterr().err


def test_missing_extra_is_not_reported_as_skipped_files(tmp_path, capsys, monkeypatch):
    save(tmp_path / "in/a.tif", GRAY8)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert (
        convert(tmp_path / "in", tmp_path / "out", *IMAGENET, "--on-error", "skip") == 1
    )
    printed = capsys.readouterr().err
    assert 'pip install "graypipe[io]"' in printed
    assert "skipped" not in printed


def test_uint16_pixels_of_a_uint8_source_are_refused(tmp_path, capsys):
    save(tmp_path / "in/a.png", GRAY16)
    assert convert(tmp_path / "in", tmp_path / "out", *DEPTH8, 1) == 1
    assert "uint16" in capsys.readouterr().err


def test_range_is_declared_and_never_taken_from_pixels(tmp_path, capsys):
    save(tmp_path / "in/a.npy", (GRAY16 >> 4).astype(np.int32))
    unit = ("--target", "unit", "--to", "npy")
    assert convert(tmp_path / "in", tmp_path / "out", "--source", "gray", *unit) == 1
    assert "bits=" in capsys.readouterr().err

    assert convert(tmp_path / "in", tmp_path / "out", "--source", "gray:12", *unit) == 0
    np.testing.assert_allclose(
        np.load(tmp_path / "out/a.npy")[0], (GRAY16 >> 4) / 4095, rtol=1e-6
    )


def test_bands_are_matched_by_name_and_never_dropped(tmp_path, capsys):
    save(tmp_path / "in/a.tif", RGBY16, photometric="minisblack", planarconfig="contig")
    argv = (
        tmp_path / "in",
        tmp_path / "out",
        "--source",
        "RGBY:16",
        "--target",
        "imagenet",
        "--to",
        "npy",
    )
    assert convert(*argv) == 1
    assert "via" in capsys.readouterr().err

    assert convert(*argv, "--via", "B=B,R=R,G=G") == 0
    by_hand = (
        np.moveaxis(RGBY16[..., :3] / 65535, -1, 0) - imagenet.MEAN[0]
    ) / imagenet.STD[0]
    np.testing.assert_allclose(
        np.load(tmp_path / "out/a.npy")[0], by_hand[0], atol=1e-5
    )


def test_nodata_pixels_become_the_value_of_the_plan(tmp_path):
    image = GRAY8.copy()
    image[3:5] = 0
    save(tmp_path / "in/a.png", image)
    assert (
        convert(
            tmp_path / "in",
            tmp_path / "out",
            "--source",
            "gray:nodata=0",
            *IMAGENET[2:],
        )
        == 0
    )
    written = np.load(tmp_path / "out/a.npy")
    assert (written[:, image == 0] == 0).all()
    assert np.isfinite(written).all()
