"""Energy and time of an inference, estimated from the counts of a simulation and the coefficients of a profile; not measured.

    E_dynamic = e_syn synaptic operations + e_neuron neuron updates + e_message messages + P_active time
    E_total   = E_dynamic + P_static chips time
    time      = steps * max(shortest step, busiest core's operations t_syn + neuron updates t_neuron + messages t_message)

A coefficient that is not public is left out, and listed as missing. See docs/hardware.md for sources and uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..network import INPUT, SpikingNetwork
from ..results import Run
from ..tables import Table, Tabular, table
from .demand import CLOCK
from .mapping import Mapping, map_network
from .placement import LayerMapping
from .profiles import Profile, load_comparisons, load_profile

ACTIVITIES = {"synaptic_operation": "synaptic operations", "neuron_update": "neuron updates", "message": "messages"}
"""What a population does: key in a profile's sections `energy` and `time` -> name in messages."""
COEFFICIENTS = ACTIVITIES | {"active_power": "active power", "static_power": "static power"}
"""What energy consists of: key in a profile's section `energy` -> name in messages."""


@dataclass(frozen=True)
class LayerEstimate:
    """One population's activity and dynamic energy, per inference.

    Parameters
    ----------
    synaptic_operations, neuron_updates, messages : float
        A message counts once for each core that receives it.
    parts : mapping
        "synaptic_operation", "neuron_update", "message" -> energy in J; coefficients that the profile does not know are missing.
    step_seconds : float
        Computing time of its busiest core in an average step.
    macs : int
        Multiply-accumulates of the trained layer.
    """

    name: str
    cores: int
    synaptic_operations: float
    neuron_updates: float
    messages: float
    parts: MappingType[str, float]
    step_seconds: float
    macs: int

    @property
    def energy(self) -> float:
        """Dynamic energy in J."""
        return sum(self.parts.values())


