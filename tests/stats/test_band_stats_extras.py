"""BandStats with the extra io: percentiles of floats, and TIFF files."""

import sys

import numpy as np
import pytest
import tifffile
from stats.data_sets import gather

import graypipe as gp

RNG = np.random.default_rng(91)


def test_a_part_without_percentiles_leaves_none(monkeypatch):
    image = np.array([[0, 2], [4, 6]], np.float32)
    whole = gather("gray", [image])
    assert whole.percentile(50) == 3
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fastdigest", None)
        part = gather("gray", [image + 1])
    for one, other in ((whole, part), (part, whole)):
        total = gp.BandStats("gray")
        total.merge(one)
        total.merge(other)
        assert (total.count, total.mean) == (8, 3.5)
        with pytest.raises(gp.MissingExtraError, match="add them again"):
            total.percentile(50)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "fastdigest", None)
        with pytest.raises(gp.MissingExtraError, match="fastdigest"):
            gp.BandStats.from_json(whole.to_json())


@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_a_file_may_store_the_axes_in_another_order(tmp_path, planes):
    image = RNG.integers(0, 999, (6, 5, 4), dtype=np.uint16)
    stored = image if planes == "contig" else np.moveaxis(image, -1, 0)
    path = tmp_path / "scene.tif"
    tifffile.imwrite(path, stored, photometric="minisblack", planarconfig=planes)
    for declared in ("HWC", "CHW"):
        stats = gather(gp.Source("RGBY", declared), [path])
        np.testing.assert_allclose(stats.mean, image.mean((0, 1)), rtol=1e-12)


def test_what_only_the_file_declares_is_refused(tmp_path):
    image = RNG.integers(0, 99, (6, 5), dtype=np.uint8)
    missing, inverted = tmp_path / "missing.tif", tmp_path / "inverted.tif"
    tifffile.imwrite(missing, image, extratags=[(42113, "s", 0, "7", True)])
    tifffile.imwrite(inverted, image, photometric="miniswhite")
    for path, recorded in ((missing, "nodata=7"), (inverted, r"range=\(255")):
        stats = gp.BandStats("gray")
        with pytest.raises(gp.ReadError, match=rf"records {recorded}.*declare it, or"):
            stats.update(path)
        assert stats == gp.BandStats("gray")
        source = gp.read(path)[1]  # the cure of the message
        valid = image if source.nodata is None else image[image != 7]
        assert gather(source, [path]).mean == pytest.approx(valid.mean(), rel=1e-12)
