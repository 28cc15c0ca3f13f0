"""A typical script for a folder of gray PNG files: Pillow, NumPy and a pool of processes.

Arguments: the folder, the output folder, the number of processes.
"""

import sys
from functools import partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


def normalised(path: Path) -> NDArray[np.float32]:
    image = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
    image = (image - MEAN) / STD
    return image.transpose(2, 0, 1)


def convert(out: Path, path: Path) -> None:
    np.save(out / f"{path.stem}.npy", normalised(path))


def main(folder: str, out: str, workers: str) -> None:
    Path(out).mkdir()
    with Pool(int(workers)) as pool:
        for _ in pool.imap_unordered(
            partial(convert, Path(out)),
            sorted(Path(folder).iterdir()),
            chunksize=16,
        ):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
