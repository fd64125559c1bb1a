"""Fine-tuning: what is trained is what the chip will do, and training is reproducible, resumable and improves accuracy."""

from __future__ import annotations

import functools
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from profiles import examples
from strategies import networks, seeds
from torch import nn
from torch.nn import functional

from rmp_lava import neuron
from rmp_lava.backends import run
from rmp_lava.conversion import spike_activations
from rmp_lava.conversion.activation_scales import least_error_scales
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.distillation import Learning
from rmp_lava.conversion.fake_quantize import attach_quantizers
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.spike_activations import ActivationScale, ClipFloor, Integrate, MeanOverTime
from rmp_lava.conversion.tunable import TunableNetwork
from rmp_lava.conversion.tune import Tuned, tune as tune_network
from rmp_lava.encoding import make_input
from rmp_lava.errors import CheckpointError, ConversionError, DataError, UsageError
from rmp_lava.hardware import load_profile
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.network.pooling import repeat_in_blocks
from rmp_lava.registers import to_weight_units
from rmp_lava.training.data import load
from rmp_lava.training.data.augment import PADDING, crop_flip

pytestmark = pytest.mark.usefixtures("one_thread")

LOIHI2 = load_profile("loihi2")


# ---- networks and what they compute


def residual(seed: int = 0) -> SpikingNetwork:
    """Convolutions with a residual sum, groups, a kernel of one sign, biases of each shape, an integrating read-out."""
    rng = np.random.default_rng(seed)

    def real(*shape, scale=1.0):
        return (scale * rng.normal(size=shape)).astype(np.float32)

    layers = (
        Layer("a.conv", (6, 6, 6), (Conv(INPUT, real(6, 2, 3, 3, scale=0.4), padding=(1, 1)),), Neurons(1.0)),
        Layer(
            "b",
            (6, 6, 6),
            (Conv("a.conv", real(6, 3, 3, 3, scale=0.3), padding=(1, 1), groups=2),),
            Neurons(1.0, bias=real(6, scale=0.1)),
        ),
        Layer(
            "c",
            (6, 3, 3),
            (
                Conv("b", real(6, 6, 2, 2, scale=0.3), stride=(2, 2)),
                Conv("a.conv", np.abs(real(6, 6, 1, 1, scale=0.2)), stride=(2, 2)),
            ),
            Neurons(1.0, bias=real(6, 3, 3, scale=0.1)),
        ),
        Layer("d", (5,), (Dense("c", real(5, 54, scale=0.4)),), Neurons(1.0, "none", bias=np.float32(0.05))),
    )
    return SpikingNetwork("residual", make_input("current", (2, 6, 6)), layers, "analog", "potential")


def as_spiking(network: SpikingNetwork, values: dict[str, float], output_peak: float = 0.0) -> SpikingNetwork:
    """The float spiking network of one in analog form: weights in their sources' spikes, neurons from half a threshold."""

    def change(layer):
        synapses = tuple(
            s.replace(weight=s.weight * np.float32(1 if s.source == INPUT else values[s.source]))
            for s in layer.synapses
        )
        if layer.neurons.reset == "none":
            return layer.replace(synapses=synapses, potential_peak=output_peak)
        value = values[layer.name]
        return layer.replace(synapses=synapses, neurons=layer.neurons.replace(threshold=value, v_init=value / 2))

    return network.map_layers(change)


def simulated(network: SpikingNetwork, images: np.ndarray, steps: int) -> np.ndarray:
    """Potential of the read-out after T local steps, by `rmp_lava.neuron` and PyTorch's float64 sums."""
    integer = network.is_integer
    messages = {INPUT: np.repeat(images.astype(np.float64)[None], steps, axis=0)}
    if integer:
        messages[INPUT] = np.rint(messages[INPUT] * network.input.levels)
    for layer in network:
        state = neuron.initial_state(layer.neurons, layer.shape, len(images), integer=integer)
        out = []
        for t in range(steps):
            total = sum(_sums(s, messages[s.source][t]) for s in layer.synapses)
            out.append(neuron.step(layer.neurons, state, total, integer=integer))
        messages[layer.name] = np.stack(out).astype(np.float64)
    return to_weight_units(state.v) if integer else state.v


