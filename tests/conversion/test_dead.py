"""Synapses and populations that carry nothing are left out, and what is left computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from foreign_models import settle
from hypothesis import given, settings, strategies as st
from profiles import examples
from torch import nn
from torch.nn import functional

from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.trace import trace
from rmp_lava.conversion.tracing.dead import alive, reached
from rmp_lava.encoding import make_input
from rmp_lava.errors import ConversionError
from rmp_lava.network import Conv, Dense, Layer, Neurons, SpikingNetwork

IMAGES = np.random.default_rng(0).random((20, 1, 6, 6), dtype=np.float32)


class Residual(nn.Module):
    """A stem, a residual branch of two convolutions with batch normalisation, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.norm_a = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.b, self.norm_b, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(144, 5)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        branch = self.norm_b(self.b(functional.relu(self.norm_a(self.a(x)))))
        return self.head(functional.relu(x + branch).flatten(1))


def zero(*tensors: torch.Tensor) -> None:
    for tensor in tensors:
        tensor.data.zero_()


DEAD = {
    "the last gamma of the branch": (lambda m: zero(m.norm_b.weight), ["stem", "b", "head"]),
    "a pruned convolution whose ReLU is always active": (
        lambda m: (zero(m.a.weight, m.a.bias, m.norm_a.running_mean), m.norm_a.bias.data.fill_(0.3)),
        ["stem", "b", "head"],
    ),
    "a pruned convolution whose ReLU is never active": (
        lambda m: (zero(m.a.weight, m.a.bias, m.norm_a.running_mean), m.norm_a.bias.data.fill_(-0.3)),
        ["stem", "b", "head"],
    ),
    "a bias that no input outweighs": (lambda m: m.norm_a.bias.data.fill_(-100), ["stem", "b", "head"]),
    "a bias that an input could outweigh": (lambda m: m.norm_a.bias.data.fill_(-0.2), ["stem", "a", "b", "head"]),
}


@pytest.mark.parametrize("what", DEAD)
def test_a_dead_branch_is_left_out_exactly_and_the_network_runs(what):
    change, names = DEAD[what]
    torch.manual_seed(0)
    model = settle(Residual())
    change(model)
    assert check(model, IMAGES).convertible
    network = trace(model, make_input("current", (1, 6, 6)), IMAGES)
    assert [layer.name for layer in network] == names
    assert all(synapse.weight.any() for layer in network for synapse in layer.synapses)
    with torch.no_grad():
        expected, found = model(torch.from_numpy(IMAGES)), AnalogNetwork(network)(torch.from_numpy(IMAGES))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert convert(model, IMAGES, steps=4).integer.is_integer


def test_what_is_left_out_is_reported():
    torch.manual_seed(0)
    model = settle(Residual())
    zero(model.norm_b.weight)
    found = {(f.where, f.found) for f in check(model, IMAGES).information}
    assert ("b", "has only zero weights from 'a'") in found and ("a", "does not reach the output") in found


def test_a_network_whose_output_does_not_depend_on_the_image_is_refused():
    model = settle(Residual())
    zero(model.head.weight)
    (obstacle,) = check(model, IMAGES).obstacles
    assert obstacle.where == "model" and "the same output for every image" in obstacle.found
    with pytest.raises(ConversionError, match="load its trained weights"):
        convert(model, IMAGES)
    layers = (Layer("a", (3,), (Dense("input", np.zeros((3, 4), np.float32)),), Neurons(1.0, "none")),)
    analog = AnalogNetwork(SpikingNetwork("n", make_input("current", (4,)), layers, "analog", "potential"))
    with pytest.raises(ConversionError, match="the network that it was made from"):
        trace(analog, make_input("current", (4,)))


@st.composite
def networks(draw):
    """Analog networks of convolutions and a dense layer, with random zero synapses, biases, clips and paddings."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    sources, layers = {"input": (2, 5, 5)}, []
    for name in ("a", "b", "c"):
        synapses = []
        for source in draw(st.lists(st.sampled_from(sorted(sources)), min_size=1, max_size=2, unique=True)):
            weight = rng.normal(size=(4, sources[source][0], 3, 3)).astype(np.float32) * draw(
                st.sampled_from([0, 0, 1])
            )
            synapses.append(Conv(source, weight, padding=(1, 1)))
        shape = draw(st.sampled_from([(4,), (4, 5, 5)]))
        neurons = Neurons(1.0, bias=(rng.normal(size=shape) + draw(st.sampled_from([-60, 0]))).astype(np.float32))
        clip = draw(st.sampled_from([None, 0.5, rng.random(4)]))
        layers.append(Layer(name, (4, 5, 5), tuple(synapses), neurons, clip=None if clip is None else np.array(clip)))
        sources[name] = (4, 5, 5)
    weights = {source: rng.normal(size=(3, int(np.prod(shape)))) for source, shape in sources.items()}
    read = draw(st.lists(st.sampled_from(sorted(sources)), min_size=1, max_size=3, unique=True))
    head = tuple(Dense(source, weights[source].astype(np.float32)) for source in read)
    return (*layers, Layer("head", (3,), head, Neurons(1.0, "none")))


@settings(max_examples=examples(100))
@given(networks())
def test_layers_without_what_is_dead_compute_the_same(layers):
    source, found = make_input("current", (2, 5, 5)), alive(layers, (2, 5, 5))
    images = torch.rand(4, 2, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = AnalogNetwork(SpikingNetwork("n", source, layers, "analog", "potential"))(images)
    if not found.layers[-1].synapses:
        bias = found.layers[-1].neurons.bias
        assert torch.allclose(expected, torch.zeros(3) if bias is None else torch.from_numpy(np.array(bias)), atol=1e-3)
        return
    left = SpikingNetwork("n", source, reached(found.layers), "analog", "potential")
    assert all(synapse.weight.any() for layer in left for synapse in layer.synapses)
    torch.testing.assert_close(AnalogNetwork(left)(images), expected, rtol=1e-4, atol=1e-3)
