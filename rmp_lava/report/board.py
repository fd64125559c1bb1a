"""Tables of what differs on a board, and of what was measured there."""

from __future__ import annotations

from ..backends.loihi2 import LoweringReport
from ..choices import options
from ..findings import Severity, findings_table
from ..measurement import Measurement
from ..tables import Table, table
from ..words import quantity


def lowering_table(report: LoweringReport) -> Table:
    """Everything that differs, the most severe first."""
    order = options(Severity)
    found = sorted(report.findings, key=lambda each: order.index(each.severity))
    return findings_table(found, "Stock neurons on Loihi 2 (never run on hardware)")


def describe_lowering(report: LoweringReport) -> str:
    """Whether spikes will differ, in one sentence."""
    if report.of("obstacle"):
        return "The network cannot be deployed as it is."
    if not report.images:
        return "Whether spikes differ depends on the images: pass --data or --images."
    if any(each.kind == "spikes" for each in report.of("difference")):
        return f"On {report.images} images, simulated exactly, spikes differ from those of backend fast."
    return f"On {report.images} images, simulated exactly, every spike equals that of backend fast."


def figures_table(measurement: Measurement) -> Table:
    """Every figure with its unit and origin."""
    rows = [
        (
            each.name,
            f"{each.value:,.4g}" if each.unit == "1" else quantity(each.value, each.unit),
            each.origin,
            each.how,
        )
        for each in measurement.figures()
    ]
    io = "input and output excluded" if measurement.input == "chip" else "with input and output"
    title = f"{measurement.board}: {measurement.repetitions:,} times the first sample, {io}"
    return table(title, ("figure", "value", "origin", "how"), rows, text_columns=4)
