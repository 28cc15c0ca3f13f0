"""Keras' data formats: the layout and the band axis of each."""

from ...errors import LayoutError
from ...messages import describe_value

# Layout of one image and its band axis, keyed by data format. The axis is counted from
# the end, so that it does not depend on the number of leading axes.
DATA_FORMATS = {"channels_last": ("HWC", -1), "channels_first": ("CHW", -3)}


def image_layout(data_format: str) -> tuple[str, int]:
    """Return the layout and the band axis of images in ``data_format``.

    Raises
    ------
    LayoutError
        If ``data_format`` is not one of Keras' two data formats.
    """
    if not isinstance(data_format, str) or data_format not in DATA_FORMATS:
        expected = " or ".join(map(repr, DATA_FORMATS))
        raise LayoutError(
            f"expected data_format to be {expected}, got {describe_value(data_format)}"
        )
    return DATA_FORMATS[data_format]
