"""Plans: how they are made, what they refuse, and what they say about themselves."""

import dataclasses
import json
import os
import pickle
import re
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path

import imagenet
import numpy as np
import pytest
from imagenet import normalise_gray

import graypipe as gp

RNG = np.random.default_rng(11)
GRAY = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
MEAN, STD = np.array(imagenet.MEAN), np.array(imagenet.STD)


def test_the_one_call():
    x = gp.plan("gray", "imagenet")(GRAY)
    assert (x.shape, x.dtype) == ((3, 6, 9), np.float32)
    np.testing.assert_allclose(x, normalise_gray(GRAY / 255), rtol=1e-5, atol=1e-6)


def test_the_same_bands_in_another_order_are_picked_by_name():
    rgb = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        gp.plan("RGB", gp.preset("rgb8", bands="BGR"))(rgb), rgb[..., ::-1]
    )


def test_via_takes_a_map_or_a_mapping_and_matches_by_name():
    rgby = RNG.integers(0, 256, (4, 5, 4), dtype=np.uint8)
    weights = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.5, "Y": 0.5}, "B": "B"}
    plan = gp.plan("RGBY", gp.preset("unit", layout="HWC"), weights)
    u = rgby / 255
    expected = np.stack(
        [(u[..., 0] + u[..., 3]) / 2, (u[..., 1] + u[..., 3]) / 2, u[..., 2]], -1
    )
    np.testing.assert_allclose(plan(rgby), expected, rtol=1e-6)
    shuffled = gp.mix(dict(reversed(weights.items())), of="YBGR")
    np.testing.assert_array_equal(
        gp.plan("RGBY", gp.preset("unit", layout="HWC"), shuffled)(rgby), plan(rgby)
    )


@pytest.mark.parametrize(
    ("bands", "target", "says"),
    [
        ("RGBY", "imagenet", 'via={"R": "R", "G": "G", "B": "B"}'),
        ("RG", "imagenet", "<one of R, G>"),
        (("B02", "B03", "B04"), "imagenet", "B02"),
        ("RGB", gp.Target("gray", "HW"), "gp.luminance()"),
        ("R", gp.Target("G", "HW"), 'via={"G":'),
    ],
)
def test_a_band_is_neither_dropped_nor_invented_by_accident(bands, target, says):
    with pytest.raises(gp.ChannelError) as caught:
        gp.plan(bands, target)
    assert says in str(caught.value)


def test_the_suggested_mapping_can_be_pasted():
    with pytest.raises(gp.ChannelError) as caught:
        gp.plan("RGBY", "imagenet")
    pasted = str(caught.value).split("via=")[1].split("\n")[0]
    assert gp.plan("RGBY", "imagenet", json.loads(pasted)).via == gp.select(
        "RGB", of="RGBY"
    )


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("gray", 3), gp.DTypeError),
        (("gray", "imagenet", 3), gp.DTypeError),
        (("gray", "imagenet", gp.select("RGB", of="RGBY")), gp.ChannelError),
        (("RGB", "imagenet", {"R": "R", "G": "G"}), gp.ChannelError),
        (("RGB", "imagenet", {"R": "R", "G": "G", "B": "X"}), gp.ChannelError),
        ((3, "imagenet"), gp.ChannelError),
    ],
)
def test_what_is_no_plan_is_refused_when_it_is_made(arguments, error):
    with pytest.raises(error):
        gp.plan(*arguments)


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: np.empty((3, 9, 6), np.float32), gp.LayoutError, "shape"),
        (lambda: np.empty((3, 6, 9), np.float64), gp.DTypeError, "float32"),
        (lambda: np.empty((3, 6, 9), ">f4"), gp.DTypeError, "float32"),
        (
            lambda: np.broadcast_to(np.float32(0), (3, 6, 9)),
            gp.LayoutError,
            "read-only",
        ),
        (lambda: [0], gp.DTypeError, "NumPy array"),
        (
            lambda: np.lib.stride_tricks.as_strided(
                np.zeros(99, np.float32), (3, 6, 9), (4, 36, 4)
            ),
            gp.LayoutError,
            "itself",
        ),
    ],
)
def test_out_that_does_not_fit_is_refused(make, error, says):
    with pytest.raises(error, match=says):
        gp.plan("gray", "imagenet")(GRAY, out=make())


