"""TensorFlow, imported after torchvision: Triton, which torchvision brings, aborts the process when it comes second,
because both register the options of an LLVM of their own."""

import torchvision  # noqa: F401

# isort: split
import tensorflow as tf

__all__ = ["tf"]
