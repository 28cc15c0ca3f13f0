"""albumentations transforms saved, copied, replayed, printed and loaded elsewhere."""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import albumentations as A
import numpy as np
import pytest
from imagenet import MEAN, STD

import graypipe as gp
from graypipe.adapters.albumentations import ToBackbone

ROOT = Path(__file__).parents[2]
IMAGE = np.random.default_rng(7).integers(0, 4096, (6, 8), np.uint16)
RGBY = np.random.default_rng(8).integers(0, 4096, (6, 8, 4), np.uint16)
PLANS = (
    gp.plan(gp.Source("gray", bits=12, nodata=float("nan")), "imagenet"),
    gp.plan(
        gp.Source(
            "RGBY",
            range=[(0, 4095), (0, 4095), (9, 4000), (4095, 0)],
            clip=True,
            nodata=17,
        ),
        "imagenet",
        {"R": {"R": 0.5, "Y": 0.5}, "G": {"G": 0.25, "Y": 1 / 3}, "B": "B"},
    ),
)


def pipeline():
    return A.Compose([ToBackbone(*PLANS)])


def assert_same(one, other):
    for image in (IMAGE, RGBY):
        assert (
            one(image=image)["image"].tobytes() == other(image=image)["image"].tobytes()
        )


def python(code, folder, **environment):
    """Run ``code`` in a new process with ``folder`` and the project on its path."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    variables = os.environ | {
        "PYTHONPATH": path,
        "ALBUMENTATIONS_NO_TELEMETRY": "1",
        "NO_ALBUMENTATIONS_UPDATE": "1",
    }
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command,
        env=variables | environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_pipeline_survives_its_dict_and_json():
    saved = A.to_dict(pipeline())
    record = saved["transform"]["transforms"][0]
    assert record["__class_fullname__"] == "graypipe.adapters.albumentations.ToBackbone"
    assert record["plans"] == [
        json.loads(plan.with_layouts("HWC", "HWC").to_json()) for plan in PLANS
    ]
    again = A.from_dict(json.loads(json.dumps(saved, allow_nan=False)))
    assert A.to_dict(again) == saved
    assert_same(again, pipeline())


@pytest.mark.parametrize("data_format", ["json", "yaml"])
def test_a_pipeline_survives_a_file_and_a_buffer(data_format, tmp_path):
    path, buffer = tmp_path / "pipeline", io.StringIO()
    for place in (path, buffer):
        A.save(pipeline(), place, data_format=data_format)
    buffer.seek(0)
    for place in (path, buffer):
        again = A.load(place, data_format=data_format)
        assert A.to_dict(again) == A.to_dict(pipeline())
        assert_same(again, pipeline())


@pytest.mark.parametrize("data_format", ["json", "yaml"])
def test_a_saved_pipeline_loads_in_another_process(data_format, tmp_path):
    A.save(pipeline(), tmp_path / "pipeline", data_format=data_format)
    np.save(tmp_path / "image.npy", RGBY)
    code = f"""
