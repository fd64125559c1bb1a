"""What a check, a mapping, a lowering or a diagnosis reports: one type for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from .tables import Table, table

Severity = Literal["obstacle", "difference", "caution", "information", "ok"]
"""Most severe first: not possible; results will differ; results may differ; for information; works."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Parameters
    ----------
    severity : {"obstacle", "difference", "caution", "information", "ok"}
    where : str
        What it is about: a layer, a module, "input", "network", a package, a board.
    found : str
        What was found there; with `where` in front it is a clause: "layer 'conv1' has 3 negative thresholds".
    remedy : str
        What to do about it, or what the software does; empty where nothing needs doing.
    kind : str
        A short name for programs, such as "threshold" or "period"; empty where nothing distinguishes kinds.
    """

    severity: Severity
    where: str
    found: str
    remedy: str = ""
    kind: str = ""

    def sentence(self) -> str:
        """Everything in one sentence, without a full stop."""
        return f"{self.where}: {self.found}" + (f"; {self.remedy}" if self.remedy else "")


def of_severity(findings: Iterable[Finding], *severities: Severity) -> tuple[Finding, ...]:
    """The findings that have one of the severities, in their order."""
    return tuple(finding for finding in findings if finding.severity in severities)


def findings_table(findings: Iterable[Finding], title: str, where: str = "layer") -> Table:
    """Findings in their order; `where` is the head of the column that locates them."""
    rows = [(each.severity, each.where, each.found, each.remedy) for each in findings]
    return table(title, ("", where, "found", "action"), rows, text_columns=4)
