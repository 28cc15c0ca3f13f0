"""transfer_into of torch: sources, renaming, adapting, freezing and errors."""

import copy
import subprocess
import sys

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

import graypipe as gp
from graypipe.adapters.torch import transfer_into

GRAY = gp.plan(gp.Source("gray", range=(0, 255)), "imagenet")


def encoder(bands=3, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(bands, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3)
    )


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(model, expected):
    return all(
        torch.equal(tensor, expected[name])
        for name, tensor in model.state_dict().items()
    )


def test_an_encoder_is_transferred_into_a_unet_and_frozen():
    torch.manual_seed(1)
    vgg = models.vgg16(num_classes=3, init_weights=False)
    unet = smp.Unet("vgg16", encoder_weights=None)
    before = state(unet)
    report = transfer_into(
        unet, vgg, rename=lambda name: f"encoder.{name}", freeze=True
    )

    features = [name for name in vgg.state_dict() if name.startswith("features.")]
    assert len(features) == 26
    assert report.copied == tuple(f"encoder.{name}" for name in features)
    after, source = unet.state_dict(), vgg.state_dict()
    assert all(torch.equal(after[f"encoder.{name}"], source[name]) for name in features)
    assert {name for name, _ in report.skipped} == {
        name for name in source if name.startswith("classifier.")
    }
    assert all(
        "the target has no 'encoder.classifier." in why for _, why in report.skipped
    )
    assert set(report.untouched) == {
        name for name in before if not name.startswith("encoder.")
    }
    assert all(torch.equal(after[name], before[name]) for name in report.untouched)
    frozen = {
        name
        for name, parameter in unet.named_parameters()
        if not parameter.requires_grad
    }
    assert frozen == set(report.copied)
    table = str(report).splitlines()
    assert (
        table[0]
        == f"copied 26, adapted 0, skipped 6, untouched {len(report.untouched)}"
    )
    assert "skipped    classifier.0.weight" in str(report)


def test_the_first_kernel_is_adapted_to_one_band():
    torch.manual_seed(1)
    vgg = models.vgg11(num_classes=3, init_weights=False)
    unet = smp.Unet("vgg11", encoder_weights=None, in_channels=1)
    report = transfer_into(
        unet,
        vgg,
        rename=lambda name: f"encoder.{name}",
        adapt={"encoder.features.0.weight": gp.replicate()},
    )
    assert report.adapted == ("encoder.features.0.weight",)
    summed = vgg.features[0].weight.sum(1, keepdim=True).detach()
    torch.testing.assert_close(
        unet.encoder.features[0].weight.detach(), summed, rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(unet.encoder.features[0].bias, vgg.features[0].bias)


@pytest.mark.parametrize("adapter", [GRAY, GRAY.unit_map])
def test_a_plan_or_its_map_adapts_kernel_and_bias(adapter):
    big, small = encoder(3), encoder(1, seed=1)
    report = transfer_into(small, big, adapt={"0.weight": adapter})
    assert report.adapted == ("0.weight", "0.bias")
    image = np.random.default_rng(0).integers(0, 256, (8, 9), dtype=np.uint8)
    unit = gp.plan(GRAY.source, gp.Target("gray"))
    actual, expected = (
        model.eval()(torch.from_numpy(plan(image)[None]))
        for model, plan in ((small, unit), (big, GRAY))
    )
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_error_for_a_source_without_bias_shows_the_zeros_to_add():
    big = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))
    small = nn.Sequential(nn.Conv2d(1, 4, 3))
    with pytest.raises(gp.ChannelError, match="a state dict: pass ") as refused:
        transfer_into(small, big, adapt={"0.weight": GRAY})
    cure = str(refused.value).partition(": pass ")[2]
    source = eval(cure, {"source": big.state_dict(), "np": np})
    report = transfer_into(small, source, adapt={"0.weight": GRAY})
    assert report.adapted == ("0.weight", "0.bias")


def test_a_kernel_of_other_bands_is_skipped_and_reported():
    small = encoder(1, seed=1)
    before = state(small)
    report = transfer_into(small, encoder(3))
    assert report.skipped == (
        ("0.weight", "shape (4, 3, 3, 3), the target's is (4, 1, 3, 3)"),
    )
    assert torch.equal(small[0].weight, before["0.weight"])
    assert "1.running_mean" in report.copied


@pytest.mark.parametrize(
    "kind", ["model", "state dict", "arrays", "safetensors", "pt", "pth"]
)
def test_weights_come_from_models_mappings_and_files(kind, tmp_path):
    big, target = encoder(seed=3), encoder(seed=4)
    big(torch.rand(2, 3, 8, 8))  # updates the running statistics
    state, path = big.state_dict(), tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(state, path)
    elif kind.startswith("pt"):
        torch.save(state, path)
    arrays = {name: part.numpy() for name, part in state.items()}
    source = {"model": big, "state dict": state, "arrays": arrays}.get(kind, path)
    report = transfer_into(target, source if kind != "pth" else str(source))
    assert report.copied == tuple(state)
    assert same(target, state)


