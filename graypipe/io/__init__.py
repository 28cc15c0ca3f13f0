"""Read image files into arrays, with a `Source` that says what the values mean.

Each format has a module with two functions: ``decode`` returns a
`graypipe.io.decoded.DecodedImage` after checking the file as far as the format allows,
and ``facts`` describes the file from its headers. Everything else is the same for all
formats: `graypipe.io.policies` treats alpha and orientation, and
`graypipe.io.source_check` compares the keywords of `read` with the file.
"""

from .band_files import read_bands
from .image_file import facts, read

__all__ = ["facts", "read", "read_bands"]
