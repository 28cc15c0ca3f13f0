"""Sources: what is declared, what a dtype implies, and what is refused."""

import dataclasses
import pickle

import numpy as np
import pytest
from imagenet import normalise_gray

import graypipe as gp

UNIT = gp.Target("gray", "HW", "float64")


def test_layout_and_bands_have_the_defaults_of_the_field():
    assert gp.Source() == gp.Source("gray", "HW")
    assert gp.Source("RGB").layout == "HWC"
    assert gp.Source(["B02", "B03"]).bands == ("B02", "B03")
    assert gp.Source(("NIR",)).layout == "HW"


@pytest.mark.parametrize(
    "bands",
    [
        "",
        "rgb",
        "RR",
        "B02",
        "Gray",
        "R G",
        (),
        ("R", "R"),
        ("R", ""),
        (1,),
        5,
        None,
        b"RGB",
    ],
)
def test_bands_that_name_nothing_are_a_channel_error(bands):
    with pytest.raises(gp.ChannelError):
        gp.Source(bands)


def test_a_string_that_is_no_row_of_letters_shows_the_tuple_form():
    with pytest.raises(gp.ChannelError, match=r"\('B02',\)"):
        gp.Source("B02")


@pytest.mark.parametrize(
    ("dtype", "white"),
    [
        ("bool", 1),
        ("uint8", 255),
        ("uint16", 65535),
        ("float16", 1),
        ("float32", 1),
        ("float64", 1),
    ],
)
def test_some_dtypes_imply_a_range(dtype, white):
    image = np.full((2, 3), white, dtype)
    np.testing.assert_array_equal(gp.plan("gray", UNIT)(image), np.ones((2, 3)))


@pytest.mark.parametrize(
    "dtype", ["int8", "int16", "int32", "int64", "uint32", "uint64"]
)
def test_the_others_ask_for_one(dtype):
    with pytest.raises(gp.RangeError, match="range="):
        gp.plan("gray", UNIT)(np.ones((2, 3), dtype))
    declared = gp.plan(gp.Source("gray", range=(0, 100)), UNIT)
    np.testing.assert_array_equal(
        declared(np.full((2, 3), 50, dtype)), np.full((2, 3), 0.5)
    )


def test_bits_are_a_range():
    image = np.array([[0, 4095]], np.uint16)
    np.testing.assert_array_equal(
        gp.plan(gp.Source("gray", bits=12), UNIT)(image), [[0, 1]]
    )


def test_a_range_may_be_reversed_and_may_differ_by_band():
    mono1 = gp.plan(gp.Source("gray", range=(4095, 0)), UNIT)
    np.testing.assert_array_equal(mono1(np.array([[0, 4095]], np.uint16)), [[1, 0]])
    two = gp.plan(
        gp.Source("RG", range=((0, 10), (100, 50))), gp.Target("RG", "CHW", "float64")
    )
    np.testing.assert_array_equal(
        two(np.array([[[5, 100], [10, 50]]], np.uint8)), [[[0.5, 1]], [[0, 1]]]
    )


@pytest.mark.parametrize(
    "declared",
    [
        {"range": (0, 0)},
        {"range": (0, float("inf"))},
        {"range": (float("nan"), 1)},
        {"range": (0, 1, 2)},
        {"range": 255},
        {"range": "01"},
        {"range": (0, 255), "bits": 8},
        {"bits": 0},
        {"bits": 65},
        {"bits": 8.0},
        {"bits": True},
        {"bits": 12, "dtype": "uint8"},
        {"range": (-1, 255), "dtype": "uint8"},
        {"clip": (0, 1)},
        {"nodata": float("inf")},
        {"nodata": "nan"},
    ],
)
def test_contradicting_declarations_are_a_range_error(declared):
    with pytest.raises(gp.RangeError):
        gp.Source("gray", **declared)


def test_one_pair_per_band_or_one_for_all():
    with pytest.raises(gp.ChannelError, match="3 pairs"):
        gp.Source("RGB", range=((0, 1), (0, 1)))


