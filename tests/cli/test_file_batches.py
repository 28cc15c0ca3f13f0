"""The engine of a command that has a process of its own: numba only where it pays."""

import os
import subprocess
import sys

import pytest
from image_sets import ROOT, images, tree

SCRIPT = """
import sys
from graypipe.cli import file_batches, main
file_batches.NUMBA_PAYS_FOR_CONVERTING = int(sys.argv.pop(1))
assert main() == 0
print("numba" in sys.modules)
"""


def convert(folder, out, least_bytes, **environment):
    """Convert a folder in a process of its own; return whether it imported numba."""
    done = subprocess.run(
        [
            *(sys.executable, "-c", SCRIPT, str(least_bytes), "convert", folder, out),
            *("--source", "gray", "--target", "imagenet", "--to", "npy"),
            *("--workers", "1"),
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()[-1] == "True"


def test_numba_is_imported_for_large_jobs_only_and_changes_nothing(tmp_path):
    images(tmp_path / "in", 3)
    assert convert(tmp_path / "in", tmp_path / "large", 1)
    assert not convert(tmp_path / "in", tmp_path / "small", 1 << 20)
    assert tree(tmp_path / "large") == tree(tmp_path / "small")


@pytest.mark.parametrize(("engine", "least_bytes"), [("numpy", 1), ("numba", 1 << 20)])
def test_the_environment_chooses_the_engine(tmp_path, engine, least_bytes):
    images(tmp_path / "in", 3)
    uses_numba = convert(
        tmp_path / "in", tmp_path / "out", least_bytes, GRAYPIPE_ENGINE=engine
    )
    assert uses_numba == (engine == "numba")
