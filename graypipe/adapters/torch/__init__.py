"""Adapters for torch.

Run a plan as a layer of a model, fold it into the first layer, or transfer weights
between models.
"""

from ...channel_map import ChannelMap
from ...extras import require_extra
from ...plan import Plan
from ...plans import Plans
from ...source import Source
from ...target import Target
from .fold import compare, fold_into
from .layer import ChannelLayer
from .transfer import transfer_into

with require_extra("torch", "torch"):
    from torch.serialization import add_safe_globals

__all__ = ["ChannelLayer", "compare", "fold_into", "transfer_into"]

# Pickles, including whole models saved by torch.save, store the module of a class. Set
# it to this package, the public import path, so that saved models can be loaded even if
# the classes move to another file.
for _public in (ChannelLayer, compare, fold_into, transfer_into):
    _public.__module__ = __name__
del _public

# torch.load(weights_only=True), the default, builds objects of registered classes only.
# Plans consist of numbers and strings, and loading one calls none of their methods.
add_safe_globals([ChannelMap, Plan, Plans, Source, Target])
