"""What docs/reading.md shows is run, on files of the names that it uses."""

import re
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

import graypipe as gp

PAGE = Path(__file__).parent.parent.parent / "docs" / "reading.md"
RNG = np.random.default_rng(14)
SENTINEL = (*(f"B{number:02}" for number in range(1, 13)), "B8A")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    deep = RNG.integers(0, 4096, (4, 12, 16), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray((deep[0] // 16).astype(np.uint8)).save(tmp_path / "scan.png")
    Image.fromarray(RNG.integers(0, 256, (12, 16, 4), dtype=np.uint8)).save(
        tmp_path / "cut-out.png"
    )
    Image.fromarray(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(
        tmp_path / "phone.jpg", exif=exif
    )
    pages = [Image.fromarray(page) for page in deep]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "microscope.png")
    np.save(tmp_path / "cube.npy", deep)
    for page, word in zip(pages, ("red", "green", "blue", "yellow"), strict=True):
        page.save(tmp_path / f"17_{word}.png")
    keywords = {"width": 16, "height": 12, "count": 13, "dtype": "uint16"}
    north_up = rasterio.Affine(10, 0, 600000, 0, -10, 5000000)
    with rasterio.open(
        tmp_path / "sentinel.tif", "w", "GTiff", transform=north_up, **keywords
    ) as out:
        out.write(RNG.integers(1000, 11001, (13, 12, 16), dtype=np.uint16))
        out.descriptions = SENTINEL
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("folder")
def test_every_block_of_python_runs():
    blocks = re.findall(
        r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(blocks) == 4
    names = {"gp": gp}
    for block in blocks:
        exec(compile(block, PAGE.name, "exec"), names)
    assert names["x"].shape == (3, 12, 16)
