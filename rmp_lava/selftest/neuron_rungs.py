"""Rungs about one neuron: does LIF keep its membrane potential in u, discard v, and subtract its threshold from itself?

The deployed RMP neuron is Lava's LIF with du = -1 and dv = 4096 and a self-synapse of weight -threshold. No public program uses
the two settings together, so each is tested alone first. du = -1: u never decays (Lava adds 1 to du, a bit that Loihi 1 had;
lava-dl's PilotNet benchmark notebook sets it on hardware). dv = 4096: v keeps nothing (Fugu sets it on hardware).
"""

from __future__ import annotations

import numpy as np

from ..backends.circuit import FORGOTTEN, KEPT, Cells, Circuit, Connection, Lines, Recording
from .model import Rules
from .rung import Rung, Suspect, at_steps

SHOWN = 4096
"""dv of a voltage that equals the current."""
SUMMED = 0
"""dv of a voltage that never decays."""
UNIT = 64
"""State units (1/64) in a weight unit."""


def membrane(name: str, size: int, threshold: int, reset: tuple[int, int] | None = None) -> Cells:
    """Cells whose membrane potential is u."""
    return Cells(name, (size,), threshold, KEPT, SHOWN, reset=reset)


def self_synapse(name: str, size: int, threshold: int, exponent: int = 0) -> Connection:
    """Subtracts the threshold from u one step after each spike."""
    return Connection(name, name, -threshold * np.eye(size, dtype=int), "sparse", exponent)


def spikes_of(steps: int, *trains: list[int]) -> Lines:
    """Lines that each send a spike in the given steps."""
    return Lines("lines", at_steps(steps, *trains))


def wiring() -> Rung:
    lines = spikes_of(10, [2], [5], [7, 8])
    circuit = Circuit(
        12,
        (lines,),
        (Cells("cells", (3,), 50, FORGOTTEN, SUMMED),),
        (Connection("lines", "cells", 100 * np.eye(3, dtype=int)),),
    )

    def late(steps: int) -> Circuit:
        return circuit.with_messages(lambda messages: np.roll(messages, steps, axis=0))

    suspects = [
        Suspect(
            f"every message arrives {steps} step{'s' if steps > 1 else ''} late",
            "an adapter between host and cores takes additional time; start the run that many steps earlier and try again",
            late(steps),
        )
        for steps in (1, 2)
    ]
    suspects += [
        Suspect("every message arrives one step early", "the source sends before the first step; delay it", late(-1)),
        Suspect(
            "the cells are in reverse order",
            "input or output adapters reverse them; compare their shapes with the circuit",
            circuit.with_messages(lambda messages: messages[:, ::-1]),
        ),
    ]
    return Rung(
        "wiring",
        "spikes enter and leave, one step later, in order",
        circuit,
        "a spike of weight 100 exceeds the threshold of 50 one step after it was sent; v is then zeroed",
        "messages do not arrive as sent",
        "compare the input and output adapters with those of a program that is known to work on this board",
        Recording({"cells": at_steps(12, [3], [6], [8, 9])}),
        tuple(suspects),
    )


def current_persists() -> Rung:
    circuit = Circuit(
        24,
        (spikes_of(1, [1]),),
        (Cells("cell", (1,), 299, KEPT, SUMMED),),
        (Connection("lines", "cell", np.array([[100]])),),
    )
    return Rung(
        "du = -1",
        "whether u decays from step to step",
        circuit,
        "one spike sets u to 100 for ever; v sums u, 100, 200, 300, and is zeroed at each spike above 299",
        "a current with du = -1 behaves differently from Lava's simulator",
        "read u step by step; stock RMP neurons need a current that persists, otherwise use your own neuron program",
        Recording({"cell": at_steps(24, [4, 7, 10, 13, 16, 19, 22])}, {"cell": np.array([100 * UNIT])}),
        (
            Suspect(
                "du = -1 is taken as 4095: u discards its input at once",
                "-1 is all ones in 12 bits; du = 0 decays by only 1/4096: test that with --leak 1, deploy it with run --leak 1",
                circuit.with_cells("cell", du=FORGOTTEN),
            ),
            Suspect(
                "du = -1 is taken as 0: u loses 1/4096 in each step",
                "the decay's added bit is always set; test that with --leak 1, an option of fit and run too",
                circuit.with_cells("cell", du=0),
            ),
        ),
    )


def voltage_forgets() -> Rung:
    lines = spikes_of(8, [1], [4, 5, 6], [2, 8])
    circuit = Circuit(
        10,
        (lines,),
        (Cells("cell", (1,), 100, FORGOTTEN, SHOWN),),
        (
            Connection("lines", "cell", np.array([[-255, 0, 0]]), exponent=7),
            Connection("lines", "cell", np.array([[0, 60, 101]])),
        ),
    )
    return Rung(
        "dv = 4096",
        "v equals u, and keeps nothing",
        circuit,
        "-32640 in step 2 leaves no trace, so 101 spikes in steps 3 and 9; 60, three times, never adds up to 100",
        "a voltage with dv = 4096 behaves differently from Lava's simulator",
        "read v step by step; try dv = 4095",
        Recording({"cell": at_steps(10, [3, 9])}),
        (
            Suspect(
                "dv = 4096 is taken as 0: v sums u for ever",
                "4096 has 13 bits, of which 12 are kept; try dv = 4095, which leaves 1/4096 of v",
                circuit.with_cells("cell", dv=SUMMED),
            ),
            Suspect(
                "dv = 4096 is taken as 4095: 1/4096 of v remains",
                "harmless while |v| is below 64 weight units; larger potentials shift v by at most 8 units",
                circuit.with_cells("cell", dv=4095),
            ),
        ),
    )


