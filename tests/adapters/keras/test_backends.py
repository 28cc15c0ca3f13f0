"""The layer, folding and transfer under every backend of Keras."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import pytest
from adapters.keras.all_checks import CHECKS
from adapters.keras.backends import BACKENDS, raised_by_checks


@pytest.fixture(scope="module")
def raised():
    return raised_by_checks()


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_under_every_backend(raised, backend, name):
    assert name not in raised[backend], raised[backend][name]
