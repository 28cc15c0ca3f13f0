"""Assertions about reading that the tests of several formats share."""

import numpy as np
import pytest

import graypipe as gp
from graypipe.io import facts


def write(path, content):
    """Write a file and return its path."""
    path.write_bytes(content)
    return path


def assert_refused(path, match=None):
    """Check that reading raises a ReadError that starts with the path."""
    with pytest.raises(gp.ReadError, match=match) as caught:
        gp.read(path)
    assert str(caught.value).startswith(f"{path}: ")


def assert_read(path, expected, bands):
    """Check that `read` and `facts` agree with an upright image without alpha."""
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, expected)
    assert (image.dtype, image.flags.writeable, image.dtype.isnative) == (
        expected.dtype,
        True,
        True,
    )
    assert source == gp.Source(bands, dtype=expected.dtype)
    assert gp.plan(source, "imagenet")(image).shape == (3, *expected.shape[:2])
    header = facts(path)
    assert (header["height"], header["width"], header["dtype"]) == (
        *expected.shape[:2],
        expected.dtype.name,
    )
    assert (
        header["frames"],
        header["bands"],
        header["alpha"],
        header["orientation"],
    ) == (
        1,
        len(source.bands),
        False,
        1,
    )


def assert_on_background(image, pixels, background):
    """Check an image against 8-bit `pixels`, the last sample of which is alpha."""
    level = {"white": 255, "black": 0}[background]
    alpha = pixels[..., -1:] / 255
    mixed = pixels[..., :-1] * alpha + level * (1 - alpha)
    np.testing.assert_array_equal(image, np.rint(mixed).astype(np.uint8).squeeze())
