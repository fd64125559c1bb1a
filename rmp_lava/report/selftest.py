"""The self-test as a table, and the meaning of its first difference."""

from __future__ import annotations

from collections.abc import Sequence

from ..selftest.ladder import RungResult
from ..selftest.rung import Rung
from ..tables import Table, table

COLUMNS = ("", "rung", "what it tests", "seconds")


def selftest_table(rungs: Sequence[Rung], results: Sequence[RungResult], backend: str) -> Table:
    """Every rung with its verdict; the one after the last result is running."""
    rows = [
        (result.verdict, result.rung.name, result.rung.tests, f"{result.seconds:.1f}" if result.seconds else "")
        for result in results
    ]
    waiting = rungs[len(results) :]
    rows += [("running" if i == 0 else "", rung.name, rung.tests, "") for i, rung in enumerate(waiting)]
    return table(f"Self-test on backend {backend}", COLUMNS, rows, text_columns=3)


def describe_result(result: RungResult) -> list[str]:
    """Why a rung did not pass, in sentences; empty if it passed."""
    if result.verdict == "failed":
        return [f"Rung {result.rung.name!r} did not run to its end: {result.error}"]
    if result.difference is None:
        return []
    lines = [
        f"Rung {result.rung.name!r} differs. {_sentence(str(result.difference))}.",
        f"  Expected because: {result.rung.reason}.",
    ]
    for each in result.explanations:
        lines += [f"  It means: {each.means}.", f"  Try: {each.remedy}."]
    return lines


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def describe_end(results: Sequence[RungResult], backend: str) -> str:
    """How many rungs passed, and on what."""
    count = sum(result.verdict == "passed" for result in results)
    where = "on a chip" if backend == "loihi2" else "simulated, never run on hardware"
    return f"{count} of {len(results)} rungs passed ({where})."
