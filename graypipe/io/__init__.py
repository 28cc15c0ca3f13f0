"""Read image files into arrays, and describe their values with a `Source`.

Each format has a module with two functions: ``decode`` returns a
`graypipe.io.decoded.DecodedImage` after validating the file as far as the format
permits, and ``facts`` describes the file from its headers. Everything else is the same
for all formats: `graypipe.io.policies` handles alpha and orientation, and
`graypipe.io.source_check` compares the keywords of `read` with the file.
"""

from .band_files import read_bands
from .image_file import facts, read

__all__ = ["facts", "read", "read_bands"]
