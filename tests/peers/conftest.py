"""Imports torchvision before any file imports TensorFlow: each brings a copy of LLVM (torch through triton), and the
process aborts when TensorFlow's is loaded first."""

import torchvision  # noqa: F401