def test_copied_weights_are_frozen_and_frozen_ones_stay_frozen():
    target = encoder(1, seed=1)
    target[3].bias.requires_grad_(False)
    transfer_into(
        target, encoder(3), freeze=True, rename={"3.weight": None, "3.bias": None}
    )
    trained = {
        name for name, parameter in target.named_parameters() if parameter.requires_grad
    }
    assert trained == {"0.weight", "3.weight"}
    transfer_into(target, encoder(1))
    assert trained == {
        name for name, parameter in target.named_parameters() if parameter.requires_grad
    }


def test_weights_take_dtype_and_memory_of_the_model():
    target = encoder(seed=1).to(torch.bfloat16)
    pointer = target[3].weight.data_ptr()
    source = encoder()
    transfer_into(target, source)
    assert target[3].weight.dtype == torch.bfloat16
    assert target[3].weight.data_ptr() == pointer
    assert torch.equal(target[3].weight, source[3].weight.to(torch.bfloat16))
    back = encoder(seed=2)
    transfer_into(back, target)
    assert torch.equal(back[3].weight, target[3].weight.float())


def test_source_and_target_share_no_memory():
    source, target = encoder(), encoder(seed=1)
    before = state(source)
    transfer_into(target, source, freeze=True)
    with torch.no_grad():
        target[3].weight.zero_()
    assert same(source, before)
    assert all(parameter.requires_grad for parameter in source.parameters())


def test_nothing_is_written_if_something_does_not_fit():
    target = encoder(1, seed=1)
    before = state(target)
    with pytest.raises(gp.LayoutError, match=r"adapt for '0.weight' does not match"):
        transfer_into(target, encoder(3), adapt={"0.weight": lambda w: w[:, :2]})
    with pytest.raises(gp.RangeError, match=r"overflows float16"):
        transfer_into(
            target.half(), {"3.bias": np.full(6, 1e6, "float32")}, freeze=True
        )
    assert same(
        target.float(),
        {
            name: tensor.half().float() if tensor.is_floating_point() else tensor
            for name, tensor in before.items()
        },
    )
    assert all(parameter.requires_grad for parameter in target.parameters())


def test_a_pickle_of_more_than_weights_is_refused(tmp_path):
    torch.save(encoder(), tmp_path / "model.pt")
    with pytest.raises(
        gp.ReadError, match=r"model.pt contains objects other than weights.*safetensors"
    ):
        transfer_into(encoder(), tmp_path / "model.pt")


def test_a_checkpoint_around_a_state_dict_is_refused(tmp_path):
    torch.save(
        {"epoch": 3, "state_dict": encoder().state_dict()}, tmp_path / "last.ckpt"
    )
    with pytest.raises(
        gp.DTypeError,
        match=r"'state_dict' of the source is itself a mapping.*checkpoint\['state_dict'\]",
    ):
        transfer_into(encoder(), tmp_path / "last.ckpt")


def test_other_sources_and_targets_are_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    for source, raises, message in (
        (
            3,
            gp.DTypeError,
            "expected a model, a state dict or the path of a file that contains a state dict, got int",
        ),
        (
            tmp_path / "tensor.pt",
            gp.DTypeError,
            "expected a model, a state dict.*got Tensor",
        ),
        (
            "weights.h5",
            gp.ReadError,
            r"suffix .safetensors, .pt, .pth, .bin or .ckpt, got 'weights.h5': save",
        ),
    ):
        with pytest.raises(raises, match=message):
            transfer_into(encoder(), source)
    with pytest.raises(gp.DTypeError, match=r"expected a torch.nn.Module, got dict"):
        transfer_into({}, encoder())
    with pytest.raises(FileNotFoundError):
        transfer_into(encoder(), tmp_path / "none.safetensors")


def test_state_that_is_no_tensor_is_not_transferred():
    class Counted(nn.Linear):
        def get_extra_state(self):
            return {"seen": 3}

        def set_extra_state(self, state):
            raise AssertionError(state)

    target = Counted(2, 3)
    report = transfer_into(
        target,
        copy.deepcopy(Counted(2, 3).state_dict()) | {"_extra_state": np.zeros(1)},
    )
    assert report.copied == ("weight", "bias")
    assert report.skipped == (("_extra_state", "the target has no '_extra_state'"),)


def test_missing_safetensors_name_the_extra(tmp_path):
    save_file(encoder().state_dict(), tmp_path / "w.safetensors")
    code = (
        "import sys; sys.modules['safetensors'] = None\n"
        "from torch import nn\n"
        "from graypipe.adapters.torch import transfer_into\n"
        f"transfer_into(nn.Linear(2, 2), {str(tmp_path / 'w.safetensors')!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (
        'MissingExtraError: safetensors is not installed: pip install "graypipe[torch]"'
        in done.stderr
    )
