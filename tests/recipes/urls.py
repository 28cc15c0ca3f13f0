"""``graypipe convert``, ``stats`` and ``inspect`` on the objects of an S3 server.

Run by `.ci/run` in an environment with s3fs and moto: together with the packages of the
extra ``test``, pip takes many minutes to find versions of boto3 that fit both.
"""

import json
import logging
import os
import random
import signal
import subprocess
import time
from contextlib import suppress

import fsspec
import pytest
from documentation.code_blocks import blocks_of, run_blocks
from image_sets import ROOT, command, images, process, process_with_ray, tree
from moto.server import ThreadedMotoServer

from graypipe.batch_jobs.folders import open_folder
from graypipe.batch_jobs.manifest import MANIFEST_NAME
from graypipe.cli import main

PLAN = ("--source", "gray", "--target", "unit", "--to", "npy", "--workers")
BUCKET = "bucket"
FILES = 20  # two chunks


@pytest.fixture(scope="module")
def s3():
    """Return the file system of a local S3 server with an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        filesystem = fsspec.filesystem("s3")
        filesystem.clear_instance_cache()
        filesystem = fsspec.filesystem("s3")
        filesystem.mkdir(BUCKET)
        yield filesystem
        filesystem.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def data(s3, tmp_path_factory):
    """Return a folder of images, also uploaded as s3://bucket/in, and its conversion."""
    folder = tmp_path_factory.mktemp("data")
    for path in images(folder / "in", FILES):
        upload(s3, path, f"in/{path.relative_to(folder / 'in')}")
    (folder / "in/a/.hidden.png").write_bytes(b"no image")
    s3.pipe_file(f"{BUCKET}/in/a/.hidden.png", b"no image")
    s3.pipe_file(f"{BUCKET}/in/", b"")  # consoles create such markers
    assert convert(folder / "in", folder / "out", *PLAN, 1) == 0
    return folder


def upload(s3, path, name):
    s3.put_file(str(path), f"{BUCKET}/{name}")


def convert(*argv):
    return main(["convert", *map(str, argv)])


def objects(s3, folder):
    """Return the content of every object below ``folder``, by its relative name."""
    s3.invalidate_cache()
    start = f"{BUCKET}/{folder}/"
    return {
        path.removeprefix(start): s3.cat_file(path)
        for path in s3.find(start)
        if not path.endswith("/")
    }


def without_states(files):
    """Return files with a manifest that does not say when its images were changed."""
    lines = files[MANIFEST_NAME].splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        record.pop("mtime_ns", None)
        record.pop("version", None)
    return {**files, MANIFEST_NAME: records}


