"""Register widths that an integer network rests on, and its two units.

They are part of what an integer network *is*: Loihi's registers as Lava's bit-accurate LIF models them
(lava/proc/lif/models.py, `PyLifModelBitAcc`). What a given chip allows beyond that is in hw_profiles/.

Weights, thresholds, initial potentials and input sums are in weight units. Membrane potentials, currents and biases are
in state units of 1/64 weight unit.
"""

from __future__ import annotations

from typing import TypeVar, overload

import numpy as np

MIN_WEIGHT, MAX_WEIGHT = -256, 255
"""Weight units: 8 bits and a sign; even if a synapse has both signs."""
MAX_WEIGHT_EXPONENT = 7
"""Of the power of two that multiplies a synapse's weights: 3 bits."""
MAX_THRESHOLD = 2**17 - 1
"""Weight units, 17 bits; also the largest magnitude of an initial potential."""
MIN_BIAS, MAX_BIAS = -(2**12), 2**12 - 1
"""Bias mantissa, 13 bits; state units once shifted by its exponent."""
MAX_LAVA_BIAS = 2**15 - 1
"""The same on Lava's simulator, where a mantissa has 16 bits."""
MAX_BIAS_EXPONENT = 7
MAX_SDNN_EXPONENT = 7
"""Spike and state exponents of sigma-delta neurons: 3 bits each (lava/proc/sdn/models.py)."""
SDNN_BITS = 32
"""Their states on Lava's simulator, which wrap; a chip has the 24 bits of `MAX_STATE`."""
MAX_SDNN_STATE = 2**31 - 1
MAX_DELAY = 62
"""Time steps of a synapse's delay: 6 bits, of which lava-dl uses this many (netx/hdf5.py)."""
MAX_LEVELS = 2**16 - 1
MAX_GRADED_SPIKE = 255
"""Largest graded message: 16 bits."""
MAX_STEPS = 2**20
"""Time steps of a window, ours."""

STATE_SHIFT = 6
"""Bits from weight units to state units: `vth_shift` and `act_shift` in Lava."""
MAX_STATE = 2**23 - 1
"""State units: a 24-bit membrane potential saturates at +-MAX_STATE."""
REGISTER_LIMIT = 2**17
"""Weight units: the same 24 bits. The current of stock neurons wraps here, where the RMP neuron's potential saturates."""
CONV_BITS = 24
"""Lava's fixed-point Conv wraps its sums to 24 signed bits (lava/proc/conv/models.py)."""
MAX_CONV_SUM = 1 << CONV_BITS - 1
"""Weight units."""
MAX_DENSE_SUM = 2**31
"""Weight units: Lava's fixed-point Dense and its ports add in 32 signed bits."""

Numbers = TypeVar("Numbers", int, float, np.ndarray)


def to_state_units(weight_units: Numbers) -> Numbers:
    """Weight units as state units; arrays keep their dtype, which must be wide enough."""
    return weight_units * (1 << STATE_SHIFT)


@overload
def to_weight_units(state_units: float) -> float: ...
@overload
def to_weight_units(state_units: np.ndarray) -> np.ndarray: ...
def to_weight_units(state_units: float | np.ndarray) -> float | np.ndarray:
    """State units as real weight units, exactly (64 is a power of two)."""
    return state_units / (1 << STATE_SHIFT)
