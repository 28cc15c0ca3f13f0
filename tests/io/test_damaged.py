"""Randomly damaged files are read correctly or raise ReadError.

What is correct is described in `fuzz.files`, which damages them.
"""

from pathlib import Path

import numpy as np
import pytest

import graypipe as gp
from fuzz.files import (
    FORMATS,
    WITH_CHECKSUMS,
    WITHOUT_CHECKSUMS,
    damaged,
    matches_another_decoder,
    written,
)

FILES = 500


def sweep(name, path):
    """Yield (image, source, data) of damaged files that are read; only catch ReadError."""
    random = np.random.default_rng(list(name.encode()))
    read = refused = 0
    for _ in range(FILES):
        data = damaged(written(name), random)
        path.write_bytes(data)
        try:
            image, source = gp.read(path)
        except gp.ReadError as error:
            refused += str(error).startswith(f"{path}: ")
            continue
        read += 1
        yield image, source, data
    assert read + refused == FILES
    assert refused > FILES / 20


@pytest.mark.parametrize("name", WITH_CHECKSUMS)
def test_files_with_checksums_are_intact_or_refused(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(written(name))
    expected, source = gp.read(path)
    for image, read_source, _ in sweep(name, path):
        np.testing.assert_array_equal(image, expected)
        assert read_source == source


@pytest.mark.parametrize("name", WITHOUT_CHECKSUMS)
def test_files_without_checksums_match_another_decoder(tmp_path, name):
    path = tmp_path / "image"
    path.write_bytes(written(name))
    expected = np.array(gp.read(path)[0])
    wrong = [
        (image.shape, image.dtype)
        for image, _, data in sweep(name, path)
        if not (image.shape == expected.shape and (image == expected).all())
        and not matches_another_decoder(image, data)
    ]
    assert wrong == []


def test_damaged_files_are_closed(tmp_path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    random = np.random.default_rng(13)
    for name in FORMATS:
        for _ in range(10):
            (tmp_path / "image").write_bytes(damaged(written(name), random))
            try:
                image, _ = gp.read(tmp_path / "image")
                del image
            except gp.ReadError:
                pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before
