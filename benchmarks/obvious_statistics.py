"""A typical script for the statistics of a folder of gray images: Pillow, NumPy and a pool of processes.

Arguments: the folder, the number of processes. Each process sums its images in float64, and counts their levels for the
percentiles.
"""

import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LEVELS = 65536
PERCENTILES = (2, 50, 98)


def summary(path: Path) -> tuple[int, float, float, int, int, NDArray[np.int64]]:
    image = np.asarray(Image.open(path))
    values = image.astype(np.float64)
    counts = np.bincount(image.ravel(), minlength=LEVELS)
    squares = (values**2).sum()
    return image.size, values.sum(), squares, image.min(), image.max(), counts


def main(folder: str, workers: str) -> None:
    count, total, squares = 0, 0.0, 0.0
    smallest, largest = LEVELS, 0
    histogram = np.zeros(LEVELS, np.int64)
    with Pool(int(workers)) as pool:
        paths = sorted(Path(folder).iterdir())
        for part in pool.imap_unordered(summary, paths, chunksize=16):
            count += part[0]
            total += part[1]
            squares += part[2]
            smallest = min(smallest, int(part[3]))
            largest = max(largest, int(part[4]))
            histogram += part[5]
    mean = total / count
    std = np.sqrt(squares / count - mean**2)
    ranks = np.array(PERCENTILES) / 100 * (count - 1)
    percentiles = np.searchsorted(histogram.cumsum(), ranks, side="right")
    print(mean, std, smallest, *percentiles, largest)


if __name__ == "__main__":
    main(*sys.argv[1:])
