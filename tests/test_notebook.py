"""Notebooks display plans, sources and statistics as tables."""

from html.parser import HTMLParser

import numpy as np

import graypipe as gp


class Cells(HTMLParser):
    """Collect the texts of the cells of tables, row by row."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.caption, self.open = [], "", []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert not attributes
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open[-1] == "code":
            self.caption += text
        else:
            self.rows[-1][-1] += text


def test_a_plan_shows_its_code_and_explanation():
    plan = gp.plan(gp.Source("gray", bits=12), "imagenet")
    cells = Cells(plan._repr_html_())
    assert cells.caption == "gp.plan(gp.Source('gray', bits=12), 'imagenet')"
    explained = [f"{label:>8}  {text}" for label, text in cells.rows]
    assert explained == plan.explain().splitlines()


def test_a_source_shows_what_is_declared():
    source = gp.Source("gray", range=(-160, 240), clip=True)
    assert Cells(source._repr_html_()).rows == [
        ["bands", "('gray',)"],
        ["layout", "HW"],
        ["range", "(-160.0, 240.0)"],
        ["clip", "True"],
    ]


def test_statistics_show_every_band():
    stats = gp.BandStats("RG")
    assert Cells(stats._repr_html_()).rows == []
    stats.update(np.stack([np.full((2, 2), 7), np.eye(2)], -1).astype(np.uint8))
    assert Cells(stats._repr_html_()).rows == [
        ["band", "mean", "std", "min", "max"],
        ["R", "7", "0", "7", "7"],
        ["G", "0.5", "0.5", "0", "1"],
    ]


def test_band_names_are_escaped():
    source = gp.Source(("<b>&", "c"))
    assert Cells(source._repr_html_()).rows[0] == ["bands", "('<b>&', 'c')"]
