"""The fuzzer runs its targets, and reports failures with the command that repeats them."""

import os
import sys
import time
from types import ModuleType

import pytest

from fuzz import runner
from fuzz.__main__ import main

FEW_CASES = {
    "files": 40,
    "changes": 40,
    "json": 40,
    "growth": 6,
    "caches": 1,
    "kills": 1,
    "limits": 1,
}


@pytest.mark.parametrize(("target", "cases"), FEW_CASES.items())
def test_a_target_runs_without_failures(target, cases, capsys):
    assert main([target, "--cases", str(cases), "--seed", "7"]) == 0
    assert f"{target}: {cases} cases" in capsys.readouterr().out


def test_an_unknown_target_is_an_error(capsys):
    with pytest.raises(SystemExit):
        main(["pictures"])
    assert "'pictures'" in capsys.readouterr().err


def fails(random):
    raise ValueError(f"wrong value {random.integers(9)}")


def crashes(random):
    if random.integers(3) == 0:
        os.abort()
    return "survived"


def hangs(random):
    if random.integers(3) == 0:
        time.sleep(100)
    return "finished"


@pytest.fixture
def run_here(monkeypatch):
    """Return a function that runs cases of ``case`` in forked children."""
    context = runner.multiprocessing.get_context("fork")
    monkeypatch.setattr(runner.multiprocessing, "get_context", lambda _: context)
    monkeypatch.setitem(runner.TARGETS, "example", 0.5)

    def run(case):
        module = ModuleType("fuzz.example")
        module.case = case
        monkeypatch.setitem(sys.modules, "fuzz.example", module)
        return runner.run("example", 0, 0, 10, float("inf"))

    return run


def test_a_failure_is_reported_with_its_command(run_here, capfd):
    assert run_here(fails) == 10
    out = capfd.readouterr().out
    assert "python -m fuzz example --seed 0 --first 9 --cases 1" in out
    assert "ValueError: wrong value " in out


def test_a_crash_is_counted_and_the_next_case_runs(run_here, capfd):
    failures = run_here(crashes)
    out = capfd.readouterr().out
    assert 0 < failures < 10
    assert out.count("the process ended with exit code -6") == failures


def test_a_hang_is_ended_and_the_next_case_runs(run_here, capfd):
    failures = run_here(hangs)
    out = capfd.readouterr().out
    assert 0 < failures < 10
    assert out.count("no result after") == failures
