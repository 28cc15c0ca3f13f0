"""``graypipe inspect`` with the options of ``graypipe convert``."""

import json
import shlex
from pathlib import Path

import numpy as np
import pydicom
import pytest
import rasterio
from image_sets import images, process, save
from PIL import Image

import graypipe as gp
from graypipe.cli import main

RANDOM = np.random.default_rng(11)
GRAY8 = RANDOM.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY12 = RANDOM.integers(0, 4096, (21, 34), dtype=np.uint16)
RGBA = RANDOM.integers(0, 256, (21, 34, 4), dtype=np.uint8)


@pytest.fixture
def inspect_json(capsys):
    """Return a function that runs ``inspect --json``: exit code, records, summary."""

    def inspect_json(*argv):
        exit_code = main(["inspect", "--json", *map(str, argv)])
        document = json.loads(capsys.readouterr().out)
        records = {Path(record["path"]).name: record for record in document["files"]}
        return exit_code, records, document["summary"]

    return inspect_json


@pytest.fixture
def mixed(tmp_path):
    """Return a folder with files that a plan for 12-bit gray takes, and others."""
    folder = tmp_path / "mixed"
    save(folder / "gray12.png", GRAY12)
    save(folder / "too bright.png", GRAY12 + np.uint16(4000))
    save(folder / "colour.png", RGBA[..., :3])
    save(folder / "transparent.png", RGBA)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "turned.jpg", GRAY8, exif=exif)
    frames = [Image.fromarray(GRAY8[::-1])]
    Image.fromarray(GRAY8).save(
        folder / "moving.gif", save_all=True, append_images=frames
    )
    data = (folder / "gray12.png").read_bytes()
    (folder / "cut.png").write_bytes(data[: len(data) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("no image")
    (folder / "broken link.png").symlink_to(folder / "nowhere")
    np.save(folder / "volume.npy", np.zeros((2, 3, 4), np.uint8))
    (folder / "IM1.dcm").write_bytes(bytes(128) + b"DICM" + bytes(50))
    (folder / "labels.csv").write_text("gray12.png,1\n")
    return folder


PLANS = [
    ("--source", "gray:12", "--target", "imagenet"),
    ("--source", "gray:8", "--target", "unit", "--orientation", "apply"),
    ("--source", "gray", "--target", "unit", "--frame", "1"),
    (
        *("--source", "gray:dtype=uint8", "--source", "gray:12:dtype=uint16"),
        *("--source", "RGB", "--target", "unit", "--alpha", "white"),
    ),
]


@pytest.mark.parametrize("plan", PLANS)
def test_refused_files_have_the_reasons_of_convert(
    mixed, tmp_path, capsys, inspect_json, plan
):
    out = tmp_path / "out"
    options = (*plan, "--to", "npy", "--workers", "1")
    argv = ["convert", str(mixed), str(out), *options, "--on-error", "skip"]
    assert main(argv) == 1
    reasons = {}
    for line in capsys.readouterr().err.splitlines():
        if line.startswith("skipped: "):
            reason = line.removeprefix("skipped: ")
            path = next(path for path in mixed.iterdir() if str(path) in reason)
            reasons[path.name] = reason.removeprefix(f"{path}: ")

    exit_code, records, summary = inspect_json(mixed, *options)
    errors = {name: record["error"] for name, record in records.items()}
    assert exit_code == 1
    assert summary["errors"] == len(reasons)
    assert {name: error for name, error in errors.items() if error} == reasons

    written = {
        name: record["output"] for name, record in records.items() if "output" in record
    }
    assert len(written) == len(list(out.glob("*.npy"))) >= 1
    for name, output in written.items():
        array = np.load(out / Path(name).with_suffix(".npy"))
        assert tuple(output["shape"]) == array.shape
        assert (output["layout"], output["dtype"]) == ("CHW", array.dtype.name)


def test_what_is_written_depends_on_the_format(tmp_path, capsys, inspect_json):
    save(tmp_path / "a.png", GRAY8)
    options = ("--source", "gray", "--target", "rgb8")
    _, records, summary = inspect_json(tmp_path, *options, "--to", "png")
    assert records["a.png"]["output"] == {
        "shape": [21, 34, 3],
        "layout": "HWC",
        "dtype": "uint8",
    }
    assert summary["outputs"] == {"21x34x3 (HWC) uint8": 1}
    assert main(["inspect", str(tmp_path), *options, "--to", "png"]) == 0
    *_, outputs, following = capsys.readouterr().out.splitlines()
    assert outputs == "convert writes: 21x34x3 (HWC) uint8 in 1"
    typed = f"{tmp_path} --source gray --target rgb8 --to png"
    assert following == f"next: graypipe convert {typed} converted"

    options = ("--source", "gray", "--target", "imagenet", "--to", "png")
    assert main(["inspect", str(tmp_path), *options]) == 1
    assert "use --to npy" in capsys.readouterr().err


def test_a_plan_from_a_file_is_previewed(tmp_path, inspect_json):
    path = tmp_path / "plan.json"
    path.write_text(gp.plan(gp.Source("gray", bits=12), "imagenet").to_json())
    save(tmp_path / "in" / "a.png", GRAY12)
    code, records, _ = inspect_json(tmp_path / "in", "--plan", path)
    assert code == 0
    assert records["a.png"]["source"]["bits"] == 12
    assert records["a.png"]["notes"] == []


def test_files_without_the_suffix_of_an_image_are_left_out(tmp_path, inspect_json):
    save(tmp_path / "a.png", GRAY8)
    (tmp_path / "a.png").rename(tmp_path / "a.image")
    save(tmp_path / "b.png", GRAY8)
    plan = ("--source", "gray", "--target", "unit")
    code, records, _ = inspect_json(tmp_path, *plan)
    assert code == 0
    assert "convert leaves this file out" in records["a.image"]["notes"][0]
    assert "output" not in records["a.image"]
    assert inspect_json(tmp_path, "--source", "gray")[1]["a.image"]["notes"] == []


def test_images_with_the_same_output_are_an_error(tmp_path, capsys):
    save(tmp_path / "a.png", GRAY8)
    save(tmp_path / "a.bmp", GRAY8)
    plan = ("--source", "gray", "--target", "unit")
    assert main(["inspect", str(tmp_path), *plan]) == 1
    assert "would both be written to a.npy" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path), "--source", "gray"]) == 0


