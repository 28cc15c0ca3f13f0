"""Settings for the whole suite."""

import os

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is one worker per processor, so a pool of threads in each would only
    # make the workers wait for each other. OpenMP serves torch, OpenCV and SciPy.
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """Run in one process when files are named: starting workers would take longer."""
    if config.args_source is config.ArgsSource.TESTPATHS:
        return None  # as many workers as there are processors
    return 0
