"""Weights: a channel map folded into the layer that reads the image, and weights carried from model to model.

NumPy alone; whatever turns into an array, such as a tensor on the CPU, is taken as one.
"""

from .fold import fold, fold_exact
from .transfer import Report, transfer

__all__ = ["Report", "fold", "fold_exact", "transfer"]
