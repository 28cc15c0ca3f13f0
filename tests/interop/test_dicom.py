"""Sources from DICOM attributes, on stand-ins that have attributes only.

The package imports no DICOM library, so these tests need none.
"""

import dataclasses
from math import nan
from types import SimpleNamespace

import numpy as np
import pytest

import graypipe as gp

UNIT = gp.Target("gray", "HW", "float64")


def dicom(**attributes):
    """Return a minimal data set: 12 bits in unsigned 16, and ``attributes``."""
    return SimpleNamespace(
        **{
            "BitsAllocated": 16,
            "BitsStored": 12,
            "PixelRepresentation": 0,
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            **attributes,
        }
    )


def groups(**macros):
    """Return a functional group: a sequence of one item for each macro."""
    return SimpleNamespace(
        **{name: [SimpleNamespace(**item)] for name, item in macros.items()}
    )


CT = {
    "RescaleSlope": 1,
    "RescaleIntercept": -1024,
    "BitsStored": 16,
    "PixelRepresentation": 1,
}


def test_without_a_window_the_range_is_that_of_bits_stored():
    assert gp.Source.from_dicom(dicom(HighBit=11)) == gp.Source(
        "gray", "HW", dtype="uint16", range=(0, 4095)
    )
    signed = gp.Source.from_dicom(dicom(PixelRepresentation=1))
    assert signed == gp.Source("gray", dtype="int16", range=(-2048, 2047))
    one_bit = gp.Source.from_dicom(dicom(BitsAllocated=1, BitsStored=1))
    assert one_bit == gp.Source("gray", dtype="uint8", range=(0, 1))


@pytest.mark.parametrize("window", [None, "auto"])
def test_ct_images_need_a_window(window):
    with pytest.raises(gp.RangeError, match=r"CT image needs a window.*Hounsfield"):
        gp.Source.from_dicom(dicom(Modality="CT", **CT), window=window)
    for modality in ("CR", "DX", "MR"):
        without = gp.Source.from_dicom(dicom(Modality=modality, **CT), window=window)
        assert without.range == (-32768, 32767)
    of_file = {"WindowCenter": 40, "WindowWidth": 401}
    ct = dicom(Modality="CT", **CT, **of_file)
    assert gp.Source.from_dicom(ct, window="auto").range == (863.5, 1263.5)


def test_without_bits_stored_the_range_is_that_of_the_dtype():
    for allocated in (8, 16, 32):
        dataset = dicom(BitsAllocated=allocated, BitsStored=None)
        source = gp.Source.from_dicom(dataset)
        assert source == gp.Source(
            "gray", dtype=f"uint{allocated}", range=(0, 2**allocated - 1)
        )


@pytest.mark.parametrize(
    ("element", "dtype"),
    [("FloatPixelData", "float32"), ("DoubleFloatPixelData", "float64")],
)
def test_floating_pixels_need_a_window(element, dtype):
    floats = {element: b"pixels", "BitsStored": None, "PixelRepresentation": None}
    dataset = dicom(**floats, RescaleSlope=2, RescaleIntercept=10)
    source = gp.Source.from_dicom(dataset, window=(10, 30))
    assert source == gp.Source("gray", dtype=dtype, range=(0, 10), clip=True)
    for window in (None, "auto"):
        with pytest.raises(gp.RangeError, match=r"window=\(0, 100\)"):
            gp.Source.from_dicom(dataset, window=window)
    padded = dicom(**floats, FloatPixelPaddingValue=-1.0)
    with pytest.raises(gp.RangeError, match=r"FloatPixelPaddingValue.*nodata="):
        gp.Source.from_dicom(padded, window=(0, 1))


def test_an_automatic_window_is_the_first_if_there_is_one():
    several = dicom(**CT, WindowCenter=[40, -600], WindowWidth=[400, 1500])
    first = gp.Source.from_dicom(several, window=0)
    assert gp.Source.from_dicom(several, window="auto") == first
    without = dicom(**CT)
    whole = gp.Source.from_dicom(without)
    assert gp.Source.from_dicom(without, window="auto") == whole
    colour = dicom(
        PhotometricInterpretation="RGB",
        SamplesPerPixel=3,
        BitsAllocated=8,
        BitsStored=8,
        WindowCenter=40,
        WindowWidth=400,
    )
    assert gp.Source.from_dicom(colour, window="auto").range == (0, 255)


def test_monochrome1_and_negative_slopes_reverse_the_range():
    falling = {"RescaleSlope": -2, "RescaleIntercept": 8190}
    for attributes, expected in [
        ({"PhotometricInterpretation": "MONOCHROME1"}, (4095, 0)),
        (falling, (4095, 0)),
        ({"PhotometricInterpretation": "MONOCHROME1", **falling}, (0, 4095)),
    ]:
        assert gp.Source.from_dicom(dicom(**attributes)).range == expected
    assert gp.Source.from_dicom(dicom(**falling), window=(0, 8190)).range == (4095, 0)


