"""Write .npy files: arrays of any dtype, in the layout of the target."""

from collections.abc import Iterable
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..stated_plans import JobPlans
from .output_format import DataSet, Sample
from .single_images import SingleImages


class Npy(SingleImages):
    """One .npy file per image."""

    suffix = ".npy"

    def check(self, plans: JobPlans) -> None:
        """Accept everything: .npy files store any array."""

    def layout(self, plans: JobPlans) -> str | None:  # noqa: ARG002
        """Return None, for the layout of the target."""
        return None

    def write(
        self,
        file: BinaryIO,
        samples: Iterable[Sample],
        data_set: DataSet,  # noqa: ARG002
    ) -> None:
        """Write the only sample."""
        (sample,) = samples
        # numpy.save does not say why a file cannot be written.
        for part in npy_parts(sample.array):
            file.write(part)


def npy_parts(array: NDArray[Any]) -> list[memoryview]:
    """Return what `numpy.save` writes: the header, and the data without a copy.

    Parameters
    ----------
    array : numpy.ndarray
        A C-contiguous array.
    """
    header = BytesIO()
    np.lib.format.write_array_header_1_0(
        header, np.lib.format.header_data_from_array_1_0(array)
    )
    return [header.getbuffer(), array.data.cast("B")]
