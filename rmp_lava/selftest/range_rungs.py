"""Rungs about ranges: thresholds to the last unit, sums beyond 16 bits, registers that wrap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..backends.circuit import Circuit, Connection, Recording
from .model import Rules
from .neuron_rungs import UNIT, membrane, self_synapse, spikes_of
from .rung import Rung, Suspect, at_steps

NONE_ABOVE = Suspect(
    "a cell also spikes if v equals the threshold",
    "Lava's LIF spikes only above it; double all weights and thresholds, and add one to each threshold",
    rules=Rules(spikes_at_threshold=True),
)


def threshold() -> Rung:
    circuit = Circuit(
        10,
        (spikes_of(5, [1, 5]),),
        (membrane("cells", 3, 100),),
        (Connection("lines", "cells", np.array([[99], [100], [101]])), self_synapse("cells", 3, 100)),
    )
    return Rung(
        "threshold",
        "a spike only strictly above the threshold, which is shifted by 6 bits, as the input is",
        circuit,
        "99 and 100 do not exceed 100, 101 does and leaves 1; the second time the sums are 198, 200 and 102, one spike each",
        "threshold and input are not compared as in Lava's simulator",
        "vary the input by single units and find where the spike begins",
        Recording({"cells": at_steps(10, [6], [6], [2, 6])}, {"cells": np.array([98 * UNIT, 100 * UNIT, 2 * UNIT])}),
        (
            NONE_ABOVE,
            Suspect(
                "the threshold is not shifted by 6 bits",
                "set thresholds 64 times as large; those above 2^11 then do not fit",
                rules=Rules(threshold_shift=0),
            ),
            Suspect(
                "the threshold is one unit too high",
                "something adds 1; set thresholds one lower",
                circuit.with_cells("cells", threshold=101),
            ),
        ),
    )


def wide_threshold() -> Rung:
    """Thresholds that need a weight exponent, or two weights."""
    lines = spikes_of(4, [1], [4])
    circuit = Circuit(
        8,
        (lines,),
        (membrane("one", 3, 255 << 7), membrane("two", 3, (7 << 7) + 125)),
        (
            Connection("lines", "one", np.array([[255, 0], [255, 0], [254, 0]]), exponent=7),
            Connection("lines", "one", np.array([[0, 0], [1, 0], [127, 0]])),
            Connection("lines", "two", np.array([[127, 0], [127, 0], [127, 127]]), exponent=3),
            Connection("lines", "two", np.array([[4, 0], [5, 0], [6, 4]])),
            self_synapse("one", 3, 255, 7),
            self_synapse("two", 3, 7, 7),
            self_synapse("two", 3, 125),
        ),
    )
    return Rung(
        "wide threshold",
        "thresholds represented by a weight with an exponent, and by two weights",
        circuit,
        "32640 is 255 * 2^7: 32640 + 1 spikes and leaves 1, 32640 and 32639 do not. 1021 is 7 * 2^7 + 125: 1020 and 1021 do not "
        "spike, 1022 does and leaves 1, to which 1020 are added: 1021 again",
        "large thresholds or weights with exponents are not exact",
        "try thresholds up to 255; if these work, quantise with --threshold-form stock and small scales",
        Recording(
            {"one": at_steps(8, [], [2], []), "two": at_steps(8, [], [], [2])},
            {"one": np.array([32640, 1, 32639]) * UNIT, "two": np.array([1020, 1021, 1021]) * UNIT},
        ),
        (
            NONE_ABOVE,
            Suspect(
                "weight exponents are ignored",
                "no threshold and no weight above 255 can be represented; quantise with smaller scales",
                replace(circuit, connections=tuple(replace(each, exponent=0) for each in circuit.connections)),
            ),
            Suspect(
                "of two self-synapses, only the first arrives",
                "quantise with --threshold-form stock: one weight then represents each threshold",
                circuit.without(6),
            ),
        ),
    )


NARROW = (
    "no layer's input in one step may reach 2^15 weight units, so quantise with a smaller scale; the pulse of 65280 that ends a "
    "period does not arrive in full either, so use as many blank steps as steps"
)


def wide_sum() -> Rung:
    lines = spikes_of(5, [1], [1], [1], [1], [5], [5])
    circuit = Circuit(
        10,
        (lines,),
        (membrane("cell", 1, 100),),
        (
            # In separate connections, because weights of mixed sign lose their last bit.
            Connection("lines", "cell", np.array([[255, 255, 255, 255, 0, 0]]), exponent=7),
            Connection("lines", "cell", np.array([[0, 0, 0, 0, -255, -255]]), exponent=7),
        ),
    )
    return Rung(
        "wide sum",
        "the input of one step may exceed 16 bits",
        circuit,
        "four times 32640 in one step is 130560; twice 32640 is subtracted in step 6, which leaves 65280, far above 100",
        "large sums of one step do not arrive in full",
        "find the largest sum that does, and quantise with a scale that stays below it",
        Recording({"cell": at_steps(10, list(range(2, 11)))}, {"cell": np.array([65280 * UNIT])}),
        (
            Suspect("a step's input wraps at 16 bits, as Loihi 1's did", NARROW, rules=Rules(input_bits=16)),
            Suspect("a step's input saturates at 16 bits", NARROW, rules=Rules(input_bits=16, input_saturates=True)),
        ),
    )


def wrap() -> Rung:
    lines = spikes_of(11, [1, 2, 3, 4], [7], [9], [11])
    circuit = Circuit(
        14,
        (lines,),
        (membrane("cell", 1, 130000),),
        (
            Connection("lines", "cell", np.array([[255, 0, 0, 0]]), exponent=7),
            Connection("lines", "cell", np.array([[0, 255, 0, 0]]), exponent=1),
            Connection("lines", "cell", np.array([[0, 1, 2, 0]])),
            Connection("lines", "cell", np.array([[0, 0, 0, -2]])),
        ),
    )
    return Rung(
        "u wraps",
        "u has 24 bits: beyond +-2^17 weight units it wraps to the other sign",
        circuit,
        "130560, then 131071; 2 more give 131073, which is -131071 in 24 bits, and 2 less return it to 131071",
        "u's register has other limits, or behaves differently at them",
        "find the limits of u, and quantise so that potentials stay within (run --backend fast reports their range)",
        Recording({"cell": at_steps(14, [5, 6, 7, 8, 9, 12, 13, 14])}, {"cell": np.array([131071 * UNIT])}),
        (
            Suspect(
                "u saturates instead of wrapping",
                "good: potentials beyond 2^17 saturate, as in the neuron's definition; nothing to do if the other rungs pass "
                "(--keep-going)",
                rules=Rules(current_saturates=True),
            ),
        ),
    )
