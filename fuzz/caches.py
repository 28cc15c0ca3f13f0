"""Damaged caches of compiled kernels, each used by a fresh process.

The result must be right, and the process says once that it compiles again. The next
process finds a sound cache, unless the damage cannot be repaired.
"""

# mypy: ignore-errors

import atexit
import ctypes
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]

# Copies bands, and transposes them first: two kernels, so two indices and two entries.
USE = """
import json, sys, warnings
import numpy as np
import graypipe as gp
image = (np.arange(35 * 50) % 251).astype(np.uint8).reshape(35, 50)
plan = gp.plan("gray", "rgb8")
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for view in (image[:, ::-1], image.T):
        np.testing.assert_array_equal(plan(view), np.dstack([view] * 3))
print(json.dumps([str(warning.message) for warning in caught]))
"""


def _truncate(random, path):
    path.write_bytes(path.read_bytes()[: random.integers(1, path.stat().st_size)])


def _empty(_random, path):
    path.write_bytes(b"")


def _flip_bits(random, path):
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    places = random.choice(len(content), int(random.integers(1, 9)), replace=False)
    content[places] ^= np.uint8(1) << random.integers(8, size=len(places)).astype("u1")
    path.write_bytes(content.tobytes())


def _insert(random, path):
    content = path.read_bytes()
    at = int(random.integers(len(content) + 1))
    path.write_bytes(content[:at] + random.bytes(20) + content[at:])


def _write_pickle(random, path):
    """Write what numba itself would write, in some version."""
    value = [{}, None, ("0.50.0", {}), "0.61.0"][random.integers(4)]
    path.write_bytes(pickle.dumps(value))


def _forbid(_random, path):
    path.chmod(0)


def _replace_by_folder(_random, path):
    path.unlink()
    path.mkdir()


def _remove(_random, path):
    path.unlink()


def _exchange(_random, path):
    """Overwrite a file by its counterpart of the other kernel."""
    other = [file for file in path.parent.glob(f"*{path.suffix}") if file != path]
    path.write_bytes(other[0].read_bytes())


DAMAGES = (_truncate, _empty, _flip_bits, _insert, _write_pickle)

# A missing entry, and one of another signature, are normal: processes that fill a cache
# together can leave such files. An entry that cannot be opened counts as missing.
SILENT_DAMAGES = (_remove, _exchange)
ACCESS_DAMAGES = (_forbid, _replace_by_folder)


def case(random: np.random.Generator) -> str:
    """Damage one or two files of a cache, and use it in two fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(folder, "cache")
        shutil.copytree(_sound_cache(), damaged)
        files = sorted(file for file in damaged.rglob("*") if file.is_file())
        damage = random.choice([*DAMAGES * 2, *SILENT_DAMAGES, *ACCESS_DAMAGES])
        victims = random.choice(files, int(random.integers(1, 3)), replace=False)
        for victim in victims:
            damage(random, victim)
        is_writable = random.random() < 0.8
        if not is_writable:
            files[0].parent.chmod(0o555)
        try:
            messages = _use(damaged)
            again = _use(damaged)
        finally:
            files[0].parent.chmod(0o755)

    damages_index = any(victim.suffix == ".nbi" for victim in victims)
    is_said = damage in DAMAGES or (damage in ACCESS_DAMAGES and damages_index)
    is_permanent = not is_writable or damage is _replace_by_folder
    name = f"{damage.__name__} {[victim.name for victim in victims]} {is_writable=}"
    assert len(messages) == is_said, f"{name}: {messages}"
    assert len(again) == (is_said and is_permanent), f"{name}, second use: {again}"
    for message in messages:
        assert "compiling again" in message, message
    return "compiled again" if is_said else "missing entry"


@cache
def _sound_cache():
    """Return a cache with the kernels that `USE` needs."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    assert _use(folder) == []
    assert _use(folder) == []
    return folder


def _use(cache_folder):
    """Return the warnings of a fresh process, whose results are right."""
    environment = {
        **os.environ,
        "GRAYPIPE_ENGINE": "numba",
        "NUMBA_CACHE_DIR": str(cache_folder),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", USE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=_obey_permissions,
    )
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr}"
    return json.loads(done.stdout)


def _obey_permissions():
    """Make file permissions apply to this process even if it runs as root."""
    pr_capbset_drop = 24
    cap_dac_override, cap_dac_read_search = 1, 2
    for capability in (cap_dac_override, cap_dac_read_search):
        ctypes.CDLL(None).prctl(pr_capbset_drop, capability, 0, 0, 0)
