"""Keras: a plan as a layer of a model, folded into its first layer, and weights carried from model to model."""

from .fold import compare, fold_into
from .layer import ChannelLayer
from .transfer import transfer_into

__all__ = ["ChannelLayer", "compare", "fold_into", "transfer_into"]
