"""Importing the package brings NumPy and the standard library, nothing else; and the probe that says so works."""

import subprocess
import sys

PROBE = """
import sys
{statement}
known = set(sys.stdlib_module_names) | {{"numpy", "graypipe"}}
print(sorted({{name.split(".")[0] for name in sys.modules}} - known))
"""

USE = """
import numpy
import graypipe as gp
gp.plan("gray", "imagenet").to_json()
"""


def foreign(statement):
    """Return the foreign modules that are loaded after ``statement``, apart from what the interpreter starts with."""
    started, after = (
        subprocess.run(
            [sys.executable, "-c", PROBE.format(statement=code)],
            capture_output=True,
            text=True,
            check=True,
        )
        for code in ("", statement)
    )
    return set(eval(after.stdout)) - set(eval(started.stdout))


def test_the_import_brings_numpy_and_the_standard_library_alone():
    assert foreign("import graypipe") == set()
    assert foreign(USE) == set()


def test_the_probe_sees_a_foreign_module():
    assert "PIL" in foreign("import graypipe, PIL.Image")


def test_the_import_starts_no_engine_and_no_thread():
    code = (
        "import sys, threading, graypipe\n"
        "late = ('numba', 'PIL', 'concurrent.futures', 'hashlib', 'graypipe.cli', 'graypipe.engine.numpy_engine')\n"
        "assert not [name for name in late if name in sys.modules], [n for n in late if n in sys.modules]\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
