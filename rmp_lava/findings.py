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
_KIND = re.compile(r"^\(([^()]*)\) ")
"""The function or class that a sentence begins with."""
_AMOUNTS = re.compile(r"[\d,]+(?= neurons)|\d+(?= more steps)|[\d.]+(?= times as many)|(?<=clipped at )[\d.]*\d\b")


def grouped(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with one for all that say the same of several places: "12 layers, such as 'bn1'".

    Numbers of neurons are added up; other amounts become ranges.
    """
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in findings:
        texts = [_AMOUNTS.sub("", _KIND.sub("", _NAMES.sub("", text))) for text in (finding.found, finding.remedy)]
        groups.setdefault((finding.severity, *texts, finding.kind), []).append(finding)
    found = []
    for same in groups.values():
        places = list(dict.fromkeys(finding.where for finding in same))
        if len(places) == 1:
            found += same
        else:
            where = f"{len(places)} layers, such as {places[0]!r}"
            said, remedy = (_together([getattr(each, field) for each in same]) for field in ("found", "remedy"))
            found.append(replace(same[0], where=where, found=said, remedy=remedy))
    return tuple(found)


def _together(texts: list[str]) -> str:
    """One sentence for several that differ in names and amounts only."""
    texts = [_NAMES.sub("", text) for text in texts]
    kinds = list(dict.fromkeys(match[1] for match in map(_KIND.match, texts) if match))
    texts = [_KIND.sub("", text) for text in texts]
    amounts = iter(zip(*(_AMOUNTS.findall(text) for text in texts), strict=True))

    def amount(match: re.Match[str]) -> str:
        values = sorted(next(amounts), key=lambda text: float(text.replace(",", "")))
        if match.string[match.end() :].startswith(" neurons"):
            return f"{sum(int(text.replace(',', '')) for text in values):,}"
        return values[0] if values[0] == values[-1] else f"{values[0]} to {values[-1]}"

    together = (f"({', '.join(kinds)}) " if kinds else "") + _AMOUNTS.sub(amount, texts[0])
    # Neurons are added up; steps are not, as layers may lie side by side.
    return re.sub(r"(\d more steps? of latency)", r"\1 each", together)


def findings_table(findings: Iterable[Finding], title: str, where: str = "layer") -> Table:
    """Findings in their order; `where` is the head of the column that locates them."""
    rows = [(each.severity, each.where, each.found, each.remedy) for each in findings]
    return table(title, ("", where, "found", "action"), rows, text_columns=4)
