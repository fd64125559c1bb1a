"""The gates of a conversion as a table: how well the rates of each layer say its activations."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ..conversion.fidelity import LayerGate, begins_at
from .tables import table

COLUMNS = ("layer", "correlation", "over images", "error (%)", "silent (%)", "always on (%)", "weight error (%)", "")


def gates_table(gates: Sequence[LayerGate]) -> Table:
    """Layers with what `measure_layers` found; the worst one, and the first one with a loss, are marked.

    The worst has the lowest correlation over images. Percentages are of the root mean square activation, of all neurons,
    of all pairs of neuron and image, and of the root mean square weight.
    """
    known = [gate for gate in gates if gate.image_correlation is not None]
    worst, first = min(known, key=lambda gate: gate.image_correlation, default=None), begins_at(gates)
    rows = [
        (
            gate.layer,
            *("-" if each is None else f"{each:.4f}" for each in (gate.correlation, gate.image_correlation)),
            *(_percent(share) for share in (gate.error, gate.silent, gate.saturated, gate.weight_error)),
            ", ".join(mark for mark, it in (("loss begins", first), ("lowest", worst)) if it is gate),
        )
        for gate in gates
    ]
    return table("Rates against activations, layer by layer", COLUMNS, rows)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"
