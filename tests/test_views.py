"""View or copy: which calls share memory with their input, and what a view allows."""

import numpy as np
import pytest

import graypipe as gp

IMAGE = np.random.default_rng(3).integers(0, 256, (6, 9, 4), dtype=np.uint8)
GRAY = IMAGE[..., 0].copy()

VIEWS = {
    "repeat": (gp.replicate(), GRAY, "HW", None),
    "repeat into planes": (gp.replicate(), GRAY, "HW", "CHW"),
    "repeat in the middle": (gp.replicate(), GRAY, "HW", "HCW"),
    "identity": (gp.select("RGBY", of="RGBY"), IMAGE, "HWC", None),
    "flip": (gp.select("YBGR", of="RGBY"), IMAGE, "HWC", "CHW"),
    "flip of three": (gp.select("BGR", of="RGBY"), IMAGE, "HWC", None),
    "every other": (gp.select("RB", of="RGBY"), IMAGE, "HWC", None),
    "every other, backwards": (gp.select("BR", of="RGBY"), IMAGE, "HWC", "CHW"),
    "one band": (gp.select("B", of="RGBY"), IMAGE, "HWC", "HW"),
    "one band, repeated": (
        gp.select({"A": "B", "C": "B"}, of="RGBY"),
        IMAGE,
        "HWC",
        "CHW",
    ),
}

COPIES = {
    "no progression": (gp.select("RBG", of="RGBY"), IMAGE, "HWC"),
    "repeat and pick": (
        gp.select({"A": "R", "B": "R", "C": "G"}, of="RGBY"),
        IMAGE,
        "HWC",
    ),
    "computes": (gp.replicate(gains=(1, 2, 3)), GRAY, "HW"),
    "shifts": (gp.ChannelMap([[1]], [1], inputs="gray", outputs="gray"), GRAY, "HW"),
}


def by_hand(m, image, layout, out_layout):
    first = image[None] if layout == "HW" else np.moveaxis(image, 2, 0)
    chosen = first[[row.index(1) for row in m.matrix]]
    return (
        chosen[0]
        if out_layout == "HW"
        else np.moveaxis(chosen, 0, (out_layout or "HWC").index("C"))
    )


@pytest.mark.parametrize("name", VIEWS)
def test_picks_in_progression_are_views_on_request(name):
    m, image, layout, out_layout = VIEWS[name]
    for copy in (None, False):
        view = m(image, layout=layout, out_layout=out_layout, copy=copy)
        assert np.shares_memory(view, image)
        assert not view.flags.writeable
        np.testing.assert_array_equal(view, by_hand(m, image, layout, out_layout))
    assert image.flags.writeable


@pytest.mark.parametrize("name", VIEWS)
def test_the_default_is_fresh_writable_contiguous_memory(name):
    m, image, layout, out_layout = VIEWS[name]
    result = m(image, layout=layout, out_layout=out_layout)
    assert not np.shares_memory(result, image)
    assert result.flags.writeable
    assert result.flags.c_contiguous
    assert result.base is None
    np.testing.assert_array_equal(result, by_hand(m, image, layout, out_layout))


@pytest.mark.parametrize("name", COPIES)
def test_what_strides_cannot_express_is_copied_or_refused(name):
    m, image, layout = COPIES[name]
    assert not np.shares_memory(m(image, layout=layout, copy=None), image)
    with pytest.raises(gp.CopyRequiredError, match="copy="):
        m(image, layout=layout, copy=False)


def test_a_change_of_dtype_is_no_view():
    with pytest.raises(gp.CopyRequiredError, match="dtype"):
        gp.replicate()(GRAY, layout="HW", dtype="float32", copy=False)


def test_a_view_takes_no_memory_whatever_the_size():
    import tracemalloc

    image = np.broadcast_to(np.uint8(7), (50_000, 60_000))
    m = gp.replicate()
    m(image, layout="HW", copy=False)
    tracemalloc.start()
    view = m(image, layout="HW", copy=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (view.shape, view.nbytes) == ((50_000, 60_000, 3), 9_000_000_000)
    assert peak < 16_384  # a few Python objects


def test_plans_have_views_where_they_only_move_bands():
    view = gp.plan("gray", "rgb8").view(GRAY)
    assert np.shares_memory(view, GRAY)
    np.testing.assert_array_equal(view, np.repeat(GRAY[..., None], 3, -1))
    flipped = gp.plan("RGB", gp.preset("rgb8", bands="BGR", layout="CHW")).view(
        IMAGE[..., :3]
    )
    np.testing.assert_array_equal(flipped, IMAGE[..., 2::-1].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("source", "target", "image"),
    [
        (gp.Source("gray"), "imagenet", GRAY),
        (gp.Source("gray", bits=12), "rgb8", GRAY.astype(np.uint16)),
        (gp.Source("gray"), "rgb8", GRAY.astype(np.uint16)),
        (gp.Source("gray", clip=True), "rgb8", GRAY),
        (gp.Source("gray", nodata=0), "rgb8", GRAY),
    ],
)
def test_plans_that_compute_or_guard_have_no_view(source, target, image):
    with pytest.raises(gp.CopyRequiredError, match="call the plan"):
        gp.plan(source, target).view(image)


def test_a_view_checks_the_declared_layout_and_bands():
    with pytest.raises(gp.LayoutError):
        gp.plan("gray", "rgb8").view(IMAGE)
    with pytest.raises(gp.ChannelError):
        gp.replicate()(IMAGE, layout="HWC", copy=False)
