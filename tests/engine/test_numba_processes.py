"""The numba engine across processes: what is compiled once stays compiled, and no cache, fork or race breaks a pass."""

import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import imagenet
import pytest

ROOT = Path(__file__).parents[2]

PASS = """
import hashlib, json, sys
import numpy as np
import graypipe as gp
from graypipe.engine import kernel_cache, kernels, numba_engine
from graypipe.engine.spec import AffineSpec

def moved(kind):
    total = hashlib.sha256()
    move = AffineSpec(((0, 0, 1.0), (0, 1.0, 0), (1.0, 0, 0)), (0.0,) * 3, (0.0,) * 3)
    for view in views(kind, 3):
        out = np.zeros((*view.shape[1:], 3), kind)
        planes = view, out.transpose(2, 0, 1)
        ENGINE.prepare(move, view.dtype, out.dtype)(*planes)(*planes)
        total.update(out.tobytes())
    return total.hexdigest()

def views(kind, bands):
    x = np.arange(bands * 41 * 67).reshape(bands, 41, 67).astype(kind) % 251
    both = [x, np.ascontiguousarray(x.transpose(1, 2, 0)).transpose(2, 0, 1)]
    return both + [v for x in both for v in (x[:, 2:30, 3:50], x[:, :, ::-1], x.swapaxes(1, 2), x[:, :, ::3])]

def digest(kind):
    total = hashlib.sha256()
    jobs = [
        AffineSpec(((.5, 0, 0), (0, .25, 0), (0, 0, .1)), (1.0, 2.0, 3.0), (0.0,) * 3),
        AffineSpec(((.5, .2, .1), (1.0, -1.0, 0)), (1.0, 2.0), (1.0,) * 3, ((0.0, 90.0),) * 3, 7.0),
        AffineSpec(((.5, .2, .1),) * 3, (1.0,) * 3, (1.0,) * 3),
        AffineSpec(((.5, 0, 0, .5), (0, .5, 0, .5), (0, 0, 1, 0)), (1.0, 0.0, 2.0), (1.0, 0.0, 2.0, 3.0)),
        AffineSpec(((.5,), (.25,), (.1,)), (1.0, 0.0, 3.0), (2.0,)),
    ]
    for spec in jobs:
        for view in views(kind, len(spec.black_levels)):
            shape = (len(spec.matrix), *view.shape[1:])
            for out in (np.zeros(shape, "f4"), np.zeros((*shape[1:], shape[0]), "f4").transpose(2, 0, 1)):
                ENGINE.prepare(spec, view.dtype, out.dtype)(view, out)(view, out)
                total.update(out.tobytes())
    return total.hexdigest() + moved(kind)

ENGINE = numba_engine
"""

NUMPY = """
from graypipe.engine import numpy_engine as ENGINE
"""

REPORT = """
compiled = (kernels.general, kernels.one_to_three, kernels.copy_bands, kernels.transpose)
count = lambda name: sum(sum(getattr(kernel.stats, name).values()) for kernel in compiled)
print(json.dumps([digest("u1"), count("cache_misses"), count("cache_hits")]))
"""


def start(code, cache=None, path=ROOT, **environment):
    environment = {
        **os.environ,
        "PYTHONPATH": str(path),
        "GRAYPIPE_ENGINE": "numba",  # also if the suite runs with the other engine
        **environment,
    }
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # bytecode may be as stale as a cache
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    command = [sys.executable, "-W", "error", "-c", code]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=path, env=environment, stdout=pipe, stderr=pipe, text=True
    )


