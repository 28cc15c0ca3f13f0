"""``graypipe convert`` and its folders: whose results are there, what would be overwritten, where links lead."""

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
def test_results_of_another_plan_are_not_mixed_with(folders, capsys, argv, resume):
    folder, out = folders
    before = tree(out)
    assert convert(folder, out, *argv, *resume) == 1
    assert "results of another plan or other options" in capsys.readouterr().err
    assert tree(out) == before


def test_results_of_the_same_plan_are_gone_on_with_only_on_request(folders, capsys):
    folder, out = folders
    before = tree(out)
    assert convert(folder, out, *PLAN) == 1
    assert "add --resume to continue" in capsys.readouterr().err
    assert convert(folder, out, *PLAN, "--resume") == 0
    assert "0 files converted, 6 were finished before" in capsys.readouterr().out
    assert tree(out) == before


def test_a_plan_that_differs_in_its_layout_alone_makes_other_files(folders, tmp_path):
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


def test_a_run_that_finished_nothing_stands_in_nobodys_way(tmp_path):
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
def test_resume_makes_again_what_is_no_longer_as_it_was_written_down(
    folders, capsys, tmp_path, change
):
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
    made, whole = tree(out), tree(tmp_path / "whole")
    assert sorted(made.pop(MANIFEST_NAME).splitlines()) == sorted(
        whole.pop(MANIFEST_NAME).splitlines()
    )
    assert made == whole


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("killed", [False, True])
def test_resume_makes_again_what_another_source_has_written_over(
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
        if killed:  # after the output, before its line
            patch.setattr(manifest, "append", interrupt)
        assert convert(tmp_path / "in", out, *PLAN, "--resume") == int(killed)
    np.testing.assert_array_equal(np.load(out / "a.npy"), plan(second))
    bmp.unlink()
    aside.rename(png)  # which keeps its time
    capsys.readouterr()

    assert convert(tmp_path / "in", out, *PLAN, "--resume") == 0

    assert capsys.readouterr().out.startswith(
        "1 files converted, 0 were finished before"
    )
    np.testing.assert_array_equal(np.load(out / "a.npy"), plan(first))
    assert [
        json.loads(line)["source"]
        for line in (out / MANIFEST_NAME).read_text().splitlines()[1:]
    ] == ["a.png"]


def test_of_two_lines_for_one_output_the_last_counts(folders, capsys):
    folder, out = folders
    first, *lines = (out / MANIFEST_NAME).read_bytes().splitlines(keepends=True)
    other = lines[0].replace(b"0000.png", b"0000.bmp")
    (out / MANIFEST_NAME).write_bytes(b"".join([first, *lines, other]))
    assert convert(folder, out, *PLAN, "--resume") == 0
    assert "1 files converted, 5 were finished before" in capsys.readouterr().out


def test_outputs_whose_source_is_gone_stay_and_are_counted(folders, capsys):
    folder, out = folders
    before = tree(out)
    for name in ("a/0002.png", "b/0003.png"):
        (folder / name).unlink()
    capsys.readouterr()
    assert convert(folder, out, *PLAN, "--resume") == 0
    said = f"0 files converted, 4 were finished before, 2 outputs have no source any more: {out}\n"
    assert capsys.readouterr().out == said
    assert tree(out) == before


def test_an_output_whose_source_is_damaged_since_goes_with_its_line(folders, capsys):
    """A tensor of what the source once was would stay in the folder as if it were of what it is."""
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


def test_an_output_without_a_line_does_not_outlive_its_source(folders):
    """A run that was killed between an output and its line leaves one that no line tells the source of."""
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
    "an output that is no text": b'{"format":1}\n{"output":5}\n',
    "a first line of pairs": b"[[1,2]]\n",
    "nested without end": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_manifest_that_is_none_is_left_alone(folders, capsys, damage):
    folder, out = folders
    (out / MANIFEST_NAME).write_bytes(DAMAGES[damage])
    assert convert(folder, out, *PLAN, "--resume") == 1
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("--source", "gray:12", *PLAN[2:]), ": source.bits unset, now 12. "),
        ((*PLAN, "--frame", "1"), ": frame unset, now 1. "),
        ((*PLAN[:5], "tiff"), ': to "npy", now "tiff". '),
        ((*PLAN[:3], "unit", *PLAN[4:]), f"target.mean [{imagenet.MEAN[0]}, "),
    ],
)
def test_another_plan_is_told_by_the_fields_that_differ(folders, capsys, argv, says):
    folder, out = folders
    assert convert(folder, out, *argv, "--resume") == 1
    error = capsys.readouterr().err
    assert says in error
    assert "fingerprint" not in error


