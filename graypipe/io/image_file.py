"""Read an image file, or describe it from its headers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import Any, BinaryIO

from numpy.typing import NDArray

from .. import layouts
from ..bands import parse_bands
from ..errors import GraypipeError, MissingExtraError, ReadError
from ..messages import describe_value
from ..sensor import sensor
from ..source import Source
from .decoded import Request
from .input_file import File, input_name, open_input
from .policies import (
    ALPHA_POLICIES,
    ORIENTATION_POLICIES,
    alpha_as_band,
    apply_orientation,
    resolve_alpha,
)
from .source_check import (
    apply_sensor,
    build_source,
    check_not_divided,
    select_bands,
    select_keywords,
    with_official_names,
)

# First bytes of a file -> module of this package that decodes it. A module is imported
# when such a file is read, so that its decoder is loaded only if needed.
MODULES_BY_MAGIC = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"II+\0": "tiff",  # BigTIFF
    b"MM\0+": "tiff",
    b"\0\0\0\x0cjP  \r\n\x87\n": "jpeg2000",  # JP2
    b"\xff\x4f\xff\x51": "jpeg2000",  # a codestream without boxes, .j2k
    b"\0\0\0\x0cJXL \r\n\x87\n": "jpegxl",
    b"\xff\x0a": "jpegxl",  # a codestream without boxes
    b"GIF8": "pillow_formats",
    b"BM": "pillow_formats",
    b"RIFF": "pillow_formats",  # WebP
    b"P1": "pillow_formats",  # PBM, PGM and PPM: plain text, then binary
    b"P2": "pillow_formats",
    b"P3": "pillow_formats",
    b"P4": "pillow_formats",
    b"P5": "pillow_formats",
    b"P6": "pillow_formats",
    b"Pf": "pillow_formats",  # PFM, gray
    b"\x93NUMPY": "numpy_files",
    b"PK\3\4": "numpy_files",  # ZIP, hence .npz
    b"PK\5\6": "numpy_files",  # an empty ZIP
}

# The magic of DICOM, and its offset. What precedes it may be the header of a TIFF file
# (PS3.10 section 7.1).
DICOM_MAGIC = b"DICM"
DICOM_OFFSET = 128
START_LENGTH = DICOM_OFFSET + len(DICOM_MAGIC)

# Number of bytes of an unknown file in a message.
MAX_QUOTED_BYTES = 8

# Maximum length of a quoted decoder error.
MAX_DETAIL_LENGTH = 300


def read(
    file: File,
    *,
    select: str | Sequence[str] | None = None,
    frame: int | str | None = None,
    alpha: str = "error",
    orientation: str = "error",
    **source: Any,
) -> tuple[NDArray[Any], Source]:
    """Read an image file at full bit depth, and return it with its `Source`.

    Reads PNG, JPEG, JPEG 2000, JPEG XL, TIFF, DICOM, GIF, BMP, WebP, PBM, PGM, PPM,
    PFM, .npy and .npz. The format is recognised by the first bytes of the file, not by
    its name.

    Parameters
    ----------
    file : str, path-like, bytes or binary file object
        A path; a URL that fsspec opens, such as ``"s3://bucket/scene.tif"``; or the
        content of the file.
    select : str or sequence of str, optional
        The bands to return, in this order: ``select=("B04", "B03", "B02")``. Only these
        are decoded if the format stores bands apart. All bands if not given. Bands that
        neither the file nor ``bands=`` names are called band1, band2 and so on.
    frame : int or str, optional
        0-based index of the frame or page, key of an array in a .npz file, or "all" for
        a stack of all frames. Required if there are several.
    alpha : {"error", "drop", "white", "black"}, default "error"
        What to do if parts of the image are transparent: raise, drop alpha and keep
        the stored colours, or composite the image onto a white or black background.
        Alpha that is opaque everywhere is always dropped.
    orientation : {"error", "apply", "ignore"}, default "error"
        What to do if EXIF, XMP or a TIFF tag says that the stored image is rotated or
        mirrored: raise, turn it upright, or keep the pixels as they are stored.
    **source
        Keywords of `Source`, such as ``bits=12``, ``range=(1000, 11000)`` or
        ``bands=("B04", "B03", "B02")``. They supplement the metadata of the file and
        must not contradict them. ``sensor="sentinel-2-l2a"`` stands for the range and
        nodata of a `graypipe.sensor`, as for `Source.from_sensor`; the bands are those
        that the file names or describes, by any of their names, or all bands of the
        sensor. For a DICOM file also
        ``window``, as for `Source.from_dicom`.

    Returns
    -------
    image : ndarray
        Shape (H, W), (H, W, C) or (C, H, W), as ``source.layout`` says; a new,
        writable array in native byte order. Palette images become gray or RGB.
        Arrays of .npy and .npz files keep their axes.
    source : Source
        Bands, layout, dtype and range of ``image``.

    Raises
    ------
    ReadError
        If the file is missing or damaged, has an unsupported format, contradicts the
        keywords, or cannot be read without loss. All messages start with the path.
    ChannelError, DTypeError, LayoutError, RangeError
        If the keywords contradict each other or the image.
    MissingExtraError
        If the file needs the extra ``io`` (PNG, JPEG, JPEG 2000, JPEG XL, TIFF) or
        ``dicom``, or a decoder of compressed DICOM pixels.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from PIL import Image
    >>> import graypipe as gp
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "scan.png"
    >>> Image.fromarray(np.array([[0, 1000, 4095]], np.uint16)).save(path)
    >>> image, source = gp.read(path, bits=12)
    >>> image
    array([[   0, 1000, 4095]], dtype=uint16)
    >>> source.bands, source.layout, source.bits
    (('gray',), 'HW', 12)
    >>> gp.plan(source, "imagenet")(image).shape
    (3, 1, 3)
    >>> folder.cleanup()
    """
    names = None if select is None else parse_bands(select)
    if names is not None and source.get("sensor") is not None:
        # Bands have several names, so they are selected after the file is read.
        facts = sensor(source["sensor"])
        names = tuple(facts.band(name) for name in names)
        image, all_bands = read(
            file, frame=frame, alpha=alpha, orientation=orientation, **source
        )
        return select_bands(image, all_bands, names)
    request = Request(
        frame=frame,
        select=names,
        bands=source.get("bands"),
        window=source.pop("window", None),
        has_range=source.get("range") is not None,
    )
    return _read(file, request, alpha, orientation, source)


def read_declared(
    file: File,
    source: Source,
    *,
    frame: int | str | None = None,
    alpha: str = "error",
    orientation: str = "error",
) -> NDArray[Any]:
    """Read an image file that must match a source.

    Parameters
    ----------
    file, frame, alpha, orientation
        As for `read`.
    source : Source
        The declared source. Unlike in `read`, it may leave black and white open, and
        the file may have the axes in another order.

    Returns
    -------
    ndarray
        The image, with the bands and the layout of ``source``. Its dtype is not
        compared.

    Raises
    ------
    ReadError
        As for `read`, and if the file records a range or nodata that ``source`` does
        not declare.
    ChannelError, DTypeError, LayoutError, RangeError
        As for `read`.
    """
    keywords = {}
    for field in fields(source):
        value = getattr(source, field.name)
        if field.name != "dtype" and value is not None:
            keywords[field.name] = value
    request = Request(
        frame=frame, bands=source.bands, has_range=source.range is not None
    )
    name = input_name(file)
    image, file_source = _read(
        file, request, alpha, orientation, keywords, is_declared=True
    )
    undeclared = []
    if file_source._declares_range and not source._declares_range:
        undeclared.append(f"range={file_source._pairs(None)[0]}")
    if file_source.nodata is not None and source.nodata is None:
        undeclared.append(f"nodata={file_source.nodata}")
    if undeclared:
        raise ReadError(
            f"{name}: the file records {' and '.join(undeclared)}, which the source "
            "does not declare: declare it, or use the source that gp.read returns for "
            "the file"
        )
    try:
        conversion = layouts.conversion(file_source.layout, source.layout)
    except GraypipeError as error:
        raise type(error)(f"{name}: {error}") from None
    return conversion.from_planes(conversion.source_planes(image))


def _read(
    file: File,
    request: Request,
    alpha: str,
    orientation: str,
    keywords: dict[str, Any],
    *,
    is_declared: bool = False,
) -> tuple[NDArray[Any], Source]:
    """Return the image of a file and its source, as `read` does.

    ``keywords`` are those of `Source`. With ``is_declared``, they are the fields of a
    declared source: its layout is ignored if the file has one, and black and white may
    be unknown.
    """
    _check_policy("alpha", alpha, ALPHA_POLICIES)
    _check_policy("orientation", orientation, ORIENTATION_POLICIES)
    name = input_name(file)
    with _errors_name_file(name), open_input(file) as opened:
        module = _format_module(opened)
        if request.window is not None:
            _check_window(module, keywords)
        decoded = module.decode(opened, request)
        decoded = alpha_as_band(decoded, keywords.get("bands"))
        image = resolve_alpha(decoded, alpha)
        if decoded.layout is not None:
            image = apply_orientation(
                image, decoded.layout, decoded.orientation, orientation
            )
    # Outside the block above, which turns every error into a ReadError: errors about
    # keywords keep their class.
    try:
        if keywords.get("sensor") is not None:
            if is_declared:
                decoded = with_official_names(decoded, sensor(keywords["sensor"]))
            else:
                decoded, keywords = apply_sensor(decoded, keywords)
        if decoded.selected:
            decoded, keywords = select_keywords(decoded, keywords, request.select)
        if is_declared and decoded.layout is not None:
            del keywords["layout"]
        image_source = build_source(decoded, image, keywords, not is_declared)
        if request.select is not None and not decoded.selected:
            image, image_source = select_bands(image, image_source, request.select)
        check_not_divided(image, image_source, keywords)
        return image, image_source
    except GraypipeError as error:
        raise type(error)(f"{name}: {error}") from None


def facts(file: File) -> dict[str, Any]:
    """Describe an image file from its headers.

    Does not raise for alpha, orientation, multiple frames or modes that `read` does
    not support.

    Parameters
    ----------
    file : str, path-like, bytes or binary file object
        The file, of any format that `read` recognises.

    Returns
    -------
    dict
        - format: name of the file format.
        - mode: Pillow's mode, or a description such as "uint16 x 4" for formats
          without modes.
        - width, height: in pixels; None if the axes of an array are unknown.
        - frames: number of frames, pages or arrays.
        - bands: number of bands that `read` would return; None if unknown, as for
          width.
        - dtype: name of the dtype that `read` would return.
        - shape: shape of the array in a NumPy file; other formats do not have this key.
        - alpha: whether the file has alpha, opaque or not.
        - orientation: 1 to 8; 1 if not recorded; None if its metadata are damaged.

    Raises
    ------
    ReadError
        If the file is missing, damaged or not an image. The message starts with the
        path.
    MissingExtraError
        If the file needs the extra ``io`` (TIFF) or ``dicom``.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from graypipe.io import facts
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "scan.png"
    >>> Image.new("RGBA", (40, 30)).save(path)
    >>> header = facts(path)
    >>> header["width"], header["height"], header["bands"], header["alpha"]
    (40, 30, 3, True)
    >>> folder.cleanup()
    """
    with _errors_name_file(input_name(file)), open_input(file) as opened:
        return _format_module(opened).facts(opened)  # type: ignore[no-any-return]


def _check_policy(name: str, policy: str, policies: tuple[str, ...]) -> None:
    """Raise ReadError if ``policy`` is not one of ``policies``."""
    if not isinstance(policy, str) or policy not in policies:
        raise ReadError(
            f"{name}= must be one of {policies}, got {describe_value(policy)}"
        )


def _check_window(module: ModuleType, keywords: dict[str, Any]) -> None:
    """Raise ReadError if ``window=`` does not apply to the file or the keywords."""
    if not module.__name__.endswith(".dicom"):
        raise ReadError(
            "window= applies to DICOM files only: declare the range of the stored "
            "values, such as range=(864, 1264), clip=True"
        )
    declared = [name for name in ("range", "bits") if keywords.get(name) is not None]
    if declared:
        raise ReadError(
            f"window= and {declared[0]}= both declare black and white: declare only "
            "one of them"
        )


def _format_module(file: BinaryIO) -> ModuleType:
    """Return the module that decodes a file, by its first bytes; rewind the file."""
    start = file.read(START_LENGTH)
    file.seek(0)
    if start[DICOM_OFFSET:] == DICOM_MAGIC:
        return import_module(".dicom", __package__)
    for magic, module_name in MODULES_BY_MAGIC.items():
        if start.startswith(magic):
            return import_module(f".{module_name}", __package__)
    # Imported only if the file is of no supported format.
    from . import other_formats

    start = file.read(other_formats.START_LENGTH)
    file.seek(0)
    other_formats.check_known_format(start)
    received = "an empty file"
    if start:
        received = f"a file that starts with {start[:MAX_QUOTED_BYTES]!r}"
    # TensorFlow passes paths as bytes, which `read` takes for the content of a file.
    if isinstance(file, BytesIO) and _looks_like_path(start):
        received += ": if these bytes are a path, pass path.decode()"
    raise ReadError(
        "expected a PNG, JPEG, JPEG 2000, JPEG XL, TIFF, DICOM, GIF, BMP, WebP, PBM, "
        f"PGM, PPM, PFM, .npy or .npz file, got {received}"
    )


def _looks_like_path(content: bytes) -> bool:
    """Return whether the content of a file could be a path instead."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return False
    return text.isprintable() and any(mark in text for mark in "/\\.")


@contextmanager
def _errors_name_file(name: str) -> Iterator[None]:
    """Turn every error into a ReadError that names the file."""
    try:
        yield
    except MissingExtraError as error:
        raise MissingExtraError(f"{name}: {error}") from None
    except ImportError:
        # An installed but broken package: its own error is the most informative.
        raise
    except GraypipeError as error:
        raise ReadError(f"{name}: {error}") from None
    except IsADirectoryError as error:
        raise ReadError(
            f"{name}: is a directory: pass its files one by one, or list them with "
            "graypipe inspect"
        ) from error
    except OSError as error:
        raise ReadError(f"{name}: {error.strerror or error}") from error
    except Exception as error:
        # Decoders raise errors of many types for damaged files. Some messages contain
        # large parts of the file.
        detail = f"{type(error).__name__}: {error}"[:MAX_DETAIL_LENGTH]
        raise ReadError(f"{name}: cannot be read ({detail})") from error
