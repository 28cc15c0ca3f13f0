"""Output files are complete or do not exist."""

import pytest

import graypipe as gp
from graypipe.batch_jobs.files import UNFINISHED_SUFFIX, remove_unfinished, write_file


def test_parts_are_written_in_order_and_folders_are_created(tmp_path):
    path = tmp_path / "a/b/c.bin"
    assert write_file(path, [b"ab", memoryview(b"cde")]) == 5
    assert path.read_bytes() == b"abcde"
    assert [found.name for found in path.parent.iterdir()] == ["c.bin"]


def test_a_file_is_replaced_but_kept_if_writing_fails(tmp_path):
    path = tmp_path / "c.bin"
    write_file(path, [b"old"])

    def parts():
        yield b"new, and th"
        raise OSError(28, "No space left on device")

    with pytest.raises(gp.GraypipeError, match=r"cannot write .*c\.bin: No space left"):
        write_file(path, parts())
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1
    write_file(path, [b"new"])
    assert path.read_bytes() == b"new"


def test_an_interruption_leaves_no_incomplete_file(tmp_path):
    def parts():
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_file(tmp_path / "c.bin", parts())
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_any_new_file(tmp_path):
    write_file(tmp_path / "ours", [b""])
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_only_unfinished_files_are_removed(tmp_path):
    write_file(tmp_path / "a/kept.npy", [b"x"])
    (tmp_path / "a" / f"12ab{UNFINISHED_SUFFIX}").write_bytes(b"half")
    (tmp_path / f"34cd{UNFINISHED_SUFFIX}").write_bytes(b"half")
    remove_unfinished(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")] == [
        "a/kept.npy"
    ]
