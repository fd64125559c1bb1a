"""What counted activity costs on a board, between the bounds that published runs leave; and how well that fits these runs.

E_dynamic = e_syn synaptic operations + e_neuron neuron updates + e_message messages + P_active chips of the board * time
E_total   = E_dynamic + P_static of the whole board * time
step      = max(shortest step, busiest core's operations t_syn + neuron updates t_neuron + messages t_message)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ProfileError
from .anchors import Anchor
from .interval import NOTHING, Interval, exactly, largest, total
from .profiles import Profile, load_profile

ACTIVITIES = {"synaptic_operation": "synaptic operations", "neuron_update": "neuron updates", "message": "messages"}
"""What a population does: key in a profile's sections `energy` and `time` -> name in messages."""


def energies(profile: Profile, counts: Mapping[str, float]) -> dict[str, Interval]:
    """Activity -> energy in J of that many of them; activities whose energy is not public are missing."""
    known = {key: profile.quantity(f"energy.{key}").interval for key in ACTIVITIES}
    return {key: each * counts.get(key, 0.0) for key, each in known.items() if each is not None}


def active_power(profile: Profile, chips: int = 1) -> Interval | None:
    """Power in W that does not depend on activity while steps are computed, of all chips of the board; None if not public.

    All chips of a board take part in each step, whether they hold neurons or not; `chips` are those that hold some.
    """
    each = profile.quantity("energy.active_power").interval
    return None if each is None else each * max(profile.chips or 1, chips)


def static_power(profile: Profile, chips: int = 1) -> Interval | None:
    """Power in W of the whole board at rest, with its embedded processors; None if not public.

    If nobody published it of this board, that of one chip is multiplied by their number.
    """
    board, chip = (profile.quantity(f"energy.{key}").interval for key in ("static_power", "static_power_per_chip"))
    return board or (None if chip is None else chip * max(profile.chips or 1, chips))


def core_seconds(profile: Profile, counts: Mapping[str, float], *, convolution: bool) -> Interval:
    """Seconds in which one core does so much; what has no public time counts as nothing."""
    keys = {key: key for key in ACTIVITIES}
    if convolution:
        keys["synaptic_operation"] = "synaptic_operation_conv"
    each = {key: profile.quantity(f"time.{name}").interval or NOTHING for key, name in keys.items()}
    return total(*(each[key] * counts.get(key, 0.0) for key in ACTIVITIES))


def shortest_step(profile: Profile, chips: int) -> Interval:
    """Seconds of a step in which next to nothing happens."""
    keys = ["time.step_minimum"] + ["time.step_minimum_multichip"] * (chips > 1)
    return largest(*(profile.quantity(key).interval or NOTHING for key in keys))


@dataclass(frozen=True)
class Check:
    """A published figure and what the profile's coefficients predict of it, in J, W or s.

    Parameters
    ----------
    predicted : Interval
    is_bound : bool
        Whether the run's activity is not known, so that the prediction is what time alone costs.
    """

    anchor: Anchor
    predicted: Interval
    is_bound: bool

    @property
    def measured(self) -> float:
        """The published figure in SI units."""
        return self.anchor.measured.si or 0.0

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON, in J, W or s."""
        return {
            "name": self.anchor.name,
            "board": self.anchor.board,
            "figure": self.anchor.figure,
            "measured": self.measured,
            "predicted": self.predicted.summary(),
            "holds": self.holds,
            "activity_unknown": self.is_bound,
            "source": self.anchor.measured.source,
        }

    @property
    def holds(self) -> bool:
        """Whether the published figure lies between the predicted bounds."""
        return self.measured in self.predicted


def check(anchor: Anchor) -> Check:
    """Predict a published figure from what is known of its run.

    Raises
    ------
    ProfileError
        If its board is unknown, or has no coefficient that the figure depends on.
    """
    profile, counts = load_profile(anchor.board), anchor.counts
    activity = {"synaptic_operation": counts.get("synaptic_operations", 0.0)}
    activity["neuron_update"] = counts.get("neuron_updates", 0.0)
    busiest = {"synaptic_operation": counts.get("busiest_operations", 0.0)}
    busiest["neuron_update"] = counts.get("busiest_updates", 0.0)
    step = largest(shortest_step(profile, 1), core_seconds(profile, busiest, convolution=anchor.convolution))
    seconds = exactly(counts["seconds"]) if "seconds" in counts else step * counts.get("steps", 1.0)
    active = active_power(profile) or NOTHING
    dynamic = total(*energies(profile, activity).values(), active * seconds)
    match anchor.figure:
        case "time of a step":
            predicted: Interval | None = step
        case "time":
            predicted = step * counts.get("steps", 1.0)
        case "dynamic energy":
            predicted = dynamic
        case "dynamic power":
            predicted = active
        case "whole energy":
            static = static_power(profile)
            predicted = None if static is None else dynamic + static * seconds
        case "core static power":
            predicted = profile.quantity("energy.core_static_power").interval
    if predicted is None:
        raise ProfileError(
            f"anchor {anchor.name!r}: the profile of {anchor.board} does not give what its {anchor.figure} depends on; give "
            "it, or omit the anchor"
        )
    time_only = anchor.figure in ("time", "time of a step") and "busiest_operations" not in counts
    energy_only = "energy" in anchor.figure and "synaptic_operations" not in counts
    return Check(anchor, predicted, time_only or energy_only or anchor.figure == "dynamic power")
