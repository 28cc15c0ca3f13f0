"""Memory: a result belongs to the caller, and the image that was passed in stays as it was."""

import numpy as np
import pytest
from imagenet import normalise

import graypipe as gp
from graypipe.engine import threads

RNG = np.random.default_rng(19)
GRAY = RNG.integers(0, 256, (6, 8), np.uint8)


@pytest.mark.parametrize("target", ["imagenet", "keras-caffe", "rgb8", "unit"])
def test_three_equal_channels_are_three_pieces_of_memory(target):
    gray = RNG.integers(0, 256, (6, 8), np.uint8)
    x = gp.plan("gray", target)(gray)
    assert x.flags.c_contiguous
    assert x.flags.writeable
    assert x.flags.owndata
    before = x.copy()
    first = (0, 0, 0)
    x[first] += 1
    changed = x != before
    assert changed[first]
    assert changed.sum() == 1


def test_a_repeating_view_is_read_only_and_on_request():
    gray = RNG.integers(0, 256, (6, 8), np.uint8)
    view = gp.plan("gray", "rgb8").view(gray)
    assert view.strides == (8, 1, 0)
    assert np.shares_memory(view, gray)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0, 0] = 1
    with pytest.raises(
        gp.CopyRequiredError, match=r"computes new values.*call the plan itself"
    ):
        gp.plan("gray", "imagenet").view(gray)


def test_a_view_cannot_change_the_byte_order():
    image = RNG.integers(0, 65536, (6, 8), np.uint16).astype(">u2")
    target = gp.Target("RGB", "HWC", "uint16", range=(0, 65535))
    with pytest.raises(gp.CopyRequiredError, match="dtype changes"):
        gp.plan("gray", target).view(image)
    x = gp.replicate()(image, layout="HW", dtype="uint16", copy=None)
    assert x.dtype.isnative
    np.testing.assert_array_equal(x, np.stack([image] * 3, -1))


@pytest.mark.parametrize("target", ["imagenet", "rgb8"])
def test_a_read_only_image_gives_writable_memory(target):
    gray = RNG.integers(1, 256, (6, 8), np.uint8)
    gray.flags.writeable = False
    kept = gray.copy()
    x = gp.plan("gray", target)(gray)
    assert not np.shares_memory(x, gray)
    x[...] = 0
    np.testing.assert_array_equal(gray, kept)


@pytest.mark.parametrize(
    "target", ["imagenet", "keras-caffe", "keras-tf", "unit", "rgb8"]
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_the_image_is_unchanged_by_several_calls(target, dtype):
    rgb = (RNG.random((6, 8, 3)) * (255 if dtype == "uint8" else 1)).astype(dtype)
    kept = rgb.copy()
    plan = gp.plan("RGB", target)
    first = plan(rgb)
    second = plan(rgb)
    np.testing.assert_array_equal(rgb, kept)
    np.testing.assert_array_equal(first, second)


def test_clip_and_nodata_do_not_write_into_the_image():
    image = np.array([[-9999, 0, 50, 200]], np.float32)
    kept = image.copy()
    x = gp.plan(
        gp.Source(range=(0, 100), clip=True, nodata=-9999), gp.Target("gray", "HW")
    )(image)
    np.testing.assert_array_equal(image, kept)
    np.testing.assert_array_equal(x, [[0, 0, 0.5, 1]])


@pytest.mark.parametrize("layout", ["HW", "HWC", "CHW"])
def test_gray_becomes_three_equal_contiguous_channels(layout):
    image = {"HW": GRAY, "HWC": GRAY[..., None], "CHW": GRAY[None]}[layout]
    x = gp.plan(gp.Source("gray", layout), "unit")(image)
    assert x.shape == (3, 6, 8)
    assert x.strides == (192, 32, 4)
    assert x.flags.writeable
    np.testing.assert_allclose(x, np.stack([GRAY / 255] * 3), rtol=0, atol=1e-6)


def awkward(image):
    """Return the same pixels in every memory layout that an array can have."""
    read_only = image.copy()
    read_only.flags.writeable = False
    wide = np.repeat(image, 2, 1)
    return {
        "reversed": image[::-1, ::-1].copy()[::-1, ::-1],
        "every second": wide[:, ::2],
        "fortran": np.asfortranarray(image),
        "read-only": read_only,
        "big-endian": image.astype(image.dtype.newbyteorder(">")),
        "offset": np.frombuffer(b"\0" + image.tobytes(), image.dtype, offset=1).reshape(
            image.shape
        ),
        "stride 0": np.broadcast_to(image[:1], image.shape),
    }


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("way", sorted(awkward(GRAY)))
def test_any_memory_layout_gives_an_owned_contiguous_result(dtype, way):
    unit = GRAY / 255
    image = awkward((unit if dtype == "float32" else GRAY).astype(dtype))[way]
    kept = image.copy()
    white = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    for target in ("imagenet", gp.Target("RGB", "HWC", dtype, range=(0, white))):
        x = gp.plan("gray", target)(image)
        assert x.flags.c_contiguous
        assert x.flags.writeable
        assert x.dtype.isnative
        assert not np.shares_memory(x, image)
        stack = np.stack([kept] * 3, -1)
        wanted = normalise(stack / white) if target == "imagenet" else stack
        np.testing.assert_allclose(x, wanted, rtol=0, atol=4e-6)
    np.testing.assert_array_equal(image, kept)


class Upended(np.ndarray):
    """An array whose methods lie about its shape."""

    def transpose(self, *_axes):
        return np.zeros((1, 1, 1), self.dtype)


def test_a_subclass_as_out_cannot_mislead_the_engine():
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    plan = gp.plan("gray", gp.preset("imagenet", layout="HWC"))
    out = np.zeros((3, 4, 3), np.float32).view(Upended)
    assert plan(image, out=out) is out
    np.testing.assert_array_equal(np.asarray(out), plan(image))


def test_an_absurd_number_of_threads_is_bounded():
    parts = []
    planes = np.zeros((1, 3, 100_000), np.uint8)
    threads.split(lambda source, _: parts.append(source.size), planes, planes, 10**8)
    assert len(parts) <= threads.MAX_THREADS
    assert sum(parts) == planes.size
