"""The pages generated from result files: the benchmark report and the zero-copy study."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from . import plots, provenance, results, targets, zero_copy
from .engines import OURS
from .groups import ELSEWHERE, GROUPS
from .results import Record
from .targets import Reached, fastest
from .writing import grid, of_gauge, quantity, ratio, table

Case = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A section of the report: some cases of one or more groups in one table.

    Attributes
    ----------
    title : str
        Heading of the section.
    groups : tuple of str
        Groups whose cases the section shows.
    text : str
        A sentence or two about the table.
    shows : callable
        Tells whether a case is in the table; the others are in the result files only.
    by_contender : bool
        Whether the table has a column per contender. Otherwise it compares graypipe
        with the fastest peer.
    """

    title: str
    groups: tuple[str, ...]
    text: str
    shows: Callable[[Case], bool]
    by_contender: bool = False


def _any_case(case: Case) -> bool:  # noqa: ARG001
    return True


def _single_fresh_integers(case: Case) -> bool:
    facts = case["facts"]
    is_integer = facts["dtype"] in ("uint8", "uint16")
    return facts["memory"] == "fresh" and is_integer and "x" not in facts["size"]


def _fresh_normalisation(case: Case) -> bool:
    facts = case["facts"]
    is_fresh = facts["task"] == "normalise" and facts["memory"] == "fresh"
    return is_fresh and facts["size"] != "512"


def _uint8_of_size_224(case: Case) -> bool:
    facts = case["facts"]
    return facts.get("size") != "512" and facts.get("dtype", "uint8") == "uint8"


def _file_of_512_or_normalised(case: Case) -> bool:
    return case["facts"]["size"] == "512" or case["facts"]["task"] == "normalised"


def _job_with_2000_png_files(case: Case) -> bool:
    facts = {"format": "PNG", "files": "2000", "processes": "2"}
    return facts.items() <= case["facts"].items()


def _is_timed(case: Case) -> bool:
    return case["gauge"] in ("time", "reported")


SECTIONS = (
    Section(
        "Repeat one gray band three times",
        ("expand",),
        "Repetition only, into newly allocated memory. A ratio below 1 means that a peer is faster.",
        _single_fresh_integers,
    ),
    Section(
        "Gray uint8 to normalised float32",
        ("overhead", "normalise"),
        "The main use case, with the ImageNet statistics, into newly allocated memory.",
        _fresh_normalisation,
    ),
    Section("Multi-band input", ("mix",), "Images of 224².", _any_case),
    Section(
        "Pipelines",
        ("torchvision", "albumentations", "albumentationsx", "tf_data", "keras_layer"),
        "Transforms in the pipelines of other libraries, from a uint8 image to a normalised tensor, and layers in "
        "front of a Keras model, from batches of 64 images. In tf.data, the static size of a batch is known, or "
        "unknown (open). A ratio below 1 means that a peer is faster.",
        _uint8_of_size_224,
    ),
    Section(
        "A DataLoader with two workers",
        ("loader",),
        "An epoch in batches of 64, to normalised tensors: of uint8 images in memory, and of a folder that "
        "`ImageFolder` lists and `gp.read` reads. One row reads uint8 batches without conversion, as a lower bound.",
        _any_case,
        by_contender=True,
    ),
    Section(
        "Files",
        ("files",),
        "A file in the file cache to the array (`gp.read`), or to the normalised array (`gp.read` and a plan). The "
        "normalised array of the chain is wrong for 16 bits, which Pillow saturates.",
        _file_of_512_or_normalised,
    ),
    Section(
        "A plan folded into the first convolution",
        ("folded",),
        "Forward passes of batches of 8 images: the plan before the model (early), a ChannelLayer in the model (late), or the plan folded into the first convolution, exactly with a second, constant band.",
        _is_timed,
        by_contender=True,
    ),
    Section(
        "Commands on folders of files",
        ("jobs",),
        "`graypipe convert` to .npy files or shards, and `graypipe stats`, from start to end, beside scripts. Other "
        "numbers and formats of files: [speed](scale.md#speed).",
        _job_with_2000_png_files,
    ),
    Section(
        "The first call of a process",
        ("first_call",),
        "The numba engine compiles each kernel once and keeps it in a cache on disk.",
        _any_case,
        by_contender=True,
    ),
)


