"""What docs/scale.md shows is run: every block, one after the other, in a folder with scans in it."""

import re
import shlex
from pathlib import Path

from image_sets import images, tree

from graypipe.cli import main

PAGE = Path(__file__).parents[2] / "docs/scale.md"


def test_every_block_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images(tmp_path / "scans", 9, dtype="uint16")
    blocks = re.findall(
        r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert len(blocks) == 5
    names: dict[str, object] = {}
    for language, block in blocks:
        if language == "python":
            exec(compile(block, PAGE.name, "exec"), names)
            continue
        for line in block.splitlines():
            name, *argv = shlex.split(line)
            assert name == "graypipe"
            assert main(argv) == 0, capsys.readouterr().err
    assert len(tree(tmp_path / "tensors")) == len(tree(tmp_path / "pictures")) == 10
