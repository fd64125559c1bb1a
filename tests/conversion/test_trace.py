"""A traced network computes what the original computes, whatever it is built from."""

from __future__ import annotations

import copy
import gc
from collections import OrderedDict
from functools import partial

import numpy as np
import pytest
import torch
from foreign_models import (
    Asking,
    BasicBlock,
    DenseNet,
    MobileNetV2,
    Normalised,
    OptionA,
    PreActivationBlock,
    ResNet,
    Shuffle,
    Twice,
    mobilenet_v1,
    settle,
    vgg_bn,
)
from hypothesis import assume, given, settings, strategies as st
from profiles import examples
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune
from traced import assert_traced_exactly, random_images

from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.check import check
from rmp_lava.conversion.trace import trace
from rmp_lava.conversion.tracing import maps
from rmp_lava.encoding import make_input
from rmp_lava.network import Conv, SpikingNetwork


@pytest.fixture(autouse=True)
def seeded():
    """Weights that are the same in every run, as a few small layers may be dead by chance."""
    torch.manual_seed(5)


conv, linear = partial(nn.Conv2d, bias=False), partial(nn.Linear, bias=False)


def names(network: SpikingNetwork) -> list[str]:
    return [layer.name for layer in network]


# Sequential networks under the paper's constraints


@st.composite
def models(draw):
    """Sequential networks of convolutions, poolings of all kinds, nested containers, and dense layers at the end."""
    torch.manual_seed(draw(st.integers(0, 1000)))
    shape = channels, height, width = draw(st.integers(1, 3)), draw(st.integers(3, 11)), draw(st.integers(3, 11))
    modules: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        block: list[nn.Module] = []
        if draw(st.booleans()):
            kernel = draw(st.tuples(st.integers(1, min(3, height)), st.integers(1, min(3, width))))
            stride, padding = draw(st.integers(1, 2)), draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
            groups = draw(st.sampled_from([1, channels]))
            outputs = groups * draw(st.integers(1, 2))
            block += [conv(channels, outputs, kernel, stride=stride, padding=padding, groups=groups), nn.ReLU()]
            channels = outputs
            height = (height + 2 * padding[0] - kernel[0]) // stride + 1
            width = (width + 2 * padding[1] - kernel[1]) // stride + 1
        if draw(st.booleans()):
            kernel = draw(st.tuples(st.integers(1, min(3, height)), st.integers(1, min(3, width))))
            stride = draw(st.sampled_from([kernel, (1, 1), (2, 2), (3, 1)]))
            block += [nn.AvgPool2d(kernel, stride)]
            height, width = (height - kernel[0]) // stride[0] + 1, (width - kernel[1]) // stride[1] + 1
        block += [nn.Dropout(0.5)] if draw(st.booleans()) else []
        modules += [nn.Sequential(*block)] if draw(st.booleans()) else block
    modules += [nn.Flatten()]
    size = channels * height * width
    if draw(st.booleans()):
        modules += [linear(size, 5), nn.ReLU(), nn.Identity()]
        size = 5
    return nn.Sequential(*modules, linear(size, 3)), shape


@settings(max_examples=examples(80))
@given(models(), st.sampled_from(["fold", "layer"]))
def test_the_traced_network_computes_what_the_model_computes(case, pooling):
    model, shape = case
    obstacles = check(model, random_images(shape), pooling=pooling).obstacles
    if [f.found for f in obstacles] == ["gives the same output for every image, by its weights"]:
        with torch.no_grad():
            assert torch.equal(model.eval()(random_images(shape, 2)), torch.zeros(3, 3))
        return
    assert_traced_exactly(model, shape, pooling)


