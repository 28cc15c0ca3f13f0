"""The examples in the docstrings of the adapters give the output that they show."""

import pytest
from doctests import run_examples

MODULES = [
    "graypipe.adapters.albumentations",
    "graypipe.adapters.jax",
    "graypipe.adapters.keras",  # ChannelLayer, whose __module__ is the public path
    "graypipe.adapters.keras.fold",
    "graypipe.adapters.keras.transfer",
    "graypipe.adapters.onnx.merge",
    "graypipe.adapters.onnx.model",
    "graypipe.adapters.tf_data",
    "graypipe.adapters.torch.fold",
    "graypipe.adapters.torch.layer",
    "graypipe.adapters.torch.transfer",
    "graypipe.adapters.torch.verify",
    "graypipe.adapters.torchvision",
    "graypipe.adapters.transformers",
]


@pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy"  # Keras 3.15
)
@pytest.mark.parametrize("module", MODULES)
def test_examples_of_the_adapters(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report = run_examples(module)
    assert not report, report
