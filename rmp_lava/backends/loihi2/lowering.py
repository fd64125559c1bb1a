"""What a network becomes on a board, and how its spikes will differ there, before anything is deployed.

A network is lowered to stock LIF neurons with a self-synapse (`backends.lava.stock_lif`). `backends.stock` models them exactly,
so every deviation from the definition of the neuron is known in advance: from the integers alone, and on images by simulation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ...choices import Record
from ...encoding import check_images
from ...findings import Finding, Severity, of_severity
from ...hardware import load_profile
from ...hardware.advice import traps
from ...network import INPUT, Conv, SpikingNetwork, longest_delays, populations
from ...neuron import Range
from ...registers import REGISTER_LIMIT, to_weight_units
from ...results import Run
from ...schedule import Schedule, schedule
from ...stock_weights import MAX_VALUE, QUIET, is_one_weight
from ..obstacles import beyond_chip, refuse, unrepresentable
from ..options import Reference
from ..stock import reset_interval

MARGIN = 0.9
"""Fraction of that register above which a caution is reported; `quantize` aims for 0.8 on calibration images."""


@dataclass(frozen=True)
class LoweringReport:
    """Everything that differs on a board, and what the network's potentials reach on images.

    Parameters
    ----------
    schedule : Schedule
        Of the deployed network; its period is a power of two.
    findings : tuple of Finding
        An obstacle prevents deployment; a difference changes spikes; a caution may, according to public reports; information
        tells what lowering does. `where` is a layer, "input" or "network"; `kind` is "numbers", "threshold", "v_init", "bias",
        "exponent", "convolution", "sums", "period", "reset", "relay", "range", "boundary", "wrap", "spikes", "leak",
        "accumulator", "input" or "width".
    images : int
        Number of images on which the stock neurons were simulated exactly; 0 if none were given.
    ranges : mapping
        Layer name -> (smallest, largest) potential in weight units over all images.
    """

    schedule: Schedule
    findings: tuple[Finding, ...]
    images: int = 0
    ranges: dict[str, Range] = field(default_factory=dict)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return of_severity(self.findings, severity)

    def raise_if_blocked(self) -> None:
        """Raise `BackendError` with every obstacle if there is one."""
        refuse(self.of("obstacle"), "the network cannot be deployed")

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "schedule": asdict(self.schedule) | {"period": self.schedule.period},
            "findings": [asdict(each) for each in self.findings],
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
    """Report what a network becomes on a board, and what will differ there.

    Parameters
    ----------
    network : SpikingNetwork
    steps : int
        T.
    images : numpy.ndarray or None
        (N, *input shape) calibration images. Their potentials are compared with the register; the spikes of the first `exact`
        images are compared with those of backend fast.
    blank : int
        Minimum number of unobserved steps between two samples.
    leak : {0, 1}
        1 for a board whose membranes lose 1/4096 per step (see `Board`).
    seed : int
        Of the Poisson encoding.
    exact : int
        Number of images on which stock neurons are simulated exactly, by backend reference, which is slow.

    Returns
    -------
    LoweringReport
        Nothing that is found raises an error.

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
    waiting: tuple[Record, ...] = ("waiting",)
    measured = fast.run(network, images, plan, seed=seed, record=waiting)
    ranges = {
        name: (to_weight_units(low), to_weight_units(high)) for name, (low, high) in measured.potential_ranges.items()
    }
    found += _of_ranges(network, plan, ranges)
    found += _of_waiting(network, measured)
    some = images[: max(1, exact)]
    record: tuple[Record, ...] = ("spikes",)
    expected = fast.run(network, some, plan, seed=seed, record=record)
    stock = reference.run(network, some, plan, Reference("stock"), seed=seed, record=record, leak=leak)
    found += _of_spikes(expected, stock)
    return LoweringReport(plan, tuple(found), len(some), ranges)


def _of_numbers(network: SpikingNetwork) -> Iterator[Finding]:
    """Values that synapses of stock neurons cannot represent, and sums that Lava would wrap."""
    if not network.is_integer:
        yield Finding("obstacle", "network", "it has real-valued weights", "quantise it first", "numbers")
        return
    yield from unrepresentable(network)
    yield from beyond_chip(network)
    for layer in network:
        for synapse in layer.synapses:
            if synapse.exponent and isinstance(synapse, Conv):
                found = f"its convolution from {synapse.source!r} has weight exponent {synapse.exponent}, which Conv ignores"
                yield Finding("information", layer.name, found, "it becomes a Sparse, which applies it", "exponent")
    for name, neurons, *_ in populations(network):
        threshold = int(np.max(neurons.threshold))
        if neurons.reset == "soft" and threshold <= MAX_VALUE and not is_one_weight(threshold):
            found = f"the threshold {threshold} is not representable as one weight"
            yield Finding("information", name, found, "two self-synapses subtract it, exactly", "threshold")


