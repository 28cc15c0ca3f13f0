"""The page that ``graypipe inspect --html`` writes.

The page is one file without scripts or links to other files, so that it can be mailed
and opened anywhere. Names of files and messages come from the data set: the template
escapes them, and a content security policy forbids everything but images in the page.
"""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from ..batch_jobs.files import resolve_path, write_file
from ..batch_jobs.remote import AnyPath, RemotePath, parse_path
from ..errors import GraypipeError
from .image_files import printable
from .pictures import MAX_BANDS, MAX_GROUPS, Pictures, draw_bands

Record = dict[str, Any]

TEMPLATE = "report.html.jinja"
SUFFIXES = (".html", ".htm")

# Problems whose texts differ only in numbers are listed once, with some of their files.
# Bounds keep the page and the memory small if every file differs.
NUMBER = re.compile(r"\d+(?:\.\d+)?")
MAX_PROBLEMS = 100
MAX_FILES_PER_PROBLEM = 5
MAX_KINDS = 40
MAX_LINE = 80


@dataclass
class Problem:
    """An error or a note that several files share."""

    text: str
    is_error: bool
    options: list[str]
    count: int = 0
    files: list[str] = field(default_factory=list)


class Report:
    """What the page shows, collected file by file.

    Parameters
    ----------
    paths : sequence of Path
        What the user passed.
    """

    def __init__(self, paths: Sequence[AnyPath]) -> None:
        self.title = printable(", ".join(str(path) for path in paths))
        # The names of files are relative to the only folder.
        self.folder = paths[0] if len(paths) == 1 else None
        # Pictures to which those of the workers are added
        self.pictures = Pictures()
        self.problems: dict[tuple[bool, str], Problem] = {}
        self.unlisted_problems = 0
        self.kinds: Counter[tuple[str, ...]] = Counter()
        self.files_with_notes = 0

    def add(self, record: Record, kind: tuple[str, ...]) -> None:
        """Add the record of a file, and its row in the table of kinds."""
        if record["kind"] == "no image":
            return
        self.kinds[kind] += 1
        self.files_with_notes += bool(record["notes"])
        if record["error"] is not None:
            self._add_problem(record, record["error"], is_error=True)
        for note in record["notes"]:
            self._add_problem(record, note, is_error=False)

    def _add_problem(self, record: Record, text: str, is_error: bool) -> None:
        """Add an error or a note of a file."""
        general = NUMBER.sub("0", text.replace(record["path"], ""))
        key = (is_error, general)
        if key not in self.problems and len(self.problems) == MAX_PROBLEMS:
            self.unlisted_problems += 1
            return
        problem = self.problems.setdefault(
            key, Problem(printable(text), is_error, record["options"])
        )
        problem.count += 1
        if len(problem.files) < MAX_FILES_PER_PROBLEM:
            problem.files.append(self._name(parse_path(record["path"])))

    def _name(self, path: AnyPath) -> str:
        """Return the name of a file, relative to the folder if there is only one."""
        if isinstance(path, RemotePath):
            return printable(path.url)
        if self.folder is not None and self.folder in path.parents:
            path = path.relative_to(str(self.folder))
        return printable(str(path))

    def render(
        self,
        totals: Record,
        differences: Sequence[str],
        outputs: Sequence[str],
        command: str,
    ) -> str:
        """Return the page.

        Parameters
        ----------
        totals : dict
            The summary of all files.
        differences : sequence of str
            What differs between the files, and notes on all of them.
        outputs : sequence of str
            What convert would write.
        command : str
            The command to type next, or "".
        """
        # Imported here: only this option needs it.
        from jinja2 import Environment, StrictUndefined

        text = resources.files(__package__).joinpath(TEMPLATE).read_text("utf-8")
        environment = Environment(
            autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        problems = sorted(
            self.problems.values(),
            key=lambda problem: (not problem.is_error, -problem.count),
        )
        return environment.from_string(text).render(
            title=self.title,
            totals=totals,
            files_with_notes=self.files_with_notes,
            problems=problems,
            unlisted_problems=self.unlisted_problems,
            differences=list(map(printable, differences)),
            outputs=list(map(printable, outputs)),
            command=_in_lines(printable(command)),
            kinds=self.kinds.most_common(MAX_KINDS),
            unlisted_kinds=max(0, len(self.kinds) - MAX_KINDS),
            groups=list(self._groups()),
            left_out=self.pictures.left_out,
            max_groups=MAX_GROUPS,
            max_bands=MAX_BANDS,
            thumbnails=list(self._thumbnails()),
        )

    def _groups(self) -> Iterator[dict[str, Any]]:
        """Yield the histograms of each kind of images."""
        for (bands, dtype, nodata), stats in self.pictures.groups.items():
            if not stats.count:
                continue
            title = f"{len(bands)} bands" if len(bands) > 1 else "1 band"
            if nodata != "None":
                title += f", nodata {nodata}"
            pictures = [
                {
                    "band": printable(picture.band),
                    "uri": data_uri(picture.svg, "image/svg+xml"),
                    "low": f"{picture.minimum:.6g}",
                    "median": f"{picture.median:.6g}",
                    "high": f"{picture.maximum:.6g}",
                }
                for picture in draw_bands(stats)
            ]
            yield {
                "title": f"{dtype}, {title}",
                "pixels": f"{stats.count:,}",
                "pictures": pictures,
            }

    def _thumbnails(self) -> Iterator[dict[str, str]]:
        """Yield the thumbnails, in the order of the files."""
        for path, content in self.pictures.thumbnails.items():
            yield {
                "name": printable(path.name),
                "path": self._name(path),
                "uri": data_uri(content, "image/jpeg"),
            }


def _in_lines(command: str) -> str:
    """Return a long command with one option per line."""
    if len(command) <= MAX_LINE:
        return command
    return command.replace(" --", " \\\n    --")


def data_uri(content: bytes, media_type: str) -> str:
    """Return the content of a file as a URI."""
    return f"data:{media_type};base64,{b64encode(content).decode()}"


def check_report_path(path: Path) -> None:
    """Raise GraypipeError if a page cannot be written to ``path``.

    An image is never replaced: the name, also that of the file to which a link leads,
    must be that of a page.
    """
    real_path = resolve_path(path)
    for name in (path, real_path):
        if name.suffix.lower() not in SUFFIXES:
            raise GraypipeError(
                f"{path}: expected a name that ends in {' or '.join(SUFFIXES)} for "
                "--html, such as report.html"
            )
    if path.exists() and not path.is_file():
        raise GraypipeError(f"cannot write {path}: it is a folder, a pipe or a device")
    if not real_path.parent.is_dir():
        raise GraypipeError(f"cannot write {path}: {real_path.parent} does not exist")


def write_report(path: Path, page: str) -> None:
    """Write the page to a file, which is complete or absent."""
    write_file(resolve_path(path), [page.encode()])