def test_sources_without_a_target_say_how_files_are_read(tmp_path, inspect_json):
    save(tmp_path / "gray.png", GRAY8)
    save(tmp_path / "deep.png", GRAY12)
    np.save(tmp_path / "four.npy", RGBA)
    sources = (
        *("--source", "gray:dtype=uint8", "--source", "gray:12:dtype=uint16"),
        *("--source", "red,green,blue,nir"),
    )
    code, records, _ = inspect_json(tmp_path, *sources)
    assert code == 0
    assert records["deep.png"]["source"]["bits"] == 12
    assert records["four.npy"]["source"]["bands"] == ["red", "green", "blue", "nir"]
    assert {name for name, record in records.items() if record["notes"]} == set()

    code, records, _ = inspect_json(tmp_path, "--source", "gray:dtype=uint8")
    assert code == 1
    assert records["gray.png"]["error"] is None
    assert "uint16" in records["deep.png"]["error"]


@pytest.mark.parametrize(
    "argv",
    [
        ("--via", "R=gray,G=gray,B=gray"),
        ("--to", "npy"),
        ("--source", "gray", "--plan", "missing.json"),
    ],
)
def test_options_that_need_others_are_usage_errors(tmp_path, capsys, argv):
    assert main(["inspect", str(tmp_path), *argv]) == 2
    assert "graypipe inspect --help" in capsys.readouterr().err


def test_output_does_not_depend_on_the_number_of_workers(tmp_path):
    images(tmp_path / "in", 40, dtype="uint16")
    outputs = []
    for workers in (1, 2):
        options = ("--workers", workers, "--sensor", "naip")
        done = process("inspect", tmp_path / "in", *options)
        assert (done.returncode, done.stderr) == (0, "")
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].count(".png") == 40