def test_out_that_shares_memory_with_the_image_is_refused():
    room = np.zeros((8, 6, 9), np.float32)
    plan = gp.plan("gray", "imagenet")
    with pytest.raises(gp.LayoutError, match="shares memory"):
        plan(room[1], out=room[:3])
    plan(room[3], out=room[:3])
    with pytest.raises(gp.LayoutError, match="shares memory"):
        plan.batch([room[7], room[4]], out=room[:6].reshape(2, 3, 6, 9))


def test_interleaved_memory_that_does_not_overlap_is_taken():
    room = np.zeros((6, 9, 4), np.float32)
    out = room[..., 1:]
    gp.plan("gray", gp.preset("imagenet", layout="HWC"))(room[..., 0], out=out)
    np.testing.assert_allclose(out[0, 0], -MEAN / STD, rtol=1e-6)


@pytest.mark.parametrize("threads", [0, -1, 1.0, "2", None])
def test_threads_is_a_positive_integer(threads):
    with pytest.raises(ValueError, match="threads"):
        gp.plan("gray", "imagenet").batch(GRAY[None], threads=threads)


def test_batches_take_arrays_and_lists_of_equal_images():
    images = RNG.integers(0, 256, (5, 6, 9), dtype=np.uint8)
    plan = gp.plan("gray", "imagenet")
    expected = np.stack([normalise_gray(image / 255) for image in images])
    for given in (
        images,
        list(images),
        tuple(images),
        [np.asfortranarray(image) for image in images],
    ):
        np.testing.assert_allclose(plan.batch(given), expected, rtol=1e-5, atol=1e-6)
    for given, error in [
        ([], gp.LayoutError),
        ([GRAY, GRAY[:3]], gp.LayoutError),
        ([GRAY, [1]], gp.DTypeError),
    ]:
        with pytest.raises(error):
            plan.batch(given)
    for wrong in (images[0], images[None]):
        with pytest.raises(gp.LayoutError):
            plan.batch(wrong)
    with pytest.raises(gp.LayoutError, match="expected 3 axes"):
        gp.plan(gp.Source("gray", "NHW"), "imagenet").batch(images[None])


def test_an_error_in_a_thread_arrives_as_itself():
    images = np.zeros((4, 6, 9), np.float32)
    images[3] = 200
    for given in (images, list(images)):
        with pytest.raises(gp.RangeError, match="range="):
            gp.plan("gray", "imagenet").batch(given, threads=3)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")
@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
def test_threads_work_again_after_a_fork():
    images = RNG.integers(0, 256, (4, 6, 9), dtype=np.uint8)
    plan = gp.plan("gray", "imagenet")
    before = plan.batch(images, threads=2)
    child = os.fork()
    if child == 0:
        os._exit(
            0 if plan.batch(images, threads=2).tobytes() == before.tobytes() else 1
        )
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_more_than_two_to_the_31_elements_are_picked_from():
    image = np.broadcast_to(np.arange(4, dtype=np.uint8), (23_200, 23_200, 4))
    assert image.size > 2**31
    picked = gp.plan("RGBY", gp.Target("Y", "HW", "uint8", range=(0, 255)), {"Y": "Y"})(
        image
    )
    assert picked.shape == (23_200, 23_200)
    assert picked.min() == picked.max() == 3


def test_a_call_needs_little_memory_beside_its_output():
    image = RNG.integers(0, 256, (1500, 1000), dtype=np.uint8)
    for plan in (
        gp.plan("gray", "imagenet"),
        gp.plan("gray", gp.preset("imagenet", layout="HWC")),
        gp.plan("gray", "rgb8"),
    ):
        plan(image)
        tracemalloc.start()
        result = plan(image)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak - result.nbytes < 300_000


def test_inversion_gives_the_stored_values_back():
    plan = gp.plan("gray", "imagenet")
    np.testing.assert_array_equal(plan.invert(plan(GRAY), dtype="uint8"), GRAY)
    with pytest.raises(gp.RangeError, match="dtype="):
        plan.invert(plan(GRAY))
    declared = gp.plan(gp.Source("gray", range=(60_000, 60_010)), "keras-caffe")
    stored = np.full((3, 4), 60_007, np.uint16)
    back = declared.invert(declared(stored))
    assert (back.dtype, back.shape) == (np.float32, (3, 4))
    np.testing.assert_allclose(back, 60_007, rtol=1e-6)
    with pytest.raises(gp.ChannelError, match=r"not invertible.*linearly dependent"):
        gp.plan("RGB", gp.Target("gray", "HW"), gp.luminance()).invert(
            np.zeros((3, 4), np.float32), dtype="uint8"
        )


