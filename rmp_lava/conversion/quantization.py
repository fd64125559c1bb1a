"""The options with which a conversion quantises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..choices import ThresholdForm
from ..errors import UsageError
from ..hardware.profiles import Profile

WeightBits = int | Mapping[str, int] | None


@dataclass(frozen=True)
class Quantization:
    """How a balanced network becomes integers.

    Parameters
    ----------
    profile : str or Profile
        The hardware profile that limits the integers: a name, or the path of a `.toml` file.
    threshold_form : {"stock", "free", "dense_rec"}
        As `rmp_lava.quantize` takes it.
    for_board : bool
        Choose scales so that the membrane potentials of the calibration images do not overflow in a board's LIF neurons. A
        tuning trains on the grid of scales without it.
    weight_bits : int, mapping or None
        Bits of the weights of all layers, or layer name -> bits, as `rmp_lava.quantize` takes them. A tuning trains with as many
        bits where all layers have the same.
    for_lava_dl : bool
        Refuse, before any work, options that cannot lead to a network that lava-dl's unmodified loader runs.

    Raises
    ------
    UsageError
        If the profile or the bits have another type.
    """

    profile: str | Profile = "loihi2"
    threshold_form: ThresholdForm = "stock"
    for_board: bool = False
    for_lava_dl: bool = False
    weight_bits: WeightBits = None

    def __post_init__(self) -> None:
        if not isinstance(self.profile, str | Profile):
            raise UsageError(f"profile is {self.profile!r}; give the name of one that `rmp-lava profiles` lists")
        if not isinstance(self.weight_bits, int | Mapping | None):
            raise UsageError(f"weight_bits is {self.weight_bits!r}; give one number, or layer name -> number")
