"""``graypipe convert`` and its folders: whose results are there, what would be overwritten, where links lead."""

import json
import os
import shutil

import numpy as np
import pytest
from image_sets import images, save, tree

import graypipe as gp
from graypipe.cli import main
from graypipe.scale import manifest
from graypipe.scale.manifest import NAME

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
    assert "another plan or other options" in capsys.readouterr().err
    assert tree(out) == before


def test_results_of_the_same_plan_are_gone_on_with_only_on_request(folders, capsys):
    folder, out = folders
    before = tree(out)
    assert convert(folder, out, *PLAN) == 1
    assert "--resume goes on" in capsys.readouterr().err
    assert convert(folder, out, *PLAN, "--resume") == 0
    assert "0 files converted, 6 were finished before" in capsys.readouterr().out
    assert tree(out) == before


def test_a_plan_that_differs_in_its_layout_alone_makes_other_files(folders, tmp_path):
    folder, out = folders
    plan = gp.plan("gray", gp.preset("imagenet", layout="HWC"))
    assert plan.fingerprint == json.loads((out / NAME).read_text().splitlines()[0])["fingerprint"]
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert convert(folder, out, "--plan", tmp_path / "plan.json", "--to", "npy", "--resume") == 1


def test_a_run_that_finished_nothing_stands_in_nobodys_way(tmp_path):
    images(tmp_path / "in", 3, dtype="uint16")
    assert convert(tmp_path / "in", tmp_path / "out", "--source", "gray:dtype=uint8", *PLAN[2:]) == 1
    assert set(tree(tmp_path / "out")) == {NAME}
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 0


@pytest.mark.parametrize("change", ["removed", "cut", "source changed", "source added"])
def test_resume_makes_again_what_is_no_longer_as_it_was_written_down(folders, capsys, tmp_path, change):
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
    assert sorted(made.pop(NAME).splitlines()) == sorted(whole.pop(NAME).splitlines())
    assert made == whole


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("killed", [False, True])
def test_resume_makes_again_what_another_source_has_written_over(tmp_path, capsys, monkeypatch, killed):
    first, second = images(tmp_path / "set", 2).values()
    png, bmp, aside = tmp_path / "in/a.png", tmp_path / "in/a.bmp", tmp_path / "aside.png"
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

    assert capsys.readouterr().out.startswith("1 files converted, 0 were finished before")
    np.testing.assert_array_equal(np.load(out / "a.npy"), plan(first))
    assert [json.loads(line)["source"] for line in (out / NAME).read_text().splitlines()[1:]] == ["a.png"]


def test_of_two_lines_for_one_output_the_last_counts(folders, capsys):
    folder, out = folders
    first, *lines = (out / NAME).read_bytes().splitlines(keepends=True)
    other = lines[0].replace(b"0000.png", b"0000.bmp")
    (out / NAME).write_bytes(b"".join([first, *lines, other]))
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


def test_a_manifest_that_is_none_is_left_alone(folders, capsys):
    folder, out = folders
    for damage in (b"", b"no JSON\n", b"{}\n[]\n", b'{"format":1}\n{"source":"a.png"}\n', b'{"format"'):
        (out / NAME).write_bytes(damage)
        assert convert(folder, out, *PLAN, "--resume") == 1
        assert "damaged" in capsys.readouterr().err


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
    assert " lies in " in capsys.readouterr().err
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["0000.npy", "."])
def test_links_among_the_images_that_lead_into_the_results_are_refused(folders, capsys, name):
    folder, out = folders
    (folder / f"again{'.npy' if name != '.' else ''}").symlink_to(out / "a" / name)
    assert convert(folder, out, *PLAN, "--resume") == 1
    assert " lies in " in capsys.readouterr().err


def test_links_among_the_images_that_lead_elsewhere_are_followed(tmp_path):
    images(tmp_path / "elsewhere", 4)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/set").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 0
    assert "set/a/0000.npy" in tree(tmp_path / "out")


def test_a_link_among_the_results_that_leads_out_of_them_is_refused(folders, capsys, tmp_path):
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


@pytest.mark.parametrize(("first", "second"), [("a.png", "a.tif"), ("s/a.png", "s/a.npy"), ("a.png", "a.npy/b.png")])
def test_names_that_would_collide_are_refused_before_anything_is_written(tmp_path, capsys, first, second):
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
    names = [b"caf\xc3\xa9.png", b"line\nbreak.png", b"not-utf8-\xff.png", b"v1.2 final.PNG"]
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(image)
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN) == 0
    assert {os.fsdecode(name[:-4] + b".npy") for name in names} < set(tree(tmp_path / "out"))
    assert convert(tmp_path / "in", tmp_path / "out", *PLAN, "--resume") == 0
