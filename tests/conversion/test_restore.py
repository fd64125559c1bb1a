"""Back from integers: what they stand for, against sums in numpy, the rates of long runs, and the network they came from."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from strategies import make_images, networks, seeds
from torch import nn

import rmp_lava
from rmp_lava.conversion.analog import AnalogNetwork, activations
from rmp_lava.conversion.restore import restore
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import ConversionError, UsageError
from rmp_lava.network import INPUT, Companion, Conv, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.sources.companions import save_with_ann
from rmp_lava.sources.models import load_trained
from rmp_lava.training.checkpoint import save_checkpoint
from rmp_lava.training.models import digits_cnn


def integers(readout: str = "potential", encoding: str = "current", reset: str = "soft") -> SpikingNetwork:
    """A residual graph with a bias; names that no PyTorch module path has."""
    rng = np.random.default_rng(5)

    def whole(*shape: int) -> np.ndarray:
        return 2 * rng.integers(-20, 28, shape)

    layers = (
        Layer(
            "first",
            (4, 5, 5),
            (Conv(INPUT, whole(4, 3, 3, 3), padding=(1, 1)),),
            Neurons(5000 if encoding == "current" else 90, reset, 77),
        ),
        Layer(
            "sum",
            (4, 5, 5),
            (Conv("first", whole(4, 4, 1, 1)), Conv("first", whole(4, 1, 3, 3), padding=(1, 1), groups=4)),
            Neurons(120, reset, 60, bias=np.array([700, -300, 0, 90]), bias_exponent=7),
            activation_scale=2.0,
            clip=3.0,
        ),
        Layer("out", (6,), (Dense("sum", whole(6, 100)),), Neurons(300, "none" if readout == "potential" else reset)),
    )
    source = make_input(encoding, (3, 5, 5), 63 if encoding == "current" else None)
    return SpikingNetwork(
        "integers", source, layers, "integer", readout, tuple("abcdef"), output_scale=0.1, dataset="x"
    )


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).random((count, 3, 5, 5), dtype=np.float32)


def test_activations_are_rates_times_thresholds():
    """By hand, for layers of one position."""
    layers = (
        Layer("a", (2,), (Dense(INPUT, np.array([[10, -4], [2, 6]])),), Neurons(500, bias=np.array([64, 0]))),
        Layer("b", (1,), (Dense("a", np.array([[30, -50]])),), Neurons(40, bias=np.array([3]), bias_exponent=7)),
        Layer(
            "c", (2,), (Dense("b", np.array([[5], [-7]])), Dense("a", np.array([[1, 0], [0, 1]]))), Neurons(9, "none")
        ),
    )
    network = SpikingNetwork("hand", make_input("current", (2,), 100), layers, "integer", "potential", output_scale=0.5)
    restored = restore(network)
    for x in ((0.2, 0.1), (0.9, 0.4), (0.0, 0.0), (0.1, 1.0)):
        # A bias is in 1/64 of a weight unit, shifted by its exponent.
        a = np.clip([1000 * x[0] - 400 * x[1] + 64, 200 * x[0] + 600 * x[1]], 0, 500) / 500
        b = np.clip(30 * a[0] - 50 * a[1] + 3 * 2, 0, 40) / 40
        found = AnalogNetwork(restored)(torch.tensor([x])).detach().numpy()[0]
        np.testing.assert_allclose(found, [(5 * b + a[0]) / 2, (-7 * b + a[1]) / 2], rtol=1e-5, atol=1e-5)


def test_activations_are_in_trained_units_where_these_are_known():
    restored = restore(integers())
    assert restored["sum"].clip == pytest.approx(2.0) and restored["first"].clip == 5000
    network = integers()
    known = network.replace(layers=(network.layers[0].replace(activation_scale=0.5), *network.layers[1:]))
    assert restore(known)["first"].clip == pytest.approx(0.5)
    one, other = (AnalogNetwork(restore(each))(torch.from_numpy(images(3))) for each in (network, known))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("encoding", ["current", "rate"])
@pytest.mark.slow
def test_rates_of_many_steps_approach_the_activations(encoding):
    network, steps, shown = integers(encoding=encoding), 4000, images(6)
    if encoding == "current":
        shown = np.rint(shown * 63) / np.float32(63)
    result = rmp_lava.run(network, shown, steps, record=("counts",))
    restored = restore(network)
    for samples, name, activation in activations(restored, shown):
        if restored[name].neurons.reset == "none":
            continue
        wanted = activation.numpy() / restored[name].clip
        rates = result.neuron_counts[name][samples] / steps
        assert 0.1 < (wanted > 0.02).mean() and np.abs(rates - wanted).max() < 0.02, name


def by_hand(network: SpikingNetwork, shown: np.ndarray) -> dict[str, np.ndarray]:
    """Rates without time, from the integers in float64: what comes in, divided by the threshold, between 0 and 1."""
    levels = network.input.levels if network.input.encoding == "current" else 1
    rates = {INPUT: levels * shown.astype(np.float64)}
    for layer in network:
        sums = np.zeros((len(shown), *layer.shape))
        if layer.neurons.bias is not None:
            sums += layer.neurons.bias_per_neuron(layer.shape) * 2.0 ** (layer.neurons.bias_exponent - 6)
        for synapse in layer.synapses:
            weight = torch.tensor(synapse.weight, dtype=torch.float64) * 2**synapse.exponent
            source = torch.from_numpy(rates[synapse.source])
            if isinstance(synapse, Dense):
                sums += (source.flatten(1) @ weight.T).numpy()
                continue
            options = (synapse.stride, synapse.padding, synapse.dilation, synapse.groups)
            sums += nn.functional.conv2d(source, weight, None, *options).numpy()
        if layer is network.output:
            sums -= network.output_offset / 64
        rates[layer.name] = sums if layer is network.output else np.clip(sums / layer.neurons.threshold, 0, 1)
    return rates


@given(st.data(), seeds)
def test_every_network_is_restored_as_its_integers_say_or_refused(data, seed):
    network = data.draw(networks(integer=True, leaky=data.draw(st.booleans())))
    network = network.replace(output_scale=0.03)
    own_input = network.input.neurons != make_input(network.input.encoding, network.input.shape).neurons
    if network.input.encoding == "spikes" or own_input or any(layer.neurons.is_leaky for layer in network):
        with pytest.raises(UsageError):
            restore(network)
        return
    restored = restore(network)
    assert [(layer.name, [s.source for s in layer.synapses]) for layer in restored] == [
        (layer.name, [s.source for s in layer.synapses]) for layer in network
    ]
    shown = make_images(network, 2, 1, seed)
    expected = by_hand(network, shown)
    for _, name, activation in activations(restored, shown):
        last = name == network.output.name
        unit = 0.03 / (network.output.neurons.threshold if network.readout == "count" else 1) if last else 1
        wanted = expected[name] * (unit if last else restored[name].clip)
        np.testing.assert_allclose(activation.numpy(), wanted, rtol=1e-3, atol=1e-3 * max(1, np.abs(wanted).max()))
    # The passes after it take it as it is, without what its weights keep from ever mattering.
    try:
        traced = trace(AnalogNetwork(restored), restored.input, shown)
    except ConversionError as error:
        assert "gives the same output for every image" in str(error)  # noqa: PT017 - not every network is refused
        return
    same, different = (AnalogNetwork(each)(torch.from_numpy(shown)).detach() for each in (traced, restored))
    torch.testing.assert_close(same, different, rtol=1e-4, atol=1e-4 * float(different.abs().max()))
    assert {layer.name for layer in traced} <= {layer.name for layer in restored}


def test_converting_again_gives_the_integers_again():
    """Thresholds at the clip, no correction: the result represents the same rates, in the finest integers possible."""
    network = integers()
    again = rmp_lava.convert(AnalogNetwork(restore(network)), images(32), steps=8, method="paper", encoding="current")
    quantised = again.integer
    for layer, old in zip(quantised, network, strict=True):
        assert layer.name == old.name
        if layer.neurons.reset == "none":
            continue
        levels = quantised.input.largest_message / network.input.largest_message if layer is quantised.layers[0] else 1
        for new_synapse, old_synapse in zip(layer.synapses, old.synapses, strict=True):
            ratio = layer.neurons.threshold / old.neurons.threshold / levels
            assert np.abs(new_synapse.shifted_weight - ratio * old_synapse.shifted_weight).max() <= 1.01 + 0.01 * ratio


@pytest.mark.slow
def test_outputs_are_in_units_of_the_trained_network():
    """Otherwise a softmax of them would be meaningless."""
    model = Small().eval()
    digits = np.random.default_rng(0).random((32, 1, 8, 8), dtype=np.float32)
    logits = model(torch.from_numpy(digits)).detach().numpy()
    for readout in ("potential", "count"):
        network = rmp_lava.convert(model, digits, steps=32, readout=readout).integer
        restored = AnalogNetwork(restore(network))(torch.from_numpy(digits)).detach().numpy()
        assert np.abs(restored - logits).max() < 0.1 * np.abs(logits).max()
        again = rmp_lava.convert(AnalogNetwork(restore(network)), digits, steps=4, readout=readout).floating
        assert again.readout == readout and again.class_names == ()


def test_nothing_of_earlier_measurements_is_kept():
    network = integers()
    log = {"stages": [], "tune": [], "dataset": "x"}
    network = network.replace(provenance=log, companions=(Companion("ann", "a", "0"),), balanced_steps=8)
    restored = restore(network)
    assert dict(restored.provenance) == {"dataset": "x"} and restored.dataset == "x"
    assert (restored.stage, restored.companions, restored.balanced_steps) == ("analog", (), None)


def test_without_an_output_scale_sums_are_in_weight_units():
    network = integers("potential")
    known, unknown = restore(network), restore(network.replace(output_scale=None))
    ratio = known.output.synapses[0].weight / unknown.output.synapses[0].weight
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: restore(n), "is in floating point, with nothing to restore"),
        (lambda n: n.replace(input=make_input("spikes", (3, 5, 5))), "takes spikes, which represent no activations"),
        (lambda n: n.replace(input=Input((3, 5, 5), "rate", 100, Neurons(200))), "through input neurons of its own"),
        (
            lambda n: n.map_layers(
                lambda layer: (
                    layer.replace(neurons=Neurons(90, "hard", current_decay=4096, voltage_decay=30))
                    if layer.name == "sum"
                    else layer
                )
            ),
            "layers sum have neurons with decays",
        ),
    ],
)
def test_what_cannot_be_restored_says_why(change, words):
    network = integers() if "spikes" not in words else integers(encoding="poisson")
    with pytest.raises(UsageError, match=words):
        restore(change(network))


def test_a_read_out_that_spikes_is_restored_as_sums():
    shown = torch.from_numpy(images(3))
    counting, summing = (AnalogNetwork(restore(integers(readout)))(shown) for readout in ("count", "potential"))
    torch.testing.assert_close(counting * 300, summing)  # the threshold, of which a spike is one


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.dense = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(96, 10)

    def forward(self, x):
        return self.dense(nn.functional.avg_pool2d(torch.relu(self.conv(x)), 2).flatten(1))


@pytest.mark.slow
def test_a_net_is_a_target_that_converts_again(tmp_path):
    digits = np.random.default_rng(0).random((64, 1, 8, 8), dtype=np.float32)
    network = rmp_lava.convert(Small(), digits, steps=8).integer
    rmp_lava.save(network.replace(dataset="digits"), tmp_path / "a.net")
    before = (tmp_path / "a.net").read_bytes()
    target = load_trained(str(tmp_path / "a.net"))
    assert (target.kind, target.dataset, target.shape) == ("net", "digits", (1, 8, 8))
    kept = save_with_ann(network, tmp_path / "b.net", target)
    assert "ann" not in kept.files and "it was restored from a.net" in " ".join(kept.left_out)
    command = [sys.executable, "-m", "rmp_lava"]
    call = lambda *arguments: subprocess.run([*command, *arguments], capture_output=True, text=True)  # noqa: E731
    few = ("--calibration", "20", "--validation", "30")
    done = call("convert", str(tmp_path / "a.net"), "--steps", "4", "--reset", "hard", "--pooling", "fold", *few)
    assert done.returncode == 0 and "restored ANN" in done.stdout, done.stderr
    again = rmp_lava.load(tmp_path / "a-again.net")
    assert [layer.name for layer in again] == [layer.name for layer in network]
    assert again.provenance["restored_from"] == "a.net" and again.layers[0].neurons.reset == "hard"
    for arguments, words in (
        (("check", str(tmp_path / "a.net")), "is converted already; `rmp-lava info"),
        (("convert", str(tmp_path / "a.net"), "--output", str(tmp_path / "a.net")), "is the input file"),
    ):
        done = call(*arguments)
        assert done.returncode == 2 and words in done.stderr.splitlines()[-1]
    assert (tmp_path / "a.net").read_bytes() == before


def test_the_trained_network_next_to_a_net_is_the_better_source(tmp_path):
    save_checkpoint(tmp_path / "d.pt", model_name="digits-cnn", model=digits_cnn().eval(), metadata={})
    digits = np.random.default_rng(0).random((8, 1, 8, 8), dtype=np.float32)
    target = load_trained(str(tmp_path / "d.pt"))
    save_with_ann(rmp_lava.convert(target.model, digits, steps=4).integer, tmp_path / "a.net", target)
    with pytest.raises(UsageError, match="is stored next to it, without rounding errors; take that, .*a.ann.pt"):
        load_trained(str(tmp_path / "a.net"))
    # Weights alone need their function, which may be lost.
    network = rmp_lava.load(tmp_path / "a.net")
    rmp_lava.save(
        network.replace(companions=tuple(replace(c, builder="mine:net") for c in network.companions)),
        tmp_path / "a.net",
    )
    with pytest.raises(UsageError, match="take that, mine:net --weights .*a.ann.pt, or move .*a.ann.pt away"):
        load_trained(str(tmp_path / "a.net"))
    (tmp_path / "a.ann.pt").unlink()
    assert load_trained(str(tmp_path / "a.net")).kind == "net"