def test_problems_only_lists_files_with_errors_or_notes(mixed, capsys):
    save(mixed / "fine.png", GRAY8)
    main(["inspect", str(mixed)])
    everything = capsys.readouterr().out.splitlines()
    main(["inspect", str(mixed), "--problems-only"])
    problems = capsys.readouterr().out.splitlines()
    assert not any("fine.png" in line for line in problems)
    missing = [line for line in everything if line not in problems]
    assert {line.split()[-1].rpartition("/")[2] for line in missing} == {
        "fine.png",
        "colour.png",
    }
    assert problems[problems.index("") :] == everything[everything.index("") :]

    main(["inspect", str(mixed), "--problems-only", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert all(record["error"] or record["notes"] for record in document["files"])
    assert document["summary"]["kinds"]["image"] == 8


@pytest.mark.parametrize(
    "name", ["transparent.png", "turned.jpg", "moving.gif", "gray12.png", "volume.npy"]
)
def test_options_that_are_suggested_can_be_typed(mixed, capsys, inspect_json, name):
    _, records, _ = inspect_json(mixed / name)
    assert records[name]["options"]
    for option in records[name]["options"]:
        argv = ["inspect", str(mixed / name), *shlex.split(option)]
        assert main(argv) == 0, capsys.readouterr()
    assert f"try: {records[name]['options'][0]}" in printed(capsys, mixed / name)


def printed(capsys, *argv):
    main(["inspect", *map(str, argv)])
    return capsys.readouterr().out


def test_arrays_of_an_archive_are_named_by_their_keys(tmp_path, inspect_json):
    np.savez(tmp_path / "a.npz", **{"left eye": GRAY8, "right": GRAY8})
    _, records, _ = inspect_json(tmp_path)
    [option] = records["a.npz"]["options"]
    assert option == "--frame 'left eye'"
    assert main(["inspect", str(tmp_path), *shlex.split(option)]) == 0


@pytest.mark.parametrize(
    ("array", "option"),
    [
        (np.array([[0, 900]], np.int16), "--source gray:BLACK..WHITE"),
        (np.array([[0, 900]], np.float32), "--source gray:BLACK..WHITE"),
        (np.array([[0, np.nan]], np.float32), "--source gray:nodata=nan"),
        (np.array([[0, 900]], np.uint16), "--source gray:10"),
    ],
)
def test_advice_on_values_is_an_option(tmp_path, inspect_json, array, option):
    _, records, _ = inspect_json(save(tmp_path / "a.npy", array))
    assert records["a.npy"]["options"] == [option]
    typed = option.replace("BLACK..WHITE", "0..900").split()
    code, records, _ = inspect_json(tmp_path, *typed)
    assert (code, records["a.npy"]["options"]) == (0, [])


def test_the_next_command_can_be_typed(tmp_path, capsys):
    save(tmp_path / "gray.png", GRAY8)
    save(tmp_path / "deep.png", GRAY12)
    save(tmp_path / "colour.png", RGBA)
    first = printed(capsys, tmp_path).splitlines()[-1]
    assert first.endswith(
        f"graypipe inspect {tmp_path} --alpha white --source gray:12:dtype=uint16 "
        "--source gray:dtype=uint8 --target imagenet"
    )
    argv = shlex.split(first.removeprefix("next: graypipe"))
    # The transparent file is of a kind that could not be read before.
    assert main(argv) == 1
    capsys.readouterr()
    assert main([*argv, "--source", "RGB"]) == 0
    assert "next: graypipe convert" in capsys.readouterr().out


def test_the_next_commands_do_what_was_previewed(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "in put"
    frames = RANDOM.integers(0, 4096, (2, 5, 6), dtype=np.uint16)
    save(folder / "a.tif", frames, photometric="minisblack")
    save(folder / "b.tif", RGBA, photometric="minisblack")
    save(folder / "c.png", RGBA)
    monkeypatch.chdir(tmp_path)
    options = ("--include=*.tif", "--exclude", "b*", "--frame", "1")
    options += ("--max-pixels", "1000")
    left_out = ("--problems-only", "--html=page.html", "--workers", "1")
    output = printed(capsys, folder, *left_out, *options)
    preview = shlex.split(output.splitlines()[-1])
    assert preview[:4] == ["next:", "graypipe", "inspect", str(folder)]
    assert preview[4:] == [*options, "--source", "gray:12", "--target", "imagenet"]
    conversion = shlex.split(printed(capsys, *preview[3:]).splitlines()[-1])
    assert conversion[:3] == ["next:", "graypipe", "convert"]
    assert main(conversion[2:]) == 0
    [path] = Path("converted").glob("*.npy")
    plan = gp.plan(gp.Source("gray", bits=12), "imagenet")
    np.testing.assert_array_equal(np.load(path), plan(frames[1]))


def test_a_declared_source_is_repeated_and_no_other_suggested(tmp_path, capsys):
    save(tmp_path / "a.png", GRAY12)
    output = printed(capsys, tmp_path, "--source", "gray:14")
    assert output.endswith(" --source gray:14 --target imagenet\n")
    np.save(tmp_path / "b.npy", RGBA)
    options = ("--source", "R,G,B,nir", "--include", "b*")
    output = printed(capsys, tmp_path, *options)
    assert output.endswith(" --include 'b*' --target imagenet --via R=R,G=G,B=B\n")


def test_names_that_cannot_be_typed_are_not_suggested(tmp_path, capsys):
    metadata = {"axes": "CYX", "Channel": {"Name": ["DAPI 1", "GFP:2"]}}
    options = {"photometric": "minisblack", "metadata": metadata, "ome": True}
    save(tmp_path / "a.tif", np.stack([GRAY12, GRAY12]), **options)
    output = printed(capsys, tmp_path)
    assert "look like 12 bits" in output
    assert "--source" not in output


def save_bands(path, image, names):
    """Write a GeoTIFF whose bands have descriptions."""
    bands, height, width = image.shape
    profile = {"count": bands, "height": height, "width": width, "dtype": image.dtype}
    transform = rasterio.Affine(10, 0, 0, 0, -10, 0)
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", transform=transform, **profile
    ) as file:
        file.write(image)
        file.descriptions = names


def test_a_source_of_several_kinds_is_suggested_once(tmp_path, capsys):
    bands = gp.sensor("sentinel-2-l2a").bands
    image = RANDOM.integers(1100, 4000, (12, 8, 8)).astype(np.uint16)
    save_bands(tmp_path / "a.tif", image, bands)
    save_bands(tmp_path / "b.tif", image, [""] * 12)
    following = printed(capsys, tmp_path).splitlines()[-1]
    expected = " --source sentinel-2-l2a --via R=B04,G=B03,B=B02 --target imagenet"
    assert following.endswith(f"graypipe inspect {tmp_path}{expected}")
    assert main(shlex.split(following.removeprefix("next: graypipe"))) == 0
    assert "convert writes: 3x8x8 (CHW) float32 in 2" in capsys.readouterr().out


def test_the_suggested_source_leaves_out_dicom_files(tmp_path, capsys):
    folder = tmp_path / "scans"
    save(folder / "a.png", GRAY12)
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = pydicom.uid.CTImageStorage
    dataset.SOPInstanceUID = pydicom.uid.generate_uid()
    pixels = np.full((5, 6), 1000, np.uint16)
    dataset.set_pixel_data(pixels, "MONOCHROME2", 14)
    dataset.save_as(
        folder / "b.dcm",
        implicit_vr=False,
        little_endian=True,
        enforce_file_format=True,
    )
    following = printed(capsys, folder).splitlines()[-1]
    options = " --exclude '*.dcm' --source gray:12 --target imagenet"
    assert following.endswith(options)
    assert main(shlex.split(following.removeprefix("next: graypipe"))) == 0
    output = capsys.readouterr().out
    assert "b.dcm" not in output
    conversion = output.splitlines()[-1].removeprefix("next: graypipe ")
    argv = [*shlex.split(conversion)[:-1], str(tmp_path / "out")]
    assert main(argv) == 0
    assert [path.name for path in (tmp_path / "out").glob("*.npy")] == ["a.npy"]


def test_a_map_that_is_unknown_is_asked_for_in_a_sentence(tmp_path, capsys):
    save(tmp_path / "a.png", GRAY8)
    save_bands(tmp_path / "b.tif", np.zeros((7, 5, 6), np.uint8), [""] * 7)
    following = printed(capsys, tmp_path).splitlines()[-1]
    assert following == (
        "next: add --source band1,band2,band3,band4,band5,band6,band7, behind it --via "
        "with a band for each of R, G, B, and --target imagenet"
    )
    source = ("--source", "band1,band2,band3,band4,band5,band6,band7")
    following = printed(capsys, tmp_path / "b.tif", *source).splitlines()[-1]
    assert following == (
        "next: add --via with a band for each of R, G, B, and --target imagenet"
    )


def test_no_command_is_suggested_for_many_kinds(tmp_path, capsys):
    for dtype in ("uint8", "uint16", "float32"):
        np.save(tmp_path / f"{dtype}.npy", np.zeros((3, 4), dtype))
    save(tmp_path / "rgb.png", RGBA[..., :3])
    save_bands(tmp_path / "rgb.tif", np.zeros((3, 5, 6), np.uint16), "RGB")
    assert "next:" not in printed(capsys, tmp_path)
