"""Errors: their bases, and that they survive being rebuilt in another process or inside a graph."""

import pickle

import pytest

import graypipe as gp

BASES = {
    "LayoutError": (ValueError,),
    "ChannelError": (ValueError, TypeError),
    "RangeError": (ValueError,),
    "DTypeError": (TypeError,),
    "CopyRequiredError": (ValueError,),
    "ReadError": (OSError,),
    "MissingExtraError": (ImportError,),
}


@pytest.mark.parametrize("name", BASES)
def test_errors_are_ours_and_of_the_built_in_kind(name):
    kind = getattr(gp, name)
    for base in (gp.GraypipeError, *BASES[name]):
        with pytest.raises(base, match="what to do"):
            raise kind("what to do")


@pytest.mark.parametrize("name", ["GraypipeError", *BASES])
def test_an_error_takes_one_message_and_survives_pickling(name):
    kind = getattr(gp, name)
    assert kind.__init__ is Exception.__init__
    twin = pickle.loads(pickle.dumps(kind("expected A, got B")))
    assert (type(twin), str(twin), twin.args) == (
        kind,
        "expected A, got B",
        ("expected A, got B",),
    )
