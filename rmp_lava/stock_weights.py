"""Integers as weights of stock neurons, an 8-bit mantissa and an exponent, and the pulses that such weights carry."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .network import Neurons
from .registers import MAX_WEIGHT_EXPONENT

MAX_MANTISSA = 255
MAX_VALUE = MAX_MANTISSA << MAX_WEIGHT_EXPONENT
QUIET = 2 * MAX_VALUE
"""Weight units that a pulse subtracts from neurons that must not spike: about half of the 24-bit register."""


def is_one_weight(value: int) -> bool:
    """Whether one weight represents this value exactly: mantissa <= 255 times 2^exponent, exponent <= 7."""
    return 0 < value <= MAX_VALUE and len(terms(value)) == 1


def terms(value: int) -> list[tuple[int, int]]:
    """(mantissa, exponent) of one or two weights whose sum is exactly `value`, 1 .. `MAX_VALUE`."""
    exponent = min((value & -value).bit_length() - 1, MAX_WEIGHT_EXPONENT)
    if value >> exponent <= MAX_MANTISSA:
        # Use the smallest exponent that fits; larger ones would represent the same value.
        exponent = max(0, value.bit_length() - 8)
        return [(value >> exponent, exponent)]
    low = value & ((1 << MAX_WEIGHT_EXPONENT) - 1)
    return [(value >> MAX_WEIGHT_EXPONENT, MAX_WEIGHT_EXPONENT), (low, 0)]


def parts(value: np.ndarray) -> list[np.ndarray]:
    """Arrays that add up to `value`, each small enough for `terms`; one neuron's pulse carries one of them."""
    found = [np.clip(value, -MAX_VALUE, MAX_VALUE)]
    while (rest := value - sum(found)).any():
        found.append(np.clip(rest, -MAX_VALUE, MAX_VALUE))
    return found


def weights_for(values: np.ndarray) -> tuple[int, int]:
    """(weights that represent an array of integers, different pairs of sign and exponent among them).

    `backends.lava.pulses` has a bundle of synapses for each sign and exponent.
    """
    found = [
        (value > 0, exponent, int(count))
        for value, count in zip(*np.unique(values, return_counts=True), strict=True)
        for _, exponent in (terms(abs(int(value))) if value else ())
    ]
    return sum(count for *_, count in found), len({(sign, exponent) for sign, exponent, _ in found})


class Pulse(NamedTuple):
    """What reaches every neuron of a population once a period.

    step : Of the population's window, from 0; -1 is the step before it, the last one of the period.
    value : Weight units.
    """

    step: int
    value: int


def pulses_of(neurons: Neurons, wait: int, blank: bool, steps: int | None) -> list[Pulse]:
    """The pulses of a population: its initial potential, what holds it below the threshold while it waits, and quiet at the end.

    Neurons that wait get their initial potential less `QUIET`, and `QUIET` back when they may spike. So there is no room for
    potentials beyond +-`QUIET` while they wait: see `Run.waiting_ranges`. Where neurons wait, later layers may spike on while
    earlier ones are blank, which must therefore be quiet from their first blank step on, not only in the last one.

    Parameters
    ----------
    wait : int
        Time steps in which this population only integrates.
    blank : bool
        Whether a period has blank steps.
    steps : int or None
        T, if any neurons of the network wait.
    """
    soft = neurons.reset == "soft"
    held = QUIET if soft and wait else 0
    quiet = Pulse(-1 if steps is None else wait + steps, -QUIET if soft and blank else 0)
    return [each for each in (quiet, Pulse(0, int(neurons.v_init) - held), Pulse(wait, held)) if each.value]
