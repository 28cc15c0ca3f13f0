"""``graypipe show`` writes a picture for each file and prints the code of the plan."""

import numpy as np
import pytest
from PIL import Image

import graypipe as gp
from graypipe.cli import main


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4096, (20, 30)).astype(np.uint16)
    Image.fromarray(image).save("scan.png")
    Image.fromarray((image >> 4).astype(np.uint8)).save("eight.png")
    return tmp_path


def assert_is_picture(path):
    with Image.open(path) as picture:
        assert picture.width == 1400
        assert len(np.unique(np.asarray(picture))) > 100


def test_a_file_is_drawn_and_the_code_gives_the_same_output(folder, capsys):
    assert (
        main(["show", "scan.png", "--source", "gray:12", "--target", "imagenet"]) == 0
    )
    assert_is_picture(folder / "scan-graypipe.png")
    line, code = capsys.readouterr().out.splitlines()
    assert line == "scan.png: wrote scan-graypipe.png"
    image, source = gp.read("scan.png", bits=12)
    x = eval(code.removeprefix("    x = "), {"gp": gp, "image": image})
    assert np.array_equal(x, gp.plan(source, "imagenet")(image))


def test_each_file_is_drawn_with_its_plan(folder, capsys):
    sources = ["--source", "gray:12:dtype=uint16", "--source", "gray:dtype=uint8"]
    command = ["show", "scan.png", "eight.png", *sources, "--target", "imagenet"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "bits=12" in out
    assert "dtype='uint8'" in out
    assert_is_picture(folder / "eight-graypipe.png")


def test_out_names_the_picture(folder):
    command = ["show", "scan.png", "--source", "gray:12", "--target", "unit"]
    assert main([*command, "--out", "a.png"]) == 0
    assert_is_picture(folder / "a.png")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["scan.png", "eight.png", "--out", "a.png"], 2, "--out takes one file"),
        (["scan.png", "--out", "scan.png"], 1, "is the image itself"),
        (["scan.png", "./scan.png"], 1, "two of the files"),
        (["missing.png"], 1, "missing.png: No such file"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_mistakes_are_one_line(arguments, exit_code, message, capsys):
    command = ["show", *arguments, "--source", "gray:12", "--target", "unit"]
    assert main(command) == exit_code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    with Image.open("scan.png") as image:
        assert image.size == (30, 20)