@pytest.mark.parametrize("workers", [1, 2])
def test_objects_are_converted_to_objects(s3, data, workers):
    out = f"out-{workers}"
    done = process(
        *("convert", f"s3://{BUCKET}/in", f"s3://{BUCKET}/{out}", *PLAN, workers),
        python_options=("-W", "error"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    result = objects(s3, out)
    assert without_states(result) == without_states(tree(data / "out"))


def test_ray_converts_objects_to_objects(s3, data):
    folder, out = f"s3://{BUCKET}/in", f"s3://{BUCKET}/out-ray"
    done = process_with_ray("convert", folder, out, *PLAN, 2)
    assert done.returncode == 0, done.stderr
    assert without_states(objects(s3, "out-ray")) == without_states(tree(data / "out"))


def test_files_are_converted_to_objects(s3, data, capsys):
    assert convert(data / "in", f"s3://{BUCKET}/from-files", *PLAN, 1) == 0
    assert objects(s3, "from-files") == tree(data / "out")
    assert convert(data / "in", f"s3://{BUCKET}/from-files/", *PLAN, 1) == 1
    assert "add --resume" in capsys.readouterr().err


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_objects_are_converted_to_files(data, tmp_path, prefix):
    out = f"{prefix}{tmp_path / 'out'}"
    assert convert(f"s3://{BUCKET}/in/", out, *PLAN, 1) == 0
    assert without_states(tree(tmp_path / "out")) == without_states(tree(data / "out"))


def test_resume_converts_only_what_has_changed(s3, data, capsys):
    folder, out = f"s3://{BUCKET}/changing", f"s3://{BUCKET}/changing-out"
    paths = sorted((data / "in").rglob("[0-9]*.png"))[:5]
    for path in paths:
        upload(s3, path, f"changing/{path.name}")
    assert convert(folder, out, *PLAN, 1) == 0
    before = objects(s3, "changing-out")
    capsys.readouterr()
    assert convert(folder, out, *PLAN, 1, "--resume") == 0
    assert capsys.readouterr().out.startswith("0 files converted, 5 were already")
    assert objects(s3, "changing-out") == before

    # Another image of the same size, and a lost output
    upload(s3, paths[1], f"changing/{paths[0].name}")
    s3.rm_file(f"{BUCKET}/changing-out/{paths[2].stem}.npy")
    assert convert(folder, out, *PLAN, 1, "--resume") == 0
    assert capsys.readouterr().out.startswith("2 files converted, 3 were already")
    after = objects(s3, "changing-out")
    assert after[f"{paths[0].stem}.npy"] == before[f"{paths[1].stem}.npy"]
    assert after.keys() == before.keys()
    assert len(after[MANIFEST_NAME].splitlines()) == 6


@pytest.mark.parametrize(
    ("workers", "to"),
    [
        (1, ("npy",)),
        (2, ("npy",)),
        (2, ("tiff",)),
        (2, ("png",)),
        (2, ("webdataset", "--shard-images", 4)),
        (2, ("parquet", "--shard-images", 4)),
        (2, ("zarr",)),
    ],
)
def test_killed_at_any_moment_and_resumed_equals_an_undisturbed_job(
    s3, data, tmp_path, workers, to
):
    out = f"killed-{workers}-{to[0]}"
    target = "rgb8" if to[0] == "png" else "unit"  # PNG files hold no floats
    options = (
        "--source",
        "gray",
        "--target",
        target,
        "--workers",
        workers,
        "--to",
        *to,
    )
    job = ("convert", data / "in", f"s3://{BUCKET}/{out}", *options, "--resume")
    assert convert(data / "in", tmp_path / "out", *options) == 0
    delays = random.Random(workers)
    for _ in range(2):
        running = subprocess.Popen(
            command(*job), cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL
        )
        wait_for_any_object(s3, out, running)
        time.sleep(delays.uniform(0, 0.3))
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    done = process(*job)
    assert (done.returncode, done.stderr) == (0, "")
    assert objects(s3, out) == tree(tmp_path / "out")


def wait_for_any_object(s3, out, running):
    """Wait until the job writes something that was not there, or ends."""
    before = names(s3, out)
    while running.poll() is None and names(s3, out) == before:
        time.sleep(0.02)


def names(s3, out):
    s3.invalidate_cache()
    return s3.find(f"{BUCKET}/{out}")


@pytest.mark.parametrize("parts", [1, 2])
def test_killed_while_the_manifest_is_joined(s3, data, parts):
    """The manifest is complete, but some of its parts are not removed yet."""
    out = f"joined-{parts}"
    expected = tree(data / "out")
    for name, content in expected.items():
        s3.pipe_file(f"{BUCKET}/{out}/{name}", content)
    lines = expected[MANIFEST_NAME].splitlines(keepends=True)
    for part in range(parts):
        content = b"".join(lines[1 + 10 * part : 11 + 10 * part])
        s3.pipe_file(f"{BUCKET}/{out}/{MANIFEST_NAME}.parts/{part + 1:08}", content)
    assert convert(data / "in", f"s3://{BUCKET}/{out}", *PLAN, 1, "--resume") == 0
    assert objects(s3, out) == expected


def test_statistics_of_objects_are_those_of_files(data, tmp_path, capsys):
    for name, path in (("s3", f"s3://{BUCKET}/in"), ("files", data / "in")):
        argv = ("stats", path, "--source", "gray", "--json", tmp_path / name)
        assert main([*map(str, argv), "--workers", "1"]) == 0
    assert (tmp_path / "s3").read_bytes() == (tmp_path / "files").read_bytes()
    first, second = capsys.readouterr().out.split(f"{FILES} files, ")[1:]
    assert first == second


@pytest.mark.parametrize("name", ["in", "in/a/0002.png"])
def test_inspect_says_of_objects_what_it_says_of_files(data, capsys, name):
    results = []
    for root in (f"s3://{BUCKET}", str(data)):
        assert main(["inspect", f"{root}/{name}", "--json", "--workers", "1"]) == 0
        results.append(capsys.readouterr().out.replace(root, "ROOT"))
    assert json.loads(results[0]) == json.loads(results[1])


@pytest.mark.usefixtures("data")
def test_patterns_select_objects(capsys):
    argv = ["inspect", f"s3://{BUCKET}/in", "--json", "--workers", "1"]
    assert main([*argv, "--include", "a/*", "--exclude", "*00*0.png"]) == 0
    names = [record["path"] for record in json.loads(capsys.readouterr().out)["files"]]
    assert names[0] == f"s3://{BUCKET}/in/a/0002.png"
    assert len(names) == FILES // 2 - FILES // 10


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        (("s3://no-such-bucket/in", "out"), "expected a folder with images"),
        (("IN", "s3://no-such-bucket/out"), "bucket does not exist"),
        ((f"s3://{BUCKET}/in", f"s3://{BUCKET}/in/out"), "is inside"),
        ((f"s3://{BUCKET}/in", f"s3://{BUCKET}"), "is inside"),
        (("nowhere://x/in", "out"), "nowhere"),
        (("IN", f"zip://out::s3://{BUCKET}/a.zip"), "chain"),
        (("IN", f"s3://{BUCKET}/in/a/0000.png"), "is not a folder"),
        (("IN", f"s3://{BUCKET}/in"), "no manifest"),
    ],
)
def test_errors_are_one_line(data, tmp_path, capsys, argv, problem):
    folder, out = argv
    if folder == "IN":
        folder = data / "in"
    if "://" not in out:
        out = tmp_path / out
    assert convert(folder, out, *PLAN, 1) == 1
    error = capsys.readouterr().err
    assert problem in error
    assert error.startswith("graypipe: error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("s3")
def test_missing_credentials_are_one_line(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    done = process("stats", f"s3://{BUCKET}/in", "--source", "gray")
    assert done.returncode == 1
    assert "credentials" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_package_is_named(capsys, monkeypatch):
    def without_package(*_args, **_options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", without_package)
    assert main(["stats", f"s3://{BUCKET}/in", "--source", "gray"]) == 1
    error = capsys.readouterr().err
    assert error == (f"graypipe: error: s3://{BUCKET}/in: Install s3fs to access S3\n")


def test_object_names_that_no_file_has_are_refused(s3, data, tmp_path, capsys):
    path = data / "in/a/0000.png"
    upload(s3, path, "odd/a/../../b.png")
    assert convert(f"s3://{BUCKET}/odd", tmp_path / "out", *PLAN, 1) == 1
    assert "rename the object" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_commands_of_the_page_run(s3, tmp_path):
    for path in images(tmp_path, 3, dtype="uint16"):
        upload(s3, path, f"scans/{path.relative_to(tmp_path)}")
    (block,) = [b for b in blocks_of("docs/scale.md") if "s3://" in b.code]
    run_blocks([block], {})
    assert len(objects(s3, "tensors")) == 4  # three images and the manifest


def test_other_file_systems_of_fsspec_work_alike(data, capsys):
    memory = fsspec.filesystem("memory")
    memory.put(str(data / "in"), "/url-test/in", recursive=True)
    argv = ("memory://url-test/in", "memory://url-test/out", *PLAN, 1)
    assert convert(*argv) == 0
    found = {
        path.removeprefix("/url-test/out/"): memory.cat_file(path)
        for path in memory.find("/url-test/out")
    }
    assert without_states(found) == without_states(tree(data / "out"))
    capsys.readouterr()
    assert convert(*argv, "--resume") == 0
    assert capsys.readouterr().out.startswith(f"0 files converted, {FILES} were")
    memory.rm("/url-test", recursive=True)


def test_an_output_folder_url_keeps_nothing_of_a_failed_file(s3):
    folder = open_folder(f"s3://{BUCKET}/created")
    with suppress(ZeroDivisionError), folder.create("a/b.bin") as file:
        file.write(b"half")
        file.write(1 // 0)
    assert objects(s3, "created") == {}
    with folder.create("a/b.bin") as file:
        file.write(b"whole")
    assert objects(s3, "created") == {"a/b.bin": b"whole"}
    assert list(folder.names()) == ["a"]
    assert (folder.size("a/b.bin"), folder.size("b")) == (5, None)
