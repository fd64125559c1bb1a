"""What a board's probes measured: power, time, activity and memory, and the figures derived from them.

Every figure states whether it is measured, derived from measured ones, or simulated by backend fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .errors import DataError
from .network.values import Value

Origin = Literal["measured", "derived", "simulated", "estimated"]
RAILS = ("total", "vdd", "vddm", "vddio")
"""All rails; neuro-cores and routers; memories; interfaces (lava-dl, netx/pilotnet_snn/benchmark.ipynb)."""


@dataclass(frozen=True)
class Figure:
    """One number with its unit and its origin.

    origin : {"measured", "derived", "simulated", "estimated"}. Read from a probe (or its mean over time); computed from
        measured figures; counted by backend fast; computed from a hardware profile.
    how : Its source, in words.
    """

    name: str
    value: float
    unit: str
    origin: Origin
    how: str


@dataclass(frozen=True, eq=False)
class Measurement(Value):
    """Readings of a board's probes while a network ran one sample repeatedly.

    `power`, `time`, `activity` and `memory` come from separate runs, because probes disturb each other.

    Parameters
    ----------
    board : str
        Description, with the chips' generation.
    input : {"chip", "host"}
        "chip": the network holds the sample's messages (input and output excluded); "host": the host sends them in each step
        (included).
    steps, period, repetitions : int
        T; time steps from sample to sample; samples in each run.
    power : mapping
        "total_power", "vdd_power", "vddm_power", "vddio_power": W, samples over time; "static_..." of each: W.
    time : mapping
        "execution_time_per_step" and the phases' "spiking_...", "management_...", "host_...": us; "avg_time_per_step": us.
    activity : mapping
        "core_idx", "chip_idx", "syn_ops", "dendrite_updates", "axon_out", "spikes_in": per neuro-core, over the run.
    memory : mapping
        "core_idx", "total_mpds": share of each neuro-core's memory.
    simulated_operations, simulated_spikes : mapping
        Layer name -> per sample, by backend fast: without self-synapses, pulses and blank steps.
    """

    board: str
    input: Literal["chip", "host"]
    steps: int
    period: int
    repetitions: int
    power: Mapping[str, Any]
    time: Mapping[str, Any]
    activity: Mapping[str, Any]
    memory: Mapping[str, Any]
    simulated_operations: Mapping[str, float]
    simulated_spikes: Mapping[str, float]

    def __post_init__(self) -> None:
        if min(self.steps, self.period, self.repetitions) < 1 or self.time["avg_time_per_step"] <= 0:
            raise DataError("a measurement needs at least one step, one sample and a time above 0")

    @property
    def chips(self) -> int:
        """Number of chips with active neuro-cores."""
        return len(set(self.activity["chip_idx"]))

    @property
    def cores(self) -> int:
        """Number of neuro-cores that the network occupies."""
        return len(self.activity["syn_ops"])

    @property
    def seconds_per_sample(self) -> float:
        """Duration of a period."""
        return self.time["avg_time_per_step"] * 1e-6 * self.period

    def watts(self, rail: str) -> tuple[float, float]:
        """(mean while the network ran, static) power of one of `RAILS`, in W."""
        return float(np.mean(self.power[f"{rail}_power"])), float(self.power[f"static_{rail}_power"])

    def figures(self) -> tuple[Figure, ...]:
        """All figures: power, time, energy, activity and memory."""
        rows: list[Figure] = []
        for rail in RAILS:
            mean, static = self.watts(rail)
            rails = "rails" if rail == "total" else f"{rail.upper()} rail"
            what = (
                f"of the whole board's {rails}; the network occupies cores of {self.chips} chip{'s' * (self.chips > 1)}"
            )
            rows += [
                Figure(f"{rail} power", mean, "W", "measured", f"mean over the power run, {what}"),
                Figure(f"{rail} power, static", static, "W", "measured", f"power probe, {what}"),
                Figure(f"{rail} power, dynamic", mean - static, "W", "derived", "power less static power"),
            ]
        mean, static = self.watts("total")
        seconds = self.seconds_per_sample
        per_step = "time probe, in a separate run"
        rows += [
            Figure("time per step", self.time["avg_time_per_step"] * 1e-6, "s", "measured", per_step),
            Figure("time per sample", seconds, "s", "derived", f"{self.period} steps"),
            Figure("samples per second", 1 / seconds, "1/s", "derived", f"one every {self.period} steps"),
            Figure("energy per sample", mean * seconds, "J", "derived", "power times time, from two runs"),
            Figure(
                "energy per sample, dynamic", (mean - static) * seconds, "J", "derived", "the same, less static power"
            ),
        ]
        rows += [
            Figure(f"{name} per sample", sum(self.activity[key]) / self.repetitions, "1", "measured", "activity probe")
            for name, key in (
                ("synaptic operations", "syn_ops"),
                ("neuron updates", "dendrite_updates"),
                ("messages sent", "axon_out"),
                ("messages received", "spikes_in"),
            )
        ]
        how = "backend fast: the network's own, without self-synapses, pulses and blank steps"
        rows += [
            Figure(f"{name} per sample, simulated", sum(values.values()), "1", "simulated", how)
            for name, values in (("synaptic operations", self.simulated_operations), ("spikes", self.simulated_spikes))
        ]
        share = float(np.mean(self.memory["total_mpds"]))
        rows.append(Figure("memory used", share, "1", "measured", f"memory probe, mean share of {self.cores} cores"))
        return tuple(rows)

    def summary(self) -> dict[str, Any]:
        """For JSON: the figures, and the readings of each core."""
        return {
            "board": self.board,
            "input_and_output": "excluded" if self.input == "chip" else "included",
            "steps": self.steps,
            "period": self.period,
            "repetitions": self.repetitions,
            "chips": self.chips,
            "cores": self.cores,
            "figures": [vars(figure) for figure in self.figures()],
            "activity_per_core": {name: list(values) for name, values in self.activity.items()},
            "memory_per_core": {name: list(values) for name, values in self.memory.items()},
            "simulated_operations": dict(self.simulated_operations),
            "simulated_spikes": dict(self.simulated_spikes),
        }
