"""``graypipe convert`` and ``stats`` killed or interrupted at any moment, several times.

Resumed, they write what an undisturbed run does.
"""

# mypy: ignore-errors

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from .commands import check_finished, random_job, run, tree, wait


def case(random: np.random.Generator) -> str:
    """Kill a command up to three times, then finish it."""
    job = random_job(random)
    outcome = "killed"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        for _ in range(random.integers(1, 4)):
            options = ["--resume"] if job.command != "stats" else []
            process = run(job.command, job.workers, job.images, out, *options)
            time.sleep(random.uniform(0, job.seconds))
            sent = random.choice([signal.SIGKILL, signal.SIGINT])
            # Ctrl-C reaches all processes of a terminal, the killer for lack of memory
            # only one.
            with suppress(ProcessLookupError):
                if random.random() < 0.5:
                    os.killpg(process.pid, sent)
                else:
                    process.send_signal(sent)
            code, errors = wait(process)
            if sent == signal.SIGINT:
                outcome = _check_interrupted(code, errors)
            else:
                # A worker that was starting may complain.
                assert code in (0, -signal.SIGKILL), f"exit code {code}: {errors}"
            if job.command == "stats":
                # The file is complete or does not exist, beside unfinished ones.
                content = tree(out).get("stats.json", job.expected["stats.json"])
                assert content == job.expected["stats.json"]
                for path in out.glob("*.graypipe-unfinished"):
                    path.unlink()
        check_finished(job, out)
    return outcome


def _check_interrupted(code, errors):
    """Check what a command says that Ctrl-C has ended."""
    if code == 0:
        assert errors == "", errors
        return "finished before"
    # Shells show an end by SIGINT as 130, too. Python ends that way if the interrupt came
    # before the command started, or while a string was executed, as named tuples do.
    assert code in (130, -signal.SIGINT), f"exit code {code}: {errors}"
    if errors == "graypipe: error: interrupted\n":
        return "interrupted"
    assert code == -signal.SIGINT, errors
    assert "in _run_command" not in errors, errors
    return "interrupted while Python started"
