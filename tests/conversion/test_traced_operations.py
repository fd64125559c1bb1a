"""One operation at a time is traced as it computes, and said as it was done."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st
from profiles import examples
from torch import nn
from torch.nn import functional
from traced import assert_program_traced, assert_traced_exactly, random_images

from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.check import check


@pytest.fixture(autouse=True)
def seeded():
    """Weights that are the same in every run, as a few small layers may be dead by chance."""
    torch.manual_seed(5)


class Functional(nn.Module):
    """A convolution with ReLU, any function, and a linear layer."""

    def __init__(self, function, shape):
        super().__init__()
        self.conv, self.function = nn.Conv2d(2, 4, 3, padding=1), function
        with torch.no_grad():
            size = function(torch.zeros(2, 4, *shape)).flatten(1).shape[1]
        self.linear = nn.Linear(size, 3)

    def forward(self, x):
        return self.linear(self.function(self.conv(x).relu()).flatten(1))


FUNCTIONS = {
    "mean": lambda x: x.mean((2, 3)),
    "mean of mean": lambda x: x.mean(-1).mean(-1),
    "mean over one axis": lambda x: x.mean(3),
    "mean keeping axes": lambda x: torch.mean(x, (-2, -1), keepdim=True).squeeze(-1).squeeze(-1),
    "sum": lambda x: x.sum((2, 3)),
    "padded pooling": lambda x: functional.avg_pool2d(x, 3, 2, 1),
    "pooling with a divisor": lambda x: functional.avg_pool2d(x, (2, 1), divisor_override=5),
    "ceil_mode where it changes nothing": lambda x: functional.avg_pool2d(x, 2, ceil_mode=True),
    "adaptive": lambda x: functional.adaptive_avg_pool2d(x, (2, None)),
    "adaptive enlargement": lambda x: functional.adaptive_avg_pool2d(functional.avg_pool2d(x, (6, 8)), (3, 5)),
    "identity": lambda x: x.clone().contiguous().detach(),
    "constants": lambda x: 1.5 - (2 * x + torch.arange(4.0).view(1, 4, 1, 1)) / -3 + 0.5,
    "a picture of constants": lambda x: x - torch.arange(48.0).view(6, 8) / 50,
    "gain by pixel, then flat": lambda x: x.flatten(1) * torch.arange(192.0),
    "pad": lambda x: functional.pad(x, (1, 2, 0, 1)),
    "crop": lambda x: functional.pad(x, (-1, 0, -2, -1)),
    "slices": lambda x: x[:, 1:3, 1:, ::3],
    "chunks": lambda x: torch.cat([x.chunk(4, 1)[i] for i in (3, 0, 1, 1)], dim=1),
    "split and add": lambda x: torch.add(*x.split([2, 2], dim=1), alpha=0.5),
    "concatenation": lambda x: torch.cat([x, functional.avg_pool2d(x, 3, 1, 1), -x], 1),
    "flat concatenation": lambda x: torch.cat([x.flatten(1), x.mean((2, 3)), 2 * x.flatten(1)], 1),
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "transposed image": lambda x: x.transpose(2, 3).reshape(x.shape[0], -1),
    "broadcast addition": lambda x: (x.mean((2, 3), keepdim=True).expand(-1, -1, 6, 8)).flatten(1),
    "dtype and back": lambda x: x.double().float(),
    "relu again": lambda x: functional.relu(functional.relu(x)),
    "clamp": lambda x: torch.clamp(x - 0.2, min=0).clamp(0, 0.3),
    "ceiling after a ReLU": lambda x: torch.relu(x - 0.2).clamp(max=0.3),
    "minimum with a tensor": lambda x: torch.minimum(torch.tensor(0.3), torch.relu(x - 0.2)),
    "min with a full tensor": lambda x: torch.min(torch.relu(x - 0.2), torch.full((4, 1, 8), 0.3)),
    "ceiling, and the values below it": lambda x: (lambda y: y + y.clamp(max=0.3))(torch.relu(x - 0.2)),
    "sum with itself": lambda x: x + x,
    "batch norm": lambda x: functional.batch_norm(
        x, torch.arange(4.0), torch.ones(4) * 2, torch.arange(4.0), torch.ones(4)
    ),
    "constant matrix": lambda x: x.flatten(1) @ torch.linspace(-1, 1, 192 * 5).view(192, 5),
}


@pytest.mark.parametrize("pooling", ["fold", "layer"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name, pooling):
    torch.manual_seed(0)
    assert_traced_exactly(Functional(FUNCTIONS[name], (6, 8)), (2, 6, 8), pooling)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_by_export(name):
    torch.manual_seed(0)
    assert_program_traced(Functional(FUNCTIONS[name], (6, 8)), (2, 6, 8))


class Ceiling(nn.Module):
    """A ReLU, any function of its activations, and a dense layer; all weights are multiples of 1/16."""

    def __init__(self, function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.function, self.dense = nn.Conv2d(1, 3, 3), function, nn.Linear(48, 4)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_((48 * parameter).round() / 16)

    def forward(self, x):
        return self.dense(self.function(functional.relu(self.conv(x))).flatten(1))


CEILINGS = {
    "clamp": lambda x: x.clamp(max=0.5),
    "clamp on both sides": lambda x: x.clamp(0, 0.5),
    "clamp in place": lambda x: x.clamp_(max=0.5),
    "minimum": lambda x: torch.minimum(x, torch.tensor(0.5)),
    "minimum, constant first": lambda x: torch.minimum(torch.full((3, 4, 4), 0.5), x),
    "min": lambda x: torch.min(x, torch.tensor([0.5])),
    "method": lambda x: x.min(torch.tensor(0.5)),
    "twice": lambda x: x.clamp(max=0.5).clamp(max=0.75),
    "lower one last": lambda x: functional.relu6(x).clamp(max=0.5),
    "after a view": lambda x: x.flatten(1).clamp(max=0.5),
    "unclipped values that nothing reads": lambda x: (functional.relu(x + 1), x.clamp(max=0.5))[1],
    "before two readers": lambda x: (lambda y: y + functional.relu(y - 0.125))(x.clamp(max=0.5)),
}


@pytest.mark.parametrize("name", CEILINGS)
def test_a_ceiling_after_a_relu_clips_the_relu(name):
    model = Ceiling(CEILINGS[name])
    network = assert_traced_exactly(model, (1, 6, 6))
    assert len(network.layers) == 2 + (name == "before two readers")
    assert network["conv"].clip == 0.5
    images = (random_images((1, 6, 6)) * 16).round() / 16  # every sum is exact in float32
    with torch.no_grad():
        expected = functional.relu(model.conv(images)).clamp(max=0.5)
        found = {module.layer.name: value for module, _, value in AnalogNetwork(network).walk(images)}["conv"]
        assert torch.equal(AnalogNetwork(network)(images), model(images))
    assert (expected == 0.5).any() and (expected < 0.5).any()
    assert torch.equal(found.reshape(expected.shape), expected)
    clips = [f for f in check(model, images).information if "clipped at 0.5" in f.found]
    assert clips and all("in layer 'conv'" in f.remedy for f in clips)


READ_TWICE = {
    "by an addition": lambda x: x + x.clamp(max=0.5),
    "by another ReLU": lambda x: x.clamp(max=0.5) + functional.relu(x - 0.25),
    "by another ceiling": lambda x: x.clamp(max=0.5) + x.clamp(max=0.25),
}


@pytest.mark.parametrize("name", READ_TWICE)
def test_a_ceiling_is_a_layer_of_its_own_where_the_unclipped_activations_are_read_too(name):
    network = assert_traced_exactly(Ceiling(READ_TWICE[name]), (1, 6, 6))
    assert len(network.layers) == 3 + (name != "by an addition")
    assert network["conv"].clip is None and network.layers[1].clip == 0.5


def test_a_ceiling_on_the_input_is_a_layer():
    model = nn.Sequential(nn.Hardtanh(0, 0.5), nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    assert [layer.clip for layer in assert_traced_exactly(model, (6,))] == [0.5, None, None]


@settings(max_examples=examples(60))
@given(
    first=st.tuples(
        st.integers(1, 4), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2), st.sampled_from([1, 2, 4])
    ),
    second=st.tuples(st.integers(1, 3), st.integers(1, 2), st.just(0), st.integers(1, 2), st.sampled_from([1, 2, 4])),
    size=st.tuples(st.integers(9, 12), st.integers(9, 12)),
)
def test_two_convolutions_without_a_relu_are_one(first, second, size):
    def any_conv(kernel, stride, padding, dilation, groups):
        return nn.Conv2d(4, 4, (kernel, max(1, kernel - 1)), stride, padding, dilation, groups)

    torch.manual_seed(0)
    model = nn.Sequential(any_conv(*first), any_conv(*second), nn.ReLU())
    try:
        one, other = model(random_images((4, *size), 2)[:2]).detach()
    except RuntimeError:
        return  # the kernel is larger than the first convolution's output
    assume(not torch.equal(one, other))  # ReLUs that are all silent are refused
    outputs = one.numel()
    network = assert_traced_exactly(nn.Sequential(*model, nn.Flatten(), nn.Linear(outputs, 2)), (4, *size))
    assert [layer.name for layer in network] == ["1", "4"]


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 4), (4, 5)])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_word(kernel, dilation, padding):
    model = nn.Sequential(nn.Conv2d(1, 2, kernel, padding=padding, dilation=dilation), nn.ReLU(), nn.Flatten())
    size = model(torch.zeros(1, 1, 11, 10)).numel()
    assert_traced_exactly(nn.Sequential(*model, nn.Linear(size, 2)), (1, 11, 10))


@pytest.mark.parametrize("padding", [(1, 0, 0, 0), (0, 1, 0, 2), (2, 0, 1, 3), (-1, 2, 1, -2)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_uneven_padding_before_a_convolution(padding, stride, dilation):
    model = nn.Sequential(
        nn.ZeroPad2d(padding), nn.Conv2d(1, 2, (3, 2), stride, dilation=dilation), nn.ReLU(), nn.Flatten()
    )
    size = model(torch.zeros(1, 1, 9, 8)).numel()
    network = assert_traced_exactly(nn.Sequential(*model, nn.Linear(size, 2)), (1, 9, 8))
    assert len(network.layers) == 2


def test_endings():
    features = [nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = assert_traced_exactly(nn.Sequential(*features), (1, 8, 8))
    assert len(network.layers) == 2 and network.output.synapses[0].groups == 3
    network = assert_traced_exactly(nn.Sequential(*features), (1, 8, 8), "layer")
    assert len(network.layers) == 2
    network = assert_traced_exactly(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (4,))
    assert len(network.layers) == 2 and np.array_equal(network.output.synapses[0].weight, np.eye(3))


def test_biases_are_as_small_as_they_can_be():
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 2, bias=False))
    network = assert_traced_exactly(model, (1, 8, 8))
    assert network["0"].neurons.bias.shape == (3,) and network["3"].neurons.bias is None


def test_what_does_not_reach_the_output_is_left_out():
    class Auxiliary(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.unused, self.last = nn.Linear(4, 3), nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            x = self.first(x).relu()
            self.unused(x).relu()
            return self.last(x)

    network = assert_traced_exactly(Auxiliary(), (4,))
    assert [layer.name for layer in network] == ["first", "last"]
    report = check(Auxiliary(), random_images((4,)))
    assert [f.where for f in report.information if "output" in f.found] == ["unused"]
