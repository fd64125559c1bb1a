"""Sigma-delta populations as Lava's own Processes, unmodified; nothing resets them. Imports Lava."""

from __future__ import annotations

import numpy as np
from lava.proc.sdn.process import Delta, Sigma, SigmaDelta as LavaSigmaDelta

from ...network import SigmaDelta
from .population import LavaPopulation, lava_bias, lava_shape


def sigma_delta_population(neurons: SigmaDelta, shape: tuple[int, ...], *, encodes: bool) -> LavaPopulation:
    """Lava's Delta where it `encodes` frames, Sigma for a read-out with reset "none", else its SigmaDelta with a ReLU."""
    size = lava_shape(shape)
    exponents = {"spike_exp": int(neurons.spike_exponent), "state_exp": int(neurons.state_exponent)}
    if encodes:
        process = Delta(shape=size, vth=int(neurons.threshold), **exponents)
    elif neurons.reset == "none":
        process = Sigma(shape=size)
    else:
        bias = np.broadcast_to(lava_bias(neurons, shape), size).astype(np.int32)
        process = LavaSigmaDelta(shape=size, vth=int(neurons.threshold), bias=bias, **exponents)
    return LavaPopulation(process.a_in, process.s_out, size, process.sigma)