def test_links_in_a_circle_are_skipped_like_any_file_that_cannot_be_read(
    tmp_path, capsys
):
    images(tmp_path / "in", 2)
    for name in ("loop.png", "loop"):
        (tmp_path / "in" / name).symlink_to(name)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN, "--on-error", "skip") == 1
    assert "1 of 3 files were skipped" in capsys.readouterr().err
    assert set(tree(tmp_path / "out")) == {"a/0000.npy", "b/0001.npy", MANIFEST_NAME}


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_links_in_a_circle_are_no_folder_of_results(tmp_path, capsys, below):
    images(tmp_path / "in", 2)
    (tmp_path / "loop").symlink_to("loop")
    assert convert(tmp_path / "in", f"{tmp_path / 'loop'}{below}", *PLAN) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_not_told_to_make_room(tmp_path, capsys):
    images(tmp_path / "in", 1)
    (tmp_path / "file").write_text("mine")
    assert convert(tmp_path / "in", tmp_path / "file/out", *PLAN) == 1
    error = capsys.readouterr().err
    assert "Choose another location" in error
    assert "space" not in error


@pytest.mark.parametrize("stranger", ["notes.txt", "sub/notes.txt"])
def test_a_folder_with_anything_else_in_it_is_refused(tmp_path, capsys, stranger):
    images(tmp_path / "in", 3)
    (tmp_path / "out" / stranger).parent.mkdir(parents=True)
    (tmp_path / "out" / stranger).write_text("mine")
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN, "--resume") == 1
    assert "no manifest" in capsys.readouterr().err
    assert set(tree(tmp_path / "out")) == {stranger}


def test_an_empty_folder_is_as_good_as_a_new_one(tmp_path):
    images(tmp_path / "in", 3)
    (tmp_path / "out").mkdir()
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN, "--resume") == 0
    assert len(tree(tmp_path / "out")) == 4


@pytest.mark.parametrize("out", ["in", "in/out", "in/a", ".", "link", "link/out"])
def test_folders_that_lie_in_one_another_are_refused(tmp_path, capsys, out):
    images(tmp_path / "in", 3)
    (tmp_path / "link").symlink_to(tmp_path / "in", target_is_directory=True)
    before = tree(tmp_path)
    assert convert(tmp_path / "in", tmp_path / out, *PLAN, "--resume") == 1
    assert " is inside " in capsys.readouterr().err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["0000.npy", "."])
def test_links_among_the_images_that_lead_into_the_results_are_refused(
    folders, capsys, name
):
    folder, out = folders
    (folder / f"again{'.npy' if name != '.' else ''}").symlink_to(out / "a" / name)
    assert convert(folder, out, *PLAN, "--resume") == 1
    assert " is inside " in capsys.readouterr().err


def test_links_among_the_images_that_lead_elsewhere_are_followed(tmp_path):
    images(tmp_path / "elsewhere", 4)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/set").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 0
    assert "set/a/0000.npy" in tree(tmp_path / "out")


def test_a_link_among_the_results_that_leads_out_of_them_is_refused(
    folders, capsys, tmp_path
):
    folder, out = folders
    shutil.rmtree(out / "b")
    (tmp_path / "precious").mkdir()
    (out / "b").symlink_to(tmp_path / "precious", target_is_directory=True)
    assert convert(folder, out, *PLAN, "--resume") == 1
    assert "precious" in capsys.readouterr().err
    assert tree(tmp_path / "precious") == {}


def test_a_link_in_place_of_a_result_is_replaced_and_not_followed(folders, tmp_path):
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
def test_names_that_would_collide_are_refused_before_anything_is_written(
    tmp_path, capsys, first, second
):
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


def test_a_file_in_place_of_the_folder_of_results_is_refused(tmp_path, capsys):
    images(tmp_path / "in", 1)
    (tmp_path / "out").write_text("mine")
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 1
    assert "is a file" in capsys.readouterr().err


def test_names_of_any_bytes_are_kept(tmp_path):
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
