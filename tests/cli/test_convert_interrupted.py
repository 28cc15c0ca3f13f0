"""``graypipe convert`` killed, interrupted or out of space: ``--resume`` finishes the job.

The tests decide where a job is interrupted: it pauses there, and waits for its signal.
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from image_sets import HANGING, ROOT, images, process, save, tree

from graypipe.batch_jobs.chunks import MAX_FILES
from graypipe.batch_jobs.files import UNFINISHED_SUFFIX
from graypipe.batch_jobs.lock import LOCK_NAME
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.batch_jobs.outputs import FORMATS
from graypipe.cli import main

TO_PNG = ("--source", "gray", "--target", "rgb8", "--to", "png", "--workers", 2)
CHUNKS = 10
FILES = CHUNKS * MAX_FILES

# The command, which pauses where its first two arguments say: before or after a chunk is
# added to the manifest (counted from 1), or before the manifest exists (chunk 0). Then it
# prints a line and waits; its workers go on. At most 4 chunks are in progress, so the job
# cannot finish meanwhile.
PAUSING_COMMAND = """
import signal
import sys
from graypipe.batch_jobs import manifest
from graypipe.cli import main

# A shell that runs the tests in the background makes them ignore SIGINT.
signal.signal(signal.SIGINT, signal.default_int_handler)
moment, chunk = sys.argv[1], int(sys.argv[2])
count = 0

def pause(this_moment):
    if (this_moment, count) == (moment, chunk):
        print("paused", flush=True)
        sys.stdin.read()

def pausing_start(*arguments):
    pause("before")
    return start(*arguments)

def pausing_append(*arguments):
    global count
    count += 1
    pause("before")
    append(*arguments)
    pause("after")

start, append = manifest.prepare_folder, manifest.append_records
manifest.prepare_folder, manifest.append_records = pausing_start, pausing_append
# Without arguments, main reads those of the process, and forks its workers from it.
del sys.argv[1:3]
sys.exit(main())
"""


def convert(*argv):
    return main(["convert", *map(str, argv)])


def start_and_wait_until_paused(moment, chunk, *argv):
    """Start the command in a process group of its own; return it when it has paused."""
    running = subprocess.Popen(
        [
            *(sys.executable, "-c", PAUSING_COMMAND, moment, str(chunk), "convert"),
            *map(str, argv),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    line = running.stdout.readline()
    if line != "paused\n":
        running.kill()
        pytest.fail(f"the command did not pause: {line}{running.stderr.read()}")
    return running


def wait_for_all_processes(running):
    """Return stderr when the command and its workers have ended.

    They share the pipes of the command: the end of the pipes is the end of all of them.
    """
    _, errors = running.communicate(timeout=HANGING)
    return errors


def finished(out):
    """Return the number of files in the manifest of ``out``."""
    if not (out / MANIFEST_NAME).exists():
        return 0
    return (out / MANIFEST_NAME).read_bytes().count(b"\n") - 1


def unfinished(out):
    """Return the names of the incomplete files in ``out``."""
    return [name for name in tree(out) if name.endswith(UNFINISHED_SUFFIX)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return a folder of images, and the output folder of an undisturbed job."""
    folder = tmp_path_factory.mktemp("undisturbed")
    images(folder / "in", FILES, (112, 144))
    assert process("convert", folder / "in", folder / "out", *TO_PNG).returncode == 0
    return folder / "in", folder / "out"