def _sums(synapse, source: np.ndarray) -> np.ndarray:
    weight = torch.from_numpy(synapse.weight.astype(np.float64) * 2.0**synapse.exponent)
    source = torch.from_numpy(source)
    if isinstance(synapse, Dense):
        return functional.linear(source.flatten(1), weight).numpy()
    return functional.conv2d(
        source, weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups
    ).numpy()


# ---- neurons


@given(st.integers(1, 20), st.sampled_from([0.25, 0.75, 1.0, 3.0]), seeds)
def test_clip_floor_is_the_rate_of_a_neuron_with_constant_input(steps, value, seed):
    sums = (np.random.default_rng(seed).normal(size=(1, 200)) * value).astype(np.float32)
    neurons = Neurons(value, v_init=value / 2)
    state = neuron.initial_state(neurons, (200,), 1, integer=False)
    count = sum(neuron.step(neurons, state, sums, integer=False).astype(int) for _ in range(steps))
    # Within one step's rounding of a tie the two may differ.
    tie = np.abs(np.mod(sums / value * steps + 0.5, 1) - 0.5) > 0.5 - 1e-4
    rate = ClipFloor(ActivationScale(value), steps)(torch.from_numpy(sums)).detach().numpy()
    np.testing.assert_allclose(rate[~tie], (value * count / steps)[~tie], rtol=1e-6)


def test_input_exactly_at_the_threshold_does_not_spike():
    sums = torch.tensor([0.125, 0.126, 0.375, 0.376, 1.0, 5.0, -1.0])
    assert ClipFloor(ActivationScale(1.0), 4)(sums).tolist() == [0, 0.25, 0.25, 0.5, 1, 1, 0]


@pytest.fixture(params=["torch", "numba"])
def compiled(request, monkeypatch):
    """Neurons by PyTorch alone, or compiled."""
    if request.param == "torch":
        monkeypatch.setattr(spike_activations, "fused_neurons", None)
    elif spike_activations.fused_neurons is None:
        pytest.skip("needs numba")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 9), st.integers(0, 9), st.booleans(), seeds)
def test_unrolled_neurons_spike_as_defined(compiled, steps, wait, constant, seed):
    rng, wait = np.random.default_rng(seed), min(wait, steps)
    sums = (rng.integers(-40, 80, (1 if constant else steps, 3, 4)) / 32).astype(np.float32)  # sums of these are exact
    neurons = Neurons(0.75, v_init=0.375)
    state = neuron.initial_state(neurons, (4,), 3, integer=False)
    arriving = [*(sums[0 if constant else t] for t in range(steps)), *[np.zeros_like(sums[0])] * wait]
    for each in arriving[:wait]:
        state.v += each
    expected = [neuron.step(neurons, state, each, integer=False) for each in arriving[wait:]]
    found = Integrate(ActivationScale(0.75), steps, constant, wait)(torch.from_numpy(sums).flatten(0, 1)).detach()
    np.testing.assert_array_equal(found.unflatten(0, (steps, 3)).numpy(), 0.75 * np.stack(expected))


class _Triangle(torch.autograd.Function):
    @staticmethod
    def forward(ctx, excess):
        ctx.save_for_backward(excess)
        return (excess > 0).to(excess.dtype)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (1 - ctx.saved_tensors[0].abs()).clamp(min=0)


