"""graypipe export: the written models are those of the adapter."""

import numpy as np
import onnx
import onnxruntime
import pytest

import graypipe as gp
from graypipe.adapters.onnx import plan_of
from graypipe.cli import main

PLAN = gp.plan(gp.Source("gray", bits=12), "imagenet")
IMAGES = np.random.default_rng(3).integers(0, 4096, (2, 6, 7), np.uint16)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.json").write_text(PLAN.to_json())
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]>'
        "net (float[N, 3, ?, ?] x, float[1] scale) => (float[N, 3, 1, 1] y)"
        "{ z = GlobalAveragePool(x) y = Mul(z, scale) }"
    )
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path


def error_of(capsys, *argv, code=1):
    assert main(["export", "--plan", "plan.json", *argv]) == code
    message = capsys.readouterr().err
    assert message.startswith("graypipe: error: ")
    assert message.count("\n") == 1
    return message


def test_a_plan_alone_is_written(capsys):
    assert (
        main(["export", "--plan", "plan.json", "--dtype", "uint16", "--to", "p.onnx"])
        == 0
    )
    assert capsys.readouterr().out == "image: uint16 (H, W)\nx: float (3, H, W)\n"
    model = onnx.load("p.onnx")
    assert plan_of(model) == PLAN
    result = onnxruntime.InferenceSession("p.onnx").run(None, {"image": IMAGES[0]})[0]
    np.testing.assert_allclose(result, PLAN(IMAGES[0]), atol=1e-6)


def test_a_plan_is_written_in_front_of_a_model(capsys):
    command = "export --plan plan.json --dtype uint16 --model model.onnx --input x"
    assert main([*command.split(), "--to", "deployed.onnx"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "graypipe/image: uint16 (N, H, W)",
        "scale: float (1)",
        "y: float (N, 3, 1, 1)",
    ]
    session = onnxruntime.InferenceSession("deployed.onnx")
    feeds = {"graypipe/image": IMAGES, "scale": np.float32([2])}
    y = session.run(None, feeds)[0]
    np.testing.assert_allclose(
        y[..., 0, 0], 2 * PLAN.batch(IMAGES).mean((2, 3)), atol=1e-5
    )


def test_wrong_options_and_files_are_reported_in_one_line(folder, capsys):
    to = ("--to", "out.onnx")
    assert "pass dtype=" in error_of(capsys, *to)
    dtype = ("--dtype", "uint16")
    assert "'x', 'scale'" in error_of(capsys, *to, *dtype, "--model", "model.onnx")
    assert "No such file" in error_of(capsys, *to, *dtype, "--model", "missing.onnx")
    (folder / "picture.onnx").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    assert "expected an ONNX model" in error_of(
        capsys, *to, *dtype, "--model", "picture.onnx"
    )
    assert not (folder / "out.onnx").exists()
    assert "choose another --to" in error_of(
        capsys, *dtype, "--model", "model.onnx", "--input", "x", "--to", "model.onnx"
    )
    assert "--dtype" in error_of(capsys, *to, "--dtype", "u2,u2", code=2)
    assert "--to" in error_of(capsys, code=2)


def test_weights_outside_of_the_file_are_read(folder, capsys):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]>'
        "net (float[N, 3, H, W] x) => (float[N, 3, H, W] y) { y = Mul(x, w) }"
    )
    weights = np.arange(3, dtype=np.float32).reshape(3, 1, 1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(weights, "w"))
    onnx.save(
        model,
        "big.onnx",
        save_as_external_data=True,
        location="big.data",
        size_threshold=0,
    )
    command = ["export", "--plan", "plan.json", "--dtype", "uint16"]
    assert main([*command, "--model", "big.onnx", "--to", "new.onnx"]) == 0
    (folder / "big.data").unlink()
    session = onnxruntime.InferenceSession("new.onnx")
    result = session.run(None, {"graypipe/image": IMAGES})[0]
    np.testing.assert_allclose(result, PLAN.batch(IMAGES) * weights, atol=1e-5)
    capsys.readouterr()
    assert "big.data" in error_of(
        capsys, "--dtype", "uint16", "--model", "big.onnx", "--to", "again.onnx"
    )
