"""Sentences about where the figures of a page come from."""

import textwrap
from collections.abc import Iterable

from .results import Record


def machine(record: Record) -> str:
    """Return sentences with processor, engine, date and versions, in lines of 120 characters."""
    found = record["machine"]
    libraries = ", ".join(
        f"{name} {number}" for name, number in record["versions"].items()
    )
    text = (
        f"Machine: {found['processor']}, {found['architecture']}, {found['logical_cores']} logical cores, "
        f"{found['system']}; {found['engine']} engine, one thread. Measured on {record['date']} with {libraries}."
    )
    return textwrap.fill(text, 120, break_on_hyphens=False)


def machines(records: Iterable[Record]) -> str:
    """Return a paragraph for every machine and date, with the versions of all its records."""
    merged: dict[tuple[str, str], Record] = {}
    for record in records:
        processor = record["machine"]["processor"]
        first = merged.setdefault((processor, record["date"]), record)
        versions = first["versions"] | record["versions"]
        merged[processor, record["date"]] = {**first, "versions": versions}
    return "\n\n".join(map(machine, merged.values()))


def warning(records: Iterable[Record]) -> str:
    """Return a warning if some records come from short runs, else an empty string."""
    short = [record["group"] for record in records if record["scale"] != "full"]
    return (
        f"\n**Not a record**: short runs of small images ({', '.join(short)}).\n"
        if short
        else ""
    )
