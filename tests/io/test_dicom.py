"""DICOM files written by pydicom: windows, frames, and what is refused."""

import io
import sys
import warnings

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, Sequence
from pydicom.pixels import apply_modality_lut
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

import graypipe as gp
from graypipe.io import facts

RNG = np.random.default_rng(21)
CT = {"RescaleSlope": 1, "RescaleIntercept": -1024}
STORED = RNG.integers(0, 4096, (5, 7), dtype=np.uint16)


def dicom(pixels, *, bits=None, syntax=ExplicitVRLittleEndian, **attributes):
    """Return a data set with ``pixels``, (H, W), (N, H, W), or with RGB in the end."""
    is_rgb = attributes.get("PhotometricInterpretation") == "RGB"
    shape = pixels.shape[:-1] if is_rgb else pixels.shape
    data = Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.Rows, data.Columns = shape[-2:]
    if len(shape) == 3:
        data.NumberOfFrames = shape[0]
    data.SamplesPerPixel = 3 if is_rgb else 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated = 8 * pixels.itemsize
    data.BitsStored = bits or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    if is_rgb:
        data.PlanarConfiguration = 0
    for name, value in attributes.items():
        setattr(data, name, value)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    content = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data.PixelData = content + bytes(len(content) % 2)
    return data


def encoded(data, preamble=bytes(128)):
    """Return a data set as the content of a file."""
    data.preamble = preamble
    file = io.BytesIO()
    pydicom.dcmwrite(file, data, enforce_file_format=True)
    return file.getvalue()


def test_stored_values_are_read_with_the_range_of_their_bits(tmp_path):
    path = tmp_path / "image.dcm"
    path.write_bytes(encoded(dicom(STORED, bits=12, **CT)))
    image, source = gp.read(path)
    np.testing.assert_array_equal(image, STORED)
    assert (image.dtype, image.flags.writeable) == (np.dtype("uint16"), True)
    assert source == gp.Source("gray", dtype="uint16", range=(0, 4095))
    header = facts(path)
    assert (header["format"], header["width"], header["height"]) == ("DICOM", 7, 5)
    assert (header["frames"], header["bands"], header["dtype"]) == (1, 1, "uint16")


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_in_hounsfield_units_is_applied(kind):
    data = dicom(STORED, bits=12, PhotometricInterpretation=kind, **CT)
    image, source = gp.read(encoded(data), window=(-160, 240))
    unit = (np.clip(apply_modality_lut(STORED, data), -160, 240) + 160) / 400
    if kind == "MONOCHROME1":
        unit = 1 - unit
    result = gp.plan(source, gp.Target("gray", "HW", "float64"))(image)
    np.testing.assert_allclose(result, unit, rtol=0, atol=1e-12)


def test_a_window_beyond_the_dtype_converts_the_pixels():
    image, source = gp.read(encoded(dicom(STORED, bits=12, **CT)), window=(-1350, 150))
    assert image.dtype == source.dtype == "int16"
    assert (source.range, source.clip) == ((-326, 1174), True)
    np.testing.assert_array_equal(image, STORED)


def test_windows_of_the_file_are_chosen_by_index_or_automatically():
    windows = {"WindowCenter": [40, -600], "WindowWidth": [400, 1500]}
    data = encoded(dicom(STORED, bits=12, **CT, **windows))
    assert gp.read(data, window=0)[1].range == (864, 1263)
    assert gp.read(data, window="auto")[1] == gp.read(data, window=0)[1]
    assert gp.read(data, window=1)[1].range == (-326, 1173)
    plain = encoded(dicom(STORED, bits=12, **CT))
    assert gp.read(plain, window="auto")[1] == gp.read(plain)[1]
    with pytest.raises(gp.ReadError, match="<bytes>: window index 2"):
        gp.read(data, window=2)
    with pytest.raises(gp.ReadError, match=r"window= and range= both declare"):
        gp.read(data, window=0, range=(0, 100))


