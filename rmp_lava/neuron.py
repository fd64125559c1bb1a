"""The definition of the neuron; every other implementation in this package is tested against it.

Integer form (Loihi's registers as in lava/proc/lif/models.py, `PyLifModelBitAcc`; only the reset differs), in state units
of 1/64 weight unit:

    a[t] = sum over synapses of (W s_source[t']) << exponent     weight units, exact; t in local time, see schedule
    t' = t - delay, of recurrent synapses t - delay - 1          messages before the first step are 0
    v[t] = sat24(v[t-1] + (a[t] << 6) + (bias << bias_exponent))
    s[t] = v[t] > (threshold << 6)                               strictly greater
    v[t] = v[t] - s[t] (threshold << 6)                          soft reset (RMP); hard reset: v[t] = 0 where s[t]
    v[0] = v_init << 6                                           saturation at +-(2^23 - 1)

and for graded spikes, of which a message stands for as many as there are thresholds in the potential, up to `largest_spike`,

    s[t] = min(largest_spike, max(0, ceil(v[t] / (threshold << 6)) - 1))

for t = 1 .. T. Neurons that wait do not spike in the first `wait` of these steps, and may spike in as many more, without input
and bias: `phases`.

The float form is the same without shifts and saturation. The soft reset is the residual-membrane-potential neuron of
Han, Srinivasan and Roy (CVPR 2020, section 3). Leaky neurons are lava-dl's CUBA neuron, exactly as Lava runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .network import Neurons
from .network.values import per_neuron
from .registers import MAX_STATE, REGISTER_LIMIT, to_state_units

Range = tuple[float, float] | tuple[int, int]
"""(smallest, largest) value of a state, in state units of integer networks and in weight units of float ones."""


@dataclass
class State:
    """State of a population, for a batch of samples.

    v : membrane potential, (samples, *shape) int64 in state units, or float64 in weight units.
    u : current of leaky neurons, likewise; None for other neurons.
    saturations : neuron updates that ended at the limits of the 24-bit state.
    large_inputs : neuron updates whose input reached +-2^17, where stock neurons would wrap.
    v_range, u_range : smallest and largest v that was compared with the threshold, and smallest and largest u of neurons
        whose current has memory; None before the first step.
    waiting_range : smallest and largest v while the neurons waited; None if they did not.
    """

    v: np.ndarray
    u: np.ndarray | None
    saturations: int = 0
    large_inputs: int = 0
    v_range: Range | None = None
    u_range: Range | None = None
    waiting_range: Range | None = None


class Phase(NamedTuple):
    """Steps of a population's window that are alike.

    steps : Which, from 0, in local time.
    receives : Whether messages arrive and the bias acts.
    fires : Whether neurons may spike.
    """

    steps: range
    receives: bool
    fires: bool


def phases(steps: int, wait: int) -> list[Phase]:
    """The phases of a window: `wait` steps of integration, then `steps` in which neurons may spike."""
    cuts = (
        Phase(range(wait), True, False),
        Phase(range(wait, steps), True, True),
        Phase(range(steps, wait + steps), False, True),
    )
    return [each for each in cuts if len(each.steps)]


def initial_state(neurons: Neurons, shape: tuple[int, ...], samples: int, *, integer: bool) -> State:
    """State before the first step of a sample."""
    if integer:
        v = np.full((samples, *shape), to_state_units(int(neurons.v_init)), dtype=np.int64)
    else:
        v = np.full((samples, *shape), neurons.v_init, dtype=np.float64)
    return State(v, np.zeros_like(v) if neurons.is_leaky else None)


def step(neurons: Neurons, state: State, a: np.ndarray | None, *, integer: bool, fires: bool = True) -> np.ndarray:
    """Advance a population by one time step, in place.

    Parameters
    ----------
    a : numpy.ndarray or None
        (samples, *shape) input in weight units; integers if `integer`. None: neither messages nor bias.
    fires : bool
        Whether neurons may spike.

    Returns
    -------
    numpy.ndarray
        (samples, *shape): which neurons spike, bool; of graded spikes how many times, uint8.
    """
    threshold = neurons.threshold
    if integer:
        threshold = to_state_units(per_neuron(threshold, state.v.shape[1:]).astype(np.int64))
    bias = neurons.bias_per_neuron(state.v.shape[1:])
    if a is None:
        pass  # after the last messages of neurons that waited
    elif not integer:
        state.v += a if bias is None else a + bias
    else:
        current = to_state_units(a.astype(np.int64))
        state.large_inputs += int(np.count_nonzero(np.abs(a) >= REGISTER_LIMIT))
        if state.u is not None:  # leaky neurons
            current_decay, voltage_decay = neurons.decays_per_neuron(state.v.shape[1:])
            current = state.u = wrap24(decay(state.u, current_decay) + current)
            if neurons.has_memory:
                state.u_range = widened(state.u_range, state.u)
            state.v = decay(state.v, voltage_decay)
        v = state.v + current
        if bias is not None:
            v += bias.astype(np.int64) << neurons.bias_exponent
        state.v = np.clip(v, -MAX_STATE, MAX_STATE)
        state.saturations += int(np.count_nonzero(state.v != v))
    if not fires:
        state.waiting_range = widened(state.waiting_range, state.v)
        return np.zeros(state.v.shape, dtype=bool)
    state.v_range = widened(state.v_range, state.v)
    if neurons.reset == "none":
        return np.zeros(state.v.shape, dtype=bool)
    spikes = state.v > threshold
    if neurons.largest_spike > 1:
        spikes = np.clip((state.v - 1) // threshold, 0, neurons.largest_spike).astype(np.uint8)
    state.v = np.where(spikes, 0, state.v) if neurons.reset == "hard" else state.v - spikes * threshold
    return spikes


def widened(known: Range | None, values: np.ndarray) -> Range:
    """A range that includes further values too."""
    return union(known, (values.min().item(), values.max().item()))


def union(known: Range | None, found: Range) -> Range:
    """The smallest range that includes both."""
    return found if known is None else (min(known[0], found[0]), max(known[1], found[1]))


def wrap24(u: np.ndarray) -> np.ndarray:
    """Wrap as Lava's LIF wraps its current: once; +2^23 is kept, -2^23 is not."""
    u = np.where(u > MAX_STATE + 1, u - 2**24, u)
    return np.where(u <= -MAX_STATE - 1, u + 2**24, u)


def decay(state: np.ndarray, rate: int | np.ndarray) -> np.ndarray:
    """A state after a decay of `rate`/4096, rounded towards zero as on Loihi."""
    return np.sign(state) * ((np.abs(state) * (4096 - rate)) >> 12)