def answer(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module")
def expected():
    """Return the digest of the NumPy engine."""
    return answer(start(PASS + NUMPY + 'print(json.dumps(digest("u1")))'))


@pytest.fixture(scope="module")
def warm(tmp_path_factory, expected):
    """Return a cache directory that holds what a pass needs."""
    cache = tmp_path_factory.mktemp("cache")
    assert answer(start(PASS + REPORT, cache)) == [expected, 4, 0]
    return cache


def test_processes_that_start_together_fill_one_cache(tmp_path):
    kinds = ["u1", "u2"]  # two signatures that are written into one index
    racing = [
        start(PASS + f'print(json.dumps(moved("{kind}")))', tmp_path)
        for kind in kinds * 2
    ]
    plain = [
        start(PASS + NUMPY + f'print(json.dumps(moved("{kind}")))') for kind in kinds
    ]
    assert list(map(answer, racing)) == list(map(answer, plain)) * 2


def test_a_second_process_compiles_nothing(warm, expected):
    before = sorted(
        (file.name, file.stat().st_mtime_ns)
        for file in warm.rglob("*")
        if file.is_file()
    )
    assert answer(start(PASS + REPORT, warm)) == [expected, 0, 4]
    assert (
        sorted(
            (file.name, file.stat().st_mtime_ns)
            for file in warm.rglob("*")
            if file.is_file()
        )
        == before
    )


def test_plans_layouts_and_shapes_compile_nothing(warm):
    code = PASS + 'digest("u1")\n' + REPORT
    assert answer(start(code, warm))[1:] == [0, 4]


def test_indices_stay_within_their_rows(tmp_path, expected):
    assert answer(start(PASS + REPORT, tmp_path, NUMBA_BOUNDSCHECK="1"))[0] == expected


def test_bounds_are_checked_where_that_is_asked_for(tmp_path):
    code = "import numba, numpy\nnumba.njit(lambda x: x[x.size])(numpy.zeros(3))"
    process = start(code, tmp_path, NUMBA_BOUNDSCHECK="1")
    assert "out of bounds" in process.communicate()[1]


def test_no_writable_place_for_the_cache_is_no_error(tmp_path, expected):
    copy_package(tmp_path)
    (tmp_path / "graypipe" / "engine" / "__pycache__").write_text(
        "a file where numba wants a directory"
    )
    file = tmp_path / "file"
    file.touch()
    nowhere = str(file / "cache")
    environment = dict.fromkeys(
        ("NUMBA_CACHE_DIR", "HOME", "XDG_CACHE_HOME", "IPYTHONDIR"), nowhere
    )
    code = PASS + REPORT + "assert kernels.copy_bands._cache.cache_path is None\n"
    assert answer(start(code, path=tmp_path, **environment))[0] == expected


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path, expected):
    fault = """
def save(*_): raise OSError(28, "No space left on device")
kernel_cache._CheckedFile.save = save
"""
    code = PASS + fault + 'print(json.dumps(digest("u1")))'
    assert answer(start(code, tmp_path)) == expected
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_code_of_another_signature_is_never_run(tmp_path):
    """Two entries are exchanged, as processes may do that fill the cache together."""
    kinds = ["u1", "u2"]
    code = PASS + 'print(json.dumps([moved("u1"), moved("u2")]))'
    first = answer(start(code, tmp_path))
    entries = sorted(tmp_path.rglob("*copy_bands*.nbc"))
    assert len(entries) == len(kinds)
    one, two = (entry.read_bytes() for entry in entries)
    entries[0].write_bytes(two)
    entries[1].write_bytes(one)
    assert answer(start(code, tmp_path)) == first


SMALL_STACK = """
import threading
results = []
threading.stack_size(65536)
thread = threading.Thread(target=lambda: results.append(digest("u1")))
thread.start()
thread.join()
assert threading.stack_size() == 65536
print(json.dumps(*results))
"""


def test_threads_with_small_stacks_run_and_compile_passes(tmp_path, warm, expected):
    assert answer(start(PASS + SMALL_STACK, warm)) == expected
    assert answer(start(PASS + SMALL_STACK, tmp_path)) == expected


def test_an_error_of_the_compiler_is_raised_in_any_thread(tmp_path):
    fault = """
from concurrent.futures import ThreadPoolExecutor
def load(*_): raise MemoryError("no memory for machine code")
kernel_cache.KernelCache.load_overload = load
with ThreadPoolExecutor(1) as pool:
    error = pool.submit(moved, "u1").exception()
print(json.dumps(repr(error)))
"""
    error = answer(start(PASS + fault, tmp_path))
    assert error == "MemoryError('no memory for machine code')"


DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: content[:0],
    "garbage": lambda content: b"no pickle" + content,
    "another pickle": lambda _: pickle.dumps({}),
    "a pickle that claims 16 GiB": lambda _: b"\x80\x04Nr" + b"\xff\xff\xff\x3f" + b".",
    "one bit flipped": lambda content: (
        content[: len(content) // 2]
        + bytes([content[len(content) // 2] ^ 1])
        + content[len(content) // 2 + 1 :]
    ),
}

WARNINGS = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    result = moved("u1")
messages = [str(w.message) for w in caught if w.category is RuntimeWarning]
print(json.dumps([result, messages]))
"""


@pytest.fixture(scope="module")
def sound_cache(tmp_path_factory):
    """Return a cache directory and the result of the process that filled it."""
    cache = tmp_path_factory.mktemp("sound")
    result, messages = answer(start(PASS + WARNINGS, cache))
    assert messages == []
    return cache, result


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_rebuilt_with_one_warning(
    tmp_path, sound_cache, suffix, damage
):
    cache, result = sound_cache
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    files = [file for file in tmp_path.rglob("*") if file.suffix == suffix]
    assert len(files) == 2  # copy_bands and transpose
    for file in files:
        file.write_bytes(DAMAGES[damage](file.read_bytes()))
    again, messages = answer(start(PASS + WARNINGS, tmp_path))
    assert again == result
    (message,) = messages
    assert str(files[0].parent) in message
    assert answer(start(PASS + WARNINGS, tmp_path)) == [result, []]


def copy_package(folder):
    """Copy the package into ``folder``, the modification times included."""
    for file in (ROOT / "graypipe").rglob("*.py"):
        copy = folder / "graypipe" / file.relative_to(ROOT / "graypipe")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("kernels.py", "return t * f + o\n", "return t * f - o\n"),
        ("intrinsics.py", "builder.fadd(builder.fmul", "builder.fsub(builder.fmul"),
    ],
)
def test_another_source_of_the_same_size_and_time_is_compiled(tmp_path, file, old, new):
    """An upgrade in place may keep both, and must not run the old machine code."""
    package, cache = tmp_path / "package", tmp_path / "cache"
    copy_package(package)
    code = """
import numpy as np
import graypipe as gp
plan = gp.plan("gray", gp.preset("imagenet", layout="HWC"))
print(plan(np.full((1, %d), 255, np.uint8))[0, 0, 0].item())
"""
    # Rows that fill a vector are computed by `intrinsics`, others by `kernels`.
    code %= 100 if file == "intrinsics.py" else 1
    before = answer(start(code, cache, path=package))
    kernels = package / "graypipe" / "engine" / file
    stat = kernels.stat()
    source = kernels.read_text()
    assert source.count(old) == 1
    kernels.write_text(source.replace(old, new))
    os.utime(kernels, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert kernels.stat().st_size == stat.st_size
    after = answer(start(code, cache, path=package))
    mean, std = imagenet.MEAN[0], imagenet.STD[0]  # of the red band
    assert before == pytest.approx((1 - mean) / std)
    assert after == pytest.approx((1 + mean) / std)
    kernels.write_text(source)
    os.utime(kernels, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert answer(start(code, cache, path=package)) == before
    folders = {file.parent.name for file in cache.rglob("*.nbi")}
    assert len(folders) == 2


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes_run_passes_after_their_parent_did(
    warm, expected, method, tmp_path
):
    module = tmp_path / "worker.py"
    module.write_text(PASS)
    code = f"""
import json, multiprocessing, sys, warnings
import worker
if __name__ == "__main__":
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(2) as threads:
        digests = set(threads.map(worker.digest, ["u1"] * 4))
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        digests |= set(pool.map(worker.digest, ["u1"] * 4))
    (digest,) = digests
    print(json.dumps(digest))
"""
    main = tmp_path / "main.py"
    main.write_text(code)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        "NUMBA_CACHE_DIR": str(warm),
    }
    command = [sys.executable, str(main)]
    process = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout.splitlines()[-1]) == expected


FORKING = """
import json, os, sys, threading, time
import numpy as np
import graypipe as gp
from numba.core.compiler_lock import global_compiler_lock
from graypipe.engine import kernel_cache

compiling = threading.Event()

def compile_slowly():
    # As a thread that compiles, which takes the lock again and again.
    with global_compiler_lock:
        compiling.set()
        time.sleep(1)

thread = threading.Thread(target=compile_slowly)
thread.start()
compiling.wait()
child = os.fork()
if child == 0:
    plan = gp.plan(gp.Source("gray", range=(0, 255)), "unit")
    os._exit(int(plan(np.full((2, 2), 255, np.uint8)).sum()))
deadline = time.monotonic() + 60
pid = 0
while pid == 0 and time.monotonic() < deadline:
    pid, status = os.waitpid(child, os.WNOHANG)
    time.sleep(0.05)
if pid == 0:
    os.kill(child, 9)
    status = -1
print(json.dumps(os.waitstatus_to_exitcode(status) if pid else "hung"))
"""


def test_a_process_forked_while_a_thread_compiles_does_not_hang(tmp_path):
    assert answer(start(FORKING, tmp_path)) == 12