def both() -> Rung:
    lines = spikes_of(9, [1, 2, 3], [8, 9])
    circuit = Circuit(
        12,
        (lines,),
        (Cells("cells", (2,), 15359, KEPT, SHOWN),),
        (Connection("lines", "cells", np.array([[40, -40], [80, -80]]), exponent=7),),
    )
    return Rung(
        "du = -1 and dv = 4096",
        "u is the membrane potential: it accumulates, and spikes do not change it",
        circuit,
        "three times 5120 is 15360, just above 15359, until 5120 is subtracted; the second cell has twice that",
        "du = -1 and dv = 4096 do not work together as they do separately",
        "read u and v step by step",
        Recording(
            {"cells": at_steps(12, [4, 5, 6, 7, 8], [3, 4, 5, 6, 7, 8, 9])},
            {"cells": np.array([5120 * UNIT, 10240 * UNIT])},
        ),
        (
            Suspect(
                "a spike zeroes u as well as v",
                "the membrane then loses what exceeds the threshold, which is a hard reset: RMP neurons need your own neuron "
                "program here",
                rules=Rules(spike_clears_current=True),
            ),
            Suspect(
                "a cell cannot spike in two steps in a row",
                "LIF has a refractory period here: find the option that disables it, or use thresholds much larger than the "
                "input",
                rules=Rules(rests_after_spike=True),
            ),
            Suspect(
                "together with dv = 4096, du = -1 is taken as 0: u loses 1/4096 in each step",
                "compare with rung 'du = -1'; run selftest --leak 1",
                circuit.with_cells("cells", du=0),
            ),
            Suspect(
                "together with dv = 4096, du = -1 is taken as 4095: u discards its input at once",
                "compare with rung 'du = -1'; try dv = 4095",
                circuit.with_cells("cells", du=FORGOTTEN),
            ),
            Suspect(
                "together with du = -1, dv = 4096 is taken as 0: v sums u",
                "compare with rung 'dv = 4096'; try dv = 4095",
                circuit.with_cells("cells", dv=SUMMED),
            ),
        ),
    )


def soft_reset() -> Rung:
    lines = spikes_of(19, [1, 5], list(range(1, 20)), [11])
    circuit = Circuit(
        20,
        (lines,),
        (membrane("cells", 2, 101),),
        (
            self_synapse("cells", 2, 101),
            Connection("lines", "cells", np.array([[202, 0, 0], [0, 60, 0]])),
            Connection("lines", "cells", np.array([[0, 0, -200], [0, 0, 0]]), exponent=1),
        ),
    )
    return Rung(
        "self-synapse",
        "a spike subtracts exactly the threshold from u, one step later",
        circuit,
        "202 spikes once and leaves 101, which does not exceed 101; 202 more spike twice, then 400 are subtracted. 60 per step: "
        "60, 120, 79, 139, 98, 158, 117, 76, 136, 95, 155, 114, 73, 133, 92, 152, 111, 70, 130 in steps 2 to 20",
        "the self-synapse does not subtract the threshold",
        "read u step by step; try Dense with a diagonal matrix instead of Sparse",
        Recording(
            {"cells": at_steps(20, [2, 6, 7], [3, 5, 7, 8, 10, 12, 13, 15, 17, 18, 20])},
            {"cells": np.array([-299 * UNIT, 130 * UNIT])},
        ),
        _faulty_self_synapses(circuit),
    )


def _faulty_self_synapses(circuit: Circuit) -> tuple[Suspect, ...]:
    """What a self-synapse may do instead."""
    return (
        Suspect(
            "the self-synapse never arrives",
            "the compiler drops connections from a population to itself; try Dense instead of Sparse",
            circuit.without(0),
        ),
        Suspect(
            "the self-synapse arrives one step late",
            "a neuron above its threshold then spikes once too often; RMP neurons need your own neuron program here",
            circuit.delayed(0),
        ),
        Suspect(
            "the self-synapse's weight of -101 is rounded to -100",
            "weights of one sign lose their last bit here; quantise with even thresholds only",
            circuit.with_connection(0, weight=-100 * np.eye(2, dtype=int)),
        ),
        Suspect(
            "the self-synapse adds the threshold instead of subtracting it",
            "the sign is lost: set the sign mode of inhibitory weights",
            circuit.with_connection(0, weight=101 * np.eye(2, dtype=int)),
        ),
        Suspect(
            "a spike zeroes u as well as v",
            "compare with rung 'du = -1 and dv = 4096'",
            rules=Rules(spike_clears_current=True),
        ),
    )
