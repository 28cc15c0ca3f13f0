"""Name the formats that `graypipe.read` recognises but does not read."""

from ..errors import ReadError

# Offset and first bytes of a file -> what it is, and the call that returns its array.
ARRAY_FORMATS = {
    (0, b"v/1\1"): ("an OpenEXR image", "OpenEXR.File(path)"),
    (0, b"\x89HDF\r\n\x1a\n"): (
        "an HDF5 file (or NetCDF 4, MATLAB 7.3)",
        "h5py.File(path)[name][:]",
    ),
    (0, b"CDF"): ("a NetCDF file", "xarray.open_dataset(path)[name].values"),
    (0, b"MATLAB 5.0"): ("a MATLAB file", "scipy.io.loadmat(path)[name]"),
    (0, b"SIMPLE  ="): ("a FITS file", "astropy.io.fits.getdata(path)"),
    (344, b"n+1\0"): ("a NIfTI image", "nibabel.load(path).get_fdata()"),
    (0, b"NRRD000"): ("an NRRD image", "nrrd.read(path)"),
    (0, b"II\xbc\1"): ("a JPEG XR image", "imagecodecs.jpegxr_decode(data)"),
    (0, b"qoif"): ("a QOI image", "imagecodecs.qoi_decode(data)"),
    (0, b"#?R"): ("a Radiance HDR image", "imagecodecs.rgbe_decode(data)"),
    (0, b"DDS "): ("a DDS texture", "imagecodecs.dds_decode(data)"),
    (0, b"PF"): ("a colour PFM image", "cv2.imread(path, cv2.IMREAD_UNCHANGED)"),
    (0, b"\0\0\1\0"): ("a Windows icon", "PIL.Image.open(path)"),
    (0, b"ZISRAWFILE"): ("a CZI image", "czifile.imread(path)"),
    (0, b"\xda\xce\xbe\n"): ("an ND2 image", "nd2.imread(path)"),
    (0, b"PAR1"): ("a Parquet file", "pandas.read_parquet(path)[name].to_numpy()"),
}

# Offset and first bytes of a file -> what it is, and what to do with it.
OTHER_FORMATS = {
    (0, b"%PDF-"): ("a PDF document", "convert its pages to PNG with pdftoppm first"),
    (0, b"8BPS"): ("a Photoshop document", "export it as TIFF or PNG first"),
    (0, b"P7"): ("a PAM image", "convert it to PNG with ImageMagick first"),
    (0, b"\x1f\x8b"): (
        "a gzip file",
        "pass gzip.open(path) if it holds an image, or use nibabel.load for .nii.gz",
    ),
    (0, b"BZh"): ("a bzip2 file", "pass bz2.open(path) if it holds an image"),
    (0, b"\xfd7zXZ\0"): ("an xz file", "pass lzma.open(path) if it holds an image"),
    (0, b"7z\xbc\xaf\x27\x1c"): ("a 7z archive", "unpack it first"),
    (257, b"ustar"): ("a tar archive", "pass tarfile.open(path).extractfile(name)"),
    (0, b"<svg"): ("an SVG drawing", "convert it to PNG first"),
    (0, b"<?xml"): ("an XML document", "convert it to PNG first if it is a drawing"),
    (0, b"<!DOCTYPE"): ("a web page", "check the address of the download"),
    (0, b"<html"): ("a web page", "check the address of the download"),
    (0, b"version https://git-lfs"): ("a Git LFS pointer", "run git lfs pull first"),
}

# The brand in the first box of an ISO base media file, after its size and "ftyp"
# (ISO/IEC 14496-12 section 4.3).
BRAND_BOX = b"ftyp"
AVIF_BRANDS = (b"avif", b"avis")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# Bytes that are needed to tell all formats apart.
START_LENGTH = max(
    offset + len(magic) for offset, magic in [*ARRAY_FORMATS, *OTHER_FORMATS]
)


def check_known_format(start: bytes) -> None:
    """Raise ReadError if a file is of a format that `graypipe.read` does not read.

    Parameters
    ----------
    start : bytes
        The first `START_LENGTH` bytes of the file.
    """
    for (offset, magic), (kind, call) in ARRAY_FORMATS.items():
        if start[offset:].startswith(magic):
            _refuse_array(kind, call)
    for (offset, magic), (kind, cure) in OTHER_FORMATS.items():
        if start[offset:].startswith(magic):
            raise ReadError(f"{kind}, which gp.read does not support: {cure}")
    if start[4:8] != BRAND_BOX:
        return
    brand = start[8:12]
    if brand in AVIF_BRANDS:
        _refuse_array("an AVIF image", "imagecodecs.avif_decode(data)")
    if brand in HEIF_BRANDS:
        _refuse_array("an HEIF image", "imagecodecs.heif_decode(data)")
    raise ReadError(
        "a video or another media file, which gp.read does not support: extract its "
        "frames as PNG with ffmpeg first"
    )


def _refuse_array(kind: str, call: str) -> None:
    raise ReadError(
        f"{kind}, which gp.read does not support: read it with {call}, and declare a "
        "gp.Source for the array"
    )
