"""Rungs about connections: weights to their limits, orientation of convolutions, graded messages, relays.

Sums are observed through spikes alone: a soft-reset cell spikes until a sum is used up, one threshold at a time.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..backends.circuit import FORGOTTEN, Cells, Circuit, Connection, Lines, Recording
from .neuron_rungs import SHOWN, UNIT, membrane, self_synapse, spikes_of
from .rung import Rung, Suspect, at_steps, bursts


def dense() -> Rung:
    mixed = np.array([[254, 2, 0, 0], [254, -256, 254, 2], [200, 100, 254, 212], [-256, -256, -256, -256]])
    odd = np.array([[255, 1, 0, 0], [127, 127, 1, 0]])
    circuit = Circuit(
        14,
        (spikes_of(8, [1], [1], [1, 8], [1]),),
        (membrane("mixed", 4, 255), membrane("odd", 2, 255)),
        (
            Connection("lines", "mixed", mixed),
            Connection("lines", "odd", odd),
            self_synapse("mixed", 4, 255),
            self_synapse("odd", 2, 255),
        ),
    )
    return Rung(
        "dense",
        "weights of mixed sign (even, -256 to 254) and of one sign (up to 255), to the last bit",
        circuit,
        "all four lines: 256, 254, 766, -1024 and 256, 255 against 255; later the third adds 0, 254, 254, -256 and 0, 1",
        "Dense does not sum its weights as Lava's simulator does",
        "send one line at a time and find the weight that is wrong; compare sign mode and number of weight bits",
        Recording(
            {"mixed": at_steps(14, [2], [9], [2, 3, 4], []), "odd": at_steps(14, [2], [9])},
            {"mixed": np.array([1, 253, 255, -1280]) * UNIT, "odd": np.array([1, 1]) * UNIT},
        ),
        (
            Suspect(
                "the matrix is transposed",
                "pass weights as (inputs, outputs)",
                circuit.with_connection(0, weight=mixed.T),
            ),
            Suspect(
                "odd weights of one sign are rounded to even ones",
                "set the sign mode (excitatory, inhibitory), or quantise with even weights",
                circuit.with_connection(1, weight=odd & ~1),
            ),
            Suspect(
                "-256 is taken as -254",
                "quantise with weights of at least -254",
                circuit.with_connection(0, weight=np.maximum(mixed, -254)),
            ),
            Suspect(
                "weights are limited to 7 bits and sign",
                "quantise with weights from -128 to 127, or set num_weight_bits",
                circuit.with_connection(0, weight=np.clip(mixed, -128, 127)),
            ),
        ),
    )


def exponents() -> Rung:
    """A convolution's shortcut is a Sparse with an exponent next to synapses with another one."""
    circuit = Circuit(
        18,
        (spikes_of(8, [1, 8], [1]),),
        (membrane("cells", 2, 100),),
        (
            Connection("lines", "cells", np.array([[30, -2], [-14, 126]]), exponent=1),
            Connection("lines", "cells", np.array([[26, 0], [0, -6]]), "sparse", 4),
            Connection("lines", "cells", np.array([[3, 0], [0, 1]])),
            self_synapse("cells", 2, 100),
        ),
    )

    def with_exponents(*exponents: int) -> Circuit:
        changed = circuit
        for index, exponent in enumerate(exponents):
            changed = changed.with_connection(index, exponent=exponent)
        return changed

    return Rung(
        "weight exponents",
        "synapses of one population with exponents 1, 4 and 0, in Dense and in Sparse",
        circuit,
        "both lines: 56 + 416 + 3 = 475 gives 4 spikes and leaves 75, and 224 - 96 + 1 = 129 gives one and leaves 29; later the "
        "first line adds 60 + 416 + 3, which gives 5 and leaves 54, and -28",
        "weights are not shifted by the exponent of their own synapse",
        "quantise with --threshold-form dense_rec, which gives no exponents",
        Recording(
            {"cells": at_steps(18, [2, 3, 4, 5, *range(9, 14)], [2])},
            {"cells": np.array([54, 1]) * UNIT},
        ),
        (
            Suspect(
                "weight exponents are ignored",
                "quantise with --threshold-form dense_rec, which gives no exponents",
                with_exponents(0, 0, 0),
            ),
            Suspect(
                "Sparse ignores its exponent",
                "use Dense for shortcuts, or quantise with --threshold-form dense_rec",
                with_exponents(1, 0, 0),
            ),
            Suspect(
                "all synapses of a population have the first one's exponent",
                "give each exponent a population of its own, or quantise with --threshold-form dense_rec",
                with_exponents(1, 1, 1),
            ),
            Suspect(
                "weights of mixed sign are shifted by one bit more",
                "pass exponents of mixed weights one lower",
                with_exponents(2, 5, 0),
            ),
        ),
    )


