"""The analog network computes what PyTorch computes, for every graph of a spiking network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from strategies import make_images, networks, seeds
from torch import nn

from rmp_lava.conversion.analog import AnalogNetwork, activations
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import DataError, UsageError
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork

ENCODINGS = ("poisson", "rate", "current")


def model() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 4, (3, 1), stride=(1, 2), padding=(2, 0), dilation=(2, 1), groups=2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 4 * 2, 7, bias=False),
        nn.ReLU(),
        nn.Linear(7, 5, bias=False),
    ).eval()


def branched(bias_shapes=((), (4,), (4, 5, 5))) -> SpikingNetwork:
    """A residual graph with a clipped layer, one bias of each shape, and a layer that reads the input late."""
    rng = np.random.default_rng(0)
    real = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    layers = (
        Layer("a", (4, 5, 5), (Conv(INPUT, real(4, 3, 3, 3), padding=(1, 1)),), _biased(real, bias_shapes[0])),
        Layer(
            "b",
            (4, 5, 5),
            (Conv("a", real(4, 1, 3, 3), padding=(1, 1), groups=4), Conv(INPUT, real(4, 3, 1, 1))),
            _biased(real, bias_shapes[1]),
            clip=0.75,
        ),
        Layer(
            "c", (4, 5, 5), (Conv("b", real(4, 4, 1, 1)), Conv("a", real(4, 4, 1, 1))), _biased(real, bias_shapes[2])
        ),
        Layer("d", (6,), (Dense("c", real(6, 100)), Dense("a", real(6, 100))), Neurons(1.0, "none", bias=real(6))),
    )
    return SpikingNetwork("branched", make_input("current", (3, 5, 5)), layers, "analog", "potential")


def _biased(real, shape):
    return Neurons(1.0, bias=np.float32(0.3) if shape == () else real(*shape))


def by_hand(network: SpikingNetwork, images: np.ndarray) -> dict[str, np.ndarray]:
    """The definition, neuron by neuron and in float64, without PyTorch's convolutions."""
    values = {INPUT: images.astype(np.float64)}
    for layer in network:
        total = np.zeros((len(images), *layer.shape))
        for synapse in layer.synapses:
            total += _dense(synapse, values[synapse.source], layer.shape)
        bias = layer.neurons.bias_per_neuron(layer.shape)
        total += 0 if bias is None else bias
        if layer.neurons.reset != "none":
            total = np.clip(total, 0, np.inf if layer.clip is None else layer.clip)
        values[layer.name] = total
    return values


def _dense(synapse, source, shape):
    if isinstance(synapse, Dense):
        return source.reshape(len(source), -1) @ synapse.weight.astype(np.float64).T
    (ph, pw), (sh, sw), (dh, dw) = synapse.padding, synapse.stride, synapse.dilation
    padded = np.pad(source, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    c_out, c_in, kh, kw = synapse.weight.shape
    out = np.zeros((len(source), *shape))
    for c, y, x in np.ndindex(*shape):
        first = c // (c_out // synapse.groups) * c_in
        window = padded[:, first : first + c_in, y * sh : y * sh + dh * (kh - 1) + 1 : dh]
        window = window[..., x * sw : x * sw + dw * (kw - 1) + 1 : dw]
        out[:, c, y, x] = (window * synapse.weight[c]).sum(axis=(1, 2, 3))
    return out


def collected(network, images, batch=32) -> dict[str, np.ndarray]:
    found: dict[str, list] = {}
    for _, name, values in activations(network, images, batch=batch):
        found.setdefault(name, []).append(values.numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


@pytest.mark.parametrize("pooling", ["fold", "layer"])
def test_traced_model_gives_its_own_logits_and_activations(pooling):
    original, images = model(), torch.rand(9, 3, 8, 8)
    network = trace(original, make_input("current", (3, 8, 8)), pooling=pooling)
    with torch.no_grad():
        torch.testing.assert_close(AnalogNetwork(network)(images), original(images), rtol=1e-5, atol=1e-6)
        hidden = original[:5](images)
    np.testing.assert_allclose(collected(network, images.numpy())["3"], hidden.numpy(), rtol=1e-4, atol=1e-6)


@given(networks(integer=False, encodings=ENCODINGS, resets=("soft", "hard")), st.integers(1, 3), seeds)
def test_every_graph_computes_its_definition(network, batch, seed):
    images = make_images(network, 3, 1, seed)
    expected = by_hand(network, images)
    found = collected(network, images, batch)
    assert list(found) == [layer.name for layer in network]
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-3, err_msg=name)


def test_clip_biases_of_all_shapes_and_several_synapses():
    network, images = branched(), np.random.default_rng(1).random((5, 3, 5, 5), dtype=np.float32)
    expected, found = by_hand(network, images), collected(network, images)
    for name, values in found.items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert found["b"].max() == np.float32(0.75) and found["a"].max() > 0.75
    assert found["d"].min() < 0  # an integrating read-out has no ReLU
    assert found["c"].min() == 0


def test_stream_yields_slices_of_images_and_ends_with_a_smaller_batch():
    network = branched()
    images = np.random.default_rng(1).random((5, 3, 5, 5), dtype=np.float32)
    seen = [(samples, name, values.shape) for samples, name, values in activations(network, images, batch=2)]
    assert seen[:4] == [(slice(0, 2), n, (2, *network[n].shape)) for n in "abcd"]
    assert [s for s, name, _ in seen if name == "d"] == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_stream_holds_no_more_activations_than_the_graph_needs():
    """The activations of a full-width VGG-16 do not fit into memory for many images, so they must be freed."""
    import weakref

    rng = np.random.default_rng(0)
    layers = [Layer("l0", (8,), (Dense(INPUT, rng.normal(size=(8, 8))),), Neurons(1.0))]
    layers += [Layer(f"l{i}", (8,), (Dense(f"l{i - 1}", rng.normal(size=(8, 8))),), Neurons(1.0)) for i in range(1, 6)]
    network = SpikingNetwork("chain", make_input("current", (8,)), tuple(layers), "analog", "count")
    alive: list[weakref.ref] = []
    for _, _, values in activations(network, rng.random((4, 8), dtype=np.float32)):
        alive.append(weakref.ref(values))
        del values
        assert sum(ref() is not None for ref in alive) <= 2


def test_stream_leaves_gradients_of_its_caller_on():
    for _ in activations(branched(), np.zeros((1, 3, 5, 5), np.float32)):
        assert torch.is_grad_enabled()


def test_untouched_network_comes_back_equal_and_a_trained_one_with_its_weights():
    network = branched()
    analog = AnalogNetwork(network)
    assert analog.to_network() == network
    before = analog(torch.rand(2, 3, 5, 5))
    before.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in analog.parameters())
    with torch.no_grad():
        for parameter in analog.parameters():
            parameter -= 0.01 * parameter.grad
    trained = analog.to_network()
    images = np.random.default_rng(1).random((3, 3, 5, 5), dtype=np.float32)
    np.testing.assert_allclose(
        by_hand(trained, images)["d"], analog(torch.from_numpy(images)).detach().numpy(), rtol=1e-4, atol=1e-5
    )
    assert all(a.synapses[0].weight.shape == b.synapses[0].weight.shape for a, b in zip(trained, network, strict=True))
    assert trained != network and trained["b"].record == network["b"].record