@pytest.mark.parametrize("pooling", ["fold", "layer"])
@pytest.mark.parametrize(
    "pool, padding",
    [
        (2, 1),
        (3, 1),
        (nn.AvgPool2d(3, 2), 0),
        (nn.AvgPool2d(3, 2), 1),
        (nn.AvgPool2d(2, 3), 1),
        (nn.AvgPool2d((1, 2)), (0, 1)),
    ],
)
@pytest.mark.parametrize("size", [(8, 8), (9, 7)])
def test_pooling_before_a_convolution(pool, padding, size, pooling):
    pool = nn.AvgPool2d(pool) if isinstance(pool, int) else pool
    features = nn.Sequential(conv(2, 3, 3, padding=1), nn.ReLU(), pool, conv(3, 4, (2, 3), padding=padding), nn.ReLU())
    outputs = features(torch.zeros(1, 2, *size)).numel()
    assert_traced_exactly(nn.Sequential(*features, nn.Flatten(), linear(outputs, 3)), (2, *size), pooling)


def test_folding_leaves_no_layer_where_it_is_exact():
    layers = [
        conv(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        conv(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
    ]
    named = zip(("conv1", "relu1", "pool1", "conv2", "relu2", "pool2"), layers, strict=True)
    model = nn.Sequential(OrderedDict(named, flatten=nn.Flatten(), dense=linear(16, 10)))
    assert len(assert_traced_exactly(model, (1, 8, 8), "fold").layers) == 3
    assert [layer.name for layer in assert_traced_exactly(model, (1, 8, 8), "layer")] == [
        "conv1",
        "pool1",
        "conv2",
        "pool2",
        "dense",
    ]


def test_a_pooling_that_cannot_be_folded_becomes_a_layer_and_is_reported():
    # Pooling 7 pixels by 2 leaves one pixel out, where the padding's zeros would have to be.
    model = nn.Sequential(
        conv(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2), conv(2, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), linear(18, 2)
    )
    network = assert_traced_exactly(model, (1, 7, 7), "fold")
    assert [layer.name for layer in network] == ["0", "2", "3", "6"]
    assert "2 cannot be folded" in network["3"].record["pooling"]


def test_a_pooling_that_would_make_an_enormous_matrix_becomes_a_layer_and_is_reported(monkeypatch):
    model = nn.Sequential(conv(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), linear(32, 3))
    monkeypatch.setattr(maps, "LARGEST_MATRIX", 3 * 128)
    folded = assert_traced_exactly(model, (1, 8, 8), "fold")
    assert [layer.name for layer in folded] == ["0", "4"] and folded["4"].synapses[0].weight.shape == (3, 128)
    # One element more than the limit. The weights themselves are not limited.
    monkeypatch.setattr(maps, "LARGEST_MATRIX", 3 * 128 - 1)
    kept = assert_traced_exactly(model, (1, 8, 8), "fold")
    assert [layer.name for layer in kept] == ["0", "2", "4"] and kept["4"].synapses[0].weight.shape == (3, 32)
    assert (
        kept["4"].record["pooling"]
        == "2 would make an enormous matrix of the next layer's weights and is a layer of its own"
    )
    (finding,) = [f for f in check(model, np.zeros((2, 1, 8, 8), np.float32)).findings if f.where == "2"]
    assert finding.severity == "information" and finding.remedy.startswith(
        "a layer of its own: it would make an enormous"
    )
    # Neurons cannot hold negative values, so this is folded whatever its size.
    signed = nn.Sequential(conv(1, 2, 1), nn.AvgPool2d(2), nn.Flatten(), linear(32, 3))
    assert len(assert_traced_exactly(signed, (1, 8, 8), "fold").layers) == 1


def test_poolings_one_after_the_other_and_before_everything():
    model = nn.Sequential(
        nn.AvgPool2d(2), conv(1, 2, 1), nn.ReLU(), nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Flatten(), linear(8, 2)
    )
    assert_traced_exactly(model, (1, 16, 16), "fold")
    assert_traced_exactly(model, (1, 16, 16), "layer")


class Reading(nn.Module):
    """A pooling that two convolutions, or a convolution and an addition, read."""

    def __init__(self, pool: nn.Module, adds: bool) -> None:
        super().__init__()
        self.first, self.pool, self.adds = conv(1, 2, 1), pool, adds
        self.a, self.b, self.last = conv(2, 2, 3, padding=1), conv(2, 2, 3, padding=1), nn.LazyLinear(2, bias=False)

    def forward(self, x):
        x = self.pool(torch.relu(self.first(x)))
        other = x if self.adds else torch.relu(self.b(x))
        return self.last(torch.relu(self.a(x) + other).flatten(1))


@pytest.mark.parametrize("adds", [True, False])
@pytest.mark.parametrize(("pool", "pooling"), [(nn.AvgPool2d(2), "layer"), (nn.AvgPool2d(3, 2, 1), "fold")])
def test_a_pooling_that_two_branches_read_is_one_population(adds, pool, pooling):
    torch.manual_seed(0)
    model = Reading(pool, adds)
    model(torch.rand(1, 1, 8, 8))
    network = assert_traced_exactly(model, (1, 8, 8), pooling)
    assert names(network) == ["first", "pool", *["b"] * (not adds), "a", "last"]
    report = check(model, np.zeros((2, 1, 8, 8), np.float32), pooling=pooling)
    # Reported once. (In the addition the same pooling is folded as well.)
    remedies = [f.remedy for f in report.findings if f.where == "pool" and f.severity == "information"]
    assert len([text for text in remedies if text.startswith("a layer of its own")]) == 1


def test_names_of_arguments_that_numpy_has():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = conv(1, 2, 3), conv(1, 2, 3), linear(4, 2)

        def forward(self, x):
            both = torch.cat((torch.relu(self.a(x)), torch.relu(self.b(x))), axis=1)
            return self.c(both.mean(axis=(2, 3), keepdims=True).flatten(1))

    assert_traced_exactly(Named(), (1, 6, 6))


def test_a_module_used_twice_is_two_layers():
    torch.manual_seed(0)
    shared, relu = conv(2, 2, 3, padding=1), nn.ReLU()
    model = nn.Sequential(shared, relu, shared, relu, nn.Flatten(), linear(32, 2))
    network = assert_traced_exactly(model, (2, 4, 4), "fold")
    assert [layer.name for layer in network] == ["0", "2", "5"]


def test_nested_modules_keep_their_names():
    model = nn.Sequential(
        nn.Sequential(conv(1, 4, 1), nn.Sequential(nn.ReLU(), conv(4, 4, 1))), nn.ReLU(), nn.Flatten(), linear(64, 2)
    )
    network = assert_traced_exactly(model, (1, 4, 4), "fold")
    assert [layer.name for layer in network] == ["0.0", "0.1.1", "3"]


def test_features_without_height_and_width():
    assert_traced_exactly(nn.Sequential(linear(6, 4), nn.ReLU(), linear(4, 2)), (6,), "fold")


def test_the_read_out():
    model = nn.Sequential(linear(6, 4), nn.ReLU(), linear(4, 2))
    source = make_input("poisson", (6,))
    assert trace(model, source, readout="potential").output.neurons.reset == "none"
    assert trace(model, source, readout="count").output.neurons.reset == "soft"


def test_conv_is_traced_with_all_its_options():
    module = nn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, bias=False)
    model = nn.Sequential(module, nn.ReLU(), nn.Flatten(), linear(6 * 4 * 3, 2))
    network = assert_traced_exactly(model, (4, 6, 7), "fold")
    first = network.layers[0].synapses[0]
    assert isinstance(first, Conv) and (first.stride, first.padding, first.dilation, first.groups) == (
        (2, 1),
        (1, 0),
        (1, 2),
        2,
    )


# Other architectures


FOREIGN = {
    "ResNet": (lambda: ResNet(BasicBlock), (3, 8, 8)),
    "pre-activation ResNet": (lambda: ResNet(PreActivationBlock), (3, 9, 9)),
    "shortcut without weights": (OptionA, (3, 8, 8)),
    "depthwise separable": (mobilenet_v1, (3, 9, 9)),
    "linear bottlenecks": (MobileNetV2, (3, 16, 16)),
    "VGG with batch normalisation": (vgg_bn, (3, 16, 16)),
    "DenseNet": (DenseNet, (3, 8, 8)),
    "shuffled channels": (Shuffle, (3, 8, 8)),
    "called three times": (Twice, (3, 8, 8)),
    "normalised input": (Normalised, (3, 8, 8)),
    "by export": (Asking, (3, 8, 8)),
}


@pytest.mark.parametrize("pooling", ["fold", "layer"])
@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_networks(name, pooling):
    torch.manual_seed(0)
    build, shape = FOREIGN[name]
    assert_traced_exactly(settle(build()), shape, pooling)


def test_residual_blocks_keep_the_names_of_their_convolutions():
    network = assert_traced_exactly(settle(ResNet()), (3, 8, 8))
    blocks = [f"layer{i}.{j}.conv{k}" for i in (1, 2) for j in (0, 1) for k in (1, 2)]
    assert names(network) == ["conv1", *blocks, "bn", "fc"]
    sources = {s.source: s for s in network["layer1.0.conv2"].synapses}
    assert set(sources) == {"layer1.0.conv1", "conv1"}
    identity = sources["conv1"]  # one weight of 1 for each channel
    assert identity.groups == 4 and identity.weight.shape == (4, 1, 1, 1) and (identity.weight == 1).all()
    assert {s.source for s in network["layer2.0.conv2"].synapses} == {"layer2.0.conv1", "layer1.1.conv2"}


def test_a_layer_called_three_times_is_three_populations():
    model = Twice()
    network = assert_traced_exactly(model, (3, 8, 8))
    assert names(network) == ["conv", "conv#2", "conv#3", "linear"]
    assert all(
        np.array_equal(network[n].synapses[0].weight, network["conv"].synapses[0].weight) for n in names(network)[:3]
    )
    (finding,) = (f for f in check(model, random_images((3, 8, 8))).information if "3 times" in f.found)
    assert finding.where == "conv" and "copied" in finding.remedy


def test_clips_are_kept_and_reported():
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU6(), nn.Flatten(), nn.Linear(108, 8), nn.Hardtanh(0, 0.25), nn.Linear(8, 4), nn.ReLU(),
        nn.Linear(4, 2),
    )  # fmt: skip
    with torch.no_grad():
        model[0].weight *= 30
    network = assert_traced_exactly(model, (1, 8, 8))
    assert [layer.clip for layer in network] == [6.0, 0.25, None, None]
    found = [f.where for f in check(model, random_images((1, 8, 8))).information if "clipped" in f.found]
    assert found == ["1", "4"]


