"""TensorFlow, imported after torchvision.

Both bring a copy of LLVM (torchvision through Triton) that registers its options. In the other order the process aborts.
"""

import torchvision  # noqa: F401

# isort: split
import tensorflow as tf

__all__ = ["tf"]