import albumentations, numpy, graypipe.adapters.albumentations
loaded = albumentations.load("pipeline", data_format={data_format!r})
numpy.save("made.npy", loaded(image=numpy.load("image.npy"))["image"])
"""
    ran = python(code, tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (
        np.load(tmp_path / "made.npy").tobytes()
        == pipeline()(image=RGBY)["image"].tobytes()
    )


@pytest.mark.parametrize(
    "again", [lambda value: pickle.loads(pickle.dumps(value)), copy.deepcopy]
)
def test_pipelines_can_be_copied_and_pickled(again):
    used = pipeline()
    used(image=IMAGE)
    for value in (pipeline(), used):
        assert_same(again(value), pipeline())
        assert repr(again(value)) == repr(value)


def test_a_replay_gives_the_same_image():
    chain = A.ReplayCompose([A.HorizontalFlip(p=0.5), ToBackbone(*PLANS)])
    for _ in range(8):
        result = chain(image=IMAGE)
        again = A.ReplayCompose.replay(
            json.loads(json.dumps(result["replay"])), image=IMAGE
        )
        assert again["image"].tobytes() == result["image"].tobytes()


def test_evaluating_the_repr_gives_an_equal_transform():
    shown = repr(ToBackbone(gp.plan("gray", "imagenet")))
    assert shown.startswith("ToBackbone(p=1.0, plans=[{")
    assert "'source': {'bands': ['gray'], 'layout': 'HWC'}" in shown
    assert f"'layout': 'HWC', 'mean': {list(MEAN)}, 'std': {list(STD)}}}" in shown
    assert repr(eval(shown)) == shown


def test_a_saved_p_other_than_1_is_refused():
    saved = A.to_dict(pipeline())
    assert saved["transform"]["transforms"][0]["p"] == 1
    saved["transform"]["transforms"][0]["p"] = 0.5
    with pytest.raises(gp.RangeError, match="expected p=1"):
        A.from_dict(saved)


def test_plans_and_their_dicts_are_equivalent():
    dicts = [json.loads(plan.to_json()) for plan in PLANS]
    expected = repr(ToBackbone(*PLANS))
    for transform in (
        ToBackbone(*dicts),
        ToBackbone(PLANS[0], dicts[1]),
        ToBackbone(plans=dicts),
        ToBackbone(plans=PLANS),
        ToBackbone(PLANS[0], plans=dicts[1:], p=1),
    ):
        assert repr(transform) == expected
    assert dicts == [json.loads(plan.to_json()) for plan in PLANS]


def test_a_dict_with_statistics_of_other_bands_is_refused():
    record = json.loads(PLANS[0].to_json())
    for mean in ([0.5], [0.5] * 4):
        with pytest.raises(
            gp.ChannelError,
            match=rf"one number per band of 'RGB' \(3\).*got {len(mean)}",
        ):
            ToBackbone(record | {"target": record["target"] | {"mean": mean}})
    with pytest.raises(gp.ChannelError, match="expected"):
        ToBackbone({"plan": "imagenet"})


def test_unknown_arguments_warn_or_are_refused_with_strict():
    assert ToBackbone(*PLANS, strict=True)(image=IMAGE)["image"].shape == (6, 8, 3)
    assert A.Compose([ToBackbone(*PLANS, strict=True)], strict=True)(image=IMAGE)[
        "image"
    ].shape == (6, 8, 3)
    with pytest.raises(
        ValueError, match=r"'typo'.* not valid for transform ToBackbone"
    ):
        ToBackbone(*PLANS, typo=1, strict=True)
    with pytest.warns(
        UserWarning, match=r"'typo'.* not valid for transform ToBackbone"
    ):
        ToBackbone(*PLANS, typo=1)


def test_plans_that_do_not_fit_together_are_refused():
    with pytest.raises(gp.ChannelError, match="at least one plan"):
        ToBackbone()
    with pytest.raises(gp.ChannelError, match="both have 3 bands"):
        ToBackbone(gp.plan("RGB", "imagenet"), gp.plan("BGR", "imagenet"))
    with pytest.raises(gp.ChannelError, match="share one target"):
        ToBackbone(PLANS[0], gp.plan("RGB", "unit"))
    with pytest.raises(gp.DTypeError, match=r"expected plans.*got str"):
        ToBackbone("imagenet")


ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "albumentations":
            raise ModuleNotFoundError("No module named 'albumentations'", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_a_missing_albumentations_names_the_extra(tmp_path):
    ran = python(ABSENT + "import graypipe.adapters.albumentations", tmp_path)
    assert ran.returncode == 1
    last = ran.stderr.strip().splitlines()[-1]
    assert last.startswith(
        "graypipe.errors.MissingExtraError: albumentations is not installed"
    )
    assert 'pip install "graypipe[albumentations]"' in last


@pytest.mark.parametrize(
    "fault",
    ["import missing_here", "raise ImportError('libGL.so.1: cannot open')", "1 / 0"],
)
def test_a_broken_albumentations_shows_its_own_error(fault, tmp_path):
    (tmp_path / "albumentations.py").write_text(fault)
    ran = python("import graypipe.adapters.albumentations", tmp_path)
    assert ran.returncode == 1
    assert any(
        word in ran.stderr.splitlines()[-1]
        for word in ("missing_here", "libGL", "ZeroDivisionError")
    )
    assert "MissingExtraError" not in ran.stderr


OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(refuse)
"""


def test_nothing_is_sent_over_the_network(tmp_path):
    use = """
import albumentations, numpy, graypipe as gp
from graypipe.adapters.albumentations import ToBackbone
albumentations.Compose([ToBackbone(gp.plan("gray", "imagenet"))])(image=numpy.zeros((4, 5), "uint8"))
"""
    ran = python(OFFLINE + use, tmp_path)
    assert ran.returncode == 0, ran.stderr
    ran = python(
        OFFLINE + "import socket; socket.create_connection(('127.0.0.1', 9))", tmp_path
    )
    assert ran.returncode != 0
    assert "socket." in ran.stderr