def test_a_window_for_another_format_is_refused(tmp_path):
    np.save(tmp_path / "image.npy", STORED)
    with pytest.raises(gp.ReadError, match=r"image\.npy: window=.*range="):
        gp.read(tmp_path / "image.npy", window=(0, 1))


def test_a_declared_range_replaces_the_window_of_ct():
    file = encoded(dicom(STORED, bits=12, Modality="CT", **CT))
    with pytest.raises(gp.ReadError, match="needs a window"):
        gp.read(file)
    with pytest.raises(gp.ReadError, match="needs a window"):
        gp.read(file, window="auto")
    image, source = gp.read(file, range=(864, 1264), clip=True)
    windowed, of_window = gp.read(file, window=(-160, 240))
    assert source.range == of_window.range
    assert (image == windowed).all()
    stats = gp.BandStats(source)
    stats.update(file)
    assert stats.max == STORED.max()


def test_keywords_of_the_source_supplement_the_file():
    data = encoded(dicom(STORED, bits=12, PixelPaddingValue=7))
    assert gp.read(data)[1].nodata == 7
    source = gp.read(data, range=(100, 900), clip=True, nodata=None, bands=("CT",))[1]
    assert source == gp.Source(
        ("CT",), "HW", dtype="uint16", range=(100, 900), clip=True
    )


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32"])
def test_frames_of_any_dtype_are_read(dtype, syntax):
    limits = np.iinfo(dtype)
    pixels = RNG.integers(limits.min, limits.max, (3, 5, 7), dtype)
    data = encoded(dicom(pixels, syntax=syntax))
    with pytest.raises(gp.ReadError, match=r"3 frames.*frame="):
        gp.read(data)
    for number in range(3):
        image, source = gp.read(data, frame=number)
        np.testing.assert_array_equal(image, pixels[number])
        assert (source.layout, source.dtype, image.dtype) == ("HW", dtype, dtype)
    stack, source = gp.read(data, frame="all")
    np.testing.assert_array_equal(stack, pixels)
    assert (source.layout, stack.dtype.isnative) == ("NHW", True)
    assert gp.read(encoded(dicom(pixels[0])), frame="all")[0].shape == (1, 5, 7)


def test_rgb_frames_are_read():
    pixels = RNG.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    data = encoded(dicom(pixels, PhotometricInterpretation="RGB"))
    stack, source = gp.read(data, frame="all")
    np.testing.assert_array_equal(stack, pixels)
    assert (source.bands, source.layout) == (("R", "G", "B"), "NHWC")
    image, source = gp.read(data, frame=1, select="B", window="auto")
    np.testing.assert_array_equal(image, pixels[1, ..., 2:])
    assert facts(data)["bands"] == 3


def test_one_frame_has_the_rescaling_of_that_frame():
    def frame(slope):
        transformed, group = Dataset(), Dataset()
        transformed.RescaleSlope, transformed.RescaleIntercept = slope, "0"
        group.PixelValueTransformationSequence = Sequence([transformed])
        return group

    pixels = np.stack([STORED, STORED])
    groups = Sequence([frame("2"), frame("4")])
    data = encoded(dicom(pixels, PerFrameFunctionalGroupsSequence=groups))
    assert gp.read(data, frame=0, window=(0, 400))[1].range == (0, 200)
    assert gp.read(data, frame=1, window=(0, 400))[1].range == (0, 100)
    with pytest.raises(gp.ReadError, match="frames differ in RescaleSlope"):
        gp.read(data, frame="all", window=(0, 400))


def test_floating_pixels_are_read_with_a_window():
    pixels = RNG.random((5, 7), dtype=np.float32)
    data = dicom(pixels)
    del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
    data.FloatPixelData = pixels.tobytes()
    content = encoded(data)
    image, source = gp.read(content, window=(0.25, 0.75))
    np.testing.assert_array_equal(image, pixels)
    assert (source.range, source.dtype) == ((0.25, 0.75), "float32")
    with pytest.raises(gp.ReadError, match=r"window=\(0, 100\)"):
        gp.read(content)


