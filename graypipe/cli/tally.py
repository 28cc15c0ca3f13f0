"""What the files of `graypipe inspect` have in common, and in what they differ."""

from collections import Counter
from collections.abc import Iterator

from .findings import UNKNOWN, Record, looks_like, size


class Tally:
    """Counts over files, which stay small whatever the number of files."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.errors = 0
        self.differing: dict[str, Counter[str]] = {
            "modes": Counter(),
            "sizes": Counter(),
            "dtypes": Counter(),
        }
        self.first: dict[tuple[str, str], str] = {}
        self.high = 0

    def add(self, record: Record) -> None:
        """Count the file of ``record``."""
        self.kinds[record["kind"]] += 1
        self.errors += record["error"] is not None
        if record["kind"] != "image":
            return
        said = (record["mode"], size(record), record["dtype"])
        for (what, counts), value in zip(self.differing.items(), said, strict=True):
            if value != UNKNOWN:
                counts[value] += 1
                self.first.setdefault((what, value), record["path"])
        if record["dtype"] == "uint16" and not {"bits", "range"} & set(
            record.get("source", {"bits": None})
        ):
            self.high = max(self.high, record["values"][1] or 0)

    def summary(self) -> Record:
        """Return the counts, as JSON holds them."""
        counts = {
            what: dict(values.most_common()) for what, values in self.differing.items()
        }
        return {
            "kinds": dict(self.kinds),
            "errors": self.errors,
            **counts,
            "notes": [*self._mixed(), *self._depth()],
        }

    def _mixed(self) -> Iterator[str]:
        for what, counts in self.differing.items():
            if len(counts) > 1:
                (most, number), *rest = counts.most_common(4)
                named = [
                    f"{value} in {n} (first {self.first[what, value]})"
                    for value, n in rest
                ]
                more = f", and {len(counts) - 4} more" if len(counts) > 4 else ""
                yield f"{what} differ: {most} in {number}, {', '.join(named)}{more}"

    def _depth(self) -> Iterator[str]:
        if self.kinds["image"] > 1:
            yield from (
                f"all uint16 files: {advice}" for advice in looks_like(self.high)
            )
