"""``graypipe convert``: other results in the output folder, name collisions, links."""

import json
import os
import shutil

import imagenet
import numpy as np
import pytest
from image_sets import images, save, tree

import graypipe as gp
from graypipe.batch_jobs import manifest
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.cli import main

PLAN = ("--source", "gray", "--target", "imagenet", "--to", "npy", "--workers", "1")


def convert(*argv):
    return main(["convert", *map(str, argv)])


@pytest.fixture
def folders(tmp_path):
    """Return a folder of six images and a folder with their conversions."""
    images(tmp_path / "in", 6)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 0
    return tmp_path / "in", tmp_path / "out"


@pytest.mark.parametrize(
    "argv",
    [
        ("--source", "gray:7", *PLAN[2:]),
        (*PLAN[:3], "keras-caffe", *PLAN[4:]),
        (*PLAN[:5], "tiff", *PLAN[6:]),
        (*PLAN, "--alpha", "drop"),
    ],
)
@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_results_of_another_plan_are_refused(folders, capsys, argv, resume):
    folder, out = folders
    before = tree(out)
    assert convert(folder, out, *argv, *resume) == 1
    assert "was written with different settings" in capsys.readouterr().err
    assert tree(out) == before


def test_results_of_the_same_plan_need_resume(folders, capsys):
    folder, out = folders
    before = tree(out)
    assert convert(folder, out, *PLAN) == 1
    assert "add --resume to continue" in capsys.readouterr().err
    assert convert(folder, out, *PLAN, "--resume") == 0
    assert "0 files converted, 6 were already up to date" in capsys.readouterr().out
    assert tree(out) == before


def test_a_plan_with_another_layout_is_another_plan(folders, tmp_path):
    folder, out = folders
    plan = gp.plan("gray", gp.preset("imagenet", layout="HWC"))
    assert (
        plan.fingerprint
        == json.loads((out / MANIFEST_NAME).read_text().splitlines()[0])["fingerprint"]
    )
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert (
        convert(
            folder, out, "--plan", tmp_path / "plan.json", "--to", "npy", "--resume"
        )
        == 1
    )


def test_a_folder_without_finished_files_accepts_any_plan(tmp_path):
    images(tmp_path / "in", 3, dtype="uint16")
    assert (
        convert(
            tmp_path / "in", tmp_path / "out", "--source", "gray:dtype=uint8", *PLAN[2:]
        )
        == 1
    )
    assert set(tree(tmp_path / "out")) == {MANIFEST_NAME}
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 0


@pytest.mark.parametrize("change", ["removed", "cut", "source changed", "source added"])
def test_resume_converts_again_what_has_changed(folders, capsys, tmp_path, change):
    folder, out = folders
    source, output = folder / "b/0003.png", out / "b/0003.npy"
    if change == "removed":
        output.unlink()
    elif change == "cut":
        output.write_bytes(output.read_bytes()[:-1])
    elif change == "source changed":
        shutil.copy(folder / "a/0002.png", source)
        os.utime(source, ns=(0, 10**9))
    else:
        shutil.copy(source, folder / "b/0099.png")
    capsys.readouterr()

    assert convert(folder, out, *PLAN, "--resume") == 0

    assert capsys.readouterr().out.startswith("1 files converted")
    assert convert(folder, tmp_path / "whole", *PLAN) == 0
    resumed = tree(out)
    whole = tree(tmp_path / "whole")
    assert sorted(resumed.pop(MANIFEST_NAME).splitlines()) == sorted(
        whole.pop(MANIFEST_NAME).splitlines()
    )
    assert resumed == whole


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("killed", [False, True])
def test_resume_converts_again_after_another_source(
    tmp_path, capsys, monkeypatch, killed
):
    first, second = images(tmp_path / "set", 2).values()
    png, bmp, aside = (
        tmp_path / "in/a.png",
        tmp_path / "in/a.bmp",
        tmp_path / "aside.png",
    )
    out, plan = tmp_path / "out", gp.plan("gray", "imagenet")
    save(png, first)
    assert convert(tmp_path / "in", out, *PLAN) == 0
    png.rename(aside)
    save(bmp, second)
    with monkeypatch.context() as patch:
        if killed:
            # The output is written, but its line is not.
            patch.setattr(manifest, "append_records", interrupt)
        assert convert(tmp_path / "in", out, *PLAN, "--resume") == (
            130 if killed else 0
        )
    np.testing.assert_array_equal(np.load(out / "a.npy"), plan(second))
    bmp.unlink()
    # Renaming keeps the modification time.
    aside.rename(png)
    capsys.readouterr()

    assert convert(tmp_path / "in", out, *PLAN, "--resume") == 0

    assert capsys.readouterr().out.startswith(
        "1 files converted, 0 were already up to date"
    )
    np.testing.assert_array_equal(np.load(out / "a.npy"), plan(first))
    assert [
        json.loads(line)["source"]
        for line in (out / MANIFEST_NAME).read_text().splitlines()[1:]
    ] == ["a.png"]