@pytest.mark.parametrize(
    "dtype",
    ["complex64", "datetime64[s]", "object", "U3", np.longdouble, "nonsense", None],
)
def test_element_types_that_are_no_real_numbers_are_refused(dtype):
    if dtype is not None:
        with pytest.raises(gp.DTypeError):
            gp.Source("gray", dtype=dtype)
    if dtype not in (None, "nonsense"):
        with pytest.raises(gp.DTypeError, match="expected"):
            gp.plan("gray", "imagenet")(np.zeros((2, 2), dtype))


def test_a_declared_dtype_admits_no_other_in_any_byte_order():
    plan = gp.plan(gp.Source("gray", dtype="uint16"), UNIT)
    assert plan(np.full((2, 2), 65535, ">u2")).max() == 1
    with pytest.raises(gp.DTypeError, match="uint16"):
        plan(np.zeros((2, 2), np.uint8))


@pytest.mark.parametrize(
    ("declared", "dtype"),
    [({"bits": 12}, "uint8"), ({"range": (-5, 5)}, "uint16"), ({"bits": 8}, "int8")],
)
def test_a_range_the_dtype_cannot_hold_is_refused_at_once(declared, dtype):
    with pytest.raises(gp.RangeError, match="can only represent"):
        gp.plan(gp.Source("gray", **declared), UNIT)(np.zeros((2, 2), dtype))


@pytest.mark.parametrize(
    "make",
    [
        list,
        np.ma.masked_array,
        np.matrix,
        lambda _: 3,
        lambda _: None,
        lambda _: "x",
        lambda _: memoryview(b"ab"),
    ],
)
@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_what_is_no_plain_array_is_a_dtype_error(make):
    image = make([[1, 2]])
    for call in (
        gp.plan("gray", "imagenet"),
        gp.plan("gray", "rgb8").view,
        lambda x: gp.replicate()(x, layout="HW"),
    ):
        with pytest.raises(gp.DTypeError):
            call(image)


def test_a_masked_array_is_pointed_to_nodata():
    with pytest.raises(gp.DTypeError, match="nodata="):
        gp.plan("gray", "imagenet")(np.ma.masked_array([[1, 2]]))


def test_floats_beyond_the_implied_range_are_refused():
    image = np.full((300, 50), 0.5, np.float32)
    image[-1, -1] = 2.001
    for dtype in ("float16", "float32", "float64"):
        with pytest.raises(gp.RangeError, match="range="):
            gp.plan("gray", "imagenet")(image.astype(dtype))
        with pytest.raises(gp.RangeError):
            gp.plan("gray", "imagenet").batch([image.astype(dtype)])
        gp.plan(gp.Source("gray", range=(0, 1)), "imagenet")(image.astype(dtype))
    for value in (2.0, -1.0, np.nan):
        image[-1, -1] = value
        gp.plan("gray", "imagenet")(image)
    for value in (-1.001, np.inf, -np.inf):
        image[-1, -1] = value
        with pytest.raises(gp.RangeError):
            gp.plan("gray", "imagenet")(image)


def test_nodata_is_exempt_from_the_implied_range():
    image = np.array([[0.5, -3.4e38, np.nan]], np.float32)
    result = gp.plan(
        gp.Source("gray", nodata=-3.4e38), gp.Target("gray", "HW", mean=0.25)
    )(image)
    np.testing.assert_array_equal(result, np.array([[0.25, 0, np.nan]], np.float32))


def test_nodata_in_a_band_that_is_not_read_empties_the_pixel():
    image = np.array([[[10, 7], [10, 99]]], np.uint8)
    plan = gp.plan(
        gp.Source("RG", nodata=99),
        gp.Target("R", "HW", "float64", range=(0, 255)),
        {"R": "R"},
    )
    np.testing.assert_array_equal(plan(image), [[10, 0]])


def test_nodata_is_tested_before_clipping():
    source = gp.Source("gray", range=(200, 100), clip=True, nodata=250)
    image = np.array([[250.0, 300.0, 50.0, np.nan, 150.0]])
    np.testing.assert_array_equal(
        gp.plan(source, UNIT)(image), [[0, 0, 1, np.nan, 0.5]]
    )


