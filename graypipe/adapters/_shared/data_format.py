"""Keras' data formats: which layout each stands for, and where its bands are."""

from ...errors import LayoutError

DATA_FORMATS = {"channels_last": ("HWC", -1), "channels_first": ("CHW", -3)}
"""By data format: the layout of one image, and its band axis counted from the end.

Counting from the end makes the axis independent of the number of leading axes.
"""


def image_layout(data_format: str) -> tuple[str, int]:
    """Return the layout and the band axis of images in ``data_format``.

    Raises
    ------
    LayoutError
        If ``data_format`` is not one of Keras' two data formats.
    """
    if data_format not in DATA_FORMATS:
        expected = " or ".join(map(repr, DATA_FORMATS))
        raise LayoutError(f"data_format is {expected}, got {data_format!r}")
    return DATA_FORMATS[data_format]
