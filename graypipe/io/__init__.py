"""Reading: a file becomes an array and the source that says what its values mean, without losing a bit.

One module a format says what a file holds (`stored.Stored`), after checking it as far as the format allows. What is
done about alpha, orientation and frames, and how the keywords are checked against the file, is the same for all.
"""

from .read import facts, read
from .read_bands import read_bands

__all__ = ["facts", "read", "read_bands"]
