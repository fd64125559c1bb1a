"""Hardware without hardware: profiles of chips and boards, mapping to cores, energy and time."""

from .anchors import Anchor
from .costs import Check, check
from .energy import Estimate, LayerEstimate, estimate
from .interval import Interval
from .mapping import Mapping, map_network
from .placement import LayerMapping, Usage
from .profiles import Comparison, Profile, load_comparisons, load_profile, profile_names
from .savings import Saving, savings
from .schema import Quantity

__all__ = [
    "Anchor",
    "Check",
    "Comparison",
    "Estimate",
    "Interval",
    "LayerEstimate",
    "LayerMapping",
    "Mapping",
    "Profile",
    "Quantity",
    "Saving",
    "Usage",
    "check",
    "estimate",
    "load_comparisons",
    "load_profile",
    "map_network",
    "profile_names",
    "savings",
]