def conv() -> Rung:
    """Two channels of 5 x 5, kernel 3 x 3, stride and padding that differ in height and width."""
    kernel = np.zeros((2, 2, 3, 3), dtype=int)
    kernel[0, 0] = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    kernel[0, 1, 0, 0], kernel[0, 1, 1, 1] = -1, 2
    kernel[1, 0, 1, 2], kernel[1, 1, 0, 0], kernel[1, 1, 2, 2] = 3, 2, 8
    image = np.zeros((1, 2, 5, 5), dtype=int)
    for position in [(0, 0, 0), (0, 2, 3), (0, 3, 0), (1, 1, 1), (1, 3, 4)]:
        image[0][position] = 1
    weight = 20 * kernel
    circuit = Circuit(
        12,
        (Lines("image", image),),
        (replace(membrane("cells", 1, 20), shape=(2, 3, 3)),),
        (Connection("image", "cells", weight, "conv", stride=(2, 1), padding=(1, 0)), self_synapse("cells", 18, 20)),
    )
    sums = np.array([[[4, 0, 0], [7, 6 - 1, 5], [1, 0, 0]], [[0, 0, 0], [0, 3 + 2, 8], [0, 0, 0]]])
    return Rung(
        "conv",
        "convolution of two channels with stride (2, 1) and padding (1, 0): orientation, axes, borders, channels",
        circuit,
        "five spikes pick single entries of the kernels, in units of the threshold: [[4 0 0] [7 5 5] [1 0 0]] in the first "
        "channel and [[0 0 0] [0 5 8] [0 0 0]] in the second; n units are n - 1 spikes from step 2 on",
        "Conv does not compute what Lava's simulator does",
        "send one spike at a time: the response is the kernel as the chip uses it",
        Recording({"cells": bursts(12, 2, 20, 20 * sums)}, {"cells": UNIT * 20 * np.minimum(sums, 1)}),
        _misread_kernels(circuit, weight),
    )


def _misread_kernels(circuit: Circuit, weight: np.ndarray) -> tuple[Suspect, ...]:
    """Kernels and geometries as a chip may misinterpret them."""
    return (
        Suspect(
            "the kernel is not flipped: a cross-correlation",
            "pass the kernel in PyTorch's order",
            circuit.with_connection(0, weight=weight[..., ::-1, ::-1]),
        ),
        Suspect(
            "the kernel's height and width are swapped",
            "pass the kernel transposed",
            circuit.with_connection(0, weight=weight.swapaxes(2, 3)),
        ),
        Suspect(
            "stride and padding are taken as (height, width), not (width, height)",
            "swap both, or use square ones only",
            circuit.with_connection(0, stride=(1, 2), padding=(0, 1)),
        ),
        Suspect(
            "the source's channels are swapped",
            "check the order of the kernel's last axis",
            circuit.with_connection(0, weight=weight[:, ::-1]),
        ),
        Suspect(
            "the target's channels are swapped",
            "check the order of the kernel's first axis",
            circuit.with_connection(0, weight=weight[::-1]),
        ),
    )


def graded() -> Rung:
    messages = np.zeros((9, 2), dtype=int)
    messages[0], messages[8] = [200, 3], [255, 100]
    circuit = Circuit(
        24,
        (Lines("image", messages.reshape(9, 1, 1, 2), 16),),
        (membrane("dense", 2, 100), replace(membrane("conv", 1, 100), shape=(1, 1, 2))),
        (
            Connection("image", "dense", np.array([[2, 0], [0, 10]])),
            Connection("image", "conv", np.array([[[[2]]]]), "conv"),
            self_synapse("dense", 2, 100),
            self_synapse("conv", 2, 100),
        ),
    )

    conv_spikes = at_steps(24, [2, 3, 4, *range(10, 16)], [10, 11]).reshape(24, 1, 1, 2)
    return Rung(
        "graded input",
        "messages with a payload, up to 255, through Dense and Conv",
        circuit,
        "2 * 200 = 400 gives 3 spikes and leaves 100, 2 * 255 more give 6; 10 * 3 gives none, 10 * 100 more give 10; in Conv "
        "2 * 3 gives none and 2 * 100 more give 2",
        "payloads do not arrive as sent",
        "use --encoding rate or poisson, which send spikes",
        Recording(
            {"dense": at_steps(24, [2, 3, 4, *range(10, 16)], list(range(10, 20))), "conv": conv_spikes},
            {"dense": np.array([10, 30]) * UNIT, "conv": np.array([10, 6]).reshape(1, 1, 2) * UNIT},
        ),
        (
            Suspect(
                "payloads are ignored: every message counts as 1",
                "set num_message_bits of each connection, or use --encoding rate or poisson",
                replace(circuit, lines=tuple(replace(each, bits=0) for each in circuit.lines)),
            ),
            Suspect(
                "payloads have 8 signed bits: 128 and more are negative",
                "keep input levels at 127 or less",
                circuit.with_messages(lambda messages: np.where(messages > 127, messages - 256, messages)),
            ),
            Suspect(
                "payloads saturate at 127",
                "keep input levels at 127 or less",
                circuit.with_messages(lambda messages: np.minimum(messages, 127)),
            ),
        ),
    )


def relay() -> Rung:
    cells = tuple(Cells(name, (2,), 1, FORGOTTEN, SHOWN) for name in ("first", "second"))
    circuit = Circuit(
        12,
        (spikes_of(7, [1, 2, 3, 7], [2]),),
        cells,
        (
            Connection("lines", "first", 2 * np.eye(2, dtype=int), "sparse"),
            Connection("first", "second", 2 * np.eye(2, dtype=int), "sparse"),
        ),
    )
    return Rung(
        "relay",
        "cells that only pass spikes on, for paths that are shorter than others",
        circuit,
        "each relay spikes once for each spike that it receives, one step later",
        "relays lose or add spikes",
        "paths of residual networks arrive at different times; use synaptic delays instead of relays",
        Recording({"first": at_steps(12, [2, 3, 4, 8], [3]), "second": at_steps(12, [3, 4, 5, 9], [4])}),
        (
            Suspect(
                "a relay takes two steps",
                "synapses between populations take one step more here than self-synapses; see rung 'wiring'",
                circuit.delayed(1),
            ),
            Suspect(
                "a relay integrates: its voltage keeps its previous value",
                "compare with rung 'dv = 4096'",
                circuit.with_cells("first", du=-1).with_cells("second", du=-1),
            ),
        ),
    )