def test_the_inverse_of_a_video_plan_takes_its_output_layout():
    plan = gp.plan(
        gp.Source("RGB", "TCHW"), gp.preset("imagenet", bands="BGR", layout="HWC")
    )
    video = RNG.integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    np.testing.assert_array_equal(plan.invert(plan(video), dtype="uint8"), video)


def test_maps_of_a_plan():
    plan = gp.plan("gray", "imagenet")
    np.testing.assert_allclose(np.ravel(plan.unit_map.matrix), 1 / STD, rtol=1e-15)
    with pytest.raises(gp.RangeError, match="range="):
        _ = plan.map
    np.testing.assert_allclose(
        np.ravel(gp.plan(gp.Source("gray", dtype="uint8"), "imagenet").map.matrix),
        1 / STD / 255,
        rtol=1e-15,
    )
    np.testing.assert_allclose(
        gp.plan(gp.Source("gray", range=(10, 20)), "unit").map.offset,
        [-1] * 3,
        rtol=1e-15,
    )


def test_json_leaves_defaults_out_and_writes_nan_as_text():
    record = json.loads(
        gp.plan(gp.Source("gray", nodata=float("nan")), "unit").to_json()
    )
    assert record == {
        "format": 1,
        "source": {"bands": ["gray"], "nodata": "nan"},
        "target": {"bands": ["R", "G", "B"]},
    }
    assert gp.Plan.from_json(json.dumps(record)).source.nodata != 0


@pytest.mark.parametrize(
    "edit",
    [
        lambda record: record.update(format=2),
        lambda record: record.pop("format"),
        lambda record: record.pop("source"),
        lambda record: record.update(extra=1),
        lambda record: record["source"].update(colour="red"),
        lambda record: record["source"].update(bands=["R", "G"]),
        lambda record: record["target"].update(std=0),
        lambda record: record.update(source=[]),
    ],
)
def test_json_that_holds_no_plan_is_an_error(edit):
    record = json.loads(gp.plan("gray", "imagenet").to_json())
    edit(record)
    with pytest.raises((ValueError, TypeError)):
        gp.Plan.from_json(json.dumps(record))