def test_gradient_through_time_is_that_of_the_loop_written_out(compiled):
    torch.manual_seed(0)
    sums = torch.randn(5, 3, 7).requires_grad_()
    weight = torch.randn(5, 3, 7)
    value = ActivationScale(0.8)
    (Integrate(value, 5, False)(sums.flatten(0, 1)).unflatten(0, (5, 3)) * weight).sum().backward()
    plain, log = sums.detach().clone().requires_grad_(), torch.zeros((), requires_grad=True)
    threshold = 0.8 * log.exp()
    potential, total = torch.tensor(0.5).expand(3, 7), 0
    for t in range(5):
        potential = potential + plain[t] / threshold
        spikes = _Triangle.apply(potential - 1)
        potential = potential - spikes
        total = total + (spikes * threshold * weight[t]).sum()
    total.backward()
    torch.testing.assert_close(sums.grad, plain.grad)
    torch.testing.assert_close(value.log_change.grad, log.grad)
    assert log.grad.abs() > 1e-3


@pytest.mark.parametrize("memory", ["contiguous", "channels last", "with gaps", "constant"])
def test_compiled_neurons_are_those_of_pytorch_for_every_memory_layout(memory, monkeypatch):
    pytest.importorskip("numba")
    random = torch.Generator().manual_seed(1)
    steps, samples, shape = 4, 3, (5, 24, 24)  # more neurons than a block of them
    sums = torch.randn(steps * samples, *shape, generator=random)
    weight = torch.randn(steps * samples, *shape, generator=random)
    if memory == "channels last":
        sums = sums.contiguous(memory_format=torch.channels_last)
    elif memory == "with gaps":
        sums = torch.randn(steps * samples, *shape, 2, generator=random)[..., 0]
    elif memory == "constant":
        sums = sums[:samples]
    found = []
    for module in (spike_activations.fused_neurons, None):
        monkeypatch.setattr(spike_activations, "fused_neurons", module)
        value, inputs = ActivationScale(0.7), sums.clone(memory_format=torch.preserve_format).requires_grad_()
        inputs = sums.detach().requires_grad_() if memory == "with gaps" else inputs
        out = Integrate(value, steps, memory == "constant")(inputs)
        (out * weight).sum().backward()
        found.append((out.detach(), inputs.grad.clone(), value.log_change.grad))
    assert torch.equal(found[0][0], found[1][0]) and 0.2 < (found[0][0] > 0).float().mean() < 0.8
    torch.testing.assert_close(found[0][1], found[1][1])
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-3)


def test_clip_floor_passes_gradients_between_zero_and_the_activation_scale_only():
    value = ActivationScale(2.0)
    sums = torch.tensor([-0.1, 0.3, 1.9, 2.1], requires_grad=True)
    ClipFloor(value, 4)(sums).sum().backward()
    assert sums.grad.tolist() == [0, 1, 1, 0]
    # 0.3 becomes 0.5, 1.9 becomes 2, 2.1 becomes 2: what rounding adds, and what is clipped, follows the scale.
    assert value.log_change.grad.item() == pytest.approx((0.5 - 0.3) + (2 - 1.9) + 2)


def test_read_out_is_the_mean_over_time():
    sums = torch.arange(12.0).reshape(6, 2)  # three steps of two images
    assert MeanOverTime(3)(sums).tolist() == [[4, 5], [6, 7]]


# ---- the grid


