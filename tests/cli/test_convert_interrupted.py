"""``graypipe convert`` killed, interrupted, or out of room: nothing is lost, and ``--resume`` finishes it."""

import ctypes
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from itertools import pairwise

import numpy as np
import pytest
from image_sets import ROOT, command, images, process, save, tree

from graypipe.batch_jobs.manifest import NAME
from graypipe.batch_jobs.writing import UNFINISHED
from graypipe.cli import main

TO_PNG = ("--source", "gray", "--target", "rgb8", "--to", "png", "--workers", 2)
FILES, KILLS = 320, 5


def convert(*argv):
    return main(["convert", *map(str, argv)])


def start(*argv):
    return subprocess.Popen(
        command("convert", *argv),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finished(out):
    """Return how many files the manifest in ``out`` lists."""
    try:
        return max(0, (out / NAME).read_bytes().count(b"\n") - 1)
    except FileNotFoundError:
        return 0


def wait(until, seconds=600):
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.001)


def gone(group):
    """Whether no process of ``group`` is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a folder of images and one with what an undisturbed run makes of them."""
    folder = tmp_path_factory.mktemp("undisturbed")
    images(folder / "in", FILES, (112, 144))
    assert process("convert", folder / "in", folder / "out", *TO_PNG).returncode == 0
    return folder / "in", folder / "out"


def test_killed_five_times_at_random_moments_and_resumed_it_equals_an_undisturbed_run(
    undisturbed, tmp_path
):
    folder, expected = undisturbed
    before = tree(folder)
    chance = random.Random(20)
    seen, groups = [], []
    for kill in range(KILLS):
        running = start(folder, tmp_path / "out", *TO_PNG, "--resume")
        more = (
            finished(tmp_path / "out") + chance.randrange(1, FILES // (2 * KILLS))
            if kill
            else 0
        )
        wait(lambda: finished(tmp_path / "out") >= more or running.poll() is not None)  # noqa: B023
        time.sleep(
            chance.random() * (0.02 if kill else 1)
        )  # the first one may still be starting
        running.kill()
        assert running.wait(600) == -signal.SIGKILL
        running.communicate()
        seen.append(finished(tmp_path / "out"))
        groups.append(running.pid)
    assert all(a <= b for a, b in pairwise(seen))
    assert 0 < seen[-1] < FILES
    wait(lambda: all(map(gone, groups)))  # workers do not outlive whom they work for

    last = process("convert", folder, tmp_path / "out", *TO_PNG, "--resume")

    assert (last.returncode, last.stderr) == (0, "")
    assert tree(tmp_path / "out") == tree(expected)
    assert tree(folder) == before


def test_what_is_half_written_when_the_process_dies_is_removed_at_resume(
    undisturbed, tmp_path
):
    folder, expected = undisturbed
    shutil.copytree(expected, tmp_path / "out")
    lines = (expected / NAME).read_bytes().splitlines(keepends=True)
    (tmp_path / "out" / NAME).write_bytes(b"".join(lines[:201]) + lines[201][:40])
    for line in lines[203:]:  # two are written, but not written down
        (tmp_path / "out" / json.loads(line)["output"]).unlink()
    (tmp_path / "out/a" / f"0123{UNFINISHED}").write_bytes(b"half")

    assert convert(folder, tmp_path / "out", *TO_PNG, "--resume") == 0
    assert tree(tmp_path / "out") == tree(expected)


def test_ctrl_c_ends_it_in_one_line_and_resume_goes_on(undisturbed, tmp_path):
    folder, expected = undisturbed
    running = start(folder, tmp_path / "out", *TO_PNG)
    wait(lambda: finished(tmp_path / "out") > 0)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does, to the workers as well
    _, said = running.communicate(timeout=600)

    assert (running.returncode, said) == (1, "graypipe: error: interrupted\n")
    assert not [name for name in tree(tmp_path / "out") if name.endswith(UNFINISHED)]
    assert 0 < finished(tmp_path / "out") < FILES
    assert convert(folder, tmp_path / "out", *TO_PNG, "--resume") == 0
    assert tree(tmp_path / "out") == tree(expected)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_line_and_what_was_finished_stays(tmp_path, workers):
    """A limit on the size of files stands in for the disk: the last image is larger than it allows."""
    images(tmp_path / "in", 40, (20, 30))
    save(tmp_path / "in/z/large.png", np.zeros((200, 300), np.uint8))
    plan = ("--source", "gray", "--target", "imagenet", "--to", "npy", "--workers")
    before = tree(tmp_path / "in")

    full = process(
        *(
            "convert",
            tmp_path / "in",
            tmp_path / "out",
            *plan,
            workers,
            "--on-error",
            "skip",
        ),
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY)
        ),
    )

    assert full.returncode == 1
    assert full.stderr.startswith(
        f"graypipe: error: {tmp_path}/out/z/large.npy: cannot be written: File too large"
    )
    assert full.stderr.endswith("What is finished stays: make room, then go on\n")
    assert full.stderr.count("\n") == 1
    assert finished(tmp_path / "out") >= 32
    assert not [name for name in tree(tmp_path / "out") if name.endswith(UNFINISHED)]
    assert convert(tmp_path / "in", tmp_path / "out", *plan, 1, "--resume") == 0
    assert convert(tmp_path / "in", tmp_path / "whole", *plan, 1) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert tree(tmp_path / "in") == before


