"""What a network becomes on a board, and everything that will differ there, before anything is deployed.

A network is lowered to stock LIF neurons with a self-synapse (`lava_stock`), whose model is exact (`stock`). So what differs from
the definition of the neuron is known beforehand: from the numbers alone, and on images by simulation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from ...encoding import check_images
from ...errors import BackendError
from ...hardware import load_profile
from ...hardware.advice import traps
from ...network import INPUT, Conv, SpikingNetwork, populations
from ...neuron import Range
from ...registers import MAX_CONV_SUM, MAX_DENSE_SUM, REGISTER_LIMIT, STATE_SHIFT, to_weight_units
from ...results import Run
from ...schedule import Schedule, schedule
from ...stock_weights import MAX_VALUE, is_one_weight
from ..stock import QUIET, reset_interval
from ..synapses import largest_sum

Severity = Literal["obstacle", "difference", "caution", "information"]
MARGIN = 0.9
"""Share of that register which potentials may take; scales are chosen for 0.8 on calibration images (`quantize`)."""
NARROW_ACCUMULATOR = 2**15
"""Weight units of input in one step that 16 signed bits hold: Loihi 1's accumulator; Loihi 2's is not public."""


@dataclass(frozen=True)
class Difference:
    """One thing that differs on a board.

    Parameters
    ----------
    severity : {"obstacle", "difference", "caution", "information"}
        It cannot be deployed; spikes will differ; spikes may differ, as public reports have it; what lowering does.
    kind : str
        "numbers", "threshold", "v_init", "bias", "convolution", "sums", "period", "reset", "relay", "range", "boundary",
        "wrap", "spikes", "leak", "accumulator", "input" or "width".
    layer : str
        Its name, "input" or "network".
    found : str
    remedy : str
        What to do, or what is done.
    """

    severity: Severity
    kind: str
    layer: str
    found: str
    remedy: str


@dataclass(frozen=True)
class LoweringReport:
    """All differences; with images also what they reach.

    Parameters
    ----------
    schedule : Schedule
        Of the deployed network: its period is a power of two.
    differences : tuple of Difference
    images : int
        On how many images the stock neurons were simulated exactly; 0: none were given.
    ranges : mapping
        Layer name -> (smallest, largest) potential in weight units over all images.
    """

    schedule: Schedule
    differences: tuple[Difference, ...]
    images: int = 0
    ranges: dict[str, Range] = field(default_factory=dict)

    def of(self, severity: Severity) -> tuple[Difference, ...]:
        """Those of one severity."""
        return tuple(each for each in self.differences if each.severity == severity)

    def raise_if_blocked(self) -> None:
        """Raise `BackendError` with every obstacle if there is one."""
        obstacles = self.of("obstacle")
        if obstacles:
            listed = "; ".join(f"{each.layer}: {each.found}, so {each.remedy}" for each in obstacles)
            raise BackendError(f"the network cannot be deployed: {listed}")

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "schedule": asdict(self.schedule) | {"period": self.schedule.period},
            "differences": [asdict(each) for each in self.differences],
            "images": self.images,
            "potential_ranges": {name: list(limits) for name, limits in self.ranges.items()},
        }


def deployed_schedule(network: SpikingNetwork, steps: int, blank: int = 1) -> Schedule:
    """The schedule on a board: at least `blank` unobserved steps, and a period of a power of two."""
    return schedule(network, steps, blank=blank, power_of_two=True)


def lowering_report(
    network: SpikingNetwork,
    steps: int,
    images: np.ndarray | None = None,
    *,
    blank: int = 1,
    leak: int = 0,
    seed: int = 0,
    exact: int = 4,
) -> LoweringReport:
    """Say what a network becomes on a board, and what will differ there.

    Parameters
    ----------
    network : SpikingNetwork
    steps : int
        T.
    images : numpy.ndarray or None
        (N, *input shape) calibration images: their potentials are compared with the register, and the spikes of the first
        `exact` images with those of backend fast.
    blank : int
        Unobserved steps between two samples, at least.
    leak : {0, 1}
        1 for a board whose membranes lose 1/4096 a step (see `Board`).
    seed : int
        Of the Poisson encoding.
    exact : int
        Images on which stock neurons are simulated, by the reference, which is slow.

    Returns
    -------
    LoweringReport
        Nothing is raised for what is found.

    Raises
    ------
    DataError
        If the images do not fit.
    """
    plan = deployed_schedule(network, steps, blank)
    found = [*_of_numbers(network), *_of_time(network, plan), *_of_boards(network, leak)]
    if images is None or any(each.severity == "obstacle" for each in found):
        return LoweringReport(plan, tuple(found))
    from .. import fast, reference

    images = check_images(images, network.input)
    measured = fast.run(network, images, plan, seed=seed)
    ranges = {
        name: (to_weight_units(low), to_weight_units(high)) for name, (low, high) in measured.potential_ranges.items()
    }
    found += _of_ranges(network, plan, ranges)
    some = images[: max(1, exact)]
    expected = fast.run(network, some, plan, seed=seed, record=("spikes",))
    stock = reference.run(network, some, plan, seed=seed, implementation="stock", record=("spikes",), leak=leak)
    found += _of_spikes(expected, stock)
    return LoweringReport(plan, tuple(found), len(some), ranges)


def _of_numbers(network: SpikingNetwork) -> Iterator[Difference]:
    """Numbers that synapses of stock neurons must say, and cannot; and sums that Lava's convolution wraps."""
    if not network.is_integer:
        yield Difference("obstacle", "numbers", "network", "it has real numbers", "quantise it first")
        return
    for name, neurons, shape, _ in populations(network):
        if neurons.is_leaky and neurons.v_init:
            yield Difference(
                "obstacle", "v_init", name, f"leaky neurons start at {neurons.v_init}", "let them start at 0"
            )
        if abs(neurons.v_init) > MAX_VALUE:
            yield Difference(
                "obstacle", "v_init", name, f"v_init is {neurons.v_init}", f"quantise it to +-{MAX_VALUE} at most"
            )
        if neurons.reset != "soft":
            continue
        threshold = int(neurons.threshold)
        if threshold > MAX_VALUE:
            remedy = f"quantise it to {MAX_VALUE} at most (threshold form 'stock'), or bring a native neuron program"
            yield Difference("obstacle", "threshold", name, f"the threshold is {threshold}", remedy)
        elif not is_one_weight(threshold):
            found = f"no single weight says the threshold {threshold}"
            yield Difference("information", "threshold", name, found, "two self-synapses subtract it, exactly")
        bias = neurons.bias_per_neuron(shape)
        if bias is not None:
            state = bias.astype(np.int64) << neurons.bias_exponent
            if (state % (1 << STATE_SHIFT)).any():
                remedy = "quantise with bias_exponent 6 or more"
                yield Difference("obstacle", "bias", name, "its bias has fractions of a weight unit", remedy)
            elif np.abs(state).max() >> STATE_SHIFT > MAX_VALUE:
                remedy = f"quantise it to +-{MAX_VALUE} weight units at most"
                yield Difference("obstacle", "bias", name, "its bias is larger than synapses say", remedy)
    for layer in network:
        if largest_sum(network, *layer.synapses) >= MAX_DENSE_SUM:
            found = f"sums can reach {largest_sum(network, *layer.synapses)}, and Lava adds in 32 bits"
            yield Difference("obstacle", "sums", layer.name, found, "use fewer input levels")
        for synapse in layer.synapses:
            largest = largest_sum(network, synapse)
            if isinstance(synapse, Conv) and largest >= MAX_CONV_SUM:
                found = f"a convolution can reach sums of {largest}, and Lava's wraps"
                yield Difference("obstacle", "convolution", layer.name, found, "use fewer input levels")