@given(
    networks(integer=False, encodings=("current",), resets=("soft",)),
    seeds,
    st.sampled_from(["stock", "free"]),
    st.sampled_from([40.0, 400.0]),
    st.sampled_from([1, 20, 1000]),
    st.sampled_from([8, 4]),
)
@settings(max_examples=examples(80))
def test_fake_quantised_numbers_are_those_of_quantize(network, seed, form, peak, larger, bits):
    """Weights of some synapses are up to `larger` times as large, so that quantize gives them exponents."""
    rng = np.random.default_rng(seed)
    nonzero = lambda w: np.where(np.any(w), w, w + np.float32(0.5)) * np.float32(larger ** rng.choice([0, 1]))  # noqa: E731
    network = network.map_layers(
        lambda layer: layer.replace(synapses=tuple(s.replace(weight=nonzero(s.weight)) for s in layer.synapses))
    )
    assume(all(len({s.source == INPUT for s in layer.synapses}) == 1 for layer in network))
    values = {layer.name: float(np.float32(rng.uniform(0.3, 3))) for layer in network}
    profile = LOIHI2.with_weight_bits(bits)
    try:
        whole = quantize(as_spiking(network, values, peak).replace(balanced_steps=8), profile, threshold_form=form)
    except ConversionError:
        assume(False)  # too little is left of a layer, which `test_quantize` covers
    analog = AnalogNetwork(network)
    attach_quantizers(analog, whole.input.levels, lambda n: 1.0 if n == INPUT else values[n], peak, 8, profile, form)
    for module, layer in zip(analog.layers, whole, strict=True):
        weights, bias = module.parameters_in_use()
        scale, levels = layer.record["scale"], layer.record["input_levels"]
        for synapse, weight in zip(layer.synapses, weights, strict=True):
            value = 1.0 if synapse.source == INPUT else values[synapse.source]
            found = weight.detach().numpy() * value * scale
            if found.shape != synapse.weight.shape:
                found = repeat_in_blocks(found, synapse.weight.shape[-1] // found.shape[-1])
            np.testing.assert_allclose(found, synapse.shifted_weight, rtol=1e-5, atol=1e-3)
        if bias is not None:
            offset = whole.output_offset if layer is whole.output else 0
            units = to_weight_units(layer.neurons.bias * 2.0**layer.neurons.bias_exponent - offset)
            np.testing.assert_allclose(bias.detach().numpy() * scale * levels, units, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_unrolled_network_computes_what_the_integer_network_does(steps):
    """All of it at once: levels of the image, 8-bit weights, biases, thresholds, every spike, the read-out.

    Its thresholds happen to be even; half of an odd one is rounded, half a weight unit that tuning does not know of.
    """
    network, values = residual(), {"a.conv": 0.8, "b": 0.9, "c": 1.3}
    images = np.random.default_rng(1).random((20, 2, 6, 6), dtype=np.float32)
    peak = 12.0
    whole = quantize(as_spiking(network, values, peak * steps), "loihi2")
    assert whole.input.levels < 255 and all(layer.neurons.threshold % 2 == 0 for layer in whole.layers[:-1])
    model = TunableNetwork(network, steps, values, peak, LOIHI2, "stock")
    assert model.levels == whole.input.levels
    model.use("spikes")
    output = whole.output.record
    scale = output["scale"] * output["input_levels"] * steps
    expected = simulated(whole, images, steps) / scale
    with torch.no_grad():
        found = model(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        for wait in range(1, steps if steps < 7 else 1):  # what the first layer gathers in 7 steps saturates
            model.use("spikes", wait)
            found = model(torch.from_numpy(images)).numpy()
            output = to_weight_units(run(whole.replace(wait=wait), images, steps, "reference").output)
            np.testing.assert_allclose(found, output / scale, rtol=1e-4, atol=1e-4)
        model.use("rates")
        waiting = run(whole.replace(wait=steps), images, steps)
        if steps < 7:
            reached = to_weight_units(waiting.output) / scale
            np.testing.assert_allclose(model(torch.from_numpy(images)).numpy(), reached, rtol=1e-4, atol=1e-4)
        assert not np.allclose(model(torch.from_numpy(images)).numpy(), expected, atol=1e-2) or steps == 1


def test_unrolled_network_without_rounding_is_the_float_definition():
    network, values = residual(3), {"a.conv": 0.75, "b": 1.0, "c": 1.25}
    images = np.random.default_rng(1).random((6, 2, 6, 6), dtype=np.float32)
    model = TunableNetwork(network, 5, values, 12.0, LOIHI2, "stock")
    model.use("spikes")
    for module in model.analog.layers:
        module.quantizer = None
    with torch.no_grad():
        found = model.analog(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, simulated(as_spiking(network, values), images, 5) / 5, rtol=1e-4, atol=1e-5)


# ---- activation scales and augmentation


def test_least_error_scale_beats_all_others():
    rng = np.random.default_rng(0)
    layer = Layer("a", (1,), (Dense(INPUT, np.eye(1, dtype=np.float32)),), Neurons(1.0))
    network = SpikingNetwork("one", make_input("current", (1,)), (layer,), "analog", "count")
    images = (rng.exponential(size=(3000, 1)) / 12).clip(0, 1).astype(np.float32)
    for steps in (2, 8):
        chosen = least_error_scales(AnalogNetwork(network), images, steps)["a"]

        def error(value, steps=steps):
            rounded = ClipFloor(lambda: torch.tensor(value), steps)(torch.from_numpy(images)).numpy()
            return ((rounded - images) ** 2).mean()

        assert error(chosen) < 1.02 * min(error(float(v)) for v in np.linspace(0.01, 1, 500))


def test_layer_without_activation_has_no_activation_scale():
    layer = Layer("a", (1,), (Dense(INPUT, -np.eye(1, dtype=np.float32)),), Neurons(1.0))
    network = SpikingNetwork("one", make_input("current", (1,)), (layer,), "analog", "count")
    with pytest.raises(ConversionError, match="layer 'a' has no positive activation"):
        least_error_scales(AnalogNetwork(network), np.ones((2, 1), np.float32), 4)


def test_crop_flip_gives_every_crop_and_both_directions_and_nothing_else():
    images = torch.arange(1, 2 * 5 * 6 + 1).reshape(1, 2, 5, 6).repeat(800, 1, 1, 1)
    padded = functional.pad(images[0], (PADDING,) * 4)
    possible = {}
    for top, left, flip in np.ndindex(2 * PADDING + 1, 2 * PADDING + 1, 2):
        crop = padded[:, top : top + 5, left : left + 6]
        possible[(crop.flip(2) if flip else crop).numpy().tobytes()] = (top, left, flip)
    changed = crop_flip(images, torch.Generator().manual_seed(0))
    assert changed.shape == images.shape and changed.dtype == images.dtype
    found = [possible[each.contiguous().numpy().tobytes()] for each in changed]
    assert len(set(found)) > 150  # of 162
    assert torch.equal(changed, crop_flip(images, torch.Generator().manual_seed(0)))
    assert not torch.equal(changed, crop_flip(images, torch.Generator().manual_seed(1)))


# ---- tuning


@functools.cache
def digits() -> tuple[SpikingNetwork, tuple, tuple]:
    """A trained network in analog form; (images, labels) for training and for validation."""
    data = load("digits")
    images, labels = torch.from_numpy(data.train_images), torch.from_numpy(data.train_labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(12):
            for chosen in torch.randperm(1000).split(50):
                optimizer.zero_grad()
                functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
                optimizer.step()
    w = [p.detach().numpy() for p in model.parameters()]
    layers = (
        Layer("conv1", (8, 8, 8), (Conv(INPUT, w[0], padding=(1, 1)),), Neurons(1.0, bias=w[1])),
        Layer("conv2", (16, 4, 4), (Conv("conv1", w[2], stride=(2, 2), padding=(1, 1)),), Neurons(1.0, bias=w[3])),
        Layer("dense1", (32,), (Dense("conv2", w[4]),), Neurons(1.0, bias=w[5])),
        Layer("dense2", (10,), (Dense("dense1", w[6]),), Neurons(1.0, "none", bias=w[7])),
    )
    network = SpikingNetwork("digits", make_input("current", (1, 8, 8)), layers, "analog", "potential")
    train = data.train_images[:1000], data.train_labels[:1000]
    return network, train, (data.train_images[1000:], data.train_labels[1000:])


def tune(network: SpikingNetwork, images, labels, steps, **options) -> Tuned:
    """The pass, with the fields of `Learning` among its options."""
    learning = {name: options.pop(name) for name in vars(Learning()) if name in options}
    return tune_network(network, images, labels, steps, Learning(**learning), **options)


def quick(**changed) -> SpikingNetwork:
    network, (images, labels), _ = digits()
    arguments = {"steps": 2, "dynamics": "rates", "epochs": 2, "batch_size": 100, "learning_rate": 1e-3, **changed}
    return tune(arguments.pop("network", network), images, labels, **arguments).network


def interrupt_after(epoch):
    def on_epoch(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return on_epoch


def accuracy(network: SpikingNetwork, steps: int) -> float:
    """Of the integer network, simulated by the definition, on validation images."""
    _, _, (images, labels) = digits()
    values = {layer.name: float(layer.activation_scale) for layer in network if layer.neurons.reset != "none"}
    outputs = simulated(quantize(as_spiking(network, values, 20.0 * steps), "loihi2"), images, steps)
    return float((outputs.argmax(axis=1) == labels).mean())


@pytest.mark.slow
def test_both_stages_help_the_integer_network_at_two_steps():
    network, _, validation = digits()
    values = least_error_scales(AnalogNetwork(network), digits()[1][0], 2)
    untuned = network.map_layers(lambda layer: layer.replace(activation_scale=values.get(layer.name)))
    rates = quick(epochs=6)
    seen = []
    spikes = quick(network=rates, dynamics="spikes", epochs=6, validation=validation, on_epoch=seen.append)
    before, middle, after = (accuracy(each, 2) for each in (untuned, rates, spikes))
    assert middle > before + 0.02 and after > before + 0.03 and after > 0.88
    assert seen[-1].validation_accuracy == pytest.approx(after, abs=0.005)


@pytest.mark.slow
def test_result_is_in_analog_form_and_logs_what_was_done():
    network, _, _ = digits()
    tuned = quick(epochs=1)
    again = quick(network=tuned, dynamics="spikes", epochs=1, learning_rate=1e-9)
    for layer in tuned:
        if layer.neurons.reset == "none":
            assert "threshold" not in layer.record
            continue
        value = float(layer.activation_scale)
        assert value == layer.clip == layer.neurons.threshold > 0 and layer.neurons.v_init == 0
        # A second tuning starts where the first one ended.
        assert again[layer.name].activation_scale == pytest.approx(value, rel=1e-6)
    assert tuned["conv1"].synapses[0].weight.shape == network["conv1"].synapses[0].weight.shape
    assert not np.array_equal(tuned["conv1"].synapses[0].weight, network["conv1"].synapses[0].weight)
    assert [entry["dynamics"] for entry in again.provenance["tune"]] == ["rates", "spikes"]
    assert len(again.provenance["tune"][0]["history"]) == 1 and again.provenance["tune"][0]["steps"] == 2


@pytest.mark.slow
def test_same_seed_gives_the_same_bits_whatever_the_caller_draws():
    torch.manual_seed(1)
    first = quick()
    before = torch.get_rng_state()
    assert quick() == first
    assert torch.equal(torch.get_rng_state(), before)
    assert quick(seed=1) != first


@pytest.mark.slow
@pytest.mark.parametrize("dynamics", ["rates", "spikes"])
def test_resumed_tuning_gives_the_bits_of_the_uninterrupted_one(tmp_path, dynamics):
    path = tmp_path / "a.pt"
    arguments = {"epochs": 3, "dynamics": dynamics, "augmentation": "crop-flip"}
    whole = quick(**arguments)
    for epoch in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            quick(**arguments, checkpoint_path=path, on_epoch=interrupt_after(epoch), resume=epoch > 1)
    assert quick(**arguments, checkpoint_path=path, resume=True) == whole
    assert quick(**arguments, checkpoint_path=path, resume=True) == whole  # nothing is left to do


@pytest.mark.slow
def test_history_includes_the_epochs_before_an_interruption(tmp_path):
    network, (images, labels), _ = digits()
    seen, arguments = [], {"dynamics": "rates", "epochs": 2, "batch_size": 100, "checkpoint_path": tmp_path / "a.pt"}

    def interrupt(record):
        seen.append(record)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(network, images, labels, 2, **arguments, on_epoch=interrupt)
    tuned = tune(network, images, labels, 2, **arguments, resume=True, on_epoch=seen.append)
    assert tuned.history == tuple(seen) and [record.epoch for record in seen] == [1, 2]


@pytest.mark.slow
def test_interruption_within_an_epoch_keeps_the_last_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "a.pt"
    quick(epochs=2, checkpoint_path=path)
    content = path.read_bytes()
    module = sys.modules["rmp_lava.conversion.distillation"]
    calls, checked = iter(range(1000)), module.check_finite

    def interrupted(*arguments):
        if next(calls) == 4:
            raise KeyboardInterrupt
        checked(*arguments)

    monkeypatch.setattr(module, "check_finite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(epochs=2, seed=5, checkpoint_path=path)
    assert path.read_bytes() == content


@pytest.mark.slow
def test_checkpoint_of_other_arguments_or_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    network, (images, labels), _ = digits()
    quick(epochs=1, checkpoint_path=path)
    go_on = {"checkpoint_path": path, "resume": True, "epochs": 1}
    with pytest.raises(UsageError, match="made with steps 2, but 3 was given"):
        quick(**go_on, steps=3)
    with pytest.raises(UsageError, match="made with another network"):
        quick(**go_on, network=quick(epochs=1))
    with pytest.raises(UsageError, match="made with another teacher, or without one"):
        quick(**go_on, teacher=network)
    with pytest.raises(UsageError, match="made with other images or labels"):
        tune(network, images[:-1], labels[:-1], 2, batch_size=100, learning_rate=1e-3, **go_on)
    good = torch.load(path, weights_only=True)
    for change in (
        {"history": []},
        {"optimizer": {}},
        {"state_dict": {}},
        {"state_dict": {name: tensor * torch.nan for name, tensor in good["state_dict"].items()}},
    ):
        torch.save(good | change, path)
        with pytest.raises(CheckpointError, match="damaged training state .*; start again"):
            quick(**go_on)
    torch.save(good | {"format": "rmp-lava-checkpoint"}, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of `tune`"):
        quick(**go_on)
    torch.save(good | {"format_version": 1}, path)
    with pytest.raises(CheckpointError, match="format version 1"):
        quick(**go_on)
    with pytest.raises(UsageError, match="give checkpoint_path"):
        quick(resume=True)


@pytest.mark.slow
def test_a_teacher_pulls_the_outputs_towards_its_own():
    network, (images, _), _ = digits()
    halved = network.map_layers(  # half as sure as the labels ask for
        lambda layer: layer.replace(
            synapses=tuple(s.replace(weight=s.weight / 2) for s in layer.synapses)
            if layer.name == "dense2"
            else layer.synapses
        )
    )

    @torch.no_grad()
    def distance(tuned):
        wanted, found = (AnalogNetwork(each)(torch.from_numpy(images)).log_softmax(dim=1) for each in (halved, tuned))
        return float(functional.kl_div(found, wanted, reduction="batchmean", log_target=True))

    taught, alone = quick(epochs=4, teacher=halved), quick(epochs=4)
    assert distance(taught) < distance(alone) / 2
    assert taught.provenance["tune"][0]["teacher"] is not None and alone.provenance["tune"][0]["teacher"] is None


def test_a_teacher_of_other_outputs_is_refused():
    network, _, _ = digits()
    shorter = network.replace(layers=network.layers[:-1])
    with pytest.raises(
        DataError, match=r"the teacher maps \(1, 8, 8\) to \(32,\), but network 'digits' maps .* to \(10,\)"
    ):
        quick(teacher=shorter)


@pytest.mark.slow
def test_images_of_8_bits_are_the_same_as_their_fractions():
    network, (images, labels), _ = digits()
    whole = np.rint(images * 255).astype(np.uint8)
    fractions = whole.astype(np.float32) / 255
    settings = {"epochs": 1, "batch_size": 100}
    one, other = (tune(network, each, labels, 2, **settings).network for each in (whole, fractions))
    assert all(a.synapses == b.synapses and a.record == b.record for a, b in zip(one, other, strict=True))


def test_bfloat16_sums_give_nearly_the_same():
    one, other = (quick(epochs=1, precision=precision) for precision in ("float32", "bfloat16"))
    assert one != other
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.synapses[0].weight, b.synapses[0].weight, atol=0.05)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"steps": 0}, "steps is 0; give an integer of at least 1"),
        ({"learning_rate": float("nan")}, "learning_rate is nan; give a positive number"),
        ({"dynamics": "both"}, "dynamics is 'both'; choose one of rates, spikes"),
        ({"augmentation": "flip"}, "augmentation is 'flip'; choose one of none, crop-flip"),
        ({"precision": "float16"}, "precision is 'float16'"),
        ({"threshold_form": "any"}, "threshold_form is 'any'; choose one of stock, free, dense_rec"),
        ({"device": "cuba"}, "device 'cuba' is unknown"),
        ({"learning_rate": 1e20}, "tuning for 2 time steps diverged in epoch 1"),
    ],
)
def test_invalid_arguments_are_refused(changed, message):
    with pytest.raises(UsageError, match=message):
        quick(**changed)


def test_networks_of_another_form_are_refused():
    network, (images, labels), _ = digits()
    with pytest.raises(UsageError, match="poisson encoding"):
        quick(network=network.replace(input=make_input("poisson", (1, 8, 8))))
    output = network.output
    counting = output.replace(neurons=output.neurons.replace(reset="soft"))
    with pytest.raises(UsageError, match="reads out spikes"):
        quick(network=network.replace(layers=(*network.layers[:-1], counting), readout="count"))
    hard = network.map_layers(
        lambda layer: layer.replace(neurons=layer.neurons.replace(reset="hard")) if layer.name == "conv2" else layer
    )
    with pytest.raises(UsageError, match="layer 'conv2' uses hard reset"):
        quick(network=hard)
    joined = output.replace(synapses=(*output.synapses, Dense(INPUT, np.ones((10, 64), np.float32))))
    with pytest.raises(UsageError, match="layer 'dense2' receives the image and spikes"):
        quick(network=network.replace(layers=(*network.layers[:-1], joined)))
    with pytest.raises(UsageError, match="has integer weights"):
        tuned = quick(epochs=1)
        values = {layer.name: float(layer.activation_scale) for layer in tuned.layers[:-1]}
        quick(network=quantize(as_spiking(tuned, values, 40.0)))
    flat = SpikingNetwork(
        "flat",
        make_input("current", (64,)),
        (output.replace(synapses=(Dense(INPUT, np.eye(10, 64)),)),),
        "analog",
        "potential",
    )
    with pytest.raises(UsageError, match="but crop-flip needs images"):
        tune(flat, images.reshape(-1, 64), labels, 2, augmentation="crop-flip")
    with pytest.raises(DataError, match="of 10 classes, but network 'residual' has 5 outputs"):
        tune(residual(), np.zeros((10, 2, 6, 6), np.float32), np.arange(10), 2)
    with pytest.raises(DataError, match=r"labels of validation images are int64 of shape \(3,\)"):
        quick(validation=(images, labels[:3]))
    with pytest.raises(DataError, match="images have shape"):
        tune(network, np.zeros((2, 1, 9, 8), np.uint8), np.zeros(2, int), 2)
    with pytest.raises(DataError, match=r"values in \[0, 255\]"):
        tune(network, images * 255, labels, 2)
