"""Energy and time of an inference, estimated from the counts of a simulation and the coefficients of a profile; not measured.

The formulas are in `costs`. Every figure is an interval, whose bounds are those of the coefficients: what published runs allow.
A coefficient that is not public is left out, and listed as missing. See docs/hardware.md for sources and anchors.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..network import INPUT, SpikingNetwork
from ..results import Run
from ..tables import Table, Tabular, table
from .costs import ACTIVITIES, active_power, core_seconds, energies, shortest_step, static_power
from .demand import CLOCK
from .interval import Interval, largest, total
from .mapping import Mapping, map_network
from .placement import LayerMapping
from .profiles import Profile, load_comparisons, load_profile

COEFFICIENTS = ACTIVITIES | {"active_power": "active power", "static_power": "static power"}
"""What energy consists of: key in a profile's section `energy` -> name in messages."""


@dataclass(frozen=True)
class LayerEstimate:
    """One population's activity and dynamic energy, per inference.

    Parameters
    ----------
    synaptic_operations, neuron_updates, messages : float
        A message counts once for each core that receives it.
    crossing : float
        Messages that go to cores of other chips.
    between : mapping
        "synaptic_operation", "neuron_update", "message" -> energy in J; coefficients that the profile does not know are missing.
    seconds : Interval
        Computing time of its busiest core in an average step.
    macs : int
        Multiply-accumulates of the layer, were it not to spike.
    """

    name: str
    cores: int
    synaptic_operations: float
    neuron_updates: float
    messages: float
    crossing: float
    between: MappingType[str, Interval]
    seconds: Interval
    macs: int

    @property
    def parts(self) -> dict[str, float]:
        """Activity -> energy in J."""
        return {key: energy.value for key, energy in self.between.items()}

    @property
    def step_seconds(self) -> float:
        """Computing time of its busiest core in an average step."""
        return self.seconds.value

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
    step : Interval
        Duration of an average step in s.
    left_out : tuple of str
        What the estimate does not include, and why.
    trained_macs : int or None
        Multiply-accumulates of the trained network per inference; None where the network does not record them.
    """

    profile: Profile
    mapping: Mapping
    samples: int
    steps: float
    period: float
    latency: float
    layers: tuple[LayerEstimate, ...]
    step: Interval
    left_out: tuple[str, ...]
    trained_macs: int | None = None

    def __getitem__(self, name: str) -> LayerEstimate:
        """The population of that name; KeyError if there is none."""
        return {layer.name: layer for layer in self.layers}[name]

    def table(self) -> Table:
        """Energy and time per inference."""

        def row(name: str, found: Interval | None, unit: str) -> tuple[str, str, str]:
            if found is None:
                return name, "unknown", ""
            return name, f"{found.value:.3g} {unit}", f"{found.low:.3g} .. {found.high:.3g} {unit}"

        rows = (
            row("dynamic energy", self.dynamic_between, "J"),
            row("with static power", self.total_between, "J"),
            row("prediction after", self.step * self.latency, "s"),
            row("next sample after", self.step * self.period, "s"),
        )
        head = f"Estimate: {self.profile.name}, {self.mapping.implementation} neurons, T = {self.steps:g}"
        return table(f"{head}, mean of {self.samples:,} samples", ("per inference", "", "between"), rows)

    @property
    def step_seconds(self) -> float:
        """Duration of an average step."""
        return self.step.value

    @property
    def period_seconds(self) -> float:
        """Seconds from one sample to the next."""
        return self.period * self.step_seconds

    @property
    def latency_seconds(self) -> float:
        """Seconds from a sample's first input to its prediction."""
        return self.latency * self.step_seconds

    @property
    def parts_between(self) -> dict[str, Interval]:
        """Energy of an inference by coefficient, in J; unknown coefficients are missing. Static power is the whole board's."""
        known, period = self.layers[0].between, self.step * self.period  # the same keys in each layer
        powers = {"active_power": active_power, "static_power": static_power}
        watts = {key: power(self.profile, self.mapping.chips) for key, power in powers.items()}
        return {key: total(*(layer.between[key] for layer in self.layers)) for key in known} | {
            key: power * period for key, power in watts.items() if power is not None
        }

    @property
    def parts(self) -> dict[str, float]:
        """Energy of an inference by coefficient, in J; unknown coefficients are missing."""
        return {key: energy.value for key, energy in self.parts_between.items()}

    @property
    def dynamic_between(self) -> Interval:
        """J per inference, without static power."""
        return total(*(energy for key, energy in self.parts_between.items() if key != "static_power"))

    @property
    def total_between(self) -> Interval | None:
        """J per inference of the whole board, with static power; None where that is unknown."""
        parts = self.parts_between
        return total(*parts.values()) if "static_power" in parts else None

    @property
    def dynamic(self) -> float:
        """J per inference, without static power."""
        return self.dynamic_between.value

    @property
    def total(self) -> float | None:
        """J per inference of the whole board, with static power; None where that is unknown."""
        found = self.total_between
        return None if found is None else found.value

    @property
    def crossing(self) -> float:
        """Messages between chips per inference."""
        return sum(layer.crossing for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per inference without spikes: of the trained network, else of all layers that conversion made."""
        return sum(layer.macs for layer in self.layers) if self.trained_macs is None else self.trained_macs

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
        used = {key: self.profile.quantity(f"energy.{key}") for key in (*COEFFICIENTS, "static_power_per_chip")}
        whole = self.total_between
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
            "between": {
                "dynamic_joules": self.dynamic_between.summary(),
                "total_joules": None if whole is None else whole.summary(),
                "step_seconds": self.step.summary(),
                "latency_seconds": (self.step * self.latency).summary(),
            },
            "messages_between_chips": self.crossing,
            "parts_joules": self.parts,
            "coefficients": {key: quantity.summary() for key, quantity in used.items()},
            "left_out": list(self.left_out),
            "layers": [
                {key: value for key, value in vars(layer).items() if key not in ("between", "seconds")}
                | {"joules": layer.energy, "step_seconds": layer.step_seconds}
                for layer in self.layers
            ],
            "macs": self.macs,
            "macs_of": "converted network" if self.trained_macs is None else "trained network",
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
    step = largest(shortest_step(profile, mapping.chips), *(layer.seconds for layer in layers))
    return Estimate(
        profile,
        mapping,
        result.samples,
        steps,
        steps + plan.wait + plan.blank,
        steps + plan.depth,
        layers,
        step,
        _left_out(profile, layers),
        network.trained_macs,
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
    share = layer.usage["neurons"].largest / layer.size / period
    convolution = any(synapse.kind == "conv" for synapse in demand.synapses)
    seconds = core_seconds(profile, {key: n * share for key, n in counts.items()}, convolution=convolution)
    crossing, energy = sent * layer.crossing, energies(profile, counts)
    return LayerEstimate(layer.name, layer.cores, operations, updates, messages, crossing, energy, seconds, demand.macs)


def _left_out(profile: Profile, layers: tuple[LayerEstimate, ...]) -> tuple[str, ...]:
    unknown = [
        f"{name}: unknown for {profile.name}"
        for key, name in COEFFICIENTS.items()
        if profile.quantity(f"energy.{key}").value is None
        and not (key == "static_power" and profile.quantity("energy.static_power_per_chip").value is not None)
    ]
    if profile.quantity("time.message").value is None:
        unknown.append(f"time of messages: unknown for {profile.name}")
    hop, messages = profile.quantity("energy.hop").si, sum(layer.messages for layer in layers)
    each = "" if hop is None else f"; each hop of all messages would add {1e9 * hop * messages:,.3g} nJ"
    crossing = sum(layer.crossing for layer in layers)
    links = [f"links between chips, for {crossing:,.3g} messages per inference: not public"] * (crossing > 0)
    return (
        *unknown,
        f"hops between cores: the positions of cores on the chip are not public{each}",
        *links,
        "input and output: host, embedded processors, links between boards",
    )
