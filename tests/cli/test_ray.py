"""``--engine ray`` gives the same bytes and messages as local processes."""

import subprocess
import sys

import pytest
from image_sets import HANGING, ROOT, images, process, save, tree

pytestmark = pytest.mark.filterwarnings("ignore")

CLUSTER = """
import subprocess, sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
address = ray.get_runtime_context().gcs_address
command = [sys.executable, "-m", "graypipe", *sys.argv[1:], "--engine", "ray", "--ray-address", address]
sys.exit(subprocess.run(command).returncode)
"""


def test_convert_on_a_started_ray_equals_local_processes(tmp_path):
    images(tmp_path / "in", 40)
    save(
        tmp_path / "in/b/broken.png",
        images(tmp_path / "deep", 1, dtype="uint16").popitem()[1],
    )
    argv = (
        "--source",
        "gray:dtype=uint8",
        "--target",
        "imagenet",
        "--to",
        "npy",
        "--workers",
        2,
        "--on-error",
        "skip",
    )
    local, ray = (
        process(
            "convert", tmp_path / "in", tmp_path / engine, *argv, "--engine", engine
        )
        for engine in ("local", "ray")
    )
    assert (local.returncode, ray.returncode) == (1, 1)
    assert [
        line
        for line in ray.stderr.splitlines()
        if "graypipe" in line or "skipped" in line
    ] == (local.stderr.splitlines())
    assert "1 of 41 files were skipped" in ray.stderr
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")
    assert len(tree(tmp_path / "ray")) == 41


def test_stats_on_a_running_cluster_equal_local_processes(tmp_path):
    images(tmp_path / "in", 70, (9, 11), "float32", ".npy")
    argv = ("stats", tmp_path / "in", "--source", "gray", "--json")
    assert process(*argv, tmp_path / "local.json", "--workers", 2).returncode == 0
    script = [
        sys.executable,
        "-c",
        CLUSTER,
        *map(str, argv),
        str(tmp_path / "ray.json"),
    ]
    done = subprocess.run(
        script, cwd=ROOT, capture_output=True, text=True, timeout=HANGING, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ray.json").read_bytes() == (
        tmp_path / "local.json"
    ).read_bytes()
