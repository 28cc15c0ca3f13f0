"""The command line: exit codes, errors of one line, help and version."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

import graypipe as gp
from graypipe.cli import main

ROOT = Path(gp.__file__).parents[1]


def graypipe(*argv, stdout=subprocess.PIPE):
    """Run the command in a process in which warnings are errors."""
    command = [sys.executable, "-W", "error", "-m", "graypipe", *argv]
    return subprocess.run(
        command,
        cwd=ROOT,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=600,
        check=False,
    )


def assert_one_line(text, contains):
    assert text.startswith("graypipe: error: ")
    assert text.count("\n") == 1
    assert contains in text


def test_explain_prints_the_explanation_of_the_plan():
    done = graypipe(
        "explain",
        "--source",
        "gray:12",
        "--target",
        "imagenet",
        "--shape",
        "480x640",
        "--dtype",
        "uint16",
    )

    expected = gp.plan(gp.Source("gray", bits=12), "imagenet").explain(
        (480, 640), "uint16"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, expected + "\n", "")
    assert "H=480 W=640" in expected


def test_explain_shows_a_missing_band_as_the_mean(capsys):
    argv = ["explain", "--source", "gray:8", "--target", "imagenet"]
    assert main([*argv, "--via", "R=,G=gray,B=gray"]) == 0
    via = {"R": None, "G": "gray", "B": "gray"}
    plan = gp.plan(gp.Source("gray", bits=8), "imagenet", via)
    assert capsys.readouterr().out.strip() == plan.explain().strip()


def test_explain_shows_a_weighted_sum(capsys):
    assert (
        main(
            [
                "explain",
                "--source",
                "RGBY:16",
                "--target",
                "unit",
                "--via",
                "R=0.5*R+0.5*Y,G=G,B=B",
            ]
        )
        == 0
    )

    weight = 0.5 / 65535
    assert f"R = {weight:.6g}*R + {weight:.6g}*Y" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "contains"),
    [
        ([], "COMMAND"),
        (["expalin"], "expalin"),
        (["explain", "--source", "gray"], "--target"),
        (["explain", "--source", "GREEN", "--target", "unit"], "--source"),
        (["explain", "--source", "gray", "--target", "imagenot"], "imagenot"),
        (["explain", "--source", "gray", "--target", "unit", "--via", "R"], "--via"),
        (
            ["explain", "--source", "gray", "--target", "unit", "--shape", "4by5"],
            "--shape",
        ),
        (["demo", "--output", "here"], "--output"),
    ],
)
def test_wrong_arguments_exit_with_2(argv, contains, capsys):
    assert main(argv) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert_one_line(printed.err, contains)


@pytest.mark.parametrize(
    ("argv", "contains"),
    [
        (
            ["explain", "--source", "RGBY", "--target", "imagenet"],
            "--via R=R,G=G,B=B",
        ),
        (
            ["explain", "--source", "gray", "--target", "unit", "--via", "R=Q,G=Q,B=Q"],
            "'Q'",
        ),
        (
            ["explain", "--source", "gray", "--target", "unit", "--dtype", "int32"],
            "int32",
        ),
        (
            ["explain", "--source", "gray", "--target", "unit", "--shape", "4x5x3"],
            "(4, 5, 3)",
        ),
    ],
)
def test_a_command_that_fails_exits_with_1(argv, contains, capsys):
    assert main(argv) == 1
    assert_one_line(capsys.readouterr().err, contains)


def test_errors_are_one_line_without_traceback():
    done = graypipe("explain", "--source", "RGBY", "--target", "imagenet")

    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, "RGBY")
    assert graypipe("explain").returncode == 2


@pytest.mark.parametrize(
    "argv", [["--help"], ["explain", "--help"], ["demo", "--help"]]
)
def test_help_exits_with_0(argv, capsys):
    assert main(argv) == 0

    printed = capsys.readouterr()
    assert printed.out.startswith("usage: graypipe")
    assert printed.err == ""


def test_the_version_is_that_of_the_installed_package(monkeypatch, capsys):
    monkeypatch.setattr(
        importlib.metadata, "version", {"graypipe": "12.34"}.__getitem__
    )

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "graypipe 12.34\n"


def test_without_an_installed_package_the_version_is_unknown(monkeypatch, capsys):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", not_installed)

    assert main(["--version"]) == 0
    assert "not installed" in capsys.readouterr().out


def test_a_closed_pipe_gives_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed_pipe:
        done = graypipe(
            "explain", "--source", "gray", "--target", "unit", stdout=closed_pipe
        )

    assert (done.returncode, done.stderr) == (1, "")


def test_the_package_does_not_import_its_command_line():
    seen = "import sys, graypipe; print([name for name in sys.modules if name.startswith('graypipe.cli')])"
    done = subprocess.run(
        [sys.executable, "-c", seen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_explain_imports_no_plotting_or_image_library():
    seen = (
        "import sys, graypipe.cli; graypipe.cli.main(['explain', '--source', 'gray', '--target', 'unit']); "
        "print(sorted({'matplotlib', 'skimage', 'PIL', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", seen],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.endswith("\n[]\n")