def test_a_window_in_hounsfield_units_clips_stored_values():
    source = gp.Source.from_dicom(dicom(**CT), window=(-160, 240))
    assert source == gp.Source("gray", dtype="int16", range=(864, 1264), clip=True)
    np.testing.assert_array_equal(
        gp.plan(source, UNIT)(np.array([[0, 864, 1064, 1264, 3000]], "int16")),
        [[0, 0, 0.5, 1, 1]],
    )


@pytest.mark.parametrize(
    ("function", "center", "width", "ends"),
    [
        # PS3.3 C.11.2.1.2.1: c - 0.5 - (w - 1) / 2 and c - 0.5 + (w - 1) / 2.
        (None, 40, 400, (-160, 239)),
        # The example in the standard.
        ("", 2048, 4096, (0, 4095)),
        ("LINEAR", 0, 2, (-1, 0)),
        ("LINEAR_EXACT", 40, 400, (-160, 240)),
        ("LINEAR_EXACT", 0, 0.5, (-0.25, 0.25)),
    ],
)
def test_windows_of_the_data_set_have_the_ends_of_ps3_3(function, center, width, ends):
    window = {"WindowCenter": center, "WindowWidth": width, "VOILUTFunction": function}
    source = gp.Source.from_dicom(dicom(**CT, **window), window=0)
    assert (source.range, source.clip) == (tuple(end + 1024 for end in ends), True)


def test_one_window_of_several_is_chosen_by_its_index():
    several = dicom(**CT, WindowCenter=[40, -600], WindowWidth=[400, 1500])
    assert gp.Source.from_dicom(several, window=np.int64(0)).range == (864, 1263)
    assert gp.Source.from_dicom(several, window=1).range == (-326, 1173)
    assert gp.Source.from_dicom(several).clip is False
    for index in (2, -1):
        with pytest.raises(gp.RangeError, match="2 WindowCenter"):
            gp.Source.from_dicom(several, window=index)


def test_slopes_are_decimal_numbers():
    source = gp.Source.from_dicom(
        dicom(RescaleSlope=0.0001, RescaleIntercept=-0.1), window=(0, 0.7)
    )
    assert source.range == (1000, 8000)
    assert (0.7 + 0.1) / 0.0001 != 8000  # in binary floating point


def test_a_window_beyond_the_pixels_widens_the_dtype():
    lung = gp.Source.from_dicom(
        dicom(RescaleSlope=1, RescaleIntercept=-1024), window=(-1350, 150)
    )
    assert (lung.dtype, lung.range) == ("int16", (-326, 1174))
    stored = np.array([[0, 424, 1174, 4095]], "uint16")
    np.testing.assert_array_equal(
        gp.plan(lung, UNIT)(stored.astype(lung.dtype)),
        (np.clip([[0, 424, 1174, 4095]], -326, 1174) + 326) / 1500,
    )
    with pytest.raises(gp.DTypeError, match="int16"):
        gp.plan(lung, UNIT)(stored)
    full = dicom(BitsStored=16, RescaleSlope=1, RescaleIntercept=-1024)
    assert gp.Source.from_dicom(full, window=(-1350, 150)).dtype == "int32"
    with pytest.raises(gp.RangeError, match="no integer type"):
        gp.Source.from_dicom(full, window=(0, 1e30))


def test_padding_is_nodata_in_stored_values():
    source = gp.Source.from_dicom(
        dicom(**CT, PixelPaddingValue=-2000), window=(-160, 240)
    )
    assert source.nodata == -2000
    np.testing.assert_array_equal(
        gp.plan(source, "imagenet")(np.full((2, 3), -2000, "int16")),
        np.zeros((3, 2, 3)),
    )
    same = dicom(**CT, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-2000)
    assert gp.Source.from_dicom(same).nodata == -2000


def test_frames_are_a_leading_n_and_can_become_d():
    source = gp.Source.from_dicom(dicom(NumberOfFrames="5"))
    assert source.layout == "NHW"
    assert dataclasses.replace(source, layout="DHW").range == (0, 4095)
    assert gp.Source.from_dicom(dicom(NumberOfFrames=1)).layout == "HW"
    colour = dicom(
        PhotometricInterpretation="RGB",
        SamplesPerPixel=3,
        BitsAllocated=8,
        BitsStored=8,
        NumberOfFrames=2,
    )
    assert gp.Source.from_dicom(colour) == gp.Source(
        "RGB", "NHWC", dtype="uint8", range=(0, 255)
    )


def test_rescaling_windows_and_padding_do_not_affect_rgb():
    colour = dicom(
        PhotometricInterpretation="RGB", SamplesPerPixel=3, BitsAllocated=8, BitsStored=8, PlanarConfiguration=1,
        RescaleSlope=0, WindowCenter=1, WindowWidth=1, PixelPaddingValue=0,
    )  # fmt: skip
    assert gp.Source.from_dicom(colour) == gp.Source(
        "RGB", dtype="uint8", range=(0, 255)
    )
    with pytest.raises(gp.RangeError, match="gray"):
        gp.Source.from_dicom(colour, window=0)


