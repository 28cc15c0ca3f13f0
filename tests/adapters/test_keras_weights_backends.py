"""Folding and transferring in models of Keras under every backend: the checks of `keras_weights_backends`."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import pytest
from adapters.backends import BACKENDS, raised_by
from adapters.keras_weights_backends import CHECKS


@pytest.fixture(scope="module")
def raised():
    return raised_by("keras_weights_backends.py")


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_under_every_backend(raised, backend, name):
    assert name not in raised[backend], raised[backend][name]
