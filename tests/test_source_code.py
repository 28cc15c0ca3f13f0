"""A plan is written as Python code that builds an equal plan."""

import numpy as np
import pytest

import graypipe as gp
from graypipe.source_code import code_of

PLANS = {
    "gp.plan('gray', 'imagenet')": gp.plan("gray", "imagenet"),
    "gp.plan(gp.Source('gray', bits=12), 'openai-clip')": gp.plan(
        gp.Source("gray", bits=12), "openai-clip"
    ),
    "gp.plan('RGBY', 'unit', via={'R': {'R': 0.5, 'Y': 0.5}, 'G': 'G', 'B': 'B'})": (
        gp.plan("RGBY", "unit", {"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"})
    ),
    "gp.plan('gray', 'imagenet', via={'R': None, 'G': 'gray', 'B': 'gray'})": gp.plan(
        "gray", "imagenet", {"R": None, "G": "gray", "B": "gray"}
    ),
    "gp.plan(gp.Source.from_sensor('naip'), 'unit', "
    "via={'R': 'red', 'G': 'green', 'B': 'blue'})": gp.plan(
        gp.Source.from_sensor("naip"), "unit", {"R": "red", "G": "green", "B": "blue"}
    ),
}


@pytest.mark.parametrize(("code", "plan"), PLANS.items())
def test_common_plans_have_short_code(code, plan):
    assert code_of(plan) == code


@pytest.mark.parametrize(
    "plan",
    [
        *PLANS.values(),
        gp.plan(gp.Source(("NIR",), range=(0.5, 3), nodata=np.nan), "rgb8"),
        gp.plan(
            gp.Source(("B2", "B3"), "CHW", dtype="int16", range=[(0, 9), (5, 1)]),
            gp.Target(("B3", "B2"), "HWC", "float64", mean=(1, 2), std=3),
        ),
        gp.plan(
            gp.Source.from_sensor("sentinel-2-l1c", ("B04", "B03")),
            gp.Target(("x",), "HW", range=(0, 255)),
            gp.ChannelMap([[0.25, -2]], [0.125], inputs=("B04", "B03"), outputs=("x",)),
        ),
        gp.plan(
            gp.Source(("a", "b"), bits=8, clip=True, nodata=(None, 3)),
            gp.Target(("c", "d")),
            {"c": "a", "d": {"a": -1e-30, "b": 1 / 3}},
        ),
    ],
)
def test_code_builds_an_equal_plan(plan):
    built = eval(code_of(plan), {"gp": gp})
    assert built == plan
