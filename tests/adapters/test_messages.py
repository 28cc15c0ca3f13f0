"""Messages of the adapters: short whatever is passed, with the line to type, without data."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import hostile_values
import pytest
import tensorflow as tf
import torch
from hostile_values import error_of
from torchvision import tv_tensors

import graypipe as gp
from graypipe.adapters import albumentations, jax, keras, tf_data
from graypipe.adapters import torch as torch_adapter
from graypipe.adapters import torchvision as torchvision_adapter

PLAN = gp.plan(gp.Source("gray", bits=8), "imagenet")
MANY = tuple(f"X{number}" for number in range(3000))
WIDE = gp.plan(
    gp.Source(MANY, "CHW", range=(0, 1)), gp.Target("gray", "HW"), {"gray": "X0"}
)
MODEL = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))

HUGE = [
    *hostile_values.HUGE,
    "x" * 10_000,
    "file.png",
    [torch.zeros(50, 50)],
    torch.zeros(300, 300),
    torch.zeros(7, 300, 300, dtype=torch.complex64),
    torch.zeros([1] * 60),
    tv_tensors.Mask(torch.zeros(300, 300)),
    tf.zeros((300, 300)),
    tf.fill((4,), "x" * 5000),
    b"x" * 10_000,
    PLAN,
    PLAN.source,
]

CALLS = {
    "torchvision": torchvision_adapter.ToBackbone,
    "torchvision sample": torchvision_adapter.ToBackbone(PLAN),
    "torchvision tuple": lambda x: torchvision_adapter.ToBackbone(PLAN)((x, x)),
    "torchvision many bands": torchvision_adapter.ToBackbone(WIDE),
    "open_picture": torchvision_adapter.open_picture,
    "torch layer": torch_adapter.ChannelLayer,
    "torch layer kernel": lambda x: torch_adapter.ChannelLayer(
        PLAN, trainable=True, kernel_size=x
    ),
    "torch layer image": torch_adapter.ChannelLayer(PLAN),
    "torch layer many bands": torch_adapter.ChannelLayer(WIDE),
    "torch fold plan": lambda x: torch_adapter.fold_into(MODEL, x),
    "torch fold model": lambda x: torch_adapter.fold_into(x, PLAN),
    "torch fold layer": lambda x: torch_adapter.fold_into(MODEL, PLAN, layer=x),
    "torch transfer": lambda x: torch_adapter.transfer_into(MODEL, x),
    "tf.data": tf_data.ToBackbone,
    "tf.data image": tf_data.ToBackbone(PLAN),
    "tf.data key": tf_data.ToBackbone(PLAN, key="image"),
    "tf.data tuple": lambda x: tf_data.ToBackbone(PLAN)(x, x),
    "tf.data many bands": tf_data.ToBackbone(WIDE),
    "tf.data format": lambda x: tf_data.ToBackbone(PLAN, data_format=x),
    "keras layer": keras.ChannelLayer,
    "keras layer image": keras.ChannelLayer(PLAN),
    "keras layer many bands": keras.ChannelLayer(WIDE),
    "keras layer kernel": lambda x: keras.ChannelLayer(
        PLAN, trainable=True, kernel_size=x
    ),
    "keras layer format": lambda x: keras.ChannelLayer(PLAN, data_format=x),
    "keras fold model": lambda x: keras.fold_into(x, PLAN),
    "keras transfer": lambda x: keras.transfer_into(x, x),
    "albumentations": albumentations.ToBackbone,
    "albumentations image": lambda x: albumentations.ToBackbone(PLAN).apply(x),
    "albumentations many bands": lambda x: albumentations.ToBackbone(WIDE).apply(x),
    "jax": jax.apply,
    "jax image": jax.apply(PLAN),
    "jax many bands": jax.apply(WIDE),
    "mapped plan": lambda x: PLAN(x, x),
}


@pytest.mark.parametrize("name", CALLS)
def test_messages_are_short_whatever_is_passed(name):
    for value in HUGE:
        error = error_of(CALLS[name], value)
        if type(error) in (type(None), OSError, FileNotFoundError):
            continue  # those of the operating system contain the path
        assert isinstance(error, gp.GraypipeError), repr(error)[:900]
        assert len(str(error)) <= 600
