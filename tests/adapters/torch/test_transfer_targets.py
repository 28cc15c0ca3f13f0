"""Weights that transfer_into writes to: tied, expanded, copied, of low precision, and unknown to NumPy."""

import numpy as np
import pytest
import torch
from torch import nn

import graypipe as gp
from graypipe.adapters.torch import transfer_into

ONES, TWOS = np.ones((4, 4), "float32"), np.full((4, 4), 2, "float32")


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight


def holding(**tensors):
    model = nn.Module()
    for name, tensor in tensors.items():
        if isinstance(tensor, nn.Module):
            model.add_module(name, tensor)
        elif isinstance(tensor, nn.Parameter):
            model.register_parameter(name, tensor)
        else:
            model.register_buffer(name, tensor)
    return model


def test_two_weights_for_tied_tensors_are_refused():
    model = Tied()
    before = model.a.weight.detach().clone()
    with pytest.raises(
        gp.ChannelError,
        match=r"'a.weight' and 'b.weight' are one weight.*by renaming it to None",
    ):
        transfer_into(model, {"a.weight": ONES, "b.weight": TWOS})
    assert torch.equal(model.a.weight, before)
    report = transfer_into(
        model, {"a.weight": ONES, "b.weight": TWOS}, rename={"b.weight": None}
    )
    assert report.copied == ("a.weight", "b.weight")
    assert (model.b.weight == 1).all()


def test_equal_weights_for_tied_tensors_are_copied():
    model, source = Tied(), Tied()
    assert transfer_into(model, source, freeze=True).copied == ("a.weight", "b.weight")
    assert torch.equal(model.b.weight, source.a.weight)
    assert not model.a.weight.requires_grad


@pytest.mark.parametrize("name", ["a.weight", "b.weight"])
def test_tied_names_are_reported_alike(name):
    model = Tied()
    report = transfer_into(model, {name: ONES}, freeze=True)
    assert (report.copied, report.untouched) == (("a.weight", "b.weight"), ())
    assert (model.a.weight == 1).all()
    assert not model.b.weight.requires_grad
    report = transfer_into(model, {name: ONES}, adapt={name: lambda w: 3 * w})
    assert (report.adapted, report.copied, report.untouched) == (
        ("a.weight", "b.weight"),
        (),
        (),
    )
    assert (model.b.weight == 3).all()


def test_different_views_of_one_tensor_are_not_tied():
    both = torch.zeros(2, 4, 4)
    model = holding(low=both[0], high=both[1])
    report = transfer_into(model, {"high": TWOS})
    assert (report.copied, report.untouched) == (("high",), ("low",))
    assert (both[0] == 0).all()
    assert (both[1] == 2).all()


def test_a_state_dict_of_copies_is_refused():
    model = nn.Linear(4, 4)
    model._register_state_dict_hook(
        lambda _, state, *__: {name: tensor.clone() for name, tensor in state.items()}
    )
    with pytest.raises(
        gp.ChannelError,
        match=r"'weight' in the state dict of the model is a copy made by a hook",
    ):
        transfer_into(model, {"weight": ONES})


def test_names_given_by_a_hook_are_written_and_frozen():
    model = nn.Linear(4, 4)
    model._register_state_dict_hook(
        lambda _, state, *__: {
            f"plain.{name}": tensor for name, tensor in state.items()
        }
    )
    assert transfer_into(model, {"plain.weight": ONES}, freeze=True).copied == (
        "plain.weight",
    )
    assert (model.weight == 1).all()
    assert not model.weight.requires_grad
    assert model.bias.requires_grad


def test_an_expanded_parameter_is_refused():
    model = holding(
        z=nn.Parameter(torch.zeros(4)), w=nn.Parameter(torch.zeros(1, 4).expand(3, 4))
    )
    source = {
        "z": np.ones(4, "float32"),
        "w": np.arange(12, dtype="float32").reshape(3, 4),
    }
    with pytest.raises(
        gp.ChannelError, match=r"'w' of shape \(3, 4\) is an expanded tensor"
    ):
        transfer_into(model, source)
    assert (model.z == 0).all()
    assert transfer_into(model, source, rename={"w": None}).copied == ("z",)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (torch.bfloat16, 3.4e38),
        (torch.bfloat16, -3.4e38),
        (torch.float8_e4m3fn, 1000),
        (torch.float8_e5m2, 6e4),
    ],
)
def test_values_beyond_the_dtype_of_the_model_are_refused(dtype, value):
    model = holding(w=torch.zeros(2).to(dtype), v=torch.zeros(2))
    source = {"v": np.ones(2, "float32"), "w": np.array([0, value], "float32")}
    with pytest.raises(
        gp.RangeError, match=f"'w' contains a value of magnitude .*overflows {dtype}"
    ):
        transfer_into(model, source)
    assert (model.v == 0).all()


def test_infinities_and_the_greatest_number_fit_in_bfloat16():
    model = holding(w=torch.zeros(4, dtype=torch.bfloat16))
    values = np.array(
        [np.inf, -np.inf, torch.finfo(torch.bfloat16).max, np.nan], "float32"
    )
    transfer_into(model, {"w": values})
    np.testing.assert_array_equal(model.w.float().numpy(), values)


HARD = {
    "meta": lambda: torch.zeros(4, 4, device="meta"),
    "quantised": lambda: torch.quantize_per_tensor(
        torch.zeros(4, 4), 1.0, 0, torch.qint8
    ),
    "sparse": lambda: torch.eye(4).to_sparse(),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("kind", HARD)
def test_tensors_that_numpy_cannot_take_are_refused_by_name(kind):
    tensor = HARD[kind]()
    with pytest.raises(
        gp.DTypeError, match="'w' of the target must convert to a NumPy array"
    ):
        transfer_into(holding(w=tensor, v=torch.zeros(2)), {"v": np.ones(2, "float32")})
    with pytest.raises(
        gp.DTypeError, match="'w' of the source must convert to a NumPy array"
    ):
        transfer_into(holding(w=torch.zeros(4, 4)), {"w": tensor})


def test_lazy_layers_are_refused_by_name():
    plain = nn.Sequential(nn.Linear(3, 4))
    for lazy, message in (
        (
            lambda: transfer_into(nn.Sequential(nn.LazyLinear(4)), plain),
            "'0.weight' of the target.*uninitialized",
        ),
        (
            lambda: transfer_into(plain, nn.Sequential(nn.LazyLinear(4))),
            "'0.weight' of the source.*uninitialized",
        ),
    ):
        with pytest.raises(gp.DTypeError, match=message):
            lazy()


@pytest.mark.parametrize("kind", HARD)
def test_tensors_that_numpy_cannot_take_may_be_skipped(kind):
    model = holding(v=torch.zeros(2))
    report = transfer_into(model, holding(w=HARD[kind](), v=torch.ones(2)))
    assert (report.copied, report.skipped) == (
        ("v",),
        (("w", "the target has no 'w'"),),
    )
    assert (model.v == 1).all()


def test_lazy_layers_of_a_source_may_be_skipped():
    model = holding(v=torch.zeros(2))
    report = transfer_into(model, holding(w=nn.LazyLinear(4), v=torch.ones(2)))
    assert report.copied == ("v",)
    assert [name for name, _ in report.skipped] == ["w.weight", "w.bias"]
