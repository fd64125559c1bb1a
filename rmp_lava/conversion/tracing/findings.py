"""What a check finds: obstacles, and changes that conversion makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...errors import ConversionError


@dataclass(frozen=True)
class Finding:
    """One obstacle, or one change that conversion makes.

    Parameters
    ----------
    severity : {"obstacle", "information"}
    layer : str
        Name of the module, or "input" / "model"; a function's name stands behind that of the module that calls it.
    found : str
    remedy : str
        What to do about an obstacle; what is done about information.
    """

    severity: Literal["obstacle", "information"]
    layer: str
    found: str
    remedy: str


@dataclass(frozen=True)
class CheckReport:
    """Everything that `check` found."""

    findings: tuple[Finding, ...]

    @property
    def obstacles(self) -> tuple[Finding, ...]:
        """What has to change before the network converts."""
        return tuple(f for f in self.findings if f.severity == "obstacle")

    @property
    def information(self) -> tuple[Finding, ...]:
        """What conversion changes."""
        return tuple(f for f in self.findings if f.severity == "information")

    @property
    def convertible(self) -> bool:
        """Whether nothing is in the way."""
        return not self.obstacles

    def raise_if_blocked(self) -> None:
        """Raise `ConversionError` with every obstacle if there is one."""
        if self.obstacles:
            listed = "; ".join(f"layer {f.layer!r} {f.found}: {f.remedy}" for f in self.obstacles)
            raise ConversionError(f"the network cannot be converted: {listed}")


class ObstacleError(Exception):
    """One operation cannot be converted; carries what a `Finding` says."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy
