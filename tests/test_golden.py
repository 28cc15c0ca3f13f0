"""Files written by every release are still read, and mean the same: see docs/compatibility.md."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from golden.write import CONVERT_OPTIONS

import graypipe as gp
from graypipe.cli import main

GOLDEN = Path(__file__).parent / "golden"
RELEASES = sorted(
    path for path in GOLDEN.iterdir() if path.is_dir() and path.name[0].isdigit()
)


def entries(name):
    """Return one parameter for each entry of the file ``name`` of every release."""
    parameters = []
    for release in RELEASES:
        content = json.loads((release / name).read_text(encoding="utf-8"))
        parameters.extend(
            pytest.param(entry, id=f"{release.name} {entry['name']}")
            for entry in content
        )
    assert parameters
    return parameters


def array(record):
    """Return the array that a golden file contains."""
    numbers = [float(text) for text in record["values"].split()]
    return np.array(numbers).astype(record["dtype"]).reshape(record["shape"])


@pytest.mark.parametrize("entry", entries("plans.json"))
def test_old_plans_give_the_same_values(entry):
    plan = gp.Plan.from_json(entry["json"])
    expected = array(entry["result"])
    result = plan(array(entry["image"]))
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("entry", entries("plans.json"))
def test_old_fingerprints_are_still_those_of_the_plans(entry):
    assert gp.Plan.from_json(entry["json"]).fingerprint == entry["fingerprint"]


@pytest.mark.parametrize("entry", entries("channel_maps.json"))
def test_old_channel_maps_are_loaded_exactly(entry):
    channel_map = gp.ChannelMap.from_json(entry["json"])
    assert np.array_equal(channel_map.matrix, entry["matrix"])
    assert np.array_equal(channel_map.offset, entry["offset"])


@pytest.mark.parametrize("entry", entries("statistics.json"))
def test_old_statistics_are_loaded_and_can_be_merged(entry):
    stats = gp.BandStats.from_json(entry["json"])
    for name in ("mean", "std", "min", "max"):
        np.testing.assert_allclose(getattr(stats, name), entry[name], rtol=1e-12)
    twice = gp.BandStats.from_json(entry["json"])
    twice.merge(stats)
    np.testing.assert_allclose(twice.mean, entry["mean"], rtol=1e-12)


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_an_old_folder_is_resumed_without_converting_again(release, tmp_path, capsys):
    shutil.copytree(release, tmp_path, dirs_exist_ok=True)
    manifest = next((tmp_path / "converted").glob("*.jsonl"))
    for line in manifest.read_text().splitlines()[1:]:
        record = json.loads(line)
        mtime = record["mtime_ns"]
        os.utime(tmp_path / "images" / record["source"], ns=(mtime, mtime))
    outputs = sorted((tmp_path / "converted").glob("*.npy"))
    before = [(path.stat().st_mtime_ns, path.read_bytes()) for path in outputs]
    assert len(outputs) == 2

    folders = [str(tmp_path / "images"), str(tmp_path / "converted")]
    assert main(["convert", *folders, *CONVERT_OPTIONS, "--resume"]) == 0

    assert [(path.stat().st_mtime_ns, path.read_bytes()) for path in outputs] == before
    assert "0 files converted, 2 were already up to date" in capsys.readouterr().out
