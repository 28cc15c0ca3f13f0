"""The lock on an output folder, as it works here and as it works on Windows."""

import errno
import fcntl
import importlib.util
import json
import os
import sys
from types import ModuleType

import pytest

import graypipe as gp
from graypipe.batch_jobs import lock


def import_for_windows(monkeypatch):
    """Return the module as Windows imports it, with `msvcrt` replaced by flock."""
    msvcrt = ModuleType("msvcrt")
    msvcrt.LK_NBLCK = 2

    def locking(descriptor, mode, count):
        assert (mode, count) == (msvcrt.LK_NBLCK, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) >= os.fstat(descriptor).st_size
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None

    msvcrt.locking = locking
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)
    spec = importlib.util.spec_from_file_location(
        "graypipe.batch_jobs.lock_for_windows", lock.__file__
    )
    module = importlib.util.module_from_spec(spec)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        patch.setitem(sys.modules, "fcntl", None)  # importing it raises an error
        spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["this platform", "Windows"])
def locked(request, monkeypatch):
    if request.param == "Windows":
        return import_for_windows(monkeypatch).locked
    return lock.locked


def test_a_locked_folder_is_refused_and_the_holder_named(locked, tmp_path):
    out = tmp_path / "out"
    with locked(out):
        refused = pytest.raises(
            gp.GraypipeError, match=f"in use by process {os.getpid()}"
        )
        with refused, locked(out):
            pass
        assert (out / lock.LOCK_NAME).exists()
    assert list(out.iterdir()) == []


def test_the_lock_file_of_a_dead_process_is_taken_over(locked, tmp_path):
    holder = {"pid": 2**22 + 1, "host": "a-host-with-a-very-long-name" * 10}
    (tmp_path / lock.LOCK_NAME).write_text(json.dumps(holder))
    with locked(tmp_path):
        content = json.loads((tmp_path / lock.LOCK_NAME).read_text())
        assert content["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_releases_the_lock(locked, tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