def test_a_full_disk_under_the_manifest_loses_no_file(tmp_path):
    images(tmp_path / "in", 40, (4, 5))
    plan = ("--source", "gray", "--target", "unit", "--to", "npy", "--workers", 1)
    full = process(
        *("convert", tmp_path / "in", tmp_path / "out", *plan),
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (2500, resource.RLIM_INFINITY)
        ),
    )
    assert full.returncode == 1
    assert f"{NAME}: cannot be written" in full.stderr
    assert convert(tmp_path / "in", tmp_path / "out", *plan, "--resume") == 0
    assert convert(tmp_path / "in", tmp_path / "whole", *plan) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def without_privileges():
    """Let permissions count for this process, and what it starts, even where it is root's."""
    drop = 24  # PR_CAPBSET_DROP
    for privilege in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(drop, privilege, 0, 0, 0)


def test_a_file_that_may_not_be_read_is_skipped(tmp_path):
    images(tmp_path / "in", 3)
    (tmp_path / "in/b/0001.png").chmod(0)
    plan = ("--source", "gray", "--target", "unit", "--to", "npy", "--on-error", "skip")
    done = process(
        "convert",
        tmp_path / "in",
        tmp_path / "out",
        *plan,
        preexec_fn=without_privileges,
    )
    assert done.returncode == 1
    assert f"skipped: {tmp_path}/in/b/0001.png: Permission denied\n" in done.stderr
    assert set(tree(tmp_path / "out")) == {"a/0000.npy", "a/0002.npy", NAME}


@pytest.mark.parametrize("began", [False, True])
def test_a_folder_that_cannot_be_written_is_one_line_and_nothing_is_lost(
    tmp_path, began
):
    images(tmp_path / "in", 3)
    argv = (
        tmp_path / "in",
        tmp_path / "out",
        "--source",
        "gray",
        "--target",
        "unit",
        "--to",
        "npy",
    )
    (tmp_path / "out").mkdir()
    if began:
        assert convert(*argv) == 0
        (tmp_path / "out/b/0001.npy").unlink()
    held = tree(tmp_path / "out")
    folders = [
        tmp_path / "out",
        *(path for path in (tmp_path / "out").iterdir() if path.is_dir()),
    ]
    for folder in folders:
        folder.chmod(0o555)

    refused = process("convert", *argv, "--resume", preexec_fn=without_privileges)

    for folder in folders:
        folder.chmod(0o755)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "cannot be written: Permission denied" in refused.stderr
    assert tree(tmp_path / "out") == held
    assert convert(*argv, "--resume") == 0
    assert len(tree(tmp_path / "out")) == 4