def test_normalisation_inside_gives_biases_of_their_own_to_the_border():
    network = assert_traced_exactly(Normalised(), (3, 8, 8))
    bias = network["conv1"].neurons.bias
    assert bias.shape == (4, 8, 8) and len(np.unique(bias[0, 2:-2, 2:-2].round(5))) == 1
    assert abs(bias[0, 0, 0] - bias[0, 4, 4]) > 1e-3
    assert assert_traced_exactly(NormalisedUnpadded(), (3, 8, 8))["conv1"].neurons.bias.shape == (4,)


class NormalisedUnpadded(Normalised):
    def __init__(self):
        super().__init__(padding=0)
        self.linear = nn.Linear(4 * 4, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).to(dtype)
    report = check(settle(model), random_images((1, 8, 8)))
    assert report.convertible
    assert any(str(dtype).removeprefix("torch.") in f.found for f in report.information)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        expected = copy.deepcopy(model).float()(random_images((1, 8, 8), 2))
    assert_traced_exactly(model, (1, 8, 8), expected=expected)
    assert all(torch.equal(before[k], v) and v.dtype == before[k].dtype for k, v in model.state_dict().items())


def test_double_precision():
    model = settle(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).double())
    expected = model(random_images((1, 8, 8), 2).double()).detach()
    assert_traced_exactly(model, (1, 8, 8), expected=expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_on_a_gpu():
    model = settle(ResNet())
    expected = model(random_images((3, 8, 8), 2)).detach()
    model.cuda()
    assert_traced_exactly(model, (3, 8, 8), expected=expected)
    assert all(p.is_cuda for p in model.parameters())


def test_nothing_in_the_model_is_changed():
    model = settle(ResNet())
    model.train()
    model.layer1[0].bn1.eval()  # frozen by the user
    modes = [m.training for m in model.modules()]
    before = copy.deepcopy(model.state_dict())
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    check(model, random_images((3, 8, 8)))
    trace(model, make_input("current", (3, 8, 8)))
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes


class Counting(nn.Module):
    """Counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.linear(x)


def test_buffers_are_put_back():
    model = Counting()
    trace(model, make_input("current", (4,)))
    assert model.calls == 0


class InPlace(nn.Module):
    """Changes `x` in place by a function, by an operator, and through a view."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3, padding=1), nn.Linear(108, 2)

    def forward(self, x):
        x = self.first(x)
        flat = x.flatten(1)
        kept = x
        functional.relu(x, True)
        y = functional.relu(self.second(x))
        y += kept
        x *= 0.5
        return self.last(y.flatten(1)) + self.last(flat)


def test_changes_in_place_reach_every_name_of_a_tensor():
    torch.manual_seed(3)
    assert_traced_exactly(InPlace(), (1, 8, 8))


class Decorated(nn.Conv2d):
    """A convolution whose forward is not PyTorch's: it standardises its weights."""

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(x, weight / weight.std(), self.bias, self.stride, self.padding)


def test_weights_are_read_as_they_act():
    torch.manual_seed(0)
    parametrized = nn.utils.parametrizations.weight_norm(nn.Linear(36, 8))
    with torch.no_grad():
        parametrized.parametrizations.weight.original0 *= 3
    model = nn.Sequential(
        Decorated(1, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), parametrized, nn.ReLU(), nn.Linear(8, 2)
    )
    network = assert_traced_exactly(model, (1, 8, 8))
    assert names(network) == ["0", "4", "6"]
    assert not np.allclose(network["0"].synapses[0].weight, model[0].weight.detach().numpy())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_weight_norm_by_hooks_and_pruning():
    linear = nn.utils.weight_norm(nn.Linear(6, 4))
    with torch.no_grad():
        linear.weight_g *= 2  # weight itself is stale now
    pruned = nn.Linear(4, 2)
    prune.random_unstructured(pruned, "weight", 0.5)
    network = assert_traced_exactly(nn.Sequential(linear, nn.ReLU(), pruned), (6,))
    assert np.count_nonzero(network.output.synapses[0].weight) == 4


@pytest.mark.parametrize("where", ["network", "layer", "input of a layer"])
def test_hooks_act_in_the_traced_network_too(where):
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    if where == "input of a layer":
        model[2].register_forward_pre_hook(lambda module, inputs: (inputs[0] * 2 + 1,))
    else:
        (model if where == "network" else model[0]).register_forward_hook(lambda module, inputs, output: output * 2 + 1)
    assert_traced_exactly(model, (4,))


def test_wrappers_are_taken_off():
    model = settle(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    assert names(trace(nn.DataParallel(model), make_input("current", (4,)))) == ["0", "2"]


# torch.export


def test_networks_that_fx_cannot_follow_keep_their_names():
    report = check(settle(Asking()), random_images((3, 8, 8)))
    assert report.convertible
    assert names(trace(settle(Asking()), make_input("current", (3, 8, 8)))) == ["conv1", "conv2", "head.2"]


@pytest.mark.parametrize("build, shape", [(vgg_bn, (3, 16, 16)), (ResNet, (3, 8, 8)), (Shuffle, (3, 8, 8))])
def test_a_program_from_a_file(tmp_path, build, shape):
    torch.manual_seed(0)
    model = settle(build())
    torch.export.save(torch.export.export(model, (torch.rand(2, *shape),), strict=False), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2")
    network = trace(program, make_input("current", shape), random_images(shape))
    with torch.no_grad():
        found, expected = AnalogNetwork(network)(random_images(shape, 2)), model(random_images(shape, 2))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    assert names(network) == names(trace(model, make_input("current", shape)))
    assert names(network) == names(trace(program, make_input("current", shape)))  # the program is as it was


def test_a_program_of_one_image(tmp_path):
    model = settle(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)))
    program = torch.export.export(model, (torch.rand(1, 1, 8, 8),), strict=False)
    assert len(trace(program, make_input("current", (1, 8, 8)), random_images((1, 8, 8))).layers) == 2


# Random graphs


@st.composite
def graphs(draw):
    """Blocks of convolutions, batch normalisation, pooling, additions and concatenations, with any activation order."""

    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts, self.plan, channels = nn.ModuleList(), [], 2
            for _ in range(draw(st.integers(1, 4))):
                kind = draw(st.sampled_from(["plain", "residual", "concat", "pool", "pre", "shortcut", "depthwise"]))
                groups = channels if kind == "depthwise" else 1
                conv = nn.Conv2d(channels, channels, 3, 1, 1, groups=groups, bias=draw(st.booleans()))
                norm = nn.BatchNorm2d(channels) if draw(st.booleans()) else nn.Identity()
                relu = draw(st.sampled_from([nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()]))
                one = nn.Conv2d(channels, channels, 1)
                self.parts.append(nn.ModuleList([conv, norm, relu, one]))
                self.plan.append(kind)
                channels *= 2 if kind == "concat" else 1
            self.channels = channels
            self.last = nn.Linear(channels, 3)

        def forward(self, x):
            for kind, (conv, norm, relu, one) in zip(self.plan, self.parts, strict=True):
                if kind == "residual":
                    x = relu(norm(conv(x)) + x)
                elif kind == "concat":
                    x = relu(torch.cat([x, norm(conv(x))], 1))
                elif kind == "pool":
                    x = functional.avg_pool2d(relu(norm(conv(x))), 2, 1)
                elif kind == "pre":
                    x = relu(x + conv(relu(norm(x))))
                elif kind == "shortcut":
                    y = norm(conv(x))
                    y += one(x)
                    x = relu(y)
                else:
                    x = relu(norm(conv(x)))
            return self.last(x.mean((2, 3)))

    torch.manual_seed(draw(st.integers(0, 1000)))
    return settle(Graph())


@settings(max_examples=examples(40))
@given(graphs(), st.sampled_from(["fold", "layer"]))
def test_random_graphs(model, pooling):
    with torch.no_grad():
        one, other = model.eval()(random_images((2, 7, 6), 2)[:2])
    assume(not torch.equal(one, other))  # ReLUs that are all silent are refused
    assert_traced_exactly(model, (2, 7, 6), pooling)


# torchvision


def torchvision_models():
    try:
        import torchvision.models as models
    except (ImportError, RuntimeError) as error:  # built for another PyTorch
        pytest.skip(f"torchvision does not load: {error}")
    return models


TORCHVISION = {
    "alexnet": 64, "vgg11_bn": 32, "resnet18": 64, "squeezenet1_1": 64, "googlenet": 64, "densenet121": 32,
    "shufflenet_v2_x0_5": 64, "mobilenet_v2": 32, "regnet_x_400mf": 32,
}  # fmt: skip
"""The names of networks, converted as they are, and sides of their images."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name):
    torch.manual_seed(0)
    size = TORCHVISION[name]
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model = settle(getattr(torchvision_models(), name)(num_classes=10, **options)).eval()
    images, others = random_images((3, size, size))[:2], random_images((3, size, size), 2)[:2]
    network = trace(model, make_input("current", (3, size, size)), images)
    with torch.no_grad():
        found, expected = AnalogNetwork(network)(others), model(others)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    del model, network
    gc.collect()  # modules and graphs refer to each other, and AlexNet's weights alone are 230 MB
