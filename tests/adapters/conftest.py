"""Imports torchvision before any file imports TensorFlow: each brings a copy of LLVM (torch through triton), and the
process aborts when TensorFlow's is loaded first. Keeps both libraries called albumentations off the network."""

import os

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("ALBUMENTATIONS_NO_TELEMETRY", "1")

import torchvision  # noqa: F401
