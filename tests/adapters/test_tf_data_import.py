"""Importing the tf.data adapter, also without TensorFlow; it changes no setting."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def python(code, **environment):
    """Run ``code`` in a new process and return it."""
    paths = os.pathsep.join(filter(None, [environment.pop("first", ""), str(ROOT)]))
    variables = (
        os.environ | {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"} | environment
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_missing_tensorflow_names_the_extra():
    ran = python(
        "import sys; sys.modules['tensorflow'] = None; import graypipe.adapters.tf_data"
    )
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(
        "graypipe.errors.MissingExtraError: tensorflow is not installed"
    )
    assert 'pip install "graypipe[tensorflow]"' in last


@pytest.mark.parametrize(
    "broken", ["import a_part_of_it", "raise ImportError('a_part_of_it: no such file')"]
)
def test_a_broken_tensorflow_shows_its_own_error(tmp_path, broken):
    (tmp_path / "tensorflow.py").write_text(broken)
    ran = python("import graypipe.adapters.tf_data", first=str(tmp_path))
    assert ran.returncode == 1
    assert "a_part_of_it" in ran.stderr.splitlines()[-1]
    assert "MissingExtraError" not in ran.stderr


QUIET = """
import sys
import tensorflow as tf

def settings():
    config, frameworks = tf.config, {"keras", "torch", "jax", "numba"}
    return (
        config.optimizer.get_jit(),
        config.optimizer.get_experimental_options(),
        config.functions_run_eagerly(),
        config.get_soft_device_placement(),
        config.experimental.tensor_float_32_execution_enabled(),
        tf.executing_eagerly(),
        tf.get_logger().level,
        frameworks & set(sys.modules),
    )

before = settings()
import graypipe.adapters.tf_data
assert settings() == before, settings()
tf.config.threading.set_inter_op_parallelism_threads(1)  # refused once a device has been started and its memory taken
tf.config.set_visible_devices([], "GPU")
"""


def test_the_import_changes_no_setting_and_starts_no_device():
    ran = python(QUIET)
    assert ran.returncode == 0, ran.stderr[-2000:]
