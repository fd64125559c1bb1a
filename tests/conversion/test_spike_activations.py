"""Activations with gradients that compute what spiking neurons do within T time steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from strategies import seeds

from rmp_lava import neuron
from rmp_lava.conversion import spike_activations
from rmp_lava.conversion.activation_scales import least_error_scales
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.spike_activations import ActivationScale, ClipFloor, Integrate, MeanOverTime
from rmp_lava.encoding import make_input
from rmp_lava.errors import ConversionError
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=["torch", "numba"])
def compiled(request, monkeypatch):
    """Neurons by PyTorch alone, or compiled."""
    if request.param == "torch":
        monkeypatch.setattr(spike_activations, "fused_neurons", None)
    elif spike_activations.fused_neurons is None:
        pytest.skip("needs numba")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 20), st.sampled_from([0.25, 0.75, 1.0, 3.0]), seeds)
def test_clip_floor_is_the_rate_of_a_neuron_with_constant_input(compiled, steps, value, seed):
    sums = (np.random.default_rng(seed).normal(size=(1, 200)) * value).astype(np.float32)
    neurons = Neurons(value, v_init=value / 2)
    state = neuron.initial_state(neurons, (200,), 1, integer=False)
    count = sum(neuron.step(neurons, state, sums, integer=False).astype(int) for _ in range(steps))
    # Within one step's rounding of a tie the two may differ.
    tie = np.abs(np.mod(sums / value * steps + 0.5, 1) - 0.5) > 0.5 - 1e-4
    rate = ClipFloor(ActivationScale(value), steps)(torch.from_numpy(sums)).detach().numpy()
    np.testing.assert_allclose(rate[~tie], (value * count / steps)[~tie], rtol=1e-6)


def test_input_exactly_at_the_threshold_does_not_spike(compiled):
    sums = torch.tensor([0.125, 0.126, 0.375, 0.376, 1.0, 5.0, -1.0])
    assert ClipFloor(ActivationScale(1.0), 4)(sums).tolist() == [0, 0.25, 0.25, 0.5, 1, 1, 0]


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


def test_clip_floor_passes_gradients_between_zero_and_the_activation_scale_only(compiled):
    value = ActivationScale(2.0)
    sums = torch.tensor([-0.1, 0.3, 1.9, 2.1], requires_grad=True)
    ClipFloor(value, 4)(sums).sum().backward()
    assert sums.grad.tolist() == [0, 1, 1, 0]
    # 0.3 becomes 0.5, 1.9 becomes 2, 2.1 becomes 2: what rounding adds, and what is clipped, follows the scale.
    assert value.log_change.grad.item() == pytest.approx((0.5 - 0.3) + (2 - 1.9) + 2)


@pytest.mark.parametrize("memory", ["contiguous", "channels last", "with gaps", "bfloat16"])
def test_compiled_rates_are_those_of_pytorch_for_every_memory_layout(memory, monkeypatch):
    pytest.importorskip("numba")
    random = torch.Generator().manual_seed(2)
    shape = (9, 5, 48, 48)  # more sums than a block of them
    sums, weight = torch.randn(2, *shape, generator=random)
    if memory == "channels last":
        sums = sums.contiguous(memory_format=torch.channels_last)
    elif memory == "with gaps":
        sums = torch.randn(*shape, 2, generator=random)[..., 0]
    elif memory == "bfloat16":
        sums = sums.bfloat16()
    else:
        sums.view(-1)[:7] = torch.tensor([0, 0.35, 0.7, 0.0875, 0.2625, -0.0, torch.inf])
    found = []
    for module in (spike_activations.fused_neurons, None):
        monkeypatch.setattr(spike_activations, "fused_neurons", module)
        value, inputs = ActivationScale(0.7), sums.detach().requires_grad_()
        out = ClipFloor(value, 4)(inputs)
        (out * weight).sum().backward()
        found.append((out.detach(), inputs.grad.clone(), value.log_change.grad))
        inputs.grad = None
    assert torch.equal(found[0][0], found[1][0]) and found[0][0].unique().numel() == 5
    assert torch.equal(found[0][1], found[1][1])
    torch.testing.assert_close(found[0][2], found[1][2], rtol=1e-4, atol=1e-3)


def test_rates_of_what_is_not_a_number_are_none(compiled):
    assert ClipFloor(ActivationScale(1.0), 4)(torch.tensor([torch.nan, 0.4])).isnan().tolist() == [True, False]


def test_read_out_is_the_mean_over_time():
    sums = torch.arange(12.0).reshape(6, 2)  # three steps of two images
    assert MeanOverTime(3)(sums).tolist() == [[4, 5], [6, 7]]


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
