"""Hardware without hardware: profiles of chips and boards, mapping to cores, energy and time."""

from .comparison import Comparison, load_comparisons
from .energy import Estimate, LayerEstimate, estimate
from .layer import LayerMapping, Usage
from .mapping import Mapping, map_network
from .profiles import Profile, load_profile, profile_names
from .schema import Quantity

__all__ = [
    "Comparison",
    "Estimate",
    "LayerEstimate",
    "LayerMapping",
    "Mapping",
    "Profile",
    "Quantity",
    "Usage",
    "estimate",
    "load_comparisons",
    "load_profile",
    "map_network",
    "profile_names",
]
