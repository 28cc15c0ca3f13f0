"""The manifest of an output folder: the settings of the job and its finished files.

The file has one JSON value per line and is appended to while the job runs. The first
line holds the settings: the plan and every option that affects the outputs. Each other
line is a finished file:

    source, size, mtime_ns    the image that was read, its size and modification time
    output, bytes             the file that was written and its size

A line without a newline at its end was cut off and does not count. The line of a file
is removed before the file is written again. The manifest does not hold the time of the
job, so a job that was killed and resumed gives the same manifest as an undisturbed one.
"""

import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ..errors import GraypipeError
from .files import UNFINISHED_SUFFIX, remove_unfinished, write_error, write_file

MANIFEST_NAME = "graypipe-manifest.jsonl"

# Error messages shorten values that are longer, such as lists of means.
MAX_VALUE_LENGTH = 40

Record = dict[str, Any]


def start(out: Path, settings: Record, resume: bool) -> dict[str, Record]:
    """Prepare an output folder for a job.

    Write the manifest if the folder has no results yet, and remove the incomplete files
    of a job that was killed.

    Parameters
    ----------
    out : Path
        The output folder. It need not exist.
    settings : dict
        Everything that the outputs depend on, apart from the images.
    resume : bool
        Whether the folder may have results of the same settings.

    Returns
    -------
    dict
        The records of the finished files, by the name of the output.

    Raises
    ------
    GraypipeError
        If the folder has other files or results of other settings, or if it has results
        and ``resume`` is false.
    """
    manifest = out / MANIFEST_NAME
    old_settings = None
    records: dict[str, Record] = {}
    if manifest.exists():
        old_settings, records = _read_manifest(manifest)
    unexpected_entry = _unexpected_entry(out)
    if not records and unexpected_entry is None:
        remove_unfinished(out)
        write_file(manifest, [_to_line(settings)])
        return {}
    if old_settings is None:
        raise GraypipeError(
            f"{out} contains {unexpected_entry} but no manifest of graypipe convert: "
            f"choose an empty or a new folder"
        )
    if old_settings != settings:
        raise GraypipeError(
            f"{out} has results of another plan or other options: "
            f"{_describe_differences(old_settings, settings)}. Choose another folder"
        )
    if not resume:
        raise GraypipeError(
            f"{out} already has results of this plan: add --resume to continue, or "
            f"choose another folder"
        )
    remove_unfinished(out)
    return records


def discard(
    out: Path, settings: Record, finished: dict[str, Record], outputs: Collection[str]
) -> None:
    """Remove outputs that are about to be written again, first their lines.

    An old line would mark the new output as finished before it is. An old output would
    look finished if its source turns out to be unreadable.

    Parameters
    ----------
    out : Path
        The output folder.
    settings : dict
        The first line of the manifest.
    finished : dict
        The records in the manifest, by the name of the output.
    outputs : collection of str
        The outputs to remove. They need not exist.

    Raises
    ------
    GraypipeError
        If the manifest cannot be written or an output cannot be removed.
    """
    if not finished.keys().isdisjoint(outputs):
        lines = [_to_line(settings)]
        for name, record in finished.items():
            if name not in outputs:
                lines.append(_to_line(record))
        write_file(out / MANIFEST_NAME, lines)
    for name in outputs:
        try:
            (out / name).unlink(missing_ok=True)
        except OSError as error:
            raise write_error(out / name, error) from None


def append(out: Path, records: Iterable[Record]) -> None:
    """Add finished files to the manifest.

    Raises
    ------
    GraypipeError
        If the manifest cannot be written.
    """
    try:
        with (out / MANIFEST_NAME).open("ab") as file:
            file.writelines(map(_to_line, records))
    except OSError as error:
        raise write_error(out / MANIFEST_NAME, error) from None