def test_a_file_with_the_preamble_of_a_tiff_is_dicom():
    data = encoded(dicom(STORED, bits=12), preamble=b"II*\0".ljust(128, b"\0"))
    np.testing.assert_array_equal(gp.read(data)[0], STORED)


def test_compressed_pixels_are_decoded():
    data = dicom(STORED, bits=12)
    data.compress(RLELossless)
    np.testing.assert_array_equal(gp.read(encoded(data))[0], STORED)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_missing_decoder_says_what_to_install(monkeypatch, syntax):
    data = dicom(STORED, bits=12)
    data.PixelData = pydicom.encaps.encapsulate([b"pixels"])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = syntax
    decoder = pydicom.pixels.get_decoder(syntax)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(gp.MissingExtraError, match=r"JPEG.*pip install.*pylibjpeg"):
        gp.read(encoded(data))


def test_a_missing_pydicom_names_the_extra(monkeypatch):
    data = encoded(dicom(STORED))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(gp.MissingExtraError, match=r"<bytes>: .*graypipe\[dicom\]"):
        gp.read(data)


@pytest.mark.parametrize(
    ("interpretation", "cure"),
    [("PALETTE COLOR", "apply_color_lut"), ("YBR_FULL", "convert_color_space")],
)
def test_other_colours_are_refused_with_a_cure(interpretation, cure):
    pixels = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
    data = dicom(pixels, PhotometricInterpretation=interpretation)
    with pytest.raises(gp.ReadError, match=cure):
        gp.read(encoded(data))
    assert facts(encoded(data))["mode"] == interpretation


def test_a_data_set_without_pixels_is_refused():
    data = dicom(STORED)
    del data.PixelData
    for read in (gp.read, facts):
        with pytest.raises(gp.ReadError, match=r"no pixels \(Secondary Capture"):
            read(encoded(data))


def test_pixels_that_no_decoder_reads_are_refused():
    data = dicom(STORED, bits=12)
    data.PixelData = pydicom.encaps.encapsulate([b"no JPEG"])
    data["PixelData"].VR = "OB"
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    with pytest.raises(gp.ReadError, match=r"JPEG 2000.*damaged, or needs another"):
        gp.read(encoded(data))


def test_zeros_after_the_pixels_are_padding():
    data = dicom(STORED)
    data.PixelData += bytes(128)
    np.testing.assert_array_equal(gp.read(encoded(data))[0], STORED)


def test_pixels_of_the_wrong_size_are_damage():
    data = dicom(STORED)
    for rows in (4, 6):
        data.Rows = rows
        with pytest.raises(gp.ReadError, match=r"header implies .* bytes of pixels"):
            gp.read(encoded(data))


def test_damaged_files_raise_without_a_warning():
    content = encoded(dicom(STORED, bits=12, WindowCenter=40, WindowWidth=400))
    filters = list(warnings.filters)
    random = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(content)
        for place in random.integers(132, len(content) - 70, 4):
            damaged[place] ^= int(random.integers(1, 256))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            message = "<bytes>: "
            try:
                gp.read(bytes(damaged))
            except gp.GraypipeError as error:
                message = str(error)
        assert message.startswith("<bytes>: ")
        assert len(message) < 600
        assert not caught
    with pytest.raises(gp.ReadError, match="damaged"):
        gp.read(content[:-1])
    assert warnings.filters == filters


@pytest.mark.filterwarnings("ignore:The value length")  # when the file is written
def test_messages_do_not_quote_long_values():
    data = dicom(STORED, PhotometricInterpretation="X" * 5000)
    with pytest.raises(gp.ReadError, match="got XXX") as caught:
        gp.read(encoded(data))
    assert len(str(caught.value)) < 600
