"""Write PNG files with 8 or 16 bits per sample."""

from collections.abc import Iterable
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import ChannelError, DTypeError
from ...extras import require_extra
from ..stated_plans import JobPlans
from .output_format import RGB, DataSet, Sample
from .single_images import ImageFiles


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
        write_png(file, sample.array)


def write_png(file: BinaryIO, array: NDArray[Any]) -> None:
    """Write an array of shape (H, W) or (H, W, 3) and dtype uint8 or uint16."""
    # Pillow cannot write 16-bit RGB.
    if array.dtype == np.uint16 and array.ndim == 3:
        with require_extra("io", "imagecodecs"):
            import imagecodecs
        file.write(imagecodecs.png_encode(array))
        return
    from PIL import Image

    Image.fromarray(array).save(file, "PNG")