def test_frames_with_equal_attributes_are_one_source():
    transformed = {"RescaleSlope": 2, "RescaleIntercept": -100}
    for attributes in (
        {
            "SharedFunctionalGroupsSequence": [
                groups(PixelValueTransformationSequence=transformed)
            ]
        },
        {
            "PerFrameFunctionalGroupsSequence": [
                groups(PixelValueTransformationSequence=transformed) for _ in range(3)
            ]
        },
    ):
        source = gp.Source.from_dicom(
            dicom(NumberOfFrames=3, **attributes), window=(0, 100)
        )
        assert (source.range, source.layout) == ((50, 100), "NHW")
    voi = groups(
        FrameVOILUTSequence={
            "WindowCenter": [40],
            "WindowWidth": [400],
            "VOILUTFunction": "LINEAR_EXACT",
        }
    )
    shared = dicom(
        SharedFunctionalGroupsSequence=[voi],
        PerFrameFunctionalGroupsSequence=[groups(), groups()],
    )
    assert gp.Source.from_dicom(shared, window=0).range == (-160, 240)


@pytest.mark.parametrize("second", [{"RescaleSlope": 3, "RescaleIntercept": 0}, None])
def test_frames_that_differ_are_refused(second):
    first = groups(
        PixelValueTransformationSequence={"RescaleSlope": 2, "RescaleIntercept": 0}
    )
    last = groups(PixelValueTransformationSequence=second) if second else groups()
    with pytest.raises(gp.RangeError, match="frames differ in RescaleSlope"):
        gp.Source.from_dicom(
            dicom(NumberOfFrames=2, PerFrameFunctionalGroupsSequence=[first, last])
        )


VOI = {"WindowCenter": 40, "WindowWidth": 400}


@pytest.mark.parametrize(
    ("attributes", "window", "error", "message"),
    [
        (
            {"PhotometricInterpretation": "PALETTE COLOR"},
            None,
            gp.ChannelError,
            "apply_color_lut",
        ),
        (
            {"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3},
            None,
            gp.ChannelError,
            "convert_color",
        ),
        ({"PhotometricInterpretation": "RGB"}, None, gp.ChannelError, "RGB with 1"),
        ({"SamplesPerPixel": 3}, None, gp.ChannelError, "one sample"),
        ({"PhotometricInterpretation": None}, None, gp.ChannelError, "MONOCHROME1"),
        ({"BitsStored": "a"}, None, gp.RangeError, "BitsStored"),
        ({"BitsAllocated": None}, None, gp.RangeError, "data set with pixels"),
        ({"BitsStored": 17}, None, gp.DTypeError, "17"),
        ({"BitsAllocated": 12}, None, gp.DTypeError, "12"),
        ({"PixelRepresentation": 2}, None, gp.DTypeError, "PixelRepresentation"),
        ({"HighBit": 15}, None, gp.RangeError, "shift"),
        ({"ModalityLUTSequence": [1]}, None, gp.RangeError, "apply_modality_lut"),
        ({"RescaleSlope": 1}, None, gp.RangeError, "RescaleIntercept"),
        ({"RescaleIntercept": 1}, None, gp.RangeError, "RescaleSlope"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, None, gp.RangeError, "slope"),
        ({"RescaleSlope": "1/0", "RescaleIntercept": 1}, None, gp.RangeError, "number"),
        ({"RescaleSlope": nan, "RescaleIntercept": 1}, None, gp.RangeError, "finite"),
        (
            {"RescaleSlope": 1e-300, "RescaleIntercept": 0},
            (0, 1e30),
            gp.RangeError,
            "finite",
        ),
        # -2000, read as an unsigned value.
        ({"PixelPaddingValue": 63536}, None, gp.RangeError, "63536"),
        (
            {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 10},
            None,
            gp.RangeError,
            "0 to 10",
        ),
        ({"VOILUTFunction": "SIGMOID", **VOI}, 0, gp.RangeError, "SIGMOID"),
        ({"VOILUTSequence": [1]}, 0, gp.RangeError, "apply_voi_lut"),
        ({}, 0, gp.RangeError, "0 WindowCenter"),
        ({"WindowCenter": 40}, 0, gp.RangeError, "0 WindowWidth"),
        ({"WindowCenter": 40, "WindowWidth": 1}, 0, gp.RangeError, "wider than 1"),
        (
            {"WindowCenter": 40, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"},
            0,
            gp.RangeError,
            "wider than 0",
        ),
        (VOI, True, gp.RangeError, "index"),
        (VOI, "soft tissue", gp.RangeError, "index"),
        (VOI, 0.0, gp.RangeError, "index"),
        (VOI, (1, 1), gp.RangeError, "two distinct values"),
        (VOI, (1, 2, 3), gp.RangeError, "pair"),
        (VOI, (0, nan), gp.RangeError, "finite"),
    ],
)
def test_unsupported_data_sets_are_refused_with_a_cure(
    attributes, window, error, message
):
    with pytest.raises(error, match=message):
        gp.Source.from_dicom(dicom(**attributes), window=window)


def test_other_objects_than_image_data_sets_are_refused():
    for thing in ("scan.dcm", None, SimpleNamespace(Modality="RTSTRUCT")):
        with pytest.raises(gp.RangeError, match="dcmread"):
            gp.Source.from_dicom(thing)