def _of_time(network: SpikingNetwork, plan: Schedule) -> Iterator[Finding]:
    """What the periodic reset and the delay of one step per synapse require."""
    waits = f" after {plan.wait} steps of waiting" if plan.wait else ""
    found = f"a sample of {plan.steps} steps{waits} takes a period of {plan.period}, because resets need a power of two"
    remedy = f"backend loihi2 chooses it; {plan.blank} of its steps are blank"
    yield Finding("information", "network", found, remedy, "period")
    if reset_interval(plan) != plan.period:
        found = f"the blank steps allow a second reset per period, so one every {reset_interval(plan)} steps"
        yield Finding("information", "network", found, "backlogs of spikes end before the next sample", "reset")
    for source, steps in longest_delays(network).items():
        if steps:
            graded = source == INPUT and network.input.neurons is None
            remedy = "the host repeats them" if graded else "relay neurons, one population per step, pass them on"
            yield Finding(
                "information",
                source,
                f"some of its messages wait up to {steps} step{'s' if steps > 1 else ''}",
                remedy,
                "relay",
            )


def _of_boards(network: SpikingNetwork, leak: int) -> Iterator[Finding]:
    """What public reports tell, or leave open, about boards."""
    if leak:
        found = "membranes lose 1/4096 of their potential per step"
        yield Finding("difference", "network", found, "pass images to see which spikes that changes", "leak")
    if any(each.neurons.reset == "soft" for each in populations(network)):
        found = f"pulses of {QUIET} weight units arrive in one step; whether Loihi 2 sums beyond 16 bits is not public"
        yield Finding("caution", "network", found, "run rmp-lava selftest on the board first", "accumulator")
    for trap in traps(network, load_profile("loihi2")):
        if trap.kind != "input" or network.input.neurons is None:  # otherwise the input's neurons are on the chip
            yield trap


def _of_ranges(network: SpikingNetwork, plan: Schedule, ranges: dict[str, Range]) -> Iterator[Finding]:
    """Potentials that come near the limits of the register, where it wraps."""
    for name, neurons, _, _ in populations(network):
        if neurons.reset != "soft":
            continue
        low, high = ranges[name]
        # The pulse in the last blank step lowers potentials, unless a reset comes before it.
        least = REGISTER_LIMIT - (QUIET if plan.wait or reset_interval(plan) == plan.period else 0)
        share = max(high / REGISTER_LIMIT, -low / least)
        if share > MARGIN:
            # Backend fast saturates one state unit before the register wraps.
            severity: Severity = "difference" if share > 0.9999 else "caution"
            register = f"{-least:,} .. {REGISTER_LIMIT:,}"
            found = f"potentials of {low:,.0f} .. {high:,.0f} use {share:.0%} of the register ({register}), which wraps"
            remedy = "convert with --for-board, which chooses a scale with headroom"
            yield Finding(severity, name, found, remedy, "range")


def _of_waiting(network: SpikingNetwork, measured: Run) -> Iterator[Finding]:
    """Potentials that neurons reach while a pulse of `QUIET` holds them: beyond it they spike, and wrap at the other end."""
    for name, limits in measured.waiting_ranges.items():
        low, high = (to_weight_units(limit) for limit in limits)
        share = max(high / (QUIET + network[name].neurons.threshold), -low / (REGISTER_LIMIT - QUIET))
        if share > MARGIN:
            severity: Severity = "difference" if share > 1 else "caution"
            found = (
                f"potentials of {low:,.0f} .. {high:,.0f} while neurons wait use {share:.0%} of what their pulse leaves"
            )
            remedy = "convert with --for-board, which chooses a scale with headroom"
            yield Finding(severity, name, found, remedy, "range")


def _of_spikes(expected: Run, stock: Run) -> Iterator[Finding]:
    """Where an exact simulation of stock neurons deviates from backend fast."""
    for name, wrapped in stock.large_inputs.items():
        if wrapped:
            found = f"the register wraps {wrapped:,} times on {stock.samples} images"
            yield Finding("difference", name, found, "convert with --for-board, or use fewer steps", "wrap")
    for name, crossing in stock.boundary_spikes.items():
        if crossing:
            found = f"in {crossing} of {stock.samples} images, the threshold of a final spike is subtracted in the next sample"
            remedy = f"use at least {expected.schedule.steps} blank steps"
            if stock.schedule.wait:
                found = f"in {crossing} of {stock.samples} images, neurons spike outside their window, which later layers receive"
                remedy = "convert with --for-board, which keeps potentials within what a pulse silences"
            yield Finding("difference", name, found, remedy, "boundary")
    for name in expected.spikes:
        count = int(np.count_nonzero(expected.spikes[name] != stock.spikes[name]))
        if count:
            total = int(expected.spikes[name].sum())
            found = f"{count:,} spikes differ from the {total:,} of backend fast on {stock.samples} images"
            yield Finding("difference", name, found, "see what wraps, leaks or crosses in earlier layers", "spikes")
    moved = int(np.count_nonzero(expected.predictions != stock.predictions))
    if moved:
        found = f"{moved} of {stock.samples} predictions differ from those of backend fast"
        yield Finding("difference", "network", found, "see the first layer that differs", "spikes")