def is_up_to_date(out: Path, record: Record | None, folder: Path, path: str) -> bool:
    """Check whether an image needs no conversion.

    Parameters
    ----------
    out : Path
        The output folder.
    record : dict or None
        The record of the output in the manifest, if there is one.
    folder : Path
        The folder of the images.
    path : str
        The image, relative to ``folder``.

    Returns
    -------
    bool
        True if the record describes this image in its present state, and the output
        exists with its full size.
    """
    if record is None or record.get("source") != path:
        return False
    try:
        output_size = os.lstat(out / record["output"]).st_size
        size, mtime_ns = source_state(folder / path)
        recorded = (record["size"], record["mtime_ns"], record["bytes"])
        return (size, mtime_ns, output_size) == recorded
    except (KeyError, OSError):
        return False


def source_state(source: Path) -> tuple[int, int]:
    """Return the size and the modification time in nanoseconds of an image."""
    status = source.stat()
    return status.st_size, status.st_mtime_ns


def _unexpected_entry(out: Path) -> str | None:
    """Return the name of an entry in ``out`` that is not the manifest or temporary."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise GraypipeError(f"{out} is a file: expected an existing or a new folder")
    for entry in out.iterdir():
        if entry.name != MANIFEST_NAME and not entry.name.endswith(UNFINISHED_SUFFIX):
            return entry.name
    return None


def _read_manifest(manifest: Path) -> tuple[Record, dict[str, Record]]:
    """Return the settings and the last record of each output; remove a cut-off line."""
    try:
        *lines, rest = manifest.read_bytes().split(b"\n")
        if rest:
            os.truncate(manifest, manifest.stat().st_size - len(rest))
    except OSError as error:
        raise GraypipeError(
            f"{manifest} cannot be read or repaired: {error.strerror or error}"
        ) from None
    try:
        return _parse_lines(lines)
    except (KeyError, RecursionError, TypeError, ValueError):
        raise GraypipeError(
            f"{manifest} is damaged: convert into another folder"
        ) from None


def _parse_lines(lines: list[bytes]) -> tuple[Record, dict[str, Record]]:
    """Return the settings, and the records by the name of the output."""
    settings, *records = [json.loads(line) for line in lines]
    if not isinstance(settings, dict):
        raise ValueError("expected a dictionary of settings")
    by_output: dict[str, Record] = {}
    for record in records:
        if not isinstance(record["output"], str):
            raise ValueError("expected the name of an output")
        by_output[record["output"]] = record
    return settings, by_output


def _to_line(record: Record) -> bytes:
    """Return ``record`` as a line of JSON; the same record gives the same bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _describe_differences(old: Record, new: Record) -> str:
    """Return the settings that differ, such as "source.bits unset, now 12"."""
    old_fields = _flatten(old)
    new_fields = _flatten(new)
    names = [
        name
        for name in sorted(old_fields | new_fields)
        if old_fields.get(name) != new_fields.get(name)
    ]
    # The fingerprint differs whenever the plan does, and says nothing about how.
    if len(names) > 1 and "fingerprint" in names:
        names.remove("fingerprint")
    differences = []
    for name in names:
        old_value = _abbreviate(old_fields.get(name))
        new_value = _abbreviate(new_fields.get(name))
        differences.append(f"{name} {old_value}, now {new_value}")
    return "; ".join(differences)


def _flatten(record: Record) -> Record:
    """Return nested dictionaries as one: {"source.bits": 12}. "plan." is left out."""
    flat: Record = {}
    for name, value in record.items():
        if isinstance(value, dict) and value:
            for key, nested_value in _flatten(value).items():
                flat[f"{name}.{key}"] = nested_value
        else:
            flat[name] = value
    return {name.removeprefix("plan."): value for name, value in flat.items()}


def _abbreviate(value: object) -> str:
    """Return ``value`` as JSON, cut to `MAX_VALUE_LENGTH` characters."""
    if value is None:
        return "unset"
    text = json.dumps(value, sort_keys=True)
    if len(text) > MAX_VALUE_LENGTH:
        return f"{text[: MAX_VALUE_LENGTH - 4]} ..."
    return text
