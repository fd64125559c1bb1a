"""From a PyTorch network to the same spikes everywhere: residual, branched and depthwise networks, and those of the zoo."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from foreign_models import DenseNet, mobilenet_v1, settle
from hypothesis import given, strategies as st
from strategies import Case, assert_same_run, make_images, networks, seeds
from torch import nn

import rmp_lava
from rmp_lava.backends import Lava, Reference, fast, run
from rmp_lava.backends.lava import simulator
from rmp_lava.conversion.analog import AnalogNetwork, activations
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import METHODS, Balancing
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.scale import scale_synapses, set_threshold
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Conv, SpikingNetwork
from rmp_lava.schedule import schedule
from rmp_lava.training.models import MODELS

STEPS = 4
BALANCED_FOR = 32
FOREIGN = {"depthwise": (mobilenet_v1, (3, 8, 8)), "concatenation": (DenseNet, (3, 8, 8))}
BUILT = [(name, norm) for name in ("vgg16-cifar", "resnet20-cifar") for norm in (False, True)]
WIDE = [(name, norm) for name in ("vgg16-imagenet", "resnet34-imagenet") for norm in (False, True)]
ALL = [
    *BUILT,
    *((name, True) for name in FOREIGN),
    *(pytest.param(*each, marks=pytest.mark.slow) for each in WIDE),
]


@cache
def model(name: str, batch_norm: bool) -> nn.Module:
    """An untrained network of few channels with statistics of images in its batch normalisation, so that outputs differ."""
    torch.manual_seed(0)
    options = {"width": 1 / 16, "batch_norm": batch_norm} if name not in FOREIGN and MODELS[name].options else {}
    built = FOREIGN[name][0]() if name in FOREIGN else MODELS[name].build(**options)
    settle(built).train()
    for module in built.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.reset_running_stats()
            module.momentum = None  # averages from now on
    with torch.no_grad():
        built(torch.from_numpy(images(name)))
    return built.eval()


@cache
def images(name: str) -> np.ndarray:
    """Blobs, since a deep network does not distinguish images of pixel noise."""
    channels, height, width = FOREIGN[name][1] if name in FOREIGN else MODELS[name].input_shape
    coarse = np.random.default_rng(0).random((8, channels, 4, 4), dtype=np.float32)
    return coarse.repeat(height // 4, axis=2).repeat(width // 4, axis=3)


@cache
def balanced(name: str, batch_norm: bool, method: str, steps: int = BALANCED_FOR) -> SpikingNetwork:
    # A layer of DenseNet reads the image as well as other layers, which needs spikes.
    options = {"encoding": "rate"} if name == "concatenation" else {}
    if method == "paper":
        options["alpha"] = 0.3  # otherwise no spike reaches the last of 20 layers in few steps
    else:
        options["v_init"] = "half"  # the best value for untrained networks lets some layers fire only after these steps
    return convert(model(name, batch_norm), images(name), steps=steps, method=method, **options).floating


@cache
def integer(name: str, batch_norm: bool, method: str) -> SpikingNetwork:
    # Networks of ImageNet's size take seconds with 8 steps, and three times as long with 32.
    return quantize(balanced(name, batch_norm, method, 8 if name.endswith("imagenet") else BALANCED_FOR))


@pytest.mark.parametrize(("name", "batch_norm"), ALL)
def test_every_network_of_the_zoo_converts_and_folding_keeps_its_outputs(name, batch_norm):
    trained, some = model(name, batch_norm), images(name)
    assert check(trained, some[:1]).obstacles == ()
    network = trace(trained, make_input("current", some.shape[1:]), some[:1])
    with torch.no_grad():
        expected, found = (each(torch.from_numpy(some)).numpy() for each in (trained, AnalogNetwork(network)))
    assert np.abs(found - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 1e-3  # outputs that depend on the images


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("name", "batch_norm"), ALL)
@pytest.mark.slow
def test_converted_network_keeps_its_spikes_in_a_file_and_on_every_backend(name, batch_norm, method, tmp_path):
    network = integer(name, batch_norm, method)
    rmp_lava.save(network, tmp_path / "a.net")
    loaded = rmp_lava.load(tmp_path / "a.net")
    assert loaded == network
    case = Case(loaded, images(name)[:2], STEPS)
    reference = case.run("reference")
    assert_same_run(case.run("fast"), reference)
    # A read-out whose total is read seldom spikes.
    spiking = [layer.name for layer in network if not (layer is network.output and network.integrates)]
    if method == "low-latency":
        assert all(reference.spike_counts[layer] for layer in spiking)
    else:
        assert reference.spike_counts[spiking[0]]


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["native", "stock"])
@pytest.mark.parametrize("name", ["resnet20-cifar", *FOREIGN])
def test_lava_agrees_with_the_reference(name, implementation):
    case = Case(integer(name, True, "low-latency"), images(name)[:2], STEPS)
    assert_same_run(case.run(Lava(implementation)), case.run(Reference(implementation)))


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_graph_for_a_board_gives_the_spikes_of_backend_fast(name):
    """Every network of the zoo with stock neurons, a power-of-two period, relays, and the delays of I/O adapters."""
    real = balanced(name, True, "low-latency")
    network = quantize(real, ranges=run(real, images(name), STEPS).potential_ranges)  # potentials do not overflow
    some, plan = images(name)[:2], schedule(network, STEPS, blank=1, power_of_two=True)
    record = ("spikes", "potentials", "counts")
    expected = fast.run(network, some, plan, record=record)
    found = simulator.run(network, some, plan, Lava("stock", time_limit=600), adapters=True, record=record)
    assert plan.period == 8 and not any(found.boundary_spikes.values())
    assert_same_run(found, expected)


# Properties of balancing, on random graphs


@st.composite
def analog_networks(draw) -> SpikingNetwork:
    """Random graphs in analog form, with residual sums and concatenations: layers with synapses from several sources."""
    network = draw(networks(integer=False, encodings=("current",), resets=("soft",), max_layers=5))
    last = network.output
    last = last.replace(neurons=last.neurons.replace(reset="none", v_init=0.0))
    source = make_input("current", network.input.shape)
    return network.replace(input=source, layers=(*network.layers[:-1], last), readout="potential")


def by_channel(value, shape: tuple[int, ...]) -> np.ndarray:
    value = np.asarray(value, np.float64)
    return value.reshape(-1, *[1] * (len(shape) - 1)) if value.ndim else value


def reach(synapse, source: np.ndarray) -> np.ndarray:
    """|W| times (*source shape) numbers, (*target shape)."""
    weight, source = torch.from_numpy(np.abs(synapse.shifted_weight).astype(np.float64)), torch.from_numpy(source)
    if isinstance(synapse, Conv):
        return nn.functional.conv2d(
            source[None], weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups
        )[0].numpy()
    return (weight @ source.flatten()).numpy()


@given(analog_networks(), st.sampled_from([1, 2, 7, 64, 400]), st.booleans(), seeds)
def test_rates_are_within_a_few_spikes_of_the_activations_however_many_steps(network, steps, channelwise, seed):
    """Rates, and the read-out's potential per step, converge to the activations as 1 / T.

    Take a neuron that starts at half its threshold, with an input up to step t of t z within an error D, z at most its
    threshold. Its spikes times its threshold are max(0, t z) within D + threshold / 2: before its last spike it was above
    the threshold, and so in every step since it was last below. D is the sum of |W| times these errors of the sources;
    images in current encoding have none.
    """
    some = make_images(network, 3, 1, seed)
    how = Balancing("activation", percentile=100.0, v_init="half", channelwise=channelwise)
    balanced = balance(network, some, steps, how)
    result = run(balanced, some, steps, "reference", record=("counts",))
    errors = {INPUT: np.zeros(network.input.shape)}
    largest = max(1.0, *(float(values.abs().max()) for _, _, values in activations(network, some)))
    for _, name, values in activations(network, some):
        layer = network[name]
        errors[name] = sum(reach(synapse, errors[synapse.source]).reshape(layer.shape) for synapse in layer.synapses)
        if layer.neurons.reset == "none":
            found = result.output.reshape(values.shape) * balanced.output_scale
        else:
            value = by_channel(balanced[name].activation_scale, layer.shape)
            found = result.neuron_counts[name] * value
            errors[name] = errors[name] + value / 2
        off = np.abs(found / steps - values.numpy())
        assert (off <= errors[name] / steps + 1e-5 * largest).all(), name


@given(analog_networks(), st.booleans(), st.booleans(), seeds)
def test_activation_scales_leave_what_relus_compute(network, by_channels, half, seed):
    """With any activation scales, rates (ReLU over threshold) times scale are the activations."""
    rng = np.random.default_rng(seed)
    values = {
        layer.name: np.exp(rng.normal(size=layer.shape[:1] if by_channels and len(layer.shape) == 3 else ()))
        for layer in network.layers[:-1]
    }
    values = {name: np.asarray(value) for name, value in values.items()}
    layers = []
    for layer in network:
        layer = scale_synapses(layer, values)
        if layer.name in values:
            layer = set_threshold(layer, values[layer.name], reset="soft", share=0.5 if half else 0.0)
            assert layer.neurons.v_init == (layer.neurons.threshold / 2 if half else 0)
        layers.append(layer)
    scaled = AnalogNetwork(network.replace(layers=tuple(layers)))
    for module in scaled.layers[:-1]:
        module.activation = lambda sums, threshold=module.layer.neurons.threshold: sums.relu() / threshold
    some = make_images(network, 3, 1, seed)
    expected = {name: each.numpy() for _, name, each in activations(network, some)}
    for _, name, rates in activations(scaled, some):
        found = rates.numpy() * by_channel(values.get(name, 1.0), network[name].shape)
        scale = max(1.0, *(float(np.abs(each).max()) for each in expected.values()))
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-4 * scale, err_msg=name)
