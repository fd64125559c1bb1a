"""Rungs about what happens without input: biases, cells that spike on their own, and the periodic reset."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..backends.circuit import FORGOTTEN, Cells, Circuit, Connection, Recording
from .model import Rules
from .neuron_rungs import SUMMED, UNIT, membrane, self_synapse, spikes_of
from .rung import Rung, Suspect, at_steps

NO_EXPONENT = "the bias's exponent is ignored", "set the whole bias as mantissa (up to 4095)"
NO_BIAS = "there is no bias at all", "set the Var bias_mant, not bias, and check that the compiler uses it"
NO_START = "v does not start at its set value, but at 0", "set the Var v again before the run, and read it back"
LATE_BIAS = "the bias acts from the second step on", "start samples one step later"


def bias() -> Rung:
    circuit = Circuit(16, (), (Cells("cell", (1,), 100, FORGOTTEN, SUMMED, bias=480, bias_exponent=2),), ())
    return Rung(
        "bias",
        "a bias is added to v in each step, in 1/64 of a weight unit",
        circuit,
        "480 * 2^2 is 30 weight units: 30, 60, 90, 120 in step 4, then zero again",
        "biases do not act as in Lava's simulator",
        "read v step by step",
        Recording({"cell": at_steps(16, [4, 8, 12, 16])}),
        (
            Suspect(*NO_EXPONENT, circuit.with_cells("cell", bias_exponent=0)),
            Suspect(*NO_BIAS, circuit.with_cells("cell", bias=0)),
            Suspect(*LATE_BIAS, circuit.with_cells("cell", start=-30 * UNIT)),
            Suspect(
                "a spike does not zero v, but subtracts the threshold from it",
                "good: these are RMP neurons already; use them without self-synapse",
                rules=Rules(spike_subtracts=True),
            ),
        ),
    )


def always_on() -> Rung:
    circuit = Circuit(
        16,
        (),
        (
            Cells("always", (2,), 1, FORGOTTEN, SUMMED, bias=2, bias_exponent=6, start=(UNIT, -5 * UNIT)),
            membrane("soft", 2, 100),
        ),
        (Connection("always", "soft", 30 * np.eye(2, dtype=int), "sparse"), self_synapse("soft", 2, 100)),
    )
    return Rung(
        "always on",
        "cells that spike in every step from a first one on: their synapses act as biases",
        circuit,
        "v gains 2 per step from 1 and from -5, and spikes above 1: from step 1 and from step 4 on. After the first cell 30, 60, "
        "90, 120 in step 5, 50, 80, 110, 40, 70, 100, 130, 60, 90, 120, 50; after the other one the same, three steps later",
        "cells without input do not keep spiking",
        "read v step by step; replace them by a line from the host with a spike in each step",
        Recording(
            {
                "always": at_steps(16, list(range(1, 17)), list(range(4, 17))),
                "soft": at_steps(16, [5, 8, 12, 15], [8, 11, 15]),
            },
            {"soft": np.array([50, 60]) * UNIT},
        ),
        (
            Suspect(*NO_EXPONENT, circuit.with_cells("always", bias_exponent=0)),
            Suspect(*NO_BIAS, circuit.with_cells("always", bias=0)),
            Suspect(*NO_START, circuit.with_cells("always", start=0)),
            Suspect(*LATE_BIAS, circuit.with_cells("always", start=(-UNIT, -7 * UNIT))),
        ),
    )


def clock(name: str, period: int, first: int) -> Cells:
    """A cell without input that spikes in step `first` and then once per period."""
    return Cells(name, (1,), period - 1, FORGOTTEN, SUMMED, bias=1, bias_exponent=6, start=(period - first) * UNIT)


def pulse() -> Rung:
    circuit = Circuit(
        24,
        (),
        (clock("clock", 8, 6), membrane("cell", 1, 100)),
        (Connection("clock", "cell", np.array([[150]]), "sparse"), self_synapse("cell", 1, 100)),
    )
    return Rung(
        "pulse",
        "a cell without input that spikes once per period, for initial potentials",
        circuit,
        "the clock counts 1 per step from 2, and spikes above 7: in steps 6, 14, 22. 150 spikes in step 7 and leaves 50; 200 in "
        "step 15 leaves 100, which does not exceed 100; 250 in step 23 spikes twice",
        "a bias does not count steps reliably",
        "read v step by step; send the pulses as lines from the host",
        Recording(
            {"clock": at_steps(24, [6, 14, 22]), "cell": at_steps(24, [7, 15, 23, 24])},
            {"cell": np.array([150 * UNIT])},
        ),
        (
            Suspect(*NO_START, circuit.with_cells("clock", start=0)),
            Suspect(*LATE_BIAS, circuit.with_cells("clock", start=UNIT)),
            Suspect(
                "a spike leaves v above zero: a step is lost from the period",
                "Loihi reads v as 128 after a spike (lava issue 282), which should not matter; increase the threshold by 1",
                circuit.with_cells("clock", threshold=6),
            ),
            Suspect(*NO_EXPONENT, circuit.with_cells("clock", bias_exponent=0)),
        ),
    )


RESET = (8, 2)


def _reset_circuit() -> Circuit:
    lines = spikes_of(20, list(range(1, 21)), list(range(1, 21)))
    return Circuit(
        20,
        (lines,),
        (membrane("cells", 2, 100, RESET),),
        (Connection("lines", "cells", np.array([[60, 0], [0, 70]])), self_synapse("cells", 2, 100)),
    )


def periodic_reset() -> Rung:
    circuit = _reset_circuit()
    return Rung(
        "reset",
        "u and v are zeroed every 8 steps, before input is added; a spike of the previous step is still subtracted",
        circuit,
        "60, 120, 80, 140, 100, 160, 120, 80 in steps 2 to 9, and again from 10 on. 70, 140, 110, 80, 150, 120, 90, 160: "
        "the spike in step 9 is subtracted after the reset, so step 10 has 70 - 100, and then 40, 110, 80, 150, 120, 90, 160",
        "the periodic reset is not that of Lava's LIFReset",
        "run one population with a single input spike, and find the step that discards it",
        Recording(
            {"cells": at_steps(20, [3, 5, 7, 8, 11, 13, 15, 16, 19], [3, 4, 6, 7, 9, 12, 14, 15, 17, 20])},
            {"cells": np.array([80 * UNIT, 110 * UNIT])},
        ),
        (
            Suspect(
                "the reset is one step late",
                "set the offset one step earlier",
                circuit.with_cells("cells", reset=(RESET[0], RESET[1] + 1)),
            ),
            Suspect(
                "the reset is one step early",
                "set the offset one step later",
                circuit.with_cells("cells", reset=(RESET[0], RESET[1] - 1)),
            ),
            Suspect(
                "the reset does not reach u: it zeroes v only, or does not happen",
                "find an option that resets u too; otherwise zero u from the host between samples, or use one run per sample",
                rules=Rules(reset_clears_current=False),
            ),
            Suspect(
                "input that arrives in the step of the reset is lost",
                "then nothing crosses into the next sample; start each sample's input one step later",
                rules=Rules(reset_drops_input=True),
            ),
            Suspect(
                "the reset has another period than 8 steps",
                "intervals may be rounded; try 16",
                circuit.with_cells("cells", reset=(16, RESET[1])),
            ),
        ),
    )


def boundary() -> Rung:
    """The pulse that ends each period of a deployed network."""
    reset = _reset_circuit()
    quiet = Connection("clock", "cells", np.array([[-255], [-255]]), "sparse", exponent=7)
    circuit = replace(reset, cells=(*reset.cells, clock("clock", 8, 8)), connections=(*reset.connections, quiet, quiet))
    return Rung(
        "boundary",
        "a pulse in the last step before a reset prevents spikes from crossing it",
        circuit,
        "as in rung 'reset', but 65280 is subtracted in steps 9 and 17: no spike there, so each period begins at 70",
        "spikes cross from one sample into the next",
        "use more blank steps between samples, and check Run.boundary_spikes",
        Recording(
            {"cells": at_steps(20, [3, 5, 7, 8, 11, 13, 15, 16, 19], [3, 4, 6, 7, 11, 12, 14, 15, 19, 20])},
            {"cells": np.array([80 * UNIT, 110 * UNIT])},
        ),
        (
            Suspect(
                "the pulse never arrives", "compare with rung 'pulse'", replace(circuit, connections=reset.connections)
            ),
            Suspect(
                "the pulse arrives one step late, after the reset",
                "send it one step earlier",
                replace(circuit, cells=(*reset.cells, clock("clock", 8, 9))),
            ),
            Suspect(
                "the pulse arrives one step early",
                "send it one step later",
                replace(circuit, cells=(*reset.cells, clock("clock", 8, 7))),
            ),
        ),
    )


def waiting() -> Rung:
    """Two pulses hold a population while it only integrates: neurons that wait."""
    lines = spikes_of(20, [1, 2, 3, 4, 9, 10, 11, 12], [1, 2, 9, 10], [4, 12])
    cells = (membrane("cells", 2, 100, RESET), clock("hold", 8, 1), clock("release", 8, 4))
    held, released = (
        Connection(name, "cells", np.array([[sign * 255], [sign * 255]]), "sparse", exponent=7)
        for name, sign in (("hold", -1), ("release", 1))
    )
    inputs = (
        Connection("lines", "cells", np.array([[60, 0, 0], [0, 110, -200]])),
        self_synapse("cells", 2, 100),
    )
    circuit = Circuit(20, (lines,), cells, (*inputs, held, held, released, released))
    return Rung(
        "waiting",
        "cells that a pulse holds below their threshold integrate, and spike when a second pulse releases them",
        circuit,
        "65280 is subtracted in steps 2, 10, 18 and added again in 5 and 13. Then the first cell has 240, so it spikes in 5 and "
        "6, and 13 and 14; the second one has 110 + 110 - 200 = 20, and never spikes. Without input, step 20 has -65280",
        "neurons that wait spike at other times than in Lava's simulator",
        "compare with rungs 'pulse' and 'boundary', or convert without waiting (wait 0)",
        Recording(
            {
                "cells": at_steps(20, [5, 6, 13, 14], []),
                "hold": at_steps(20, [1, 9, 17]),
                "release": at_steps(20, [4, 12, 20]),
            },
            {"cells": np.array([-65280, -65280]) * UNIT},
        ),
        (
            Suspect(
                "the pulse that holds never arrives",
                "compare with rung 'boundary'",
                replace(circuit, connections=(*inputs, released, released)),
            ),
            Suspect(
                "the pulse that releases never arrives",
                "compare with rung 'boundary'",
                replace(circuit, connections=(*inputs, held, held)),
            ),
            Suspect(
                "the pulse that holds arrives one step late",
                "send it one step earlier",
                replace(circuit, cells=(cells[0], clock("hold", 8, 2), cells[2])),
            ),
            Suspect(
                "the pulse that releases arrives one step late",
                "send it one step earlier",
                replace(circuit, cells=(*cells[:2], clock("release", 8, 5))),
            ),
            Suspect(
                "the pulse that releases arrives one step early",
                "send it one step later",
                replace(circuit, cells=(*cells[:2], clock("release", 8, 3))),
            ),
        ),
    )
