"""The definition of sigma-delta populations: lava-dl's SDNN neurons, exactly as Lava runs them.

    a[t]     = sum over synapses of W m_source[t - 1 - delay]    of a convolution wrapped to 24 bits, as Lava's Conv wraps it
    sigma[t] = sigma[t-1] + a[t]
    act[t]   = max(0, sigma[t] + (bias << E))                    of the input: frame[t] << E
    fired[t] = act[t] - sent[t-1]                                where that is at least threshold << E in magnitude, else 0
    sent[t]  = sent[t-1] + fired[t]                              so a change that is too small to be sent is kept
    m[t]     = fired[t] >> state_exponent                        the message, rounded down

with E = spike_exponent + state_exponent (lava/proc/sdn/models.py, fixed point). A read-out with reset "none" is Lava's Sigma:
m[t] = sigma[t]. States start at 0 and wrap at 32 bits.

There are no windows. All populations start in step 1, where biases act already, and a message takes one step per synapse; on
a path that is shorter than another it waits (`rmp_lava.network.delays`). So step t of a layer at depth d is about frame t - d,
and T steps include the way from the input to the read-out. Still images are frames that stay: the read-out has seen them after
depth + 1 steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .network import Conv, SigmaDelta, Synapse
from .neuron import Range, widened
from .registers import CONV_BITS, MAX_STATE, SDNN_BITS


@dataclass
class SigmaDeltaState:
    """State of a population, for a batch of samples.

    sigma : (samples, *shape) int64, what was received so far; of the input the frame.
    sent : The same, what was sent so far, in units of sigma.
    beyond : Updates after which sigma did not fit the 24 bits of a chip.
    sigma_range : Smallest and largest sigma; None before the first step.
    """

    sigma: np.ndarray
    sent: np.ndarray
    beyond: int = 0
    sigma_range: Range | None = None


def initial_state(shape: tuple[int, ...], samples: int) -> SigmaDeltaState:
    """State before the first step of a sample."""
    return SigmaDeltaState(*np.zeros((2, samples, *shape), dtype=np.int64))


def step(neurons: SigmaDelta, state: SigmaDeltaState, a: np.ndarray) -> np.ndarray:
    """Advance a layer by one time step, in place.

    Parameters
    ----------
    a : numpy.ndarray
        (samples, *shape) integers, the sum of its synapses.

    Returns
    -------
    numpy.ndarray
        int64 (samples, *shape) messages.
    """
    state.sigma = wrapped(state.sigma + a, SDNN_BITS)
    state.beyond += int(np.count_nonzero(np.abs(state.sigma) > MAX_STATE))
    state.sigma_range = widened(state.sigma_range, state.sigma)
    if neurons.reset == "none":
        return state.sigma
    bias = neurons.bias_per_neuron(state.sigma.shape[1:])
    act = state.sigma if bias is None else wrapped(state.sigma + (bias.astype(np.int64) << neurons.exponent), SDNN_BITS)
    return _send(neurons, state, np.maximum(act, 0))


def encode_step(neurons: SigmaDelta, state: SigmaDeltaState, frame: np.ndarray) -> np.ndarray:
    """The same for the input, of a frame (samples, *shape) of integers."""
    state.sigma = wrapped(frame.astype(np.int64) << neurons.exponent, SDNN_BITS)
    return _send(neurons, state, state.sigma)


def _send(neurons: SigmaDelta, state: SigmaDeltaState, act: np.ndarray) -> np.ndarray:
    fired = wrapped(act - state.sent, SDNN_BITS)
    fired[np.abs(fired) < int(neurons.threshold) << neurons.exponent] = 0
    state.sent = wrapped(state.sent + fired, SDNN_BITS)
    messages: np.ndarray = fired >> neurons.state_exponent
    return messages


def as_lava_sums(synapse: Synapse, sums: np.ndarray) -> np.ndarray:
    """The exact int64 sums of a synapse as Lava computes them."""
    return wrapped(sums, CONV_BITS) if isinstance(synapse, Conv) else sums


def wrapped(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers as signed numbers of so many bits."""
    half = 1 << bits - 1
    result: np.ndarray = ((values + half) & (2 * half - 1)) - half
    return result
