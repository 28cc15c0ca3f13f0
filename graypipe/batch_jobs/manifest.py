"""The manifest of an output folder: what its files were made by, and which are finished.

JSON, a value a line, appended to as files are finished. The first line says what makes the files; each further line is
a file:

    source, size, mtime_ns    what was read
    output, bytes             what was written

A line that was cut off counts as not written, and a file loses its line before it is written over. Times are those of
the sources, so that the manifest of a run that was killed and resumed is that of an undisturbed one.
"""

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ..errors import GraypipeError
from .writing import UNFINISHED, sweep, unwritten, write

NAME = "graypipe-manifest.jsonl"

Record = dict[str, Any]


def begin(out: Path, made_by: Record, resume: bool) -> dict[str, Record]:
    """Return the records of the files in ``out`` that are finished, by output, after writing the first line if need be.

    GraypipeError where ``out`` holds anything else than results of ``made_by``, and where it does but ``resume`` was
    not asked for. What a killed run left unfinished is removed.
    """
    manifest = out / NAME
    first, records = _read(manifest) if manifest.exists() else (None, {})
    stranger = _stranger(out)
    if not records and stranger is None:
        sweep(out)
        write(manifest, [_line(made_by)])
        return {}
    if first is None:
        raise GraypipeError(
            f"{out} holds {stranger} and no manifest of this command: choose an empty or a new folder"
        )
    if first != made_by:
        raise GraypipeError(
            f"{out} was made by another plan or other options: {_differences(first, made_by)}. Choose another folder"
        )
    if not resume:
        raise GraypipeError(
            f"{out} has results of this plan already: --resume goes on, or choose another folder"
        )
    sweep(out)
    return records


def drop(
    out: Path, made_by: Record, finished: dict[str, Record], outputs: Collection[str]
) -> None:
    """Remove what is left of ``outputs`` before they are made again: the lines first, then the files.

    A line that stayed would vouch for what another source, or another state of it, put in that place; a file that
    stayed would be taken for finished by whoever looks at files, where its source is now skipped.
    """
    if not finished.keys().isdisjoint(outputs):
        kept = (record for name, record in finished.items() if name not in outputs)
        write(out / NAME, map(_line, (made_by, *kept)))
    for name in outputs:
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as error:
            raise unwritten(out / name, error) from None


def append(out: Path, records: Iterable[Record]) -> None:
    """Write down that files are finished; GraypipeError where that fails."""
    try:
        with (out / NAME).open("ab") as file:
            file.writelines(map(_line, records))
    except OSError as error:
        raise unwritten(out / NAME, error) from None


def holds(out: Path, record: Record | None, folder: Path, path: str) -> bool:
    """Whether ``record`` is of ``path`` in ``folder`` as it is now, and its output is there, whole."""
    if record is None or record.get("source") != path:
        return False
    try:
        written = os.lstat(out / record["output"]).st_size
        return (*read_state(folder / path), written) == (
            record["size"],
            record["mtime_ns"],
            record["bytes"],
        )
    except (KeyError, OSError):
        return False


def read_state(source: Path) -> tuple[int, int]:
    """Return the size and the time of the last change of ``source``, by which it is known again."""
    state = source.stat()
    return state.st_size, state.st_mtime_ns


def _stranger(out: Path) -> str | None:
    """Return the name of something in ``out``, beside the manifest and what is unfinished, if there is anything."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise GraypipeError(f"{out} is a file: expected a folder, or a name for one")
    names = (path.name for path in out.iterdir())
    return next(
        (name for name in names if name != NAME and not name.endswith(UNFINISHED)), None
    )


def _read(manifest: Path) -> tuple[Record, dict[str, Record]]:
    """Return the first line and the last record of each output; a last line that was cut off is removed."""
    try:
        *lines, rest = manifest.read_bytes().split(b"\n")
        if rest:
            os.truncate(manifest, manifest.stat().st_size - len(rest))
        first, *records = map(json.loads, lines)
        if not isinstance(first, dict) or not all(
            isinstance(record["output"], str) for record in records
        ):
            raise ValueError
        return first, {record["output"]: record for record in records}
    except OSError as error:
        raise GraypipeError(
            f"{manifest}: cannot be read or mended: {error.strerror or error}"
        ) from None
    except (KeyError, RecursionError, TypeError, ValueError):
        raise GraypipeError(
            f"{manifest} is damaged: convert into another folder"
        ) from None


def _line(record: Record) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _differences(held: Record, asked: Record) -> str:
    """Return in what the two first lines differ: the fields of plans and options, their values shortened."""
    before, now = _fields(held), _fields(asked)
    names = sorted(name for name in before | now if before.get(name) != now.get(name))
    if len(names) > 1:  # which the fingerprint only sums up
        names = [name for name in names if name != "fingerprint"]
    return "; ".join(
        f"{name} {_short(before.get(name))}, now {_short(now.get(name))}"
        for name in names
    )


def _fields(record: Record) -> Record:
    """Return ``record`` with the fields of its records among its own: {"source.bits": 12}."""
    flat: Record = {}
    for name, value in record.items():
        below = _fields(value) if isinstance(value, dict) else {}
        flat |= {f"{name}.{part}": held for part, held in below.items()} or {
            name: value
        }
    return {name.removeprefix("plan."): value for name, value in flat.items()}


def _short(value: object) -> str:
    text = "unset" if value is None else json.dumps(value, sort_keys=True)
    return text if len(text) <= 40 else f"{text[:36]} ..."
