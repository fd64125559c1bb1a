"""What a check reports of a network, and how an operation reports that it has no spiking form."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ConversionError
from ...findings import Finding, findings_table, of_severity
from ...tables import Table, Tabular


@dataclass(frozen=True, repr=False)
class CheckReport(Tabular):
    """Everything that `check` found.

    A finding's `where` is the name of a module, "input" or "model"; a function is named after the module that calls it.
    Its severity is "obstacle" or "information".
    """

    findings: tuple[Finding, ...]

    def table(self) -> Table:
        """Every finding, as `check` prints them."""
        obstacles = len(self.obstacles)
        verdict = f"{obstacles} obstacle{'s' if obstacles > 1 else ''}" if obstacles else "the network converts"
        return findings_table(self.findings, f"Check: {verdict}")

    @property
    def obstacles(self) -> tuple[Finding, ...]:
        """What has to change before the network converts."""
        return of_severity(self.findings, "obstacle")

    @property
    def information(self) -> tuple[Finding, ...]:
        """What conversion changes."""
        return of_severity(self.findings, "information")

    @property
    def convertible(self) -> bool:
        """Whether there is no obstacle."""
        return not self.obstacles

    def raise_if_blocked(self) -> None:
        """Raise `ConversionError` with every obstacle if there is one."""
        if self.obstacles:
            listed = "; ".join(f"layer {f.where!r} {f.found}: {f.remedy}" for f in self.obstacles)
            raise ConversionError(f"the network cannot be converted: {listed}")


class ObstacleError(Exception):
    """One operation cannot be converted; carries `found` and `remedy` of a `Finding`."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy
