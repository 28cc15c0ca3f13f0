"""Folding and transfer under every backend of Keras: the checks of `weights_checks`."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import pytest
from adapters.keras.backends import BACKENDS, raised_by
from adapters.keras.weights_checks import CHECKS


@pytest.fixture(scope="module")
def raised():
    return raised_by("weights_checks.py")


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_under_every_backend(raised, backend, name):
    assert name not in raised[backend], raised[backend][name]
