"""``--engine ray`` gives the same bytes and messages as local processes."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from image_sets import HANGING, ROOT, command, images, process, save, tree

from graypipe.cli import main

pytestmark = pytest.mark.filterwarnings("ignore")

CLUSTER = """
import subprocess, sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
address = ray.get_runtime_context().gcs_address
command = [sys.executable, "-m", "graypipe", *sys.argv[1:], "--engine", "ray", "--ray-address", address]
sys.exit(subprocess.run(command).returncode)
"""

# Ray gives up if its processes do not start within 30 seconds, which no option changes.
NOT_STARTED = "timed out during startup"


def run_with_ray(argv):
    """Run a command that starts Ray, again if a busy machine keeps Ray from starting."""
    for _ in range(10):
        done = subprocess.run(
            argv, cwd=ROOT, capture_output=True, text=True, timeout=HANGING, check=False
        )
        if NOT_STARTED not in done.stderr:
            break
    return done


def test_convert_on_a_started_ray_equals_local_processes(tmp_path):
    images(tmp_path / "in", 40)
    deep_image = images(tmp_path / "deep", 1, dtype="uint16").popitem()[1]
    save(tmp_path / "in/b/broken.png", deep_image)
    options = (
        *("--source", "gray:dtype=uint8", "--target", "imagenet", "--to", "npy"),
        *("--workers", 2, "--on-error", "skip"),
    )
    local = process("convert", tmp_path / "in", tmp_path / "local", *options)
    on_ray = run_with_ray(
        command(
            *("convert", tmp_path / "in", tmp_path / "ray", *options),
            *("--engine", "ray"),
        )
    )
    assert (local.returncode, on_ray.returncode) == (1, 1), on_ray.stderr
    # Ray prints messages of its own.
    messages = [
        line
        for line in on_ray.stderr.splitlines()
        if "graypipe" in line or "skipped" in line
    ]
    assert messages == local.stderr.splitlines()
    assert "1 of 41 files were skipped" in on_ray.stderr
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")
    assert len(tree(tmp_path / "ray")) == 41


def test_stats_on_a_running_cluster_equal_local_processes(tmp_path):
    images(tmp_path / "in", 70, (9, 11), "float32", ".npy")
    argv = ("stats", tmp_path / "in", "--source", "gray", "--json")
    assert process(*argv, tmp_path / "local.json", "--workers", 2).returncode == 0
    on_ray = run_with_ray(
        [sys.executable, "-c", CLUSTER, *map(str, argv), str(tmp_path / "ray.json")]
    )
    assert on_ray.returncode == 0, on_ray.stderr
    result = (tmp_path / "ray.json").read_bytes()
    assert result == (tmp_path / "local.json").read_bytes()


def test_a_ray_that_does_not_start_is_one_line(tmp_path, monkeypatch, capsys):
    def init(**_):
        raise Exception("The current node timed out during startup.")

    ray = SimpleNamespace(
        init=init,
        shutdown=lambda: None,
        data=SimpleNamespace(),
        exceptions=SimpleNamespace(RayError=OSError),
    )
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray.data)
    images(tmp_path / "in", 2)
    argv = ("stats", tmp_path / "in", "--source", "gray", "--engine", "ray")
    assert main([str(argument) for argument in argv]) == 1
    assert capsys.readouterr().err == (
        "graypipe: error: cannot start Ray on this machine: "
        "The current node timed out during startup.\n"
    )
