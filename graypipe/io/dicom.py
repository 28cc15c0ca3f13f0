"""Decode DICOM files with pydicom.

`graypipe.interop.dicom` derives the source from the attributes of the data set.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from threading import RLock
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import GraypipeError, MissingExtraError, ReadError
from ..extras import require_extra
from ..interop.dicom import (
    FLOATING_PIXELS,
    FRAME_GROUPS,
    source_keywords,
    stored_limits,
)
from .decoded import ALL_FRAMES, DecodedImage, Request, check_size, choose_frame

# Elements that hold pixels.
PIXEL_ELEMENTS = ("PixelData", *FLOATING_PIXELS)

# The command that installs decoders for all kinds of compressed pixels.
INSTALL_DECODERS = 'pip install "pylibjpeg[all]"'

# `warnings.catch_warnings` changes the filters of the process. Without a lock, two
# threads that read files could restore them in the wrong order.
_WARNINGS_LOCK = RLock()


def facts(file: BinaryIO) -> dict[str, Any]:
    """Describe a DICOM file; see `graypipe.io.facts`."""
    with _errors_of_pydicom():
        dataset = _read_dataset(file)
        interpretation = str(dataset.get("PhotometricInterpretation", ""))
        is_gray = interpretation.startswith("MONOCHROME")
        return {
            "format": "DICOM",
            "mode": interpretation,
            "width": int(dataset.Columns),
            "height": int(dataset.Rows),
            "frames": _frame_count(dataset),
            "bands": 1 if is_gray else 3,
            "dtype": stored_limits(dataset)[2],
            "alpha": False,
            "orientation": 1,
        }


def decode(file: BinaryIO, request: Request) -> DecodedImage:
    """Decode one frame or all frames of a DICOM file.

    Parameters
    ----------
    file : file object
        The file, at its start.
    request : Request
        Its window is the ``window`` argument of `graypipe.Source.from_dicom`.

    Returns
    -------
    DecodedImage
        Gray or RGB, with leading N for all frames. Its dtype is wider than that of the
        file if the window exceeds it.

    Raises
    ------
    ReadError
        If the data set has no pixels, is damaged or cannot be described by a source.
    MissingExtraError
        If pydicom, or the decoder of the compressed pixels, is not installed.
    """
    with _errors_of_pydicom():
        dataset = _read_dataset(file)
        count = _frame_count(dataset)
        frame_index = None
        if request.frame != ALL_FRAMES:
            frame_index = choose_frame(request.frame, count)
            _keep_frame_groups(dataset, frame_index)
        # Before decoding, because it raises if a source cannot describe the pixels.
        keywords = source_keywords(dataset, request.window, has_range=request.has_range)
        layout = str(keywords.pop("layout")).removeprefix("N")
        bands = keywords.pop("bands", "gray")
        dtype = np.dtype(keywords["dtype"])
        pixels = _decode_pixels(dataset, frame_index)
        image = pixels.astype(dtype)
        if frame_index is None:
            # pydicom returns a single frame without an axis for frames.
            image = image.reshape(count, *image.shape[-len(layout) :])
            layout = f"N{layout}"
        return DecodedImage(image, layout, bands, source_keywords=keywords)


def _read_dataset(file: BinaryIO) -> Any:
    """Return the data set of a file that has pixels."""
    with require_extra("dicom", "pydicom"):
        import pydicom
    dataset = pydicom.dcmread(file)
    if not any(name in dataset for name in PIXEL_ELEMENTS):
        raise ReadError(
            f"the DICOM file has no pixels ({_kind(dataset)}), or ends before them: "
            "pass the image files that it describes, or export it again"
        )
    return dataset


def _kind(dataset: Any) -> str:
    """Return the name of the kind of a data set, such as "RT Plan Storage"."""
    uid = dataset.file_meta.get("MediaStorageSOPClassUID")
    if uid is None or uid.name == uid:  # not in the standard, or damaged
        return "unknown kind"
    return str(uid.name)


def _frame_count(dataset: Any) -> int:
    """Return the number of frames."""
    return int(dataset.get("NumberOfFrames") or 1)


def _keep_frame_groups(dataset: Any, frame_index: int) -> None:
    """Remove the functional groups of all frames but one.

    The attributes of the frames may differ, which matters only if all are read.
    """
    groups = dataset.get(FRAME_GROUPS)
    if groups:
        setattr(dataset, FRAME_GROUPS, [groups[frame_index]])


def _decode_pixels(dataset: Any, frame_index: int | None) -> NDArray[Any]:
    """Return the stored values of one frame, or of all frames if None."""
    from pydicom.pixels import pixel_array  # type: ignore[attr-defined]

    _check_decoder(dataset)
    itemsize = max(int(dataset.BitsAllocated), 8) // 8
    frame_size = int(dataset.Rows) * int(dataset.Columns) * itemsize
    decoded_size = frame_size * int(dataset.SamplesPerPixel)
    if frame_index is None:
        decoded_size *= _frame_count(dataset)
    stored_size = _stored_size(dataset)
    check_size(decoded_size, stored_size)
    try:
        pixels: NDArray[Any] = pixel_array(dataset, index=frame_index)
    except RuntimeError as error:  # the failure of all decoders, such as Pillow
        syntax = dataset.file_meta.TransferSyntaxUID
        raise ReadError(
            f"the installed decoders of pydicom cannot decode these pixels, stored as "
            f"{syntax.name}: the file is damaged, or needs another decoder: "
            f"{INSTALL_DECODERS}"
        ) from error
    return pixels


def _stored_size(dataset: Any) -> int:
    """Return the number of bytes of the pixels as they are stored.

    Raises
    ------
    ReadError
        If it contradicts the size of the image. pydicom only warns about this.
    """
    stored = next(dataset[name].value for name in PIXEL_ELEMENTS if name in dataset)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return len(stored)
    shape = (_frame_count(dataset), dataset.Rows, dataset.Columns)
    bits = prod(shape) * dataset.SamplesPerPixel * dataset.BitsAllocated
    expected_size = (bits + 7) // 8
    # The value of an element has an even length (PS3.5 section 8.1.1). Some writers pad
    # it to a multiple of larger blocks.
    padding = stored[expected_size:]
    if len(stored) < expected_size or padding.strip(b"\0"):
        raise ReadError(
            f"the header implies {expected_size} bytes of pixels, got {len(stored)}: "
            "the file is damaged"
        )
    return len(stored)


def _check_decoder(dataset: Any) -> None:
    """Raise an error that says what to install if nothing decodes the pixels."""
    from pydicom.pixels import get_decoder  # type: ignore[attr-defined]

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ReadError(
            f"pydicom cannot decode pixels stored as {syntax.name}: convert the file "
            "to Explicit VR Little Endian first"
        ) from None
    if not decoder.is_available:
        raise MissingExtraError(
            f"the pixels are stored as {syntax.name}, for which pydicom needs a "
            f"decoder: {INSTALL_DECODERS}, or one of: "
            f"{'; '.join(decoder.missing_dependencies)}"
        )


@contextmanager
def _errors_of_pydicom() -> Iterator[None]:
    """Silence the warnings of pydicom about unusual values, and rephrase its errors."""
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (GraypipeError, ImportError):
            raise
        except Exception as error:
            # pydicom raises errors of many types, some of them of its own code.
            raise ReadError(
                "pydicom cannot read this DICOM file, which is damaged or truncated: "
                "receive or export it again"
            ) from error
