"""Fold channel maps into the weights of a layer, and transfer weights between models.

The functions accept NumPy arrays and anything that `numpy.asarray` converts, such as
torch tensors on the CPU. The adapters apply them to the models of their frameworks.
"""

from .fold import fold, fold_exact
from .transfer import Report, transfer

__all__ = ["Report", "fold", "fold_exact", "transfer"]
