"""``graypipe convert`` and ``stats`` on a full disk, or with few file descriptors.

They finish, or say in one line what stopped them; then they can be resumed. A limit on the
size of files stands for the disk.
"""

# mypy: ignore-errors

import resource
import tempfile
from pathlib import Path

import numpy as np

from .commands import check_finished, random_job, run, wait


def case(random: np.random.Generator) -> str:
    """Run a command with a random limit, then finish it without."""
    job = random_job(random)
    if random.random() < 0.3:
        name, limit = resource.RLIMIT_NOFILE, int(random.integers(32, 64))
    else:
        name = resource.RLIMIT_FSIZE
        largest = max(map(len, job.expected.values()))
        # The semaphores of the workers are files of 32 bytes, too.
        limit = max(32, int(1.2 * largest ** random.uniform(0, 1)))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        process = run(job.command, job.workers, job.images, out, limits=[(name, limit)])
        code, errors = wait(process)
        if code == 0:
            assert errors == "", errors
        else:
            assert name == resource.RLIMIT_FSIZE, f"{limit} descriptors: {errors}"
            assert code == 1, f"exit code {code}: {errors}"
            assert errors.startswith("graypipe: error: cannot write "), errors
            assert errors.count("\n") == 1, errors
        check_finished(job, out)
    return "finished" if code == 0 else "full"