@pytest.mark.parametrize(
    ("source", "black"),
    [
        (gp.Source("gray", bits=12), 0),
        (gp.Source("gray", range=(4095, 0)), 4095),
        (gp.Source("gray", range=(-160, 240), clip=True), -160),
        (gp.Source("gray", range=(0.25, 1)), 0.25),
        (gp.Source("gray", dtype="uint8"), 0),
        (gp.Source("RG", dtype="float32"), 0),
        (gp.Source("RGB", range=((0, 9), (0, 5), (0, 1))), 0),
        (gp.Source("RG", range=((0, 255), (4.5, 0))), (0, 4.5)),
    ],
)
def test_black_is_the_stored_value_that_becomes_zero(source, black):
    assert source.black == black
    levels = np.broadcast_to(np.array(black, np.float64), len(source.bands))
    dtype = source.dtype or ("float64" if (levels % 1).any() else "int16")
    image = np.empty((2, 2, len(source.bands)), dtype)
    image[:] = levels
    plan = gp.plan(source, gp.Target(source.bands, "CHW")).with_layouts("HWC")
    assert (plan(image) == 0).all()


def test_black_fills_integer_images_of_pillow():
    from PIL import Image

    black = gp.Source("gray", range=(4095, 0)).black
    picture = Image.fromarray(np.full((4, 4), 100, np.uint16))
    assert np.asarray(picture.rotate(45, fillcolor=black))[0, 0] == 4095


@pytest.mark.parametrize("dtype", [None, "int16"])
def test_black_needs_a_declared_range_or_dtype(dtype):
    with pytest.raises(gp.RangeError, match="declare range="):
        _ = gp.Source("gray", dtype=dtype).black


def test_sources_are_frozen_equal_hashable_and_replaceable():
    source = gp.Source("gray", nodata=float("nan"))
    twin = pickle.loads(pickle.dumps(source))
    assert (twin, hash(twin)) == (source, hash(source))
    assert source != gp.Source("gray")
    assert dataclasses.replace(source, bits=12) == gp.Source(
        "gray", bits=12, nodata=np.float32("nan")
    )
    with pytest.raises(AttributeError):
        source.bits = 12
    assert gp.Source("gray", range=(np.uint8(0), np.int64(5))) == gp.Source(
        "gray", range=[-0.0, 5.0]
    )


def test_members_of_an_enum_of_strings_are_names():
    import enum

    band = enum.Enum("band", {"R": "R", "N": "NIR"}, type=str)
    assert gp.Source((band.R, band.N)).bands == ("R", "NIR")
    assert gp.Source("gray", np.str_("HW")) == gp.Source("gray", "HW")


@pytest.mark.parametrize("nodata", [-9999, 256])
def test_a_nodata_the_dtype_cannot_hold_was_lost_before(nodata):
    with pytest.raises(gp.RangeError, match="nodata"):
        gp.plan(gp.Source("gray", nodata=nodata), "imagenet")(
            np.zeros((2, 2), np.uint8)
        )
    gp.plan(gp.Source("gray", nodata=float("nan")), "imagenet")(
        np.zeros((2, 2), np.uint8)
    )


def test_nan_stays_in_its_pixel_and_nodata_becomes_zero():
    image = np.array([[0.25, np.nan, 0.75], [0, 0.5, 1]], np.float32)
    unit = np.array([[0.25, np.nan, 0.75], [0, 0.5, 1]])
    expected = normalise_gray(unit)
    np.testing.assert_allclose(
        gp.plan("gray", "imagenet")(image), expected, rtol=0, atol=4e-6
    )
    expected[:, 0, 1] = 0
    x = gp.plan(gp.Source(nodata=float("nan")), "imagenet")(image)
    np.testing.assert_allclose(x, expected, rtol=0, atol=4e-6)
    assert (x[:, 0, 1] == 0).all()


def test_nodata_in_an_unread_band_empties_the_pixel():
    image = np.full((1, 3, 4), 100, np.uint8)
    image[0, 1, 3] = 0
    x = gp.plan(
        gp.Source("RGBY", nodata=0), "unit", via={"R": "R", "G": "G", "B": "B"}
    )(image)
    np.testing.assert_allclose(
        x, np.array([100, 0, 100]) / 255 * np.ones((3, 1, 1)), rtol=0, atol=1e-7
    )


def test_nan_in_an_unread_band_does_not_spread():
    image = np.full((2, 2, 4), 0.5, np.float32)
    image[..., 3] = np.nan
    x = gp.plan("RGBY", "unit", via={"R": "R", "G": "G", "B": "B"})(image)
    assert (x == 0.5).all()
