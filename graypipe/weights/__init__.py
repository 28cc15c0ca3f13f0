"""Fold channel maps into a layer, extend it, and transfer weights between models.

The functions accept NumPy arrays and anything that `numpy.asarray` converts, such as
torch tensors on the CPU. The adapters apply them to the models of their frameworks.
"""

from .extend import extend
from .fold import fold, fold_exact
from .transfer import Report, transfer

__all__ = ["Report", "extend", "fold", "fold_exact", "transfer"]
