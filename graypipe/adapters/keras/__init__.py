"""Keras adapter: a plan as a layer, folded into a model, and weight transfer."""

from .fold import compare, fold_into
from .layer import ChannelLayer
from .transfer import transfer_into

__all__ = ["ChannelLayer", "compare", "fold_into", "transfer_into"]
