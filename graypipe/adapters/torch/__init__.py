"""Adapters for torch.

Run a plan as a layer of a model, fold it into the first layer, or transfer weights
between models.
"""

from .fold import compare, fold_into
from .layer import ChannelLayer
from .transfer import transfer_into

__all__ = ["ChannelLayer", "compare", "fold_into", "transfer_into"]

# Pickles, including whole models saved by torch.save, store the module of a class. Set
# it to this package, the public import path, so that saved models can be loaded even if
# the classes move to another file.
for _public in (ChannelLayer, compare, fold_into, transfer_into):
    _public.__module__ = __name__
del _public
