"""The target table, from results with known answers."""

import pytest

from benchmarks import targets


def figure(kind, median):
    return {
        "kind": kind,
        "median": median,
        "q1": median,
        "q3": median,
        "rounds": 3,
        "calls": 1,
    }


def expansion(size, ours, peer, hand=1.0, memory="fresh"):
    return {
        "name": f"expand, {size}, {memory}",
        "facts": {"size": size, "layout": "CHW", "memory": memory},
        "gauge": "time",
        "contenders": {
            "graypipe": figure("ours", ours),
            "graypipe (numpy engine)": figure("ours", 100.0),
            "slow": figure("peer", 50.0),
            "fast": figure("peer", peer),
            "NumPy": figure("hand", hand),
        },
        "left_out": {},
    }


def first(*cases, group="expand"):
    return next(iter(targets.reached({group: {"cases": list(cases)}})))


def test_the_fastest_peer_counts_and_the_worst_cell_decides():
    row = first(
        expansion("224", 2.0, 3.0),
        expansion("224", 4.0, 3.0, hand=2.0, memory="reused"),
    )

    assert row.target.what == "expand, 224²"
    assert row.value == 0.75
    assert row.worst == "expand, 224, reused"
    assert row.missed == ["expand, 224, reused"]
    assert row.typical == pytest.approx((1.5 + 0.75) / 2)
    assert row.by_hand == 0.5


def test_a_target_that_every_cell_reaches_is_met():
    assert first(expansion("224", 2.0, 2.0)).missed == []


def test_cells_of_another_size_belong_to_another_target():
    assert first(expansion("1024", 2.0, 2.0)).target.what == "expand, 1024² and batches"


@pytest.mark.parametrize(("seconds", "ratio", "missed"), [(1.2, 1.2, 0), (1.3, 1.3, 1)])
def test_an_upper_bound_is_missed_above_it(seconds, ratio, missed):
    case = {
        "name": "import",
        "facts": {},
        "contenders": {"graypipe": figure("ours", seconds), "numpy": figure("peer", 1)},
    }

    row = first(case, group="imports")

    assert (row.value, len(row.missed)) == (ratio, missed)


def test_reading_is_compared_with_the_fastest_decoder():
    def reading(size, seconds):
        case = expansion(size, seconds, 2.0)
        return case | {"facts": {"task": "array", "size": size, "format": "PNG"}}

    record = {"cases": [reading("512", 3.5), reading("2048", 2.2)]}
    rows = list(targets.reached({"files": record}))

    assert [row.value for row in rows] == [pytest.approx(1.75), pytest.approx(1.1)]
    assert [len(row.missed) for row in rows] == [1, 0]


def test_groups_that_were_not_measured_have_no_rows():
    assert list(targets.reached({})) == []
