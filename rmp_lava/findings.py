"""What a check, a mapping, a lowering or a diagnosis reports: one type for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
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


_NAMES = re.compile(r" (?:of|in|from) (?:layers? )?'[^']*'(?:, '[^']*')*")
"""The part of a sentence that names layers."""


def grouped(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with one for all that say the same of several places: "12 layers, such as 'bn1'"."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        texts = [_NAMES.sub("", text) for text in (finding.found, finding.remedy)]
        groups.setdefault((finding.severity, *texts, finding.kind), []).append(finding)
    found = []
    for (_, said, remedy, _), same in groups.items():
        places = list(dict.fromkeys(finding.where for finding in same))
        if len(places) == 1:
            found += same
        else:
            where = f"{len(places)} layers, such as {places[0]!r}"
            found.append(replace(same[0], where=where, found=said, remedy=remedy))
    return tuple(found)


def findings_table(findings: Iterable[Finding], title: str, where: str = "layer") -> Table:
    """Findings in their order; `where` is the head of the column that locates them."""
    rows = [(each.severity, each.where, each.found, each.remedy) for each in findings]
    return table(title, ("", where, "found", "action"), rows, text_columns=4)
