"""torch: plans as layers of a model, folded into its first layer; weight transfer."""

from .fold import compare, fold_into
from .layer import ChannelLayer
from .transfer import transfer_into

__all__ = ["ChannelLayer", "compare", "fold_into", "transfer_into"]

# Pickles, and models saved whole by torch.save, name the module of a class. Name this
# one, the public import path, so that saved models load whatever file defines it.
for _public in (ChannelLayer, compare, fold_into, transfer_into):
    _public.__module__ = __name__
del _public
