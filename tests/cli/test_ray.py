"""``--engine ray`` gives the same bytes and messages as local processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest
from image_sets import (
    HANGING,
    RAY_ATTEMPTS,
    RAY_NOT_STARTED,
    ROOT,
    images,
    process,
    process_with_ray,
    save,
    tree,
)

from graypipe.batch_jobs.chunks import MAX_FILES
from graypipe.batch_jobs.files import UNFINISHED_SUFFIX
from graypipe.batch_jobs.outputs import FORMATS
from graypipe.cli import main

pytestmark = pytest.mark.filterwarnings("ignore")

# Without tokens, commands can connect to a Ray that another process has started. Ray
# checks every half second whether a node is alive; its default is 3 seconds.
CLUSTER_ENVIRONMENT = {
    **os.environ,
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_health_check_initial_delay_ms": "0",
}

# Starts Ray, prints its address, and stops it at the end of the standard input.
RUNNING_RAY = """
import sys, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def running_ray(tmp_path_factory):
    """Return options with which a command uses a Ray that is running already."""
    log = tmp_path_factory.mktemp("ray") / "log"
    for _ in range(RAY_ATTEMPTS):
        with log.open("w") as errors:
            running = subprocess.Popen(
                [sys.executable, "-c", RUNNING_RAY],
                env=CLUSTER_ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        with running:
            address = running.stdout.readline().strip()
            if address:
                yield "--engine", "ray", "--ray-address", address
                return
        if RAY_NOT_STARTED not in log.read_text():
            break
    pytest.fail(log.read_text())


def test_convert_on_a_started_ray_equals_local_processes(tmp_path):
    images(tmp_path / "in", 40)
    deep_image = images(tmp_path / "deep", 1, dtype="uint16").popitem()[1]
    save(tmp_path / "in/b/broken.png", deep_image)
    options = (
        *("--source", "gray:dtype=uint8", "--target", "imagenet", "--to", "npy"),
        *("--workers", 2, "--on-error", "skip"),
    )
    local = process("convert", tmp_path / "in", tmp_path / "local", *options)
    on_ray = process_with_ray("convert", tmp_path / "in", tmp_path / "ray", *options)
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


def test_stats_on_a_running_ray_equal_local_processes(tmp_path, running_ray):
    images(tmp_path / "in", 70, (9, 11), "float32", ".npy")
    argv = ("stats", tmp_path / "in", "--source", "gray", "--json")
    assert process(*argv, tmp_path / "local.json", "--workers", 2).returncode == 0
    on_ray = process(*argv, tmp_path / "ray.json", *running_ray)
    assert on_ray.returncode == 0, on_ray.stderr
    result = (tmp_path / "ray.json").read_bytes()
    assert result == (tmp_path / "local.json").read_bytes()


def options_for(to):
    """Return the options of a conversion whose outputs have at most one chunk of files."""
    target = "rgb8" if to == "png" else "unit"
    options = ("--source", "gray", "--target", target, "--to", to)
    if to in ("webdataset", "parquet"):
        options += ("--shard-images", MAX_FILES)
    return options


# Several commands in one process, because importing Ray takes seconds.
SEVERAL_COMMANDS = """
import json, sys
from graypipe.cli import main
sys.exit(any([main(argv) for argv in json.loads(sys.argv[1])]))
"""


def test_data_sets_on_ray_equal_those_of_local_processes(tmp_path, running_ray):
    images(tmp_path / "in", 3 * MAX_FILES)
    commands = []
    for to in ("webdataset", "parquet", "zarr"):
        for name, engine in (("local", ("--workers", "1")), ("ray", running_ray)):
            folders = (str(tmp_path / "in"), str(tmp_path / name / to))
            commands.append(["convert", *folders, *map(str, options_for(to)), *engine])
    script = [sys.executable, "-c", SEVERAL_COMMANDS, json.dumps(commands)]
    done = subprocess.run(
        script, cwd=ROOT, capture_output=True, text=True, check=False, timeout=HANGING
    )
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "ray") == tree(tmp_path / "local")
    assert len(list((tmp_path / "ray").glob("*/*"))) == 3 + 1 + 3 + 1 + 2


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


# The command, whose workers pause at every chunk but the first until a file exists, the
# first argument. Meanwhile each leaves an incomplete output, named after its process.
PAUSING_COMMAND = """
import os, sys, time
from pathlib import Path
from graypipe.batch_jobs.files import UNFINISHED_SUFFIX
from graypipe.cli import convert, main

released = Path(sys.argv[1])
convert_files = convert.convert_files

def pausing_convert(job, outputs):
    if Path(outputs[0].sources[0]).stem != "0000":
        name = f"{released.name}-{os.getpid()}{UNFINISHED_SUFFIX}"
        unfinished = Path(job.out, name)
        unfinished.write_bytes(b"half")
        while not released.exists():
            time.sleep(0.05)
        unfinished.unlink(missing_ok=True)
    return convert_files(job, outputs)

convert.convert_files = pausing_convert
sys.exit(main(sys.argv[2:]))
"""