def _of_time(network: SpikingNetwork, plan: Schedule) -> Iterator[Difference]:
    """What the periodic reset and synapses of one step each ask for."""
    found = f"a sample of {plan.steps} steps takes a period of {plan.period}, as resets need a power of two"
    yield Difference("information", "period", "network", found, f"{plan.blank} steps of it are not observed")
    if reset_interval(plan) != plan.period:
        found = f"blank steps leave room for a reset of their own, every {reset_interval(plan)} steps"
        yield Difference("information", "reset", "network", found, "backlogs of spikes end before the next sample")
    depths = {INPUT: 0} | network.depths
    waits: dict[str, int] = {}
    for layer in network:
        for synapse in layer.synapses:
            steps = depths[layer.name] - depths[synapse.source] - 1
            waits[synapse.source] = max(waits.get(synapse.source, 0), steps)
    for source, steps in waits.items():
        if steps:
            graded = source == INPUT and network.input.neurons is None
            remedy = (
                "the host sends its messages again" if graded else "relay neurons, one population a step, send them on"
            )
            yield Difference("information", "relay", source, f"some of its messages wait up to {steps} steps", remedy)


def _of_boards(network: SpikingNetwork, leak: int) -> Iterator[Difference]:
    """What public reports say of boards, or do not say."""
    if leak:
        found = "membranes lose 1/4096 of their potential a step"
        yield Difference("difference", "leak", "network", found, "spikes on images say how much that is")
    if any(each.neurons.reset == "soft" for each in populations(network)):
        found = (
            f"pulses of {QUIET} weight units arrive in one step, and whether Loihi 2 sums beyond 16 bits is not public"
        )
        yield Difference("caution", "accumulator", "network", found, "run rmp-lava selftest on the board first")
    for trap in traps(network, load_profile("loihi2")):
        if trap.kind != "input" or network.input.neurons is None:  # else the chip has the input's neurons
            yield Difference("caution", trap.kind, trap.layer, trap.found, trap.remedy)


