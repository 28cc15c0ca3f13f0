"""How much is run: the full record, a quick look, or tiny images for the tests."""

from typing import NamedTuple

SHAPES = {
    # Named after the square of about as many pixels; none is square, so that swapped rows and columns are noticed.
    "32": (30, 34),
    "128": (120, 136),
    "224": (196, 256),
    "256": (240, 272),
    "512": (480, 546),
    "1024": (1000, 1048),
    "2048": (2000, 2096),
    "4096": (4000, 4194),
    "64x224": (64, 196, 256),
}


class Scale(NamedTuple):
    """Seconds and rounds per case, and the sizes it is run at."""

    name: str
    seconds: float
    least_rounds: int
    largest: int
    """Most pixels of an image; larger sizes are skipped."""
    batch: int
    """The N of batches."""

    def shape(self, size: str) -> tuple[int, ...]:
        """Return the shape that stands for ``size``."""
        if self.name == "tiny":
            return (2, 12, 14) if "x" in size else (12, 14)
        shape = SHAPES[size]
        return (self.batch, *shape[1:]) if "x" in size else shape

    def sizes(self, *names: str) -> list[str]:
        """Return the sizes of ``names`` that this scale runs."""
        return [
            name
            for name in names
            if SHAPES[name][-2] * SHAPES[name][-1] <= self.largest
        ]


FULL = Scale("full", seconds=2.5, least_rounds=7, largest=2**24, batch=64)
QUICK = Scale("quick", seconds=0.3, least_rounds=3, largest=2**20, batch=16)
TINY = Scale("tiny", seconds=0.0, least_rounds=1, largest=2**24, batch=2)