def start_pausing(folder, out, released, *options, **keywords):
    """Start a command whose workers pause until the file ``released`` exists."""
    return subprocess.Popen(
        [
            *(sys.executable, "-c", PAUSING_COMMAND, released),
            *("convert", folder, out, *map(str, options)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **keywords,
    )


def half_written(out):
    """Return the incomplete files of a command, one of each worker that pauses."""
    return list(out.glob(f"*{UNFINISHED_SUFFIX}"))


@pytest.mark.parametrize("to", FORMATS)
def test_a_killed_command_on_ray_is_resumed(tmp_path, running_ray, to):
    folder, out, released = tmp_path / "in", tmp_path / "out", tmp_path / "released"
    images(folder, 4 * MAX_FILES)
    options = options_for(to)
    argv = ["convert", folder, tmp_path / "local", *options, "--workers", 1]
    assert main([*map(str, argv)]) == 0
    with start_pausing(folder, out, released, *options, *running_ray) as running:
        # Ray reserves processors for commands that were killed before, for 3 minutes.
        wait_until(lambda: half_written(out), running)
        running.kill()
    # Workers of the killed command may go on while it is resumed.
    released.touch()
    resumed = process("convert", folder, out, *options, *running_ray, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert tree(out) == tree(tmp_path / "local")


# Ray replaces 127.0.0.1 by the address of the machine in its network.
HEAD, WORKER = "127.0.0.2", "127.0.0.3"


def free_ports(count):
    """Return ports that nobody uses, outside of the range that Ray gives to workers."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]


def start_node(address, log, *options):
    """Start a node of a cluster with one CPU; return its process."""
    # Ray waits only seconds for its agents to choose ports themselves.
    names = ("metrics-export", "dashboard-agent-grpc", "dashboard-agent-listen")
    ports = zip((*names, "runtime-env-agent"), free_ports(4), strict=True)
    with log.open("w") as output:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block"),
                *("--node-ip-address", address, "--num-cpus", "1"),
                *("--object-store-memory", "100000000", *options),
                *(f"--{name}-port={port}" for name, port in ports),
            ],
            cwd=ROOT,
            env=CLUSTER_ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def descendants(pid):
    """Return the number of a process and of all processes below it."""
    lines = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    children = {}
    for line in lines:
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def kill_node(node):
    """End all processes of a node at once."""
    for pid in descendants(node.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    node.wait()


def wait_until(is_true, *processes):
    """Wait for a condition; fail if a process ends before."""
    while not is_true():
        ended = [each for each in processes if each.poll() is not None]
        assert not ended, [
            (each.args, each.stderr and each.stderr.read()) for each in ended
        ]
        time.sleep(0.1)


def is_started(log):
    """Return whether the output of a node says that it has started."""
    return "runtime started" in log.read_text()


@pytest.fixture
def cluster(tmp_path_factory):
    """Return the address, the head and the worker node of a cluster on this machine."""
    logs = tmp_path_factory.mktemp("ray")
    (port,) = free_ports(1)
    address = f"{HEAD}:{port}"
    with ExitStack() as stack:
        # The path of a socket in this folder must be short.
        folder = stack.enter_context(TemporaryDirectory(prefix="r", dir="/tmp"))
        head = start_node(
            HEAD,
            logs / "head",
            *("--head", f"--port={port}", f"--temp-dir={folder}", "--no-monitor"),
            "--include-dashboard=false",
        )
        stack.callback(kill_node, head)
        # The worker node would give up if the head is not there for some seconds.
        wait_until(lambda: is_started(logs / "head"), head)
        worker = start_node(WORKER, logs / "worker", f"--address={address}")
        stack.callback(kill_node, worker)
        wait_until(lambda: is_started(logs / "worker"), head, worker)
        yield address, head, worker


def test_a_killed_node_loses_nothing(cluster, tmp_path):
    address, head, worker = cluster
    folder, out, released = tmp_path / "in", tmp_path / "out", tmp_path / "released"
    images(folder, 10 * MAX_FILES)
    plan = ("--source", "gray", "--target", "rgb8", "--to", "png")
    assert process("convert", folder, tmp_path / "local", *plan).returncode == 0
    on_ray = ("--engine", "ray", "--ray-address", address)
    running = start_pausing(
        folder, out, released, *plan, *on_ray, env=CLUSTER_ENVIRONMENT
    )
    wait_until(lambda: len(half_written(out)) == 2, running, head, worker)
    kill_node(worker)
    released.touch()
    _, errors = running.communicate(timeout=HANGING)
    assert running.returncode == 0, errors
    assert tree(out) == tree(tmp_path / "local")
