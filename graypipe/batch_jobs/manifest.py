"""The manifest of an output folder: the settings of the job and its finished files.

The file has one JSON value per line and is appended to while the job runs. The first
line contains the settings: the plan and every option that affects the outputs. Each
other line describes a finished file:

    source, size, mtime_ns    the image that was read, its size and modification time
    output, bytes             the file that was written and its size

The line of an output made of several images has a list of them instead, each with its
size and modification time:

    sources                   [{"source": ..., "size": ..., "mtime_ns": ...}, ...]

An image at a URL has a "version" instead of "mtime_ns": its ETag, or a time as text.

An unterminated last line is incomplete and ignored. The line of a file is removed
before the file is written again. The manifest does not record when the job ran, so a
job that was killed and resumed gives the same manifest as an uninterrupted one.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..errors import GraypipeError
from .folders import OutputFolder
from .remote import AnyPath, RemotePath

MANIFEST_NAME = "graypipe-manifest.jsonl"

# The keys of a record that describe the output. The others describe the image.
OUTPUT_KEYS = {"output", "bytes"}

# Longer values, such as lists of means, are shortened in error messages.
MAX_VALUE_LENGTH = 40

Record = dict[str, Any]


def prepare_folder(
    out: OutputFolder, settings: Record, resume: bool
) -> dict[str, Record]:
    """Prepare an output folder for a job.

    Write the manifest if the folder has no results yet, and remove the incomplete files
    of a job that was killed.

    Parameters
    ----------
    out : OutputFolder
        The output folder. It need not exist.
    settings : dict
        Everything that the outputs depend on, apart from the images.
    resume : bool
        Whether existing results with the same settings are accepted.

    Returns
    -------
    dict
        The record of each finished file. The keys are the names of the outputs.

    Raises
    ------
    GraypipeError
        If the folder has unrelated files or results with different settings, or if it
        has results and ``resume`` is false.
    """
    old_settings = None
    records: dict[str, Record] = {}
    lines = out.read_lines(MANIFEST_NAME)
    if lines is not None:
        try:
            old_settings, records = _parse_lines(lines)
        except (KeyError, RecursionError, TypeError, ValueError):
            raise GraypipeError(
                f"{out}/{MANIFEST_NAME} is damaged: choose another folder"
            ) from None
    unexpected_entry = _unexpected_entry(out)
    if not records and unexpected_entry is None:
        out.remove_unfinished()
        out.write_lines(MANIFEST_NAME, [_to_line(settings)])
        return {}
    if old_settings is None:
        raise GraypipeError(
            f"{out} contains {unexpected_entry} but no manifest of graypipe convert: "
            "choose an empty or a new folder"
        )
    if old_settings != settings:
        raise GraypipeError(
            f"{out} was written with different settings: "
            f"{_describe_differences(old_settings, settings)}. Choose another folder"
        )
    if not resume:
        raise GraypipeError(
            f"{out} already has results of this plan: add --resume to continue, or "
            "choose another folder"
        )
    out.remove_unfinished()
    return records


def discard_outputs(
    out: OutputFolder,
    settings: Record,
    finished: dict[str, Record],
    outputs: Collection[str],
) -> None:
    """Remove outputs that will be rewritten, after removing their manifest lines.

    An old line would mark the new output as finished before it is complete. An old
    output would look finished if its source turns out to be unreadable.

    Parameters
    ----------
    out : OutputFolder
        The output folder.
    settings : dict
        The first line of the manifest.
    finished : dict
        The records in the manifest. The keys are the names of the outputs.
    outputs : collection of str
        The outputs to remove. They need not exist.

    Raises
    ------
    GraypipeError
        If the manifest cannot be written or an output cannot be removed.
    """
    rewritten = finished.keys() & outputs
    if rewritten:
        lines = [_to_line(settings)]
        for name, record in finished.items():
            if name not in rewritten:
                lines.append(_to_line(record))
        out.write_lines(MANIFEST_NAME, lines)
    for name in outputs:
        out.remove(name)


def append_records(out: OutputFolder, records: Iterable[Record]) -> None:
    """Add finished files to the manifest.

    Raises
    ------
    GraypipeError
        If the manifest cannot be written.
    """
    out.append(MANIFEST_NAME, map(_to_line, records))


def finish(out: OutputFolder) -> None:
    """Store the manifest as a single file, at the end of a job.

    Raises
    ------
    GraypipeError
        If the manifest cannot be written.
    """
    out.finish(MANIFEST_NAME)


def is_up_to_date(
    out: OutputFolder, record: Record | None, sources: Mapping[str, AnyPath]
) -> bool:
    """Return whether an output is up to date.

    Parameters
    ----------
    out : OutputFolder
        The output folder.
    record : dict or None
        The record of the output in the manifest, if there is one.
    sources : mapping of str to Path or RemotePath
        The images that the output is made of, in order: the name of each, relative to
        the folder of the images, and its file.

    Returns
    -------
    bool
        True if the record describes these images in their present state, and the output
        exists with its full size.
    """
    if record is None:
        return False
    recorded = record.get("sources")
    if recorded is None:
        recorded = [{key: record[key] for key in record.keys() - OUTPUT_KEYS}]
    try:
        if out.size(record["output"]) != record["bytes"]:
            return False
        present = [describe_source(name, file) for name, file in sources.items()]
    except (KeyError, OSError):
        return False
    # Nothing tells whether a remote image without a version has changed.
    has_versions = all(source.get("version", "") is not None for source in present)
    return has_versions and bool(recorded == present)


def describe_source(name: str, file: AnyPath) -> Record:
    """Return what a record says of an image: its name, size and modification time.

    A remote image has a version instead of the time: see `RemotePath`.

    Parameters
    ----------
    name : str
        The image, relative to the folder of the images.
    file : Path or RemotePath
        The file of the image.

    Raises
    ------
    OSError
        If the file cannot be accessed.
    """
    if isinstance(file, RemotePath):
        return {"source": name, "size": file.size, "version": file.version}
    status = file.stat()
    return {"source": name, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _unexpected_entry(out: OutputFolder) -> str | None:
    """Return an entry of ``out`` other than the manifest."""
    for name in out.names():
        if name != MANIFEST_NAME:
            return name
    return None


def _parse_lines(lines: list[bytes]) -> tuple[Record, dict[str, Record]]:
    """Return the settings, and the last record of each output."""
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
    """Return the settings that differ, such as "source.bits: unset -> 12"."""
    old_fields = _flatten(old)
    new_fields = _flatten(new)
    names = [
        name
        for name in sorted(old_fields | new_fields)
        if old_fields.get(name) != new_fields.get(name)
    ]
    # The fingerprints differ whenever the plans do, but do not say how.
    for name in ("fingerprint", "fingerprints"):
        if len(names) > 1 and name in names:
            names.remove(name)
    differences = []
    for name in names:
        old_value = _abbreviate(old_fields.get(name))
        new_value = _abbreviate(new_fields.get(name))
        differences.append(f"{name}: {old_value} -> {new_value}")
    return "; ".join(differences)


def _flatten(record: Record) -> Record:
    """Flatten nested dictionaries, with dotted keys. The prefix "plan." is removed."""
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
