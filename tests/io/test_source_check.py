"""Keywords of a source are checked against what the file holds."""

import numpy as np
import pytest
from PIL import Image

import graypipe as gp

RNG = np.random.default_rng(5)
GRAY8 = RNG.integers(0, 256, (21, 34), dtype=np.uint8)
GRAY16 = RNG.integers(0, 65536, (21, 34), dtype=np.uint16)
RGB8 = RNG.integers(0, 256, (21, 34, 3), dtype=np.uint8)


def test_keywords_must_fit_the_file(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY16).save(path)
    _, source = gp.read(path, bits=16, bands=("NIR",), nodata=0)
    assert source == gp.Source(("NIR",), dtype="uint16", bits=16, nodata=0)
    for keywords, error in [
        ({"range": (-5, 5)}, gp.RangeError),
        ({"dtype": "uint8"}, gp.DTypeError),
        ({"bands": "RGB"}, gp.ReadError),
        ({"layout": "HWC"}, gp.ReadError),
        ({"bits": 40}, gp.RangeError),
    ]:
        with pytest.raises(error, match=r"image\.png: "):
            gp.read(path, **keywords)
    for policy in ({"alpha": "keep"}, {"orientation": "turn"}):
        with pytest.raises(gp.ReadError, match="must be one of"):
            gp.read(path, **policy)


def test_more_bits_than_the_dtype_has_are_refused(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(GRAY8).save(path)
    with pytest.raises(gp.RangeError, match="bits="):
        gp.read(path, bits=12)


def test_keywords_cannot_reorder_the_bands(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(RGB8).save(path)
    for bands in ("BGR", "GRX", "RBX"):
        with pytest.raises(gp.ReadError, match="order"):
            gp.read(path, bands=bands)
    assert gp.read(path, bands=("B04", "B03", "B02"))[1].bands == ("B04", "B03", "B02")