def test_killed_and_resumed_equals_an_undisturbed_job(undisturbed, tmp_path):
    folder, expected = undisturbed
    out = tmp_path / "out"
    before = tree(folder)
    moments = [("before", 0), ("before", 1), ("after", 1), ("before", 3), ("after", 2)]
    counts = []
    for moment, chunk in moments:
        running = start_and_wait_until_paused(
            moment, chunk, folder, out, *TO_PNG, "--resume"
        )
        running.kill()
        wait_for_all_processes(running)
        assert running.returncode == -signal.SIGKILL
        counts.append(finished(out) // MAX_FILES)
    assert counts == [0, 0, 1, 3, 5]

    last = process("convert", folder, out, *TO_PNG, "--resume")

    assert (last.returncode, last.stderr) == (0, "")
    assert tree(out) == tree(expected)
    assert tree(folder) == before


@pytest.mark.parametrize("to", [to for to in FORMATS if to != "png"])
def test_a_killed_conversion_to_another_format_is_completed(undisturbed, tmp_path, to):
    folder, _ = undisturbed
    options = ("--source", "gray", "--target", "unit", "--to", to)
    if to in ("webdataset", "parquet"):
        options += ("--shard-images", MAX_FILES)
    for moment, chunk in [("before", 1), ("after", 2)]:
        running = start_and_wait_until_paused(
            *(moment, chunk, folder, tmp_path / "out", *options),
            *("--workers", 2, "--resume"),
        )
        running.kill()
        wait_for_all_processes(running)
        assert not (tmp_path / "out/dataset.zarr/zarr.json").exists()
    assert finished(tmp_path / "out") > 0
    assert convert(folder, tmp_path / "out", *options, "--workers", 1, "--resume") == 0
    assert convert(folder, tmp_path / "new", *options, "--workers", 1) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "new")


def test_resume_removes_what_was_written_halfway(undisturbed, tmp_path):
    folder, expected = undisturbed
    out = tmp_path / "out"
    shutil.copytree(expected, out)
    lines = (expected / MANIFEST_NAME).read_bytes().splitlines(keepends=True)
    # 100 files are finished, the line of the next one is cut off, and one more file has
    # been written but has no line.
    (out / MANIFEST_NAME).write_bytes(b"".join(lines[:101]) + lines[101][:40])
    for line in lines[103:]:
        (out / json.loads(line)["output"]).unlink()
    (out / "a" / f"0123{UNFINISHED_SUFFIX}").write_bytes(b"half")

    assert convert(folder, out, *TO_PNG, "--resume") == 0
    assert tree(out) == tree(expected)


@pytest.mark.parametrize(("moment", "chunk"), [("after", 1), ("before", 2)])
def test_ctrl_c_is_one_line_and_resume_continues(undisturbed, tmp_path, moment, chunk):
    folder, expected = undisturbed
    out = tmp_path / "out"
    running = start_and_wait_until_paused(moment, chunk, folder, out, *TO_PNG)
    # A terminal sends Ctrl-C to all processes of the command.
    os.killpg(running.pid, signal.SIGINT)
    errors = wait_for_all_processes(running)

    assert (running.returncode, errors) == (130, "graypipe: error: interrupted\n")
    assert unfinished(out) == []
    assert finished(out) == MAX_FILES
    assert convert(folder, out, *TO_PNG, "--resume") == 0
    assert tree(out) == tree(expected)


def test_a_second_job_is_refused_until_the_first_has_ended(
    undisturbed, tmp_path, capsys
):
    folder, expected = undisturbed
    out = tmp_path / "out"
    running = start_and_wait_until_paused("after", 1, folder, out, *TO_PNG)
    # The workers may still be writing.
    before = {name for name in tree(out) if not name.endswith(UNFINISHED_SUFFIX)}

    assert convert(folder, out, *TO_PNG, "--resume") == 1
    error = capsys.readouterr().err
    assert f"{out} is in use by process {running.pid} on " in error
    assert before <= set(tree(out))

    # The lock of a process that was killed is taken over.
    running.kill()
    wait_for_all_processes(running)
    assert (out / LOCK_NAME).exists()
    assert convert(folder, out, *TO_PNG, "--resume") == 0
    assert tree(out) == tree(expected)
    assert not (out / LOCK_NAME).exists()


