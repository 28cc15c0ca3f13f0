"""Result files: one JSON file per group, validated when it is written and read."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema

from . import machine

HERE = Path(__file__).parent
RECORD = HERE / "results"
SCHEMA = json.loads((HERE / "schema.json").read_text(encoding="utf-8"))

Record = dict[str, Any]
Case = dict[str, Any]


def write(record: Record, folder: Path) -> Path:
    """Validate ``record`` and write it to ``folder`` under the name of its group."""
    jsonschema.validate(record, SCHEMA)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record['group']}.json"
    save(record, path)
    return path


def read(folder: Path, order: Iterable[str]) -> dict[str, Record]:
    """Return the records in ``folder`` by group, in ``order``, without missing ones."""
    found = {}
    for group in order:
        path = folder / f"{group}.json"
        if path.exists():
            found[group] = json.loads(path.read_text(encoding="utf-8"))
            jsonschema.validate(found[group], SCHEMA)
    return found


def measured(libraries: Iterable[str], **figures: Any) -> Record:
    """Return the record of figures that are not times or sizes of contenders."""
    return {
        "format": 1,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine.describe(),
        "versions": machine.versions(libraries),
        **figures,
    }


def save(record: Record, path: Path) -> None:
    """Write a record."""
    text = json.dumps(record, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def where(
    record: Record, gauge: str | None = None, **facts: str
) -> list[dict[str, Any]]:
    """Return the cases of ``record`` whose facts include ``facts``."""
    return [
        case
        for case in record["cases"]
        if facts.items() <= case["facts"].items() and gauge in (None, case["gauge"])
    ]
