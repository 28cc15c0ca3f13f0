"""Sentences about where the figures of a page come from."""

import textwrap
from collections.abc import Iterable

from .results import Record


def machine(*records: Record) -> str:
    """Return sentences with processor, engine, dates and versions, in lines of 120 characters.

    The records are of one machine.
    """
    facts = records[0]["machine"]
    dates = sorted({record["date"] for record in records})
    libraries: dict[str, set[str]] = {}
    for record in records:
        for name, number in record["versions"].items():
            libraries.setdefault(name, set()).add(number)
    versions = [
        f"{name} {' or '.join(sorted(numbers))}" for name, numbers in libraries.items()
    ]
    text = (
        f"Machine: {facts['processor']}, {facts['architecture']}, {facts['logical_cores']} logical cores, "
        f"{facts['system']}; {facts['engine']} engine, one thread. Measured on {', '.join(dates)} with "
        f"{', '.join(versions)}."
    )
    return textwrap.fill(text, 120, break_on_hyphens=False)


def measured(record: Record, *libraries: str) -> str:
    """Return a sentence with date, machine and the versions of ``libraries``, by default all of the record."""
    facts, versions = record["machine"], record["versions"]
    names = ("python", "graypipe", *libraries) if libraries else versions
    text = (
        f"Measured on {record['date']}, on {facts['logical_cores']} logical cores of an {facts['processor']} "
        f"({facts['system']}), with {', '.join(f'{name} {versions[name]}' for name in names)}."
    )
    return textwrap.fill(text, 120, break_on_hyphens=False)


def machines(records: Iterable[Record]) -> str:
    """Return a paragraph for every machine, with the dates and versions of all its records."""
    by_processor: dict[str, list[Record]] = {}
    for record in records:
        processor = record["machine"]["processor"]
        by_processor.setdefault(processor, []).append(record)
    return "\n\n".join(machine(*group) for group in by_processor.values())


def warning(records: Iterable[Record]) -> str:
    """Return a warning if some records come from short runs, else an empty string."""
    short = [record["group"] for record in records if record["scale"] != "full"]
    return (
        f"\n**Not a record**: short runs of small images ({', '.join(short)}).\n"
        if short
        else ""
    )