def write(folder: Path, docs: Path) -> list[Path]:
    """Write the pages and pictures for the results in a folder.

    Parameters
    ----------
    folder : Path
        Folder of the result files.
    docs : Path
        Folder of the pages; the pictures go into its subfolder ``images``.

    Returns
    -------
    list of Path
        The files that were written.

    Raises
    ------
    FileNotFoundError
        If there are no result files.
    """
    records = results.read(folder, (*GROUPS, *ELSEWHERE))
    if not records:
        raise FileNotFoundError(
            f"no result files in {folder}: run `python -m benchmarks` first"
        )
    paths = plots.draw(records, docs / "images")
    for name, text in pages(records).items():
        path = docs / name
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths


def pages(records: dict[str, Record]) -> dict[str, str]:
    """Return the text of every page that the records have results for, by file name."""
    texts = {"benchmarks.md": _report(records)}
    if "zero_copy" in records:
        texts["zero-copy.md"] = zero_copy.page(records["zero_copy"])
    return texts


def _report(records: dict[str, Record]) -> str:
    template = (results.HERE / "benchmarks.md").read_text(encoding="utf-8")
    rows = list(targets.reached(records))
    sections = [_section(section, records) for section in SECTIONS]
    text = Template(template).substitute(
        warning=provenance.warning(records.values()),
        machine=provenance.machines(records.values()),
        targets=_target_table(rows),
        pictures=_pictures(records),
        sections="\n".join(section for section in sections if section),
    )
    return text.rstrip("\n") + "\n"


def _target_table(rows: list[Reached]) -> str:
    head = (
        "task",
        "compared with",
        "goal",
        "worst case",
        "median case",
        "reached",
        "hand-written / graypipe, worst case",
    )
    reached = [row for row in rows if not row.missed]
    lines = table(head, map(_target_row, rows), text=2)
    return f"{lines}\n\n{len(reached)} of {len(rows)} goals are reached.\n"


def _target_row(row: Reached) -> list[str]:
    target = row.target
    worst = quantity(row.value, target.unit)
    reached = "yes"
    if row.missed:
        worst += f" ({row.worst})"
        reached = f"**no**, in {len(row.missed)} of {len(row.cells)} cases"
    return [
        target.what,
        target.against,
        f"{target.sense} {quantity(target.goal, target.unit)}",
        worst,
        quantity(row.typical, target.unit),
        reached,
        "" if row.by_hand is None else ratio(row.by_hand),
    ]


def _pictures(records: dict[str, Record]) -> str:
    lines = []
    for name, (caption, group, _) in plots.PLOTS.items():
        # The summary is in README.md, and the zero-copy study has a page of its own.
        on_other_pages = name in ("benchmark-summary", "zero-copy")
        if group in records and not on_other_pages:
            lines.append(f"![{caption}](images/{name}.png)\n")
    return "\n".join(lines)


def _section(section: Section, records: dict[str, Record]) -> str:
    """Return the text of a section; nothing if none of its groups was measured."""
    cases = []
    for group in section.groups:
        if group in records:
            cases += [case for case in records[group]["cases"] if section.shows(case)]
    if not cases:
        return ""
    heading = f"## {section.title}\n"
    if section.text:
        heading += f"\n{section.text}\n"
    if section.by_contender:
        lines = grid([case["name"] for case in cases], cases)
    else:
        lines = _comparison(cases)
    return f"{heading}\n{lines}\n"


def _comparison(cases: list[Case]) -> str:
    """Return graypipe's figure in each case beside those of its rivals."""
    head = (
        "case",
        "fastest peer",
        "graypipe",
        "time of the fastest peer",
        "ratio",
        "hand-written",
        "lower bound",
    )
    return table(head, map(_comparison_row, cases), text=2)


def _comparison_row(case: Case) -> list[str]:
    gauge = case["gauge"]
    peers = {}
    for name, figure in case["contenders"].items():
        if figure["kind"] == "peer":
            peers[name] = figure["median"]
    own = _own(case)
    row = [case["name"], "", of_gauge(own, gauge), "", ""]
    if peers:
        rival = min(peers, key=peers.__getitem__)
        row[1] = rival
        row[3:] = [of_gauge(peers[rival], gauge), ratio(peers[rival] / own)]
    for kind in ("hand", "floor"):
        median = fastest(case, kind)
        row.append("" if median is None else of_gauge(median, gauge))
    return row


def _own(case: Case) -> float:
    """Return graypipe's figure; the fastest one where it has several ways."""
    if OURS in case["contenders"]:
        return float(case["contenders"][OURS]["median"])
    return fastest(case, "ours") or 0.0
