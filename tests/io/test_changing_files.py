"""Files that shrink or change after `read` returned, or while it reads them."""

import subprocess
import sys

import pytest
from image_sets import HANGING, ROOT

# A process that touches a mapped page beyond the end of its file is ended by SIGBUS, so
# the test runs in a process of its own. Pages are larger than a small image.
SHRINKING = """
import os
import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

import graypipe as gp

path = Path(sys.argv[1])
image = np.arange(512 * 640).reshape(512, 640).astype(np.uint8)
if path.suffix == ".npy":
    np.save(path, image)
elif path.suffix == ".npz":
    np.savez(path, image)
elif path.suffix == ".tif":
    tifffile.imwrite(path, image)
else:
    Image.fromarray(image).save(path)
read, source = gp.read(path)
expected = gp.plan(source, "imagenet")(image)
os.truncate(path, 0)
np.testing.assert_array_equal(gp.plan(source, "imagenet")(read), expected)
np.testing.assert_array_equal(read, image)
"""


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif", ".bmp", ".pgm", ".png"])
def test_an_image_outlives_its_file(tmp_path, suffix):
    done = subprocess.run(
        [sys.executable, "-c", SHRINKING, tmp_path / f"image{suffix}"],
        cwd=ROOT,
        timeout=HANGING,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
