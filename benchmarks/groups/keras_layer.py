"""The Keras layer in front of a model and the layers it replaces: as a graph and compiled by XLA."""

from collections.abc import Callable, Iterator
from functools import partial

from ..tensorflow import tf

# isort: split
import keras
import numpy as np
from keras import layers

import graypipe as gp
from graypipe.adapters.keras import ChannelLayer

from .. import images, normalisation
from ..case import Build, Case, Run, same_as
from ..engines import OURS
from ..normalisation import MEAN, SCALE, SHIFT, STD, Array
from ..scale import Scale

Expand = Callable[[keras.KerasTensor], keras.KerasTensor]


def cases(scale: Scale) -> Iterator[Build]:
    """Yield tasks and ways to execute a graph, on a batch of 224²."""
    for task in TASKS:
        for executed in ("graph", "XLA"):
            yield partial(_case, task, executed, scale.shape("64x224"))


def _case(task: str, executed: str, shape: tuple[int, ...]) -> Case:
    batch = images.random(shape).astype(np.float32)
    names = TASKS[task]
    ours, *peers = (
        _forward(expand, batch, compiled=executed == "XLA") for expand in names.values()
    )
    return Case(
        f"Keras layer, {task}, {executed}",
        {"task": task, "executed": executed},
        ours={OURS: ours},
        peer=dict(zip(list(names)[1:], peers, strict=True)),
        check=same_as(normalisation.oracle(batch), 1e-5),
    )


def _forward(expand: Expand, batch: Array, *, compiled: bool) -> Run:
    inputs = keras.Input((None, None, 1))
    model = tf.function(keras.Model(inputs, expand(inputs)), jit_compile=compiled)
    return partial(model, tf.constant(batch[..., None]))


def _layer(inputs: keras.KerasTensor, *, trainable: bool) -> keras.KerasTensor:
    plan = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")
    return ChannelLayer(plan, trainable=trainable)(inputs)


def _concatenated(inputs: keras.KerasTensor) -> keras.KerasTensor:
    copies = layers.Rescaling(1 / 255)(layers.Concatenate()([inputs, inputs, inputs]))
    return layers.Normalization(mean=MEAN, variance=np.square(STD))(copies)


def _convolved(inputs: keras.KerasTensor) -> keras.KerasTensor:
    convolution = layers.Conv2D(3, 1)
    outputs = convolution(inputs)
    convolution.set_weights(
        [np.reshape(SCALE, (1, 1, 1, 3)), np.array(SHIFT)]
    )  # it starts as noise
    return outputs


TASKS: dict[str, dict[str, Expand]] = {
    "fixed": {
        OURS: partial(_layer, trainable=False),
        "Concatenate, Rescaling, Normalization": _concatenated,
        "Conv2D(3, 1)": _convolved,
    },
    "trainable": {OURS: partial(_layer, trainable=True), "Conv2D(3, 1)": _convolved},
}
"""The layers of a task, ours first; all of them do what the plan does."""