@pytest.mark.parametrize(
    ("size", "conv"),
    [
        ((3, 1), {"shape": (3, 4, 2, 1), "stride": (3, 3), "padding": (0, 2), "dilation": (2, 1)}),
        ((2, 1), {"shape": (6, 1, 1, 1), "stride": (3, 3), "padding": (0, 2), "groups": 2}),
        ((6, 1), {"shape": (2, 3, 2, 1), "stride": (1, 2), "padding": (1, 1), "groups": 2}),
        ((4, 4), {"shape": (3, 2, 2, 2), "padding": (3, 2)}),
    ],
)
def test_windows_of_nothing_but_padding(size, conv):
    """PyTorch 2.3 crashes with a segmentation fault on the first three."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=conv.pop("shape")).astype(np.float32)
    conv = Conv(INPUT, weight, **conv)
    shape = (weight.shape[1] * conv.groups, *size)
    layer = Layer("a", conv.output_shape(shape), (conv,), Neurons(1.0, "none"))
    analog = AnalogNetwork(SpikingNetwork("padded", make_input("current", shape), (layer,), "analog", "potential"))
    images = torch.rand(2, *shape, requires_grad=True)
    found = analog(images)
    found.square().sum().backward()
    # In double precision, which PyTorch computes by another kernel.
    exact = torch.from_numpy(weight).double().requires_grad_()
    twin = images.detach().double().requires_grad_()
    expected = nn.functional.conv2d(twin, exact, None, conv.stride, conv.padding, conv.dilation, conv.groups)
    expected.square().sum().backward()
    torch.testing.assert_close(found.double(), expected.flatten(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(images.grad.double(), twin.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(analog.layers[0].weights[0].grad.double(), exact.grad, rtol=1e-4, atol=1e-4)


def test_invalid_arguments_are_refused():
    network = branched()
    images = np.zeros((2, 3, 5, 5), np.float32)
    with pytest.raises(DataError, match="images have shape"):
        activations(network, images[:, :2])
    with pytest.raises(UsageError, match="batch is 0; give an integer of at least 1"):
        activations(network, images, batch=0)
    with pytest.raises(DataError, match=r"the network takes \(samples, steps, 3, 5, 5\)"):
        activations(network.replace(input=make_input("spikes", (3, 5, 5))), images)
    whole = SpikingNetwork(
        "whole",
        make_input("poisson", (2,)),
        (Layer("a", (1,), (Dense(INPUT, np.array([[2, 4]])),), Neurons(5)),),
        "integer",
        "count",
    )
    with pytest.raises(UsageError, match="network 'whole' holds integers"):
        AnalogNetwork(whole)
