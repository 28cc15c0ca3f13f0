"""Sources of DICOM files written and read by pydicom, compared with its functions."""

import numpy as np
import oracle
import pydicom
import pytest
from imagenet import MEAN, STD
from pydicom import Dataset, Sequence
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)

import graypipe as gp

UNIT = gp.Target("gray", "HW", "float64")

RNG = np.random.default_rng(11)


def dicom_file(path, pixels, *, bits, kind="MONOCHROME2", planar=None, **attributes):
    """Write ``pixels`` as a DICOM file and return it as pydicom reads it."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    shape = pixels.shape if planar is None else pixels.shape[:-1]
    data.Rows, data.Columns = shape[-2:]
    if len(shape) == 3:
        data.NumberOfFrames = shape[0]
    data.SamplesPerPixel = 1 if planar is None else 3
    data.PhotometricInterpretation = kind
    data.BitsAllocated, data.BitsStored, data.HighBit = (
        8 * pixels.itemsize,
        bits,
        bits - 1,
    )
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if planar is not None:
        data.PlanarConfiguration = planar
    for name, value in attributes.items():
        setattr(data, name, value)
    stored = np.moveaxis(pixels, -1, -3) if planar == 1 else pixels
    data.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    data.save_as(path, enforce_file_format=True)
    return pydicom.dcmread(path)


def shown_by_pydicom(dataset, index=0):
    """Return the windowed image from 0 (black) to 1 (white), computed by pydicom."""
    windowed = apply_voi_lut(
        apply_modality_lut(dataset.pixel_array, dataset),
        dataset,
        index=index,
        prefer_lut=False,
    )
    low, high = (0, 2**dataset.BitsStored - 1)
    if dataset.PixelRepresentation:
        low, high = -(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1
    ends = sorted(
        end * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        for end in (low, high)
    )
    unit = (windowed - ends[0]) / (ends[1] - ends[0])
    return 1 - unit if dataset.PhotometricInterpretation == "MONOCHROME1" else unit


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT"])
@pytest.mark.parametrize("index", [0, 1])
def test_windows_of_12_bits_equal_those_of_pydicom(tmp_path, kind, function, index):
    pixels = RNG.integers(0, 4096, (21, 34), dtype=np.uint16)
    pixels.flat[:2] = 0, 4095
    dataset = dicom_file(
        tmp_path / "image.dcm", pixels, bits=12, kind=kind, VOILUTFunction=function,
        RescaleSlope="0.75", RescaleIntercept="-100.5", WindowCenter=[1000, "300.5"], WindowWidth=[800, "1.5"],
    )  # fmt: skip
    source = gp.Source.from_dicom(dataset, window=index)
    assert (source.dtype, source.range[0] > source.range[1]) == (
        "uint16",
        kind == "MONOCHROME1",
    )

    result = gp.plan(source, UNIT)(dataset.pixel_array)

    np.testing.assert_allclose(
        result, shown_by_pydicom(dataset, index), rtol=0, atol=1e-11
    )
    assert (result.min(), result.max()) == (0, 1)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_12_bits_without_a_window_keep_every_level(tmp_path, kind):
    pixels = RNG.permutation(np.arange(4096, dtype=np.uint16)).reshape(64, 64)
    dataset = dicom_file(
        tmp_path / "image.dcm", pixels, bits=12, kind=kind, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=40,
        WindowWidth=400,
    )  # fmt: skip
    result = gp.plan(gp.Source.from_dicom(dataset), "imagenet")(dataset.pixel_array)

    ends = (0, 4095) if kind == "MONOCHROME2" else (4095, 0)
    y, scale = oracle.plan(
        pixels,
        layout="HW",
        out_layout="CHW",
        ranges=[ends],
        via=[[1]] * 3,
        mean=MEAN,
        std=STD,
    )
    oracle.assert_matches(result, y, scale)
    assert len(np.unique(result[0])) == 4096


def test_a_signed_ct_is_windowed_and_its_padding_is_the_mean(
    tmp_path,
):
    units = RNG.integers(-1024, 3072, (33, 47))
    padding = np.hypot(*(np.mgrid[:33, :47] - np.array([16, 23])[:, None, None])) > 16
    pixels = np.where(padding, -2000, units + 1024).astype(np.int16)
    dataset = dicom_file(
        tmp_path / "ct.dcm",
        pixels,
        bits=16,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        PixelPaddingValue=-2000,
    )
    source = gp.Source.from_dicom(dataset, window=(-160, 240))
    result = gp.plan(source, "imagenet")(dataset.pixel_array)

    assert source == gp.Source(
        "gray", dtype="int16", range=(864, 1264), clip=True, nodata=-2000
    )
    expected = (np.clip(apply_modality_lut(pixels, dataset), -160, 240) + 160) / 400
    for band, mean, std in zip(result, MEAN, STD, strict=True):
        np.testing.assert_allclose(
            band, np.where(padding, 0, (expected - mean) / std), rtol=0, atol=1e-6
        )
    y, scale = oracle.plan(
        pixels, layout="HW", out_layout="CHW", ranges=[(864, 1264)], via=[[1]] * 3, mean=MEAN, std=STD, clip=True,
        nodata=-2000,
    )  # fmt: skip
    oracle.assert_matches(result, y, scale)


def test_a_lung_window_reaches_below_unsigned_pixels(tmp_path):
    pixels = RNG.integers(0, 4096, (21, 34), dtype=np.uint16)
    dataset = dicom_file(
        tmp_path / "ct.dcm",
        pixels,
        bits=12,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=-600,
        WindowWidth=1500,
    )
    source = gp.Source.from_dicom(dataset, window=0)
    result = gp.plan(source, UNIT)(dataset.pixel_array.astype(source.dtype))
    np.testing.assert_allclose(result, shown_by_pydicom(dataset), rtol=0, atol=1e-12)


def test_bits_above_bits_stored_are_no_intensities(
    tmp_path,
):
    pixels = np.array([[0xF123, 0x0FFF]], np.uint16)
    assert dicom_file(tmp_path / "stray.dcm", pixels, bits=12).pixel_array.tolist() == [
        [0x123, 0xFFF]
    ]
    with pytest.raises(gp.RangeError, match="PixelPaddingValue"):
        gp.Source.from_dicom(
            dicom_file(
                tmp_path / "padded.dcm", pixels, bits=12, PixelPaddingValue=0xF123
            )
        )


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("frames", [None, 3])
def test_rgb_is_hwc_in_either_planar_configuration(tmp_path, planar, frames):
    pixels = RNG.integers(
        0, 256, (21, 34, 3) if frames is None else (frames, 21, 34, 3), dtype=np.uint8
    )
    dataset = dicom_file(
        tmp_path / "rgb.dcm", pixels, bits=8, kind="RGB", planar=planar
    )
    source = gp.Source.from_dicom(dataset)
    result = gp.plan(source, gp.Target("RGB", "HWC", "uint8", range=(0, 255)))(
        dataset.pixel_array
    )
    np.testing.assert_array_equal(result, pixels)


def test_frames_of_an_enhanced_image_share_a_rescaling(tmp_path):
    rescaling = Dataset()
    rescaling.RescaleSlope, rescaling.RescaleIntercept = "2", "-1000"
    shared = Dataset()
    shared.PixelValueTransformationSequence = Sequence([rescaling])
    pixels = RNG.integers(-500, 1500, (4, 21, 34), dtype=np.int16)
    dataset = dicom_file(
        tmp_path / "enhanced.dcm", pixels, bits=16, SharedFunctionalGroupsSequence=Sequence([shared]),
        PerFrameFunctionalGroupsSequence=Sequence([Dataset() for _ in pixels]),
    )  # fmt: skip
    source = gp.Source.from_dicom(dataset, window=(-160, 240))
    assert (source.layout, source.range) == ("NHW", (420, 620))
    assert gp.plan(source, "imagenet")(dataset.pixel_array).shape == (4, 3, 21, 34)

    frame = Dataset()
    other = Dataset()
    other.RescaleSlope, other.RescaleIntercept = "3", "0"
    frame.PixelValueTransformationSequence = Sequence([other])
    dataset.PerFrameFunctionalGroupsSequence[2] = frame
    with pytest.raises(gp.RangeError, match="differ"):
        gp.Source.from_dicom(dataset, window=(-160, 240))


def test_empty_elements_count_as_missing(tmp_path):
    dataset = dicom_file(
        tmp_path / "empty.dcm", np.zeros((2, 3), np.uint16), bits=12, RescaleSlope=None, RescaleIntercept=None,
        WindowCenter=None, WindowWidth=None, VOILUTFunction=None, PixelPaddingValue=None, NumberOfFrames=None,
    )  # fmt: skip
    assert gp.Source.from_dicom(dataset) == gp.Source(
        "gray", dtype="uint16", range=(0, 4095)
    )