def limit_file_size(size):
    """Return a function that limits the files that its process can write."""
    limits = (size, resource.RLIM_INFINITY)
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_line_and_keeps_finished_files(tmp_path, workers):
    """A limit on the size of files simulates the disk: the last output exceeds it."""
    images(tmp_path / "in", 40, (20, 30))
    save(tmp_path / "in/z/large.png", np.zeros((200, 300), np.uint8))
    plan = ("--source", "gray", "--target", "imagenet", "--to", "npy", "--workers")
    before = tree(tmp_path / "in")

    full = process(
        *("convert", tmp_path / "in", tmp_path / "out", *plan, workers),
        *("--on-error", "skip"),
        preexec_fn=limit_file_size(100_000),
    )

    assert full.returncode == 1
    assert full.stderr.startswith(
        f"graypipe: error: cannot write {tmp_path}/out/z/large.npy: File too large"
    )
    assert full.stderr.endswith(
        "free some space and continue, finished files are kept\n"
    )
    assert full.stderr.count("\n") == 1
    assert finished(tmp_path / "out") == 2 * MAX_FILES
    assert unfinished(tmp_path / "out") == []
    assert convert(tmp_path / "in", tmp_path / "out", *plan, 1, "--resume") == 0
    assert convert(tmp_path / "in", tmp_path / "whole", *plan, 1) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")
    assert tree(tmp_path / "in") == before


def test_a_full_disk_under_the_manifest_loses_no_file(tmp_path):
    images(tmp_path / "in", 40, (4, 5))
    plan = ("--source", "gray", "--target", "unit", "--to", "npy", "--workers", 1)
    full = process(
        *("convert", tmp_path / "in", tmp_path / "out", *plan),
        preexec_fn=limit_file_size(2500),
    )
    assert full.returncode == 1
    assert f"cannot write {tmp_path}/out/{MANIFEST_NAME}: " in full.stderr
    assert convert(tmp_path / "in", tmp_path / "out", *plan, "--resume") == 0
    assert convert(tmp_path / "in", tmp_path / "whole", *plan) == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def obey_permissions():
    """Make file permissions apply to this process even if it runs as root."""
    pr_capbset_drop = 24
    cap_dac_override, cap_dac_read_search = 1, 2
    for capability in (cap_dac_override, cap_dac_read_search):
        ctypes.CDLL(None).prctl(pr_capbset_drop, capability, 0, 0, 0)


def test_a_file_without_read_permission_is_skipped(tmp_path):
    images(tmp_path / "in", 3)
    (tmp_path / "in/b/0001.png").chmod(0)
    plan = ("--source", "gray", "--target", "unit", "--to", "npy", "--on-error", "skip")
    done = process(
        "convert",
        tmp_path / "in",
        tmp_path / "out",
        *plan,
        preexec_fn=obey_permissions,
    )
    assert done.returncode == 1
    assert f"skipped: {tmp_path}/in/b/0001.png: Permission denied\n" in done.stderr
    assert set(tree(tmp_path / "out")) == {"a/0000.npy", "a/0002.npy", MANIFEST_NAME}


@pytest.mark.parametrize("has_results", [False, True])
def test_an_output_folder_without_permission_is_one_line(tmp_path, has_results):
    images(tmp_path / "in", 3)
    out = tmp_path / "out"
    plan = ("--source", "gray", "--target", "unit", "--to", "npy")
    argv = (tmp_path / "in", out, *plan)
    out.mkdir()
    if has_results:
        assert convert(*argv) == 0
        (out / "b/0001.npy").unlink()
    before = tree(out)
    folders = [out, *(path for path in out.iterdir() if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)

    refused = process("convert", *argv, "--resume", preexec_fn=obey_permissions)

    for folder in folders:
        folder.chmod(0o755)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "cannot write " in refused.stderr
    assert ": Permission denied" in refused.stderr
    assert tree(out) == before
    assert convert(*argv, "--resume") == 0
    assert len(tree(out)) == 4
