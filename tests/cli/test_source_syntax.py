"""The syntax of ``--source``, ``--via`` and other values of the command line."""

from argparse import ArgumentTypeError

import numpy as np
import pytest

import graypipe as gp
from graypipe.cli import source_syntax

SOURCES = {
    "gray": gp.Source("gray"),
    "gray:12": gp.Source("gray", bits=12),
    "gray:-160..240": gp.Source("gray", range=(-160, 240)),
    "gray:240..-160": gp.Source("gray", range=(240, -160)),
    "gray:0.5..1e3": gp.Source("gray", range=(0.5, 1000)),
    "RGBY:16": gp.Source("RGBY", bits=16),
    "B02,B03,B04:1000..11000": gp.Source(("B02", "B03", "B04"), range=(1000, 11000)),
    "B02": gp.Source(("B02",)),
    "B02,": gp.Source(("B02",)),
    "B02 , B03": gp.Source(("B02", "B03")),
    "NIR": gp.Source(("N", "I", "R")),
    "NIR,": gp.Source(("NIR",)),
    "NIR,:10": gp.Source(("NIR",), bits=10),
    "GREEN,": gp.Source(("GREEN",)),
    "gray,": gp.Source("gray"),
    "N": gp.Source(("N",)),
    "gray:-160..240:clip": gp.Source("gray", range=(-160, 240), clip=True),
    "RGBY:16:nodata=0": gp.Source("RGBY", bits=16, nodata=0),
    "gray:nodata=-9999.5": gp.Source("gray", nodata=-9999.5),
    "gray:nodata=nan": gp.Source("gray", nodata=float("nan")),
    "RGB: layout=CHW : dtype=uint16": gp.Source("RGB", "CHW", dtype="uint16"),
}

BAD_SOURCES = {
    "": "expected bands",
    ",": "expected bands",
    "B02,,B03": "expected bands",
    "B02 B03": "expected bands",
    "gray:": "after the colon",
    "gray:twelve": "after the colon",
    "gray:1..2..3": "after the colon",
    "gray:nan..1": "after the colon",
    "gray:12:14": "is given twice",
    "gray:clip:clip": "is given twice",
    "gray:12:0..4095": "either bits or black..white",
    "gray:nodata=none": "after the colon",
    "gray:nodata=": "after the colon",
    "gray:bits=12": "after the colon",
    "gray:layout=HWX": "layout",
    "gray:dtype=uint17": "expected a dtype",
    "gray:0": "bits to be an integer",
    "gray:65": "bits to be an integer",
    "gray:5..5": "two distinct values",
    "gray:0..1e999": "finite",
    "GREEN": "GREEN,",
    "B02,B02": "distinct",
}

VIAS = {
    "R=B04,G=B03,B=B02": {"R": "B04", "G": "B03", "B": "B02"},
    "R=0.5*R+0.5*Y,G=G,B=B": {"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"},
    " R = 1e-1 * R + Y ": {"R": {"R": 0.1, "Y": 1.0}},
    "R=1.5*R+-0.5*Y": {"R": {"R": 1.5, "Y": -0.5}},
    "gray=2e+0*Re+Y": {"gray": {"Re": 2.0, "Y": 1.0}},
    "R=B8-A": {"R": "B8-A"},
    "R=,G=gray,B= ": {"R": None, "G": "gray", "B": None},
}

BAD_VIAS = {
    "": "output=bands",
    "R": "output=bands",
    "=R": "output=bands",
    "R=R,": "output=bands",
    "R=2*": "expected a band",
    "R=*Y": "expected a band",
    "R=R+": "expected a band",
    "R=R++Y": "expected a band",
    "R=R+R": "different bands",
    "R=half*R": "expected a band",
    "R=1.5*R-0.5*Y": r"1\.5\*R\+-0\.5\*Y",
    "R=R,R=Y": "defined twice",
}


@pytest.mark.parametrize(("text", "expected"), SOURCES.items())
def test_sources_are_parsed(text, expected):
    assert source_syntax.parse_source(text) == expected


