"""ONNX adapter: a plan as an ONNX model, alone or in front of another model.

The models consist of plain ONNX operators and take stored values, so a runtime needs
neither graypipe nor any other preprocessing. Their metadata contains the plan.
"""

from .merge import prepend
from .model import plan_of, to_onnx

__all__ = ["plan_of", "prepend", "to_onnx"]

# Public objects name the module that users import them from.
for _public in (plan_of, prepend, to_onnx):
    _public.__module__ = __name__
del _public
