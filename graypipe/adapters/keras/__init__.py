"""Keras adapter: apply plans as layers, fold them into models, transfer weights."""

from .fold import compare, fold_into
from .layer import ChannelLayer
from .transfer import transfer_into

__all__ = ["ChannelLayer", "compare", "fold_into", "transfer_into"]