def test_last_line_of_an_output_counts(folders, capsys):
    folder, out = folders
    first, *lines = (out / MANIFEST_NAME).read_bytes().splitlines(keepends=True)
    other = lines[0].replace(b"0000.png", b"0000.bmp")
    (out / MANIFEST_NAME).write_bytes(b"".join([first, *lines, other]))
    assert convert(folder, out, *PLAN, "--resume") == 0
    assert "1 files converted, 5 were already up to date" in capsys.readouterr().out


def test_outputs_without_a_source_are_kept_and_counted(folders, capsys):
    folder, out = folders
    before = tree(out)
    for name in ("a/0002.png", "b/0003.png"):
        (folder / name).unlink()
    capsys.readouterr()
    assert convert(folder, out, *PLAN, "--resume") == 0
    expected = (
        f"0 files converted, 4 were already up to date, "
        f"2 outputs no longer have a source image: {out}\n"
    )
    assert capsys.readouterr().out == expected
    assert tree(out) == before


def test_output_of_a_damaged_source_is_removed_with_its_line(folders, capsys):
    """Otherwise the output of an old version of the source would look up to date."""
    folder, out = folders
    (folder / "b/0003.png").write_bytes(b"junk")
    (folder / "a/0002.png").rename(folder / "a/0002.tif")
    (folder / "a/0002.tif").write_bytes(b"junk")
    expected = set(tree(out)) - {"b/0003.npy", "a/0002.npy"}
    for _ in range(2):
        assert convert(folder, out, *PLAN, "--resume", "--on-error", "skip") == 1
        assert "2 of 6 files were skipped" in capsys.readouterr().err
        assert set(tree(out)) == expected
        outputs = [
            json.loads(line)["output"]
            for line in (out / MANIFEST_NAME).read_text().splitlines()[1:]
        ]
        assert {*outputs, MANIFEST_NAME} == expected


def test_output_without_a_line_is_removed(folders):
    """A job killed between writing an output and its line leaves such an output."""
    folder, out = folders
    first, *lines = (out / MANIFEST_NAME).read_bytes().splitlines(keepends=True)
    (out / MANIFEST_NAME).write_bytes(
        b"".join([first, *(line for line in lines if b"0003" not in line)])
    )
    (folder / "b/0003.png").write_bytes(b"junk")
    assert convert(folder, out, *PLAN, "--resume", "--on-error", "skip") == 1
    assert not (out / "b/0003.npy").exists()


DAMAGES = {
    "nothing": b"",
    "no JSON": b"no JSON\n",
    "no record": b"{}\n[]\n",
    "no output": b'{"format":1}\n{"source":"a.png"}\n',
    "cut off": b'{"format"',
    "an output that is not a string": b'{"format":1}\n{"output":5}\n',
    "settings that are a list": b"[[1,2]]\n",
    "nested too deeply": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_manifest_is_an_error(folders, capsys, damage):
    folder, out = folders
    (out / MANIFEST_NAME).write_bytes(DAMAGES[damage])
    assert convert(folder, out, *PLAN, "--resume") == 1
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "difference"),
    [
        (("--source", "gray:12", *PLAN[2:]), ": source.bits: unset -> 12. "),
        ((*PLAN, "--frame", "1"), ": frame: unset -> 1. "),
        ((*PLAN[:5], "tiff"), ': to: "npy" -> "tiff". '),
        ((*PLAN[:3], "unit", *PLAN[4:]), f"target.mean: [{imagenet.MEAN[0]}, "),
    ],
)
def test_error_names_the_settings_that_differ(folders, capsys, argv, difference):
    folder, out = folders
    assert convert(folder, out, *argv, "--resume") == 1
    error = capsys.readouterr().err
    assert difference in error
    assert "fingerprint" not in error


def test_cycles_of_links_are_skipped_like_unreadable_files(tmp_path, capsys):
    images(tmp_path / "in", 2)
    for name in ("loop.png", "loop"):
        (tmp_path / "in" / name).symlink_to(name)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN, "--on-error", "skip") == 1
    assert "1 of 3 files were skipped" in capsys.readouterr().err
    assert set(tree(tmp_path / "out")) == {"a/0000.npy", "b/0001.npy", MANIFEST_NAME}


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_a_cycle_of_links_is_no_output_folder(tmp_path, capsys, below):
    images(tmp_path / "in", 2)
    (tmp_path / "loop").symlink_to("loop")
    assert convert(tmp_path / "in", f"{tmp_path / 'loop'}{below}", *PLAN) == 1
    assert "cannot write " in capsys.readouterr().err


