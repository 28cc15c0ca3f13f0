"""Write PNG files with 8 or 16 bits per sample."""

from collections.abc import Iterable
from typing import Any, BinaryIO

from numpy.typing import NDArray

from ...errors import ChannelError, DTypeError
from ...extras import require_extra
from ..stated_plans import JobPlans
from .output_format import RGB, DataSet, Sample
from .single_images import ImageFiles

# Of zlib. Files of photographs are at most 12 % larger than at 6, the default, and take
# half the time or less.
COMPRESSION_LEVEL = 3


class Png(ImageFiles):
    """One PNG file per image: one band or RGB."""

    suffix = ".png"

    def check(self, plans: JobPlans) -> None:
        """Check the dtype and the bands."""
        super().check(plans)
        target = plans.target
        if target.dtype not in ("uint8", "uint16"):
            raise DTypeError(
                "PNG files can store only uint8 or uint16, but the target has dtype "
                f"{target.dtype}: use --to npy or --to tiff"
            )
        if len(target.bands) > 1 and target.bands != RGB:
            raise ChannelError(
                "PNG files can store only one band or RGB, but the target has the "
                f"bands {', '.join(target.bands)}: use --to npy or --to tiff"
            )

    def write(
        self,
        file: BinaryIO,
        samples: Iterable[Sample],
        data_set: DataSet,  # noqa: ARG002
    ) -> None:
        """Write the only sample."""
        (sample,) = samples
        file.write(encode_png(sample.array))


def encode_png(array: NDArray[Any]) -> bytes | bytearray:
    """Return a PNG file.

    Parameters
    ----------
    array : ndarray of uint8 or uint16, shape (H, W) or (H, W, 3)
        The pixels.
    """
    # Pillow cannot write 16-bit RGB, takes two to four times as long, and copies RGB
    # into four bytes a pixel.
    with require_extra("io", "imagecodecs"):
        import imagecodecs
    content: bytes | bytearray = imagecodecs.png_encode(array, level=COMPRESSION_LEVEL)
    return content
