"""The modes in which TensorFlow runs a function: eager, in graphs, compiled, in datasets."""

import torchvision  # noqa: F401  # before TensorFlow, or the process aborts

# isort: split
import tensorflow as tf

Dataset = tf.data.Dataset


def open_spec(image, bands_axis):
    """Return the spec of ``image`` if only its rank, its dtype and its bands are known."""
    shape = [None] * image.ndim
    shape[bands_axis] = image.shape[bands_axis]
    return tf.TensorSpec(shape, image.dtype)


def unsized(images, spec):
    """Return a dataset of ``images`` with the static shape of ``spec``."""
    return Dataset.from_generator(lambda: iter(images), output_signature=spec)


def only(dataset):
    """Return the one element of ``dataset``."""
    (element,) = dataset
    return element


MODES = {
    "eager": lambda run, x, axis: run(tf.constant(x)),  # noqa: ARG005
    "graph of known size": lambda run, x, axis: tf.function(run)(tf.constant(x)),  # noqa: ARG005
    "graph of unknown size": lambda run, x, axis: tf.function(
        run, input_signature=[open_spec(x, axis)]
    )(x),
    "XLA": lambda run, x, axis: tf.function(run, jit_compile=True)(tf.constant(x)),  # noqa: ARG005
    "map of known size": lambda run, x, axis: only(Dataset.from_tensors(x).map(run)),  # noqa: ARG005
    "map of unknown size": lambda run, x, axis: only(
        unsized([x], open_spec(x, axis)).map(run)
    ),
}
"""Functions of (function, image, band axis) that return the result for the image."""
