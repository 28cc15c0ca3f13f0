"""ToBackbone and ChannelLayer in graphs of torch: make_fx, torch.fx, torch.compile, torch.jit."""

import pickle

import numpy as np
import pytest
import torch
import torch._dynamo.testing
from imagenet import MEAN, STD
from torch import nn
from torch.fx import symbolic_trace
from torch.fx.experimental.proxy_tensor import make_fx
from torchvision.models.feature_extraction import (
    create_feature_extractor,
    get_graph_node_names,
)
from torchvision.transforms import v2

import graypipe as gp
from graypipe.adapters.torch import ChannelLayer
from graypipe.adapters.torchvision import ToBackbone

GRAY = gp.plan(gp.Source("gray", bits=8), "imagenet")
RGBY = gp.plan(
    gp.Source("RGBY", range=(10, 200), clip=True, nodata=7),
    "imagenet",
    {"R": {"R": 0.5, "Y": 0.5}, "G": "G", "B": "B"},
)
UNIT = gp.plan(gp.Source("RGB", range=(0, 1)), "imagenet")
NORMALIZE = v2.Normalize(MEAN, STD)

LAYERS = {
    "transform": ToBackbone,
    "layer": ChannelLayer,
    "trainable": lambda plan: ChannelLayer(plan, trainable=True),
}


def image(plan, *lead, size=(5, 6), seed=0):
    shape = (*lead, len(plan.source.bands), *size)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return torch.from_numpy(pixels)


def reachable(node):
    """Return the nodes of a graph that ``node`` depends on."""
    nodes = {node}
    for parent in node.all_input_nodes:
        nodes |= reachable(parent)
    return nodes


@pytest.mark.parametrize("plan", [GRAY, RGBY], ids=["gray", "RGBY"])
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("kind", LAYERS)
def test_make_fx_records_operations(kind, mode, plan):
    layer, x = LAYERS[kind](plan), image(plan, 2)
    graph = make_fx(layer, tracing_mode=mode, _allow_non_fake_inputs=True)(x)
    (output,) = graph.graph.find_nodes(op="output")
    (placeholder,) = graph.graph.find_nodes(op="placeholder")
    assert placeholder in reachable(output)
    other = image(plan, 2, seed=1)
    torch.testing.assert_close(graph(other), layer(other), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_functionalize_gives_the_result_of_the_plan(kind):
    layer, x = LAYERS[kind](GRAY), image(GRAY, 2)
    for function in (
        torch.func.functionalize(layer),
        make_fx(torch.func.functionalize(layer), _allow_non_fake_inputs=True)(x),
    ):
        torch.testing.assert_close(function(x), layer(x), rtol=1e-6, atol=1e-5)


def test_an_implied_range_is_not_checked_where_operations_are_recorded():
    to_backbone, x = ToBackbone(gp.plan("RGB", "imagenet")), torch.rand(2, 3, 4, 5)
    for trace in (make_fx, torch.func.functionalize):
        y = trace(to_backbone)(x)
        y = y(x) if isinstance(y, nn.Module) else y
        torch.testing.assert_close(y, to_backbone(x), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", LAYERS)
def test_a_traced_model_calls_the_layer(kind):
    torch.manual_seed(0)
    model = nn.Sequential(LAYERS[kind](GRAY), nn.Conv2d(3, 4, 3), nn.ReLU())
    traced = symbolic_trace(model)
    calls = [
        node.target for node in traced.graph.find_nodes(op="call_module", target="0")
    ]
    assert calls == ["0"]
    x = image(GRAY, 2)
    for module in (traced, pickle.loads(pickle.dumps(traced))):
        assert torch.equal(module(x), model(x))


@pytest.mark.parametrize("kind", LAYERS)
def test_feature_extractors_may_return_the_layer(kind):
    model = nn.Sequential(LAYERS[kind](GRAY), nn.Conv2d(3, 4, 3), nn.ReLU())
    assert get_graph_node_names(model)[1] == ["input", "0", "1", "2"]
    features = create_feature_extractor(model, ["0", "1"])(image(GRAY, 2))
    expected = model[0](image(GRAY, 2))
    assert torch.equal(features["0"], expected)
    assert torch.equal(features["1"], model[1](expected))


def test_a_layer_alone_cannot_be_traced_by_fx():
    with pytest.raises(gp.DTypeError, match=r"trace torch\.nn\.Sequential\(layer\)"):
        symbolic_trace(ChannelLayer(GRAY))
    assert isinstance(
        symbolic_trace(nn.Sequential(ChannelLayer(GRAY))), torch.fx.GraphModule
    )


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.filterwarnings(
    "ignore::torch.jit.TracerWarning",
    "ignore::FutureWarning",
    "ignore::DeprecationWarning",
)
def test_scripting_is_refused_and_leads_to_tracing(kind):
    model = nn.Sequential(LAYERS[kind](GRAY), nn.Conv2d(3, 4, 3))
    with pytest.raises(gp.DTypeError) as caught:
        torch.jit.script(model)
    assert "use torch.jit.trace(model, example)" in str(caught.value)
    assert len(str(caught.value)) <= 600
    traced = torch.jit.trace(model, (image(GRAY, 2),))
    x = image(GRAY, 3, seed=1)
    torch.testing.assert_close(traced(x), model(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dynamic", [True, False, None])
@pytest.mark.parametrize("kind", LAYERS)
def test_compiled_layers_keep_results_and_memory_formats(kind, dynamic):
    torch._dynamo.reset()
    layer = LAYERS[kind](UNIT)
    compiled = torch.compile(
        layer, dynamic=dynamic, backend="aot_eager", fullgraph=True
    )
    for shape in ((2, 3, 4, 5), (3, 3, 6, 7), (4, 3, 10, 3)):
        for memory_format in (torch.contiguous_format, torch.channels_last):
            x = torch.rand(shape).contiguous(memory_format=memory_format)
            y, expected = compiled(x), layer(x)
            torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-5)
            assert y.stride() == expected.stride()


def test_dynamic_shapes_compile_no_more_graphs_than_normalize():
    counts = {}
    for name, function in (("layer", ChannelLayer(UNIT)), ("normalize", NORMALIZE)):
        torch._dynamo.reset()
        counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(function, dynamic=True, backend=counter)
        for shape in ((2, 3, 4, 5), (3, 3, 6, 7), (4, 3, 10, 3)):
            compiled(torch.rand(shape))
        counts[name] = counter.frame_count
    assert counts["layer"] <= counts["normalize"]


@pytest.mark.parametrize("strict", [True, False])
def test_exported_programs_take_any_size(strict):
    dim = torch.export.Dim
    shapes = ({0: dim("n"), 2: dim("h"), 3: dim("w")},)
    layer = ChannelLayer(UNIT)
    program = torch.export.export(
        layer, (torch.rand(2, 3, 4, 5),), dynamic_shapes=shapes, strict=strict
    )
    x = torch.rand(7, 3, 9, 11)
    torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-6, atol=1e-5)
