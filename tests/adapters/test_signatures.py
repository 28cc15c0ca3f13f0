"""Public names of the adapters, their import paths and signatures, as docs/design.md has them."""

import inspect
import pickle
import pickletools
from importlib import import_module

import pytest

import graypipe as gp

FOLD = "(model, plan, *, layer=None, exact=False, new=None, of='RGB')"
TRANSFER = "(model, source, *, rename=None, freeze=False, adapt=None)"

SIGNATURES = {
    "torchvision.ToBackbone": "(*plans)",
    "torchvision.open_picture": "(path)",
    "torch.ChannelLayer": "(plan, *, trainable=False, kernel_size=1, device=None, dtype=None)",
    "torch.fold_into": FOLD,
    "torch.compare": "(model, plan, folded, folded_plan, *, layer=None)",
    "torch.transfer_into": TRANSFER,
    "tf_data.ToBackbone": "(*plans, key=None, data_format='channels_last')",
    "keras.ChannelLayer": "(plan, trainable=False, kernel_size=1, data_format=None, name=None, *, dtype=None)",
    "keras.fold_into": FOLD,
    "keras.compare": "(model, plan, folded, folded_plan)",
    "keras.transfer_into": TRANSFER,
    "jax.apply": "(plan)",
    "onnx.to_onnx": "(plan, *, dtype=None, opset=None)",
    "onnx.prepend": "(model, plan, *, input=None, dtype=None)",
    "onnx.plan_of": "(model)",
    "transformers.ImageProcessor": "(plan, *, size=None, crop_size=None, resample=<Resampling.BILINEAR: 2>, **kwargs)",
}


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures_are_as_documented(path):
    module, name = path.split(".")
    public = getattr(import_module(f"graypipe.adapters.{module}"), name)
    parameters = inspect.signature(public).parameters.values()
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in parameters
    ]
    assert str(inspect.Signature(bare)) == SIGNATURES[path]
    assert inspect.getdoc(public)


@pytest.mark.parametrize(
    "path", [path for path in SIGNATURES if "torch" in path or "onnx" in path]
)
def test_public_objects_name_their_public_module(path):
    module, name = path.split(".")
    public = getattr(import_module(f"graypipe.adapters.{module}"), name)
    assert public.__module__ == f"graypipe.adapters.{module}"
    assert pickle.loads(pickle.dumps(public)) is public


def adapter_modules(value):
    """Return the modules of adapters that the pickle of ``value`` names."""
    arguments = [argument for _, argument, _ in pickletools.genops(pickle.dumps(value))]
    return {text for text in arguments if str(text).startswith("graypipe.adapters")}


def test_pickles_name_only_public_modules():
    from torchvision.transforms import v2

    from graypipe.adapters.torch import ChannelLayer
    from graypipe.adapters.torchvision import ToBackbone

    plan = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
    for options in ({}, {"trainable": True}):
        layer = ChannelLayer(plan, **options)
        assert adapter_modules(layer) == {"graypipe.adapters.torch"}
    pipeline = v2.Compose([ToBackbone(plan)])
    assert adapter_modules(pipeline) == {"graypipe.adapters.torchvision"}


def test_albumentations_takes_plans_by_position():
    from graypipe.adapters.albumentations import ToBackbone

    gray, rgb = gp.plan("gray", "imagenet"), gp.plan("RGB", "imagenet")
    assert len(ToBackbone(gray, rgb, p=1.0).plans) == 2
    assert inspect.getdoc(ToBackbone)
