"""All checks that run under every backend of Keras.

`python all_checks.py` runs them under KERAS_BACKEND and prints what they raised as JSON.
Starting a backend takes longer than the checks, so one process runs all of them.
"""

import os

if os.environ.get("KERAS_BACKEND") == "torch":
    import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

import keras
from adapters.keras import layer_checks, weights_checks
from adapters.keras.backends import run

CHECKS = {
    f"{name}: {check}": function
    for name, checks in (
        ("layer", layer_checks.CHECKS),
        ("weights", weights_checks.CHECKS),
    )
    for check, function in checks.items()
}

if __name__ == "__main__":
    run(CHECKS, keras.backend.backend())