def test_the_fingerprint_is_of_values_not_of_layouts():
    plan = gp.plan("RGB", "imagenet")
    assert plan.fingerprint == plan.with_layouts("CHW", "HWC").fingerprint
    assert plan.with_layouts("CHW", "HWC") != plan
    others = [
        gp.plan("RGB", "unit"),
        gp.plan("RGB", gp.preset("imagenet", bands="BGR")),
        gp.plan(gp.Source("RGB", bits=8), "imagenet"),
    ]
    assert len({plan.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert (
        plan.fingerprint
        == "f4aac0616efff5752afa2868615affde3f0fe99d239a99a284e63fb8d35a589e"
    )


def test_check_takes_the_fingerprint_and_the_json_of_equal_plans():
    plan = gp.plan(gp.Source("RGB", bits=8), "imagenet")
    other_layouts = plan.with_layouts("CHW", "HWC")
    for stored in (plan, other_layouts):
        assert plan.check(stored.fingerprint) is None
        assert plan.check(stored.to_json()) is None


@pytest.mark.parametrize(
    ("source", "target", "via", "difference"),
    [
        (gp.Source("RGB", bits=12), "imagenet", None, "source.bits is 12, not 8"),
        (
            gp.Source("RGB", range=(0, 9), clip=True),
            "imagenet",
            None,
            "source.bits is None, not 8; source.range is (0.0, 9.0), not None; "
            "source.clip is True, not False.",
        ),
        (
            gp.Source("RGB", bits=8, nodata=float("nan")),
            "imagenet",
            None,
            "source.nodata is 'nan', not None",
        ),
        (gp.Source("RGB", bits=8), "unit", None, "target.mean is"),
        (
            gp.Source("RGB", bits=8),
            "imagenet",
            {"R": "G", "G": "G", "B": "B"},
            "via, the map of the bands, is another one",
        ),
    ],
)
def test_check_says_what_differs(source, target, via, difference):
    plan = gp.plan(gp.Source("RGB", bits=8), "imagenet")
    stored = gp.plan(source, target, via)
    with pytest.raises(gp.GraypipeError, match=re.escape(difference)) as raised:
        plan.check(stored.to_json())
    assert len(str(raised.value)) < 600
    with pytest.raises(gp.GraypipeError, match="has the fingerprint"):
        plan.check(stored.fingerprint)


def test_check_lists_only_the_first_differences():
    names = [f"band{number}" for number in range(300)]
    via = {"Y": dict.fromkeys(names, 0.5)}
    source = gp.Source(names, "CHW", range=[(0, n + 1) for n in range(300)], nodata=7)
    stored = gp.plan(source, gp.Target(("Y",), dtype="float64", mean=0.5), via)
    with pytest.raises(gp.GraypipeError, match="and 6 more") as raised:
        gp.plan(gp.Source("gray", bits=8), "imagenet").check(stored.to_json())
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("stored", ["", "f4aac0", "plan.json", None, b"{}", 0])
def test_check_refuses_what_was_not_stored_by_a_plan(stored):
    with pytest.raises(gp.GraypipeError, match=r"64 hexadecimal digits or the JSON"):
        gp.plan("gray", "unit").check(stored)
    with pytest.raises(gp.ChannelError, match="JSON"):
        gp.plan("gray", "unit").check("{")


def test_explain_says_how_the_image_is_read_and_what_is_done():
    text = gp.plan(gp.Source("gray", bits=12, nodata=0, clip=True), "imagenet").explain(
        (480, 640), "uint16"
    )
    for part in (
        "H=480 W=640",
        "0..4095",
        "clipped",
        "in any band are set to 0",
        "float32",
        "614,400",
        "3,686,400",
        "(3, 480, 640)",
    ):
        assert part in text
    assert str(imagenet.MEAN[0]) not in text
    assert "stored values" in text
    assert "without a copy" in gp.plan("gray", "rgb8").explain(dtype="uint8")
    assert "unit intensities" in gp.plan("gray", "imagenet").explain()
    with pytest.raises(gp.LayoutError):
        gp.plan("gray", "imagenet").explain((3, 4, 5), "uint8")
    with pytest.raises(gp.RangeError):
        gp.plan("gray", "imagenet").explain(dtype="int32")


def test_a_narrow_range_far_from_zero_keeps_its_digits():
    image = np.arange(60_000, 60_011, dtype=np.uint16)[None]
    x = gp.plan(gp.Source("gray", range=(60_000, 60_010)), "imagenet")(image)
    exact = ((image - 60_000.0) / 10 - MEAN[:, None, None]) / STD[:, None, None]
    assert np.abs(x - exact).max() < 1e-6


@pytest.mark.parametrize(
    ("black", "white"),
    [(0, 10_000), (1_000, 11_000), (160, 560), (560, 160), (3, 65_533), (7, 10_207)],
)
def test_a_tie_is_rounded_to_even_where_float64_misses_it(black, white):
    stored = np.arange(min(black, white), max(black, white) + 1, dtype=np.uint16)
    result = gp.plan(
        gp.Source("gray", range=(black, white)),
        gp.Target("gray", "HW", "uint8", range=(0, 255)),
    )(stored[None])
    exact = [round(Fraction(255 * (int(x) - black), white - black)) for x in stored]
    np.testing.assert_array_equal(result[0], exact)


def test_equal_plans_are_equal_however_their_via_was_written():
    one = gp.plan("RGB", "keras-caffe")
    ways = [
        gp.plan("RGB", "keras-caffe", gp.select("RGB", of="RGB")),
        gp.plan("RGB", "keras-caffe", {"R": "R", "G": "G", "B": "B"}),
        gp.plan("RGB", "keras-caffe", gp.select("BGR", of="GRB")),
        dataclasses.replace(
            gp.plan("RGB", "imagenet"), target=gp.preset("keras-caffe")
        ),
        gp.plan(gp.Source("RGB"), gp.preset("keras-caffe")),
    ]
    assert [(way, way.fingerprint) for way in ways] == [(one, one.fingerprint)] * len(
        ways
    )
    assert gp.plan(
        gp.Source("RG", range=((0, 9), (0, 9))), "unit", {"R": "R", "G": "G", "B": "G"}
    ).source.range == (
        0,
        9,
    )


def test_invert_refuses_a_dtype_that_cannot_hold_the_values():
    deep = gp.plan(gp.Source("gray", dtype="uint16"), "imagenet")
    x = deep(np.full((3, 4), 40_000, np.uint16))
    np.testing.assert_array_equal(
        deep.invert(x, dtype="uint16"), np.full((3, 4), 40_000)
    )
    cure = r"gp.plan(gp.Source('gray', 'HW'), plan.target, plan.via).invert("
    with pytest.raises(
        gp.RangeError, match=rf"omit dtype=.*displayable image.*{re.escape(cure)}"
    ):
        deep.invert(x, dtype="uint8")
    source = gp.Source("gray", "HW")
    shown = gp.plan(source, deep.target, deep.via).invert(x, dtype="uint8")
    np.testing.assert_array_equal(shown, np.full((3, 4), round(40_000 / 257)))
    with pytest.raises(gp.RangeError):
        gp.plan(gp.Source("gray", range=(-160, 240), dtype="int16"), "imagenet").invert(
            x, dtype="uint8"
        )
    holes = gp.plan(gp.Source("gray", range=(0, 3000), nodata=-9999), "imagenet")
    assert (
        holes.invert(np.zeros((3, 2, 2), np.float32), dtype="uint16").dtype == "uint16"
    )


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_list_of_fewer_images_than_threads_is_split_by_rows(threads):
    plan = gp.plan("gray", "imagenet")
    image = RNG.integers(0, 256, (67, 31), dtype=np.uint8)
    assert plan.batch([image], threads=threads).tobytes() == plan(image)[None].tobytes()


def test_axes_in_another_order_are_named_in_the_error():
    with pytest.raises(gp.ChannelError, match="'CHW', declare that layout"):
        gp.plan("RGB", "imagenet")(np.zeros((3, 6, 7), np.uint8))
    with pytest.raises(gp.LayoutError, match="call the plan itself"):
        gp.plan("gray", "imagenet").batch(GRAY)


@pytest.mark.parametrize(
    "shape", [(1, 6, 8), (3, 6, 8), (5, 6, 1), (5, 6, 3), (4, 1, 1)]
)
@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_equals_its_single_images_bit_for_bit(shape, threads):
    batch = RNG.integers(0, 65536, shape, np.uint16)
    plan = gp.plan(gp.Source(bits=16), "imagenet")
    singles = np.stack([plan(image) for image in batch])
    for images in (batch, list(batch), np.asfortranarray(batch)):
        assert plan.batch(images, threads=threads).tobytes() == singles.tobytes()


@pytest.mark.parametrize(
    "thing",
    [
        GRAY.tolist(),
        {"image": GRAY},
        Path("image.png"),
        None,
        7,
        memoryview(GRAY),
        np.ma.masked_equal(GRAY, 0),
        GRAY.view(np.matrix),
        GRAY.astype(object),
        GRAY.astype(complex),
        GRAY.astype("datetime64[s]"),
        GRAY.astype(str),
    ],
    ids=lambda thing: f"{type(thing).__name__} {getattr(thing, 'dtype', '')}".strip(),
)
def test_what_is_no_array_of_numbers_is_a_type_error(thing):
    with pytest.raises(TypeError, match="expected") as caught:
        gp.plan("gray", "imagenet")(thing)
    assert isinstance(caught.value, gp.DTypeError)


def test_pickle_and_json_keep_a_plan_and_its_results():
    source = gp.Source("RGBY", bits=12, clip=True, nodata=float("nan"))
    plan = gp.plan(
        source, "imagenet", via={"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"}
    )
    image = RNG.integers(0, 5000, (6, 8, 4), np.uint16)
    for again in (pickle.loads(pickle.dumps(plan)), gp.Plan.from_json(plan.to_json())):
        assert again == plan
        assert hash(again) == hash(plan)
        assert again.fingerprint == plan.fingerprint
        assert again(image).tobytes() == plan(image).tobytes()


@pytest.mark.parametrize(
    "text", ['{"format":1}', '{"format":2}', '{"format":1,"matrix":[[1]]}', "[]"]
)
def test_json_of_something_else_is_refused(text):
    for cls in (gp.Plan, gp.ChannelMap):
        with pytest.raises(gp.ChannelError, match="expected"):
            cls.from_json(text)