def test_advice_on_a_bad_location_is_not_about_space(tmp_path, capsys):
    images(tmp_path / "in", 1)
    (tmp_path / "file").write_text("mine")
    assert convert(tmp_path / "in", tmp_path / "file/out", *PLAN) == 1
    error = capsys.readouterr().err
    assert "choose another location" in error
    assert "space" not in error


@pytest.mark.parametrize("other_file", ["notes.txt", "sub/notes.txt"])
def test_an_output_folder_with_other_files_is_refused(tmp_path, capsys, other_file):
    images(tmp_path / "in", 3)
    (tmp_path / "out" / other_file).parent.mkdir(parents=True)
    (tmp_path / "out" / other_file).write_text("mine")
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN, "--resume") == 1
    assert "no manifest" in capsys.readouterr().err
    assert set(tree(tmp_path / "out")) == {other_file}


def test_an_empty_output_folder_is_accepted(tmp_path):
    images(tmp_path / "in", 3)
    (tmp_path / "out").mkdir()
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN, "--resume") == 0
    assert len(tree(tmp_path / "out")) == 4


@pytest.mark.parametrize("out", ["in", "in/out", "in/a", ".", "link", "link/out"])
def test_nested_folders_are_refused(tmp_path, capsys, out):
    images(tmp_path / "in", 3)
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    before = tree(tmp_path)
    assert convert(tmp_path / "in", tmp_path / out, *PLAN, "--resume") == 1
    assert " is inside " in capsys.readouterr().err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["0000.npy", "."])
def test_image_links_into_the_output_folder_are_refused(folders, capsys, name):
    folder, out = folders
    (folder / f"again{'.npy' if name != '.' else ''}").symlink_to(out / "a" / name)
    assert convert(folder, out, *PLAN, "--resume") == 1
    assert " is inside " in capsys.readouterr().err


def test_image_links_to_other_folders_are_followed(tmp_path):
    images(tmp_path / "elsewhere", 4)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/set").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 0
    assert "set/a/0000.npy" in tree(tmp_path / "out")


def test_a_link_out_of_the_output_folder_is_refused(folders, capsys, tmp_path):
    folder, out = folders
    shutil.rmtree(out / "b")
    (tmp_path / "precious").mkdir()
    (out / "b").symlink_to(tmp_path / "precious", target_is_directory=True)
    assert convert(folder, out, *PLAN, "--resume") == 1
    assert "precious" in capsys.readouterr().err
    assert tree(tmp_path / "precious") == {}


def test_a_link_in_place_of_an_output_is_replaced(folders, tmp_path):
    folder, out = folders
    before = tree(out)
    (tmp_path / "precious").write_text("mine")
    (out / "b/0001.npy").unlink()
    (out / "b/0001.npy").symlink_to(tmp_path / "precious")
    assert convert(folder, out, *PLAN, "--resume") == 0
    assert (tmp_path / "precious").read_text() == "mine"
    assert tree(out).keys() == before.keys()
    assert not (out / "b/0001.npy").is_symlink()


@pytest.mark.parametrize(
    ("first", "second"),
    [("a.png", "a.tif"), ("s/a.png", "s/a.npy"), ("a.png", "a.npy/b.png")],
)
def test_colliding_names_are_refused_before_the_work(tmp_path, capsys, first, second):
    image = images(tmp_path / "in", 1).popitem()[1]
    for name in (first, second):
        save(tmp_path / "in" / name, image)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 1
    assert "would" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["nowhere", "in/a/0000.png", "empty"])
def test_a_folder_without_images_is_an_error(tmp_path, capsys, missing):
    images(tmp_path / "in", 1)
    (tmp_path / "empty").mkdir()
    assert convert(tmp_path / missing, tmp_path / "out", *PLAN) == 1
    assert missing in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_in_place_of_the_output_folder_is_refused(tmp_path, capsys):
    images(tmp_path / "in", 1)
    (tmp_path / "out").write_text("mine")
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 1
    assert "is not a folder" in capsys.readouterr().err


def test_file_names_of_any_bytes_are_kept(tmp_path):
    image = images(tmp_path / "in", 1).popitem()[0].read_bytes()
    names = [
        b"caf\xc3\xa9.png",
        b"line\nbreak.png",
        b"not-utf8-\xff.png",
        b"v1.2 final.PNG",
    ]
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(image)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 0
    assert {os.fsdecode(name[:-4] + b".npy") for name in names} < set(
        tree(tmp_path / "out")
    )
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN, "--resume") == 0
