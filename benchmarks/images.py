"""Random images, so that no contender gains from constant pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def random(shape: tuple[int, ...], dtype: str = "uint8") -> NDArray[Any]:
    """Return an array of ``shape``: integers over the whole range of ``dtype``, floats from 0 to 1."""
    generator = np.random.default_rng(20)
    if np.dtype(dtype).kind == "f":
        return generator.random(shape, dtype=np.float32).astype(dtype)
    return generator.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