@pytest.mark.parametrize(("text", "reason"), BAD_SOURCES.items())
def test_a_wrong_source_gives_the_reason(text, reason):
    with pytest.raises(ArgumentTypeError, match=reason):
        source_syntax.parse_source(text)


@pytest.mark.parametrize(("text", "expected"), VIAS.items())
def test_channel_maps_are_parsed(text, expected):
    assert source_syntax.parse_via(text) == expected


@pytest.mark.parametrize(("text", "reason"), BAD_VIAS.items())
def test_a_wrong_channel_map_gives_the_reason(text, reason):
    with pytest.raises(ArgumentTypeError, match=reason):
        source_syntax.parse_via(text)


def test_a_plan_is_read_from_its_file(tmp_path):
    plan = gp.plan("RGBY", "imagenet", {"R": "R", "G": "G", "B": {"B": 0.5, "Y": 0.5}})
    (tmp_path / "plan.json").write_text(plan.to_json())
    assert source_syntax.read_plan(str(tmp_path / "plan.json")) == plan


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[1]", '{"format":1}', '{"format":1,"source":{},"target":{}}', "\xff"],
)
def test_a_file_without_a_plan_gives_the_reason(tmp_path, text):
    (tmp_path / "plan.json").write_text(text, encoding="latin-1")
    with pytest.raises(ArgumentTypeError, match=r"plan\.to_json"):
        source_syntax.read_plan(str(tmp_path / "plan.json"))
    with pytest.raises(ArgumentTypeError, match="No such file"):
        source_syntax.read_plan(str(tmp_path / "missing.json"))


def test_a_target_is_the_name_of_a_preset():
    assert source_syntax.parse_target("keras-tf") == gp.preset("keras-tf")
    with pytest.raises(ArgumentTypeError, match="imagenet"):
        source_syntax.parse_target("imagenot")


@pytest.mark.parametrize(
    ("text", "expected"), {"480x640": (480, 640), "3x4x5": (3, 4, 5), "7": (7,)}.items()
)
def test_shapes_are_parsed(text, expected):
    assert source_syntax.parse_shape(text) == expected


@pytest.mark.parametrize(
    "text", ["", "x", "4x", "4X5", "-4x5", "4,5", "9" * 30, "x".join(["9" * 18] * 2)]
)
def test_a_wrong_shape_is_refused(text):
    with pytest.raises(ArgumentTypeError):
        source_syntax.parse_shape(text)


def test_dtypes_are_parsed():
    assert source_syntax.parse_dtype("uint16") == np.uint16


@pytest.mark.parametrize(
    "text", ["", "uint17", "complex64", "u2,u2", "object", "None", "("]
)
def test_a_wrong_dtype_is_refused(text):
    with pytest.raises(ArgumentTypeError, match="uint16"):
        source_syntax.parse_dtype(text)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("gray12", "gray:12"),
        ("gray12:nodata=0", "gray:12"),
        ("gray_16bit", "gray:16"),
        ("Gray", "gray"),
        ("rgb", "RGB"),
        ("RGB16", "RGB:16"),
    ],
)
def test_misspelt_sources_are_refused_with_the_right_one(text, meant):
    with pytest.raises(ArgumentTypeError, match=f"did you mean {meant}[?]"):
        source_syntax.parse_source(text)
    bands = text.partition(":")[0]
    assert source_syntax.parse_source(bands + ",").bands == (bands,)


def test_a_sensor_stands_for_its_bands():
    assert source_syntax.parse_source("sentinel-2-l2a") == gp.Source.from_sensor(
        "sentinel-2-l2a"
    )
    some = source_syntax.parse_source(
        "sentinel-2-l2a-before-04.00:bands=red,B03:layout=CHW"
    )
    assert some == gp.Source.from_sensor(
        "sentinel-2-l2a-before-04.00", ("B04", "B03"), layout="CHW"
    )
    with pytest.raises(ArgumentTypeError, match="no band 'cirrus'"):
        source_syntax.parse_source("sentinel-2-l2a:bands=cirrus")
    with pytest.raises(ArgumentTypeError, match="before the first colon"):
        source_syntax.parse_source("gray:bands=red,green")