@dataclass(frozen=True, repr=False)
class Estimate(Tabular):
    """Energy and time of an average inference, estimated.

    Parameters
    ----------
    samples : int
        Samples whose activity was averaged.
    steps : float
        T; the mean where samples ended early.
    period, latency : float
        Time steps from one sample to the next, and from a sample's first input to its prediction (`Schedule.latency`).
    step_seconds : float
        Duration of an average step.
    left_out : tuple of str
        What the estimate does not include, and why.
    """

    profile: Profile
    mapping: Mapping
    samples: int
    steps: float
    period: float
    latency: float
    layers: tuple[LayerEstimate, ...]
    step_seconds: float
    left_out: tuple[str, ...]

    def __getitem__(self, name: str) -> LayerEstimate:
        """The population of that name; KeyError if there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def table(self) -> Table:
        """Energy and time per inference."""
        total = "unknown" if self.total is None else f"{self.total:.3g} J"
        rows = (
            ("dynamic energy", f"{self.dynamic:.3g} J"),
            ("with static power", total),
            ("prediction after", f"{self.latency_seconds:.3g} s"),
            ("next sample after", f"{self.period_seconds:.3g} s"),
        )
        head = f"Estimate: {self.profile.name}, {self.mapping.implementation} neurons, T = {self.steps:g}"
        return table(f"{head}, mean of {self.samples:,} samples", ("per inference", ""), rows)

    @property
    def period_seconds(self) -> float:
        """Seconds from one sample to the next."""
        return self.period * self.step_seconds

    @property
    def latency_seconds(self) -> float:
        """Seconds from a sample's first input to its prediction."""
        return self.latency * self.step_seconds

    @property
    def parts(self) -> dict[str, float]:
        """Energy of an inference by coefficient, in J; unknown coefficients are missing."""
        watts = {key: self.profile.quantity(f"energy.{key}").si for key in ("active_power", "static_power")}
        chips = {"active_power": 1, "static_power": self.mapping.chips}
        known = self.layers[0].parts  # the same keys in each layer
        return {key: sum(layer.parts[key] for layer in self.layers) for key in known} | {
            key: power * chips[key] * self.period_seconds for key, power in watts.items() if power is not None
        }

    @property
    def dynamic(self) -> float:
        """J per inference, without static power."""
        return sum(energy for key, energy in self.parts.items() if key != "static_power")

    @property
    def total(self) -> float | None:
        """J per inference with static power; None where that is unknown."""
        return self.dynamic + self.parts["static_power"] if "static_power" in self.parts else None

    @property
    def relative_uncertainty(self) -> float | None:
        """Relative uncertainty of the dynamic energy, as far as public measurements show it."""
        return self.profile.quantity("energy.relative_uncertainty").value

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the trained network per inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def synaptic_operations(self) -> float:
        """Synaptic operations per inference."""
        return sum(layer.synaptic_operations for layer in self.layers)

    def at(self, factor: float) -> dict[str, float | None]:
        """T, latency in s, dynamic and total energy in J for `factor` times as many steps, if the firing rates stay the same."""
        steps = self.steps * factor
        share = (steps + self.period - self.steps) / self.period
        static = self.parts.get("static_power")
        dynamic = self.dynamic * factor
        return {
            "steps": steps,
            "latency_seconds": (self.latency - self.steps + steps) * self.step_seconds,
            "dynamic": dynamic,
            "total": None if static is None else dynamic + static * share,
        }

    def comparisons(self) -> list[tuple[str, float, str]]:
        """(processor, J, source) of an inference on other processors; some sources count arithmetic only."""
        counted = {"mac": self.macs, "synaptic_operation": self.synaptic_operations}
        return [(c.label, counted[c.per] * (c.energy.si or 0.0), c.energy.source) for c in load_comparisons()]

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON; energies in J, times in s, per inference."""
        used = {key: self.profile.quantity(f"energy.{key}") for key in (*COEFFICIENTS, "relative_uncertainty")}
        return {
            "status": "estimated, not measured",
            "profile": self.profile.name,
            "implementation": self.mapping.implementation,
            "samples": self.samples,
            "steps": self.steps,
            "step_seconds": self.step_seconds,
            "period_seconds": self.period_seconds,
            "latency": self.latency,
            "latency_seconds": self.latency_seconds,
            "dynamic_joules": self.dynamic,
            "total_joules": self.total,
            "relative_uncertainty": self.relative_uncertainty,
            "parts_joules": self.parts,
            "coefficients": {key: quantity.summary() for key, quantity in used.items()},
            "left_out": list(self.left_out),
            "layers": [
                {key: value for key, value in vars(layer).items() if key != "parts"} | {"joules": layer.energy}
                for layer in self.layers
            ],
            "macs": self.macs,
            "synaptic_operations": self.synaptic_operations,
            "other_steps": [self.at(factor) for factor in (0.5, 1, 2)],
            "comparison": [{"processor": label, "joules": j, "source": s} for label, j, s in self.comparisons()],
        }


def estimate(network: SpikingNetwork, result: Run, profile: str | Profile, mapping: Mapping | None = None) -> Estimate:
    """Estimate energy and time of a network's inferences.

    Parameters
    ----------
    result : Run
        A run of typical samples on any backend; its counts are averaged over them.
    profile : str or Profile
        Name or path of a hardware profile.
    mapping : Mapping or None
        None: from the profile and the run's implementation.

    Raises
    ------
    ProfileError
        If the profile cannot be read.
    UsageError
        If the run did not count the messages and operations of every layer.
    """
    uncounted = [layer.name for layer in network if layer.name not in result.synaptic_operations]
    if uncounted or INPUT not in result.message_counts:
        names = ", ".join(map(repr, uncounted)) or "the input"
        raise UsageError(
            f"the run on backend {result.backend!r} counted nothing in {names}, and energy is estimated from counts; "
            "run the network on backend 'fast' or 'reference'"
        )
    profile = load_profile(profile)
    plan = result.schedule
    mapping = mapping or map_network(network, profile, result.implementation, period=plan.period, steps=plan.steps)
    steps = plan.steps if result.steps_used is None else float(result.steps_used.mean())
    layers = tuple(_layer(layer, result, steps, profile) for layer in mapping.layers)
    shortest = ["time.step_minimum"] + ["time.step_minimum_multichip"] * (mapping.chips > 1)
    step = max(*(layer.step_seconds for layer in layers), *(profile.quantity(key).si or 0.0 for key in shortest))
    return Estimate(
        profile,
        mapping,
        result.samples,
        steps,
        steps + plan.wait + plan.blank,
        steps + plan.depth,
        layers,
        step,
        _left_out(profile, sum(layer.messages for layer in layers)),
    )


def _layer(layer: LayerMapping, result: Run, steps: float, profile: Profile) -> LayerEstimate:
    demand = layer.demand
    name, period = demand.origin or layer.name, steps + result.schedule.wait + result.schedule.blank
    constant = steps if result.schedule.wait else period  # steps in which constants act
    if layer.role == "pulses":
        sent, operations = layer.size * (1.0 if name == CLOCK else constant), 0.0
    elif demand.origin:
        operations = sent = float(result.message_counts[name].mean())
    else:
        sent = float(result.message_counts[name].mean())
        operations = 0.0 if name == INPUT else float(result.synaptic_operations[name].mean())
    operations += sent * demand.self_synapses + demand.pulse_operations + demand.constant_operations * constant
    # Neurons are updated in unobserved steps too, and each compartment separately.
    updates = layer.size * demand.slots * period
    messages = sent * (layer.receivers + demand.self_synapses)
    counts = dict(zip(ACTIVITIES, (operations, updates, messages), strict=True))
    energies = {key: profile.quantity(f"energy.{key}").si for key in ACTIVITIES}
    times = {key: profile.quantity(f"time.{key}").si or 0.0 for key in ACTIVITIES}
    fullest = layer.usage["neurons"].largest / layer.size
    return LayerEstimate(
        layer.name,
        layer.cores,
        operations,
        updates,
        messages,
        {key: counts[key] * energy for key, energy in energies.items() if energy is not None},
        sum(counts[key] * time for key, time in times.items()) * fullest / period,
        demand.macs,
    )


def _left_out(profile: Profile, messages: float) -> tuple[str, ...]:
    unknown = [
        f"{name}: unknown for {profile.name}"
        for key, name in COEFFICIENTS.items()
        if profile.quantity(f"energy.{key}").value is None
    ]
    if profile.quantity("time.message").value is None:
        unknown.append(f"time of messages: unknown for {profile.name}")
    hop = profile.quantity("energy.hop").si
    each = "" if hop is None else f"; each hop of all messages would add {1e9 * hop * messages:,.3g} nJ"
    return (
        *unknown,
        f"hops between cores: the positions of cores on the chip are not public{each}",
        "input and output: host, embedded processors, links between boards",
    )
