"""Plans in checkpoints: torch.load with weights_only=True, its default."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import graypipe as gp

VIA = {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.75, "Y": 0.25}, "B": "B"}
PLANS = {
    "gray": gp.plan("gray", "imagenet"),
    "merge": gp.plan(
        gp.Source("RGBY", range=(np.float64(10), 200), clip=True, nodata=7),
        "imagenet",
        VIA,
    ),
    "NaN": gp.plan(gp.Source(dtype="float32", nodata=float("nan")), "unit"),
}

LOAD = """
import sys
{adapter}
import torch
checkpoint = torch.load(sys.argv[1], weights_only=True)
for plan, text in zip(checkpoint["plans"], checkpoint["texts"], strict=True):
    assert plan.to_json() == text
print(checkpoint["plans"][1].fingerprint)
"""


@pytest.fixture
def checkpoint(tmp_path):
    plans = list(PLANS.values())
    for plan in plans:  # what is computed on first use is not saved
        hash(plan)
        shape = (3, 4, len(plan.source.bands))[: len(plan.source.layout)]
        plan(np.zeros(shape, plan.source.dtype or "uint8"))
    parts = [(plan.source, plan.target, plan.via) for plan in plans]
    texts = [plan.to_json() for plan in plans]
    several = gp.Plans(PLANS["gray"], gp.plan("RGB", "imagenet"))
    several(np.zeros((3, 4), np.uint8))
    content = {
        "plans": plans,
        "several": several,
        "parts": parts,
        "texts": texts,
        "epoch": 3,
    }
    torch.save(content, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def load_in_new_process(checkpoint, adapter):
    return subprocess.run(
        [sys.executable, "-c", LOAD.format(adapter=adapter), checkpoint],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "adapter", ["graypipe.adapters.torch", "graypipe.adapters.torchvision"]
)
def test_a_process_that_imported_an_adapter_loads_plans(checkpoint, adapter):
    done = load_in_new_process(checkpoint, f"import {adapter}")
    assert done.stdout.strip() == PLANS["merge"].fingerprint, done.stderr


@pytest.mark.parametrize("line", ["", "import graypipe"])
def test_without_an_adapter_torch_names_the_class_to_allow(checkpoint, line):
    done = load_in_new_process(checkpoint, line)
    assert "add_safe_globals([graypipe.plan.Plan])" in done.stderr


def test_loaded_parts_equal_those_that_were_saved(checkpoint):
    import graypipe.adapters.torch  # noqa: F401  # registers the classes

    loaded = torch.load(checkpoint, weights_only=True)
    for name, plan, parts in zip(PLANS, loaded["plans"], loaded["parts"], strict=True):
        assert parts == (plan.source, plan.target, plan.via) or name == "NaN"
    assert loaded["several"] == gp.Plans(PLANS["gray"], gp.plan("RGB", "imagenet"))
    image = np.random.default_rng(0).integers(0, 256, (5, 6), np.uint8)
    assert np.array_equal(loaded["plans"][0](image), PLANS["gray"](image))
