"""Adapters that may receive cast pixels need a declared range."""

import pytest

import graypipe as gp
from graypipe.adapters._shared.declared_range import check_range_declared


@pytest.mark.parametrize("source", ["gray", gp.Source("gray", dtype="uint8")])
def test_an_undeclared_range_is_an_error_with_its_cure(source):
    with pytest.raises(
        gp.RangeError, match=r"Keras casts.*gp.Source\('gray', range=\(0, 255\)\)"
    ):
        check_range_declared(gp.plan(source, "imagenet"), "Keras casts")


@pytest.mark.parametrize("declared", [{"bits": 12}, {"range": (0, 255)}])
def test_a_declared_range_passes(declared):
    check_range_declared(
        gp.plan(gp.Source("gray", **declared), "imagenet"), "Keras casts"
    )
