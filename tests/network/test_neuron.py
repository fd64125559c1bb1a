"""`rmp_lava.neuron` against its definition, transcribed for one neuron in Python's own unlimited integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from rmp_lava.network import Neurons
from rmp_lava.neuron import initial_state, step

LIMIT = 2**23 - 1


class Scalar:
    """One neuron, as the definition has it."""

    def __init__(self, threshold, reset, v_init, bias, exponent, decays=None):
        self.threshold, self.reset, self.decays = threshold * 64, reset, decays
        self.bias = bias * 2**exponent
        self.v, self.u = v_init * 64, 0
        self.saturations = self.large = 0

    def step(self, a):
        self.large += abs(a) >= 2**17
        if self.decays is None:
            v = self.v + a * 64 + self.bias
        else:
            du, dv = self.decays[0] - 1, self.decays[1]
            u = (abs(self.u) * (4096 - (du + 1)) // 4096) * (1 if self.u >= 0 else -1) + a * 64
            if u > 2**23:
                u -= 2**24
            elif u <= -(2**23):
                u += 2**24
            self.u = u
            v = (abs(self.v) * (4096 - dv) // 4096) * (1 if self.v >= 0 else -1) + u + self.bias
        self.v = max(-LIMIT, min(LIMIT, v))
        self.saturations += self.v != v
        spike = self.reset != "none" and self.v > self.threshold
        if spike:
            self.v = self.v - self.threshold if self.reset == "soft" else 0
        return spike


# Small numbers meet thresholds exactly, large ones the limits of the registers.
inputs = st.lists(
    st.one_of(st.integers(-6, 6), st.integers(-(2**18), 2**18), st.sampled_from([2**17, -(2**17)])), max_size=12
)
thresholds = st.one_of(st.integers(1, 6), st.sampled_from([1, 2**17 - 1]), st.integers(1, 2**17 - 1))
starts = st.one_of(st.integers(-6, 6), st.integers(-(2**17) + 1, 2**17 - 1))
mantissas = st.one_of(st.integers(-2, 2), st.integers(-4096, 4095))
exponents = st.integers(0, 7)


def run_both(neurons, scalar, stream):
    state = initial_state(neurons, (1,), 1, integer=True)
    for a in stream:
        spike = step(neurons, state, np.array([[a]]), integer=True)
        assert bool(spike[0, 0]) == scalar.step(a)
        assert int(state.v[0, 0]) == scalar.v
        if state.u is not None:
            assert int(state.u[0, 0]) == scalar.u
    assert (state.saturations, state.large_inputs) == (scalar.saturations, scalar.large)


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
@given(thresholds, starts, mantissas, exponents, inputs)
@example(5, 0, 0, 0, [5, 0, 1, 4, 5])
@example(1, 2**17 - 1, 0, 0, [2**17, 2**17, -(2**18), -(2**18), 2**18])
def test_step_follows_the_definition(reset, threshold, v_init, bias, exponent, stream):
    neurons = Neurons(threshold, reset, v_init=v_init, bias=np.array(bias), bias_exponent=exponent)
    run_both(neurons, Scalar(threshold, reset, v_init, bias, exponent), stream)


decays = st.one_of(st.sampled_from([0, 1, 1024, 4095, 4096]), st.integers(0, 4096))


@pytest.mark.parametrize("reset", ["hard", "none"])
@given(thresholds, mantissas, exponents, st.tuples(decays, decays), inputs)
@example(2**17 - 1, 0, 0, (0, 4096), [2**16, 2**16, 0, -(2**16), -(2**17), -(2**17)])
@example(2**17 - 1, 0, 0, (0, 4096), [2**17, 1])
@example(2**17 - 1, 0, 0, (0, 4096), [-(2**17), -1])
def test_leaky_step_follows_lava(reset, threshold, bias, exponent, rates, stream):
    neurons = Neurons(
        threshold, reset, bias=np.array(bias), bias_exponent=exponent, current_decay=rates[0], voltage_decay=rates[1]
    )
    scalar = Scalar(threshold, reset, 0, bias, exponent, rates if rates != (4096, 0) else None)
    run_both(neurons, scalar, stream)


@pytest.mark.parametrize(("sixty_fourths", "spikes"), [(-1, False), (0, False), (1, True)])
def test_potential_must_exceed_the_threshold(sixty_fourths, spikes):
    neurons = Neurons(7, "soft", bias=np.array(sixty_fourths), bias_exponent=0)
    state = initial_state(neurons, (1,), 1, integer=True)
    assert step(neurons, state, np.array([[7]]), integer=True)[0, 0] == spikes
    assert state.v[0, 0] == (1 if spikes else 7 * 64 + sixty_fourths)


def test_soft_reset_keeps_the_residue_over_many_spikes():
    # The charge that came in is what spikes took plus what is left: nothing is lost, and one spike a step at most.
    neurons = Neurons(10)
    state = initial_state(neurons, (1,), 1, integer=True)
    spikes = [bool(step(neurons, state, np.array([[a]]), integer=True)[0, 0]) for a in [35, 0, 0, 0, 0]]
    assert spikes == [True, True, True, False, False]
    assert state.v[0, 0] == 5 * 64


def test_saturated_neuron_recovers_from_the_limit():
    neurons = Neurons(100, v_init=-131071)
    state = initial_state(neurons, (1,), 1, integer=True)
    step(neurons, state, np.array([[-131071]]), integer=True)
    assert state.v[0, 0] == -LIMIT and state.saturations == 1
    step(neurons, state, np.array([[131072]]), integer=True)
    assert state.v[0, 0] == 131072 * 64 - LIMIT and state.saturations == 1


@pytest.mark.parametrize("bias_shape", [(), (2,), (2, 2, 3)])
@given(st.integers(0, 2**32 - 1))
def test_neurons_of_a_population_do_not_mix(bias_shape, seed):
    # Height equals the number of channels: a bias per channel must not spread along another axis.
    rng = np.random.default_rng(seed)
    shape, samples = (2, 2, 3), 2
    bias = rng.integers(-300, 300, bias_shape)
    stream = rng.integers(-50, 90, (6, samples, *shape))
    neurons = Neurons(40, v_init=-3, bias=bias, bias_exponent=3)
    state = initial_state(neurons, shape, samples, integer=True)
    spikes = np.array([step(neurons, state, a, integer=True) for a in stream])
    for index in np.ndindex(samples, *shape):
        own_bias = {0: lambda i: bias, 1: lambda i: bias[i[1]], 3: lambda i: bias[i[1:]]}[len(bias_shape)](index)
        scalar = Scalar(40, "soft", -3, int(own_bias), 3)
        assert [scalar.step(int(a)) for a in stream[(slice(None), *index)]] == spikes[(slice(None), *index)].tolist()
        assert scalar.v == state.v[index]


eighths = st.integers(-400, 400).map(lambda n: n / 8)


@pytest.mark.parametrize("reset", ["soft", "hard", "none"])
@given(st.integers(1, 400).map(lambda n: n / 8), eighths, eighths, st.lists(eighths, max_size=12))
@example(1.0, 0.0, 0.0, [1.0, 0.125, 3e7, 0.0])
def test_float_step_follows_the_definition(reset, threshold, v_init, bias, stream):
    neurons = Neurons(threshold, reset, v_init=v_init, bias=np.array(bias, dtype=np.float32))
    state = initial_state(neurons, (1,), 1, integer=False)
    v = Fraction(v_init)
    for a in stream:
        spike = bool(step(neurons, state, np.array([[a]]), integer=False)[0, 0])
        v += Fraction(a) + Fraction(bias)
        assert spike == (reset != "none" and v > threshold)
        if spike:
            v = v - Fraction(threshold) if reset == "soft" else Fraction(0)
        assert Fraction(float(state.v[0, 0])) == v
    assert state.saturations == state.large_inputs == 0
