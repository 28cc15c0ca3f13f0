"""Public names of the adapters, their import paths and signatures, as docs/design.md has them."""

import inspect
from importlib import import_module

import pytest

FOLD = "(model, plan, *, layer=None, exact=False)"
TRANSFER = "(model, source, *, rename=None, freeze=False, adapt=None)"

SIGNATURES = {
    "torchvision.ToBackbone": "(*plans)",
    "torchvision.open_picture": "(path)",
    "torch.ChannelLayer": "(plan, *, trainable=False, kernel_size=1)",
    "torch.fold_into": FOLD,
    "torch.compare": "(model, plan, folded, folded_plan, *, layer=None)",
    "torch.transfer_into": TRANSFER,
    "tf_data.ToBackbone": "(*plans, key=None, data_format='channels_last')",
    "keras.ChannelLayer": "(plan, trainable=False, kernel_size=1, data_format=None, name=None)",
    "keras.fold_into": FOLD,
    "keras.compare": "(model, plan, folded, folded_plan)",
    "keras.transfer_into": TRANSFER,
}


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures_are_as_documented(path):
    module, name = path.split(".")
    held = getattr(import_module(f"graypipe.adapters.{module}"), name)
    parameters = inspect.signature(held).parameters.values()
    bare = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in parameters
    ]
    assert str(inspect.Signature(bare)) == SIGNATURES[path]
    assert inspect.getdoc(held)


def test_albumentations_takes_plans_by_position():
    import graypipe as gp
    from graypipe.adapters.albumentations import ToBackbone

    gray, rgb = gp.plan("gray", "imagenet"), gp.plan("RGB", "imagenet")
    assert len(ToBackbone(gray, rgb, p=0.5).plans) == 2
    assert inspect.getdoc(ToBackbone)
