"""Messages of io, stats, weights and commands: short whatever is passed, without data."""

import hostile_values
import numpy as np
import pytest
from hostile_values import error_of

import graypipe as gp
from graypipe.cli.source_syntax import parse_source

GRAY = np.zeros((40, 50), np.uint8)
KERNEL = np.zeros((4, 3, 3, 3))
STATS = gp.BandStats("gray")
STATS.update(GRAY)
MANY = tuple(f"X{number}" for number in range(1000))

HUGE = [
    *hostile_values.HUGE,
    object(),
    STATS,
]

TEXTS = ["x" * 10_000, "gray:" + "1" * 5000, ",".join(MANY), "RGB:" + "k=v," * 999]

CALLS = {
    "read": gp.read,
    "read alpha": lambda x: gp.read(b"", alpha=x),
    "read bits": lambda x: gp.read(b"P5 1 1 255\n\0", bits=x),
    "read select": lambda x: gp.read(b"P5 1 1 255\n\0", select=x),
    "read frame": lambda x: gp.read(b"P5 1 1 255\n\0", frame=x),
    "read_bands": gp.read_bands,
    "read_bands file": lambda x: gp.read_bands({"R": x}),
    "stats source": gp.BandStats,
    "stats image": gp.BandStats("gray").update,
    "stats many bands": gp.BandStats(gp.Source(MANY, "CHW")).update,
    "stats merge": STATS.merge,
    "stats percentile": STATS.percentile,
    "stats window": lambda x: STATS.window(x, 98),
    "stats pca": STATS.pca,
    "stats json": gp.BandStats.from_json,
    "fold kernel": lambda x: gp.weights.fold(
        x, None, gp.replicate("RGB"), layout="OIHW"
    ),
    "fold bias": lambda x: gp.weights.fold(
        KERNEL, x, gp.replicate("RGB"), layout="OIHW"
    ),
    "fold map": lambda x: gp.weights.fold(KERNEL, None, x, layout="OIHW"),
    "fold layout": lambda x: gp.weights.fold(
        KERNEL, None, gp.replicate("RGB"), layout=x
    ),
    "transfer": lambda x: gp.weights.transfer(x, x),
    "transfer rename": lambda x: gp.weights.transfer({"w": KERNEL}, {}, rename=x),
    "transfer adapt": lambda x: gp.weights.transfer(
        {"w": KERNEL}, {"w": KERNEL}, adapt={"w": x}
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_messages_are_short_whatever_is_passed(name):
    for value in HUGE:
        error = error_of(CALLS[name], value)
        if error is not None:
            assert isinstance(error, gp.GraypipeError), repr(error)[:900]
            assert len(str(error)) <= 600


@pytest.mark.parametrize("text", TEXTS, ids=["name", "bits", "bands", "options"])
def test_messages_about_sources_of_commands_are_short(text):
    error = error_of(parse_source, text)
    assert error is None or len(str(error)) <= 600