def _of_ranges(network: SpikingNetwork, plan: Schedule, ranges: dict[str, Range]) -> Iterator[Difference]:
    """Potentials against the register that wraps, with a margin."""
    for name, neurons, _, _ in populations(network):
        if neurons.reset != "soft":
            continue
        low, high = ranges[name]
        # The last blank step's pulse goes below, unless a reset comes before it.
        least = REGISTER_LIMIT - (QUIET if reset_interval(plan) == plan.period else 0)
        share = max(high / REGISTER_LIMIT, -low / least)
        if share > MARGIN:
            # Backend fast saturates a state unit before the register wraps.
            severity = "difference" if share > 0.9999 else "caution"
            register = f"{-least:,} .. {REGISTER_LIMIT:,}"
            found = f"potentials of {low:,.0f} .. {high:,.0f} take {share:.0%} of the register ({register})"
            remedy = "convert with --for-board, so that the scale leaves room; what is beyond wraps to the other sign"
            yield Difference(severity, "range", name, found, remedy)


def _of_spikes(expected: Run, stock: Run) -> Iterator[Difference]:
    """What an exact simulation of stock neurons shows."""
    for name, wrapped in stock.large_inputs.items():
        if wrapped:
            found = f"the register wraps {wrapped:,} times on {stock.samples} images"
            yield Difference("difference", "wrap", name, found, "convert with --for-board, or use fewer steps")
    for name, crossing in stock.boundary_spikes.items():
        if crossing:
            found = f"in {crossing} of {stock.samples} images a spike at the end is subtracted in the next sample"
            remedy = f"use at least {expected.schedule.steps} blank steps"
            yield Difference("difference", "boundary", name, found, remedy)
    for name in expected.spikes:
        count = int(np.count_nonzero(expected.spikes[name] != stock.spikes[name]))
        if count:
            total = int(expected.spikes[name].sum())
            found = f"{count:,} spikes differ from backend fast's, which are {total:,} on {stock.samples} images"
            yield Difference("difference", "spikes", name, found, "see what wraps, leaks or crosses before it")
    moved = int(np.count_nonzero(expected.predictions != stock.predictions))
    if moved:
        found = f"{moved} of {stock.samples} predictions differ from backend fast's"
        yield Difference("difference", "spikes", "network", found, "see the first layer that differs")
