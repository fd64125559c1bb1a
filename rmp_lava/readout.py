"""The read-out: what a network's output is, from the spikes and the membrane potential of its last layer.

    count      spikes so far
    potential  v[t] - t times the output offset, in state units (weight units of float networks)
    total      v[t] + threshold times the spikes so far - t times the output offset

A soft reset takes exactly one threshold off the potential per spike, so the total is the sum of everything that the neuron
integrated, at any number of time steps; a potential alone ends at the limits of its 24-bit register. The output offset is a
bias that all outputs share. It keeps potentials near zero, where all outputs have much in common, or above the lower limit of
the register, where no spike would make room.

The messages of a sigma-delta read-out are changes, so their sum is its activation, less the offset, at any number of steps.

`output_unit` is what the output means: divided by the time steps, in the trained network's units; that of a sigma-delta network
is not divided.
"""

from __future__ import annotations

import numpy as np

from .errors import UsageError
from .network import SpikingNetwork
from .registers import to_state_units, to_weight_units


def needs_potential(network: SpikingNetwork) -> bool:
    """Whether the output needs the read-out's membrane potential."""
    return network.readout != "count"


def needs_count(network: SpikingNetwork) -> bool:
    """Whether the output needs the read-out's spikes."""
    return network.readout != "potential"


def output_dtype(network: SpikingNetwork) -> type[np.int64] | type[np.float64]:
    """Integers, but for potentials of float networks."""
    return np.int64 if network.is_integer or network.readout == "count" else np.float64


def output(
    network: SpikingNetwork, counts: np.ndarray | None, potentials: np.ndarray | None, steps: int | np.ndarray
) -> np.ndarray:
    """The network's output after some steps.

    Parameters
    ----------
    counts : numpy.ndarray or None
        Spikes of the read-out's neurons so far, of any shape; for `needs_count`.
    potentials : numpy.ndarray or None
        Their membrane potentials after the last of these steps and its reset, of the same shape, in state units, or weight units
        of float networks; for `needs_potential`.
    steps : int or numpy.ndarray
        Steps so far; an array is broadcast against the counts.

    Returns
    -------
    numpy.ndarray
        Of the same shape, `output_dtype`.
    """
    dtype = output_dtype(network)
    if network.readout == "count":
        assert counts is not None
        return counts.astype(dtype) - (network.output_offset if network.is_sigma_delta else 0)
    assert potentials is not None
    sums = potentials.astype(dtype) - network.output_offset * np.asarray(steps)
    if network.readout == "potential":
        return sums
    assert counts is not None
    threshold = network.output.neurons.threshold
    return sums + (to_state_units(int(threshold)) if network.is_integer else threshold) * counts.astype(dtype)


def output_unit(network: SpikingNetwork) -> float:
    """The trained network's output that an output of 1 per time step represents.

    Raises
    ------
    UsageError
        If the network has no output scale.
    """
    if network.output_scale is None:
        raise UsageError(
            f"network {network.name!r} has no output_scale, which relates its output to the trained network's; convert it "
            "again, or set it"
        )
    in_state_units = network.is_integer and needs_potential(network)
    return to_weight_units(network.output_scale) if in_state_units else network.output_scale
