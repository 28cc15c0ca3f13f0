"""Errors of transfer_into for files that hold no weights."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import graypipe as gp
from graypipe.adapters.torch import transfer_into

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n"


def whole(kind, path):
    state = nn.Linear(3, 2).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind != "legacy")
    return path.read_bytes()


CONTENT = {
    "HTML": lambda _: b"<html>404 not found</html>",
    "a pointer of git-lfs": lambda _: POINTER,
    "empty": lambda _: b"",
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut at the end": lambda data: data[:-3],
    "legacy": lambda data: data[: len(data) // 2],
}


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("kind", CONTENT)
def test_a_broken_file_is_refused_with_its_first_bytes(kind, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    content = CONTENT[kind](whole(kind, path))
    path.write_bytes(content)
    with pytest.raises(gp.ReadError) as raised:
        transfer_into(nn.Linear(3, 2), path)
    message = str(raised.value)
    assert message.startswith(
        f"{path} is not a valid {suffix} file, or is truncated (size {len(content)} bytes"
    )
    assert repr(content[:16]) in message
    assert "contains objects other than weights" not in message


@pytest.mark.filterwarnings(
    "ignore:.torch.jit:FutureWarning", "ignore:.*TorchScript archive:UserWarning"
)
def test_a_torchscript_archive_is_refused(tmp_path):
    path = tmp_path / "script.pt"
    linear = nn.Linear(3, 2)
    torch.jit.save(torch.jit.trace(linear, torch.zeros(1, 3)), path)
    with pytest.raises(
        gp.ReadError, match=r"script.pt is a TorchScript archive.*torch.jit.load"
    ) as raised:
        transfer_into(nn.Linear(3, 2), path)
    assert "weights_only" not in str(raised.value)
    target = nn.Linear(3, 2)
    transfer_into(target, torch.jit.load(path))
    assert torch.equal(target.weight, linear.weight)


def test_a_checkpoint_with_numpy_objects_is_refused(tmp_path):
    for legacy in (False, True):
        torch.save(
            {"rate": np.float64(0.1)},
            tmp_path / "a.ckpt",
            _use_new_zipfile_serialization=not legacy,
        )
        with pytest.raises(
            gp.ReadError, match=r"a.ckpt contains objects other than weights"
        ):
            transfer_into(nn.Linear(3, 2), tmp_path / "a.ckpt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_missing_files_raise_what_open_raises(suffix, tmp_path):
    with pytest.raises(FileNotFoundError):
        transfer_into(nn.Linear(3, 2), tmp_path / f"none{suffix}")
