"""The results as Markdown tables and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rmp_lava.files import write_atomically

STEPS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)
"""At which a table shows a curve."""
MANY_STEPS = {"lossless": "paper's thresholds", "settled": "least error"}
"""The experiments on many steps: whence the thresholds come."""


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table; None becomes a dash."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*lines, *(f"| {' | '.join('-' if cell is None else str(cell) for cell in row)} |" for row in rows)]


def summary_table(networks: Mapping[str, dict[str, Any]]) -> list[str]:
    """One row for each network: trained, at few time steps, at many, and how much sooner soft reset is as good as hard.

    `networks` : name -> "trained", and of "latency", "lossless", "settled" and "resets" what was measured. Of
    the ways at many steps, the better one is shown.
    """
    few = sorted({row["steps"] for result in networks.values() for row in result.get("latency", ())})
    settled = {
        name: {MANY_STEPS[key]: result[key] for key in MANY_STEPS if key in result} for name, result in networks.items()
    }
    many = sorted({len(curve["accuracy"]) for curves in settled.values() for curve in curves.values()})
    resets = any("resets" in result for result in networks.values())
    columns = (
        "network",
        "trained",
        *(f"T = {count}" for count in (*few, *many)),
        *("soft reset is as good as hard reset's best",) * resets,
    )
    rows = []
    for name, result in networks.items():
        trained = result["trained"]["accuracy"]
        row: list[Any] = [name, percent(trained)]
        for count in few:
            of_count = [each for each in result.get("latency", ()) if each["steps"] == count]
            best = max(of_count, key=lambda each: each["accuracy"], default=None)
            row.append(best and f"{_beside(best['accuracy'], trained)}, {best['way']}")
        for count in many:
            last = [
                (curve["accuracy"][-1], curve["trained"], thresholds)
                for thresholds, curve in settled[name].items()
                if len(curve["accuracy"]) == count
            ]
            row.append(f"{_beside(*max(last)[:2])}, {max(last)[2]}" if last else None)
        sooner = _sooner_of_each(result["resets"]["pairs"]) if "resets" in result else None
        rows.append((*row, *(sooner,) * resets))
    return markdown(columns, rows)


def _beside(accuracy: float, trained: float) -> str:
    return f"{percent(accuracy)} ({100 * (accuracy - trained):+.2f})"


_THRESHOLDS = {"own": "own thresholds", "soft": "soft reset's thresholds"}
RESETS = {"soft": "soft reset", "hard": "hard reset", "shared": "hard reset, soft reset's thresholds"}
"""Beginnings of the names of curves (see `resets.THRESHOLDS`), in words."""


def _sooner_of_each(pairs: Sequence[dict[str, Any]]) -> str:
    """For each kind of hard reset's thresholds, named where there are several."""
    kinds = dict.fromkeys(pair["thresholds"] for pair in pairs)
    found = {kind: _sooner([pair for pair in pairs if pair["thresholds"] == kind]) for kind in kinds}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return "; ".join(f"{_THRESHOLDS[kind]}: {words}" for kind, words in found.items())


def _sooner(pairs: Sequence[dict[str, Any]]) -> str:
    """The range over all alphas."""
    if all(pair["hard_steps"] is None and pair["soft_steps"] is not None for pair in pairs):
        return "at every alpha; hard reset stays at chance"
    times = [pair["times_sooner"] for pair in pairs]
    if None in times:
        return "not at every alpha"
    low, high = f"{min(times):.1f}", f"{max(times):.1f}"
    return f"{low if low == high else f'{low} to {high}'} times sooner"


def resets_table(measured: dict[str, Any]) -> list[str]:
    """Accuracy at powers of two."""
    curves = measured["curves"]
    steps = _shown_steps(*curves.values())
    rows = []
    for name, curve in curves.items():
        reset, alpha, form = name.split("-")
        rows.append((f"{RESETS[reset]}, {form}", alpha, *_at(curve, steps), _rate(curve), _saturated(curve)))
    rows.append(("trained network", None, *[None] * (len(steps) - 1), percent(measured["trained"]), None, None))
    columns = (
        "",
        "alpha",
        *(f"T = {count}" for count in steps),
        "spikes per neuron and step, mean over layers",
        "saturated updates per image",
    )
    return markdown(columns, rows)


def lossless_table(curve: dict[str, Any]) -> list[str]:
    """Accuracy of one curve at powers of two, and what is left to the trained network."""
    steps = _shown_steps(curve)
    losses = [f"{100 * (curve['accuracy'][count - 1] - curve['trained']):+.2f}" for count in steps]
    return markdown(
        (
            "",
            *(f"T = {count}" for count in steps),
            "spikes per image, without the input's",
            "saturated updates per image",
        ),
        (
            ("accuracy (%)", *_at(curve, steps), f"{curve['spikes']:,.0f}", _saturated(curve)),
            ("against the trained network", *losses, None, None),
        ),
    )


def pairs_table(measured: dict[str, Any]) -> list[str]:
    """How much sooner soft reset is as good as hard reset ever becomes, and as hard reset is on the way there."""
    shares = measured["pairs"][0]["sooner_at"]
    return markdown(
        (
            "alpha",
            "hard reset has",
            "hard reset's best",
            "hard reaches it at",
            "soft reaches it at",
            "times sooner",
            "soft reset's best",
            *(f"times sooner at {100 * float(share):g} % of the trained network's accuracy" for share in shares),
        ),
        (
            (
                f"{pair['alpha']:g}",
                _THRESHOLDS[pair["thresholds"]],
                percent(pair["hard_best"]) + (" (chance)" if pair["hard_steps"] is None else ""),
                pair["hard_steps"] or "never",
                pair["soft_steps"] or "never",
                "-" if pair["times_sooner"] is None else f"{pair['times_sooner']:.1f}",
                percent(pair["soft_best"]),
                *("-" if each is None else f"{each:.1f}" for each in pair["sooner_at"].values()),
            )
            for pair in measured["pairs"]
        ),
    )


def latency_table(trained: float, rows: list[dict[str, Any]]) -> list[str]:
    """Accuracy at few time steps."""
    return markdown(
        (
            "way",
            "T",
            "accuracy (%)",
            "against the trained network",
            "spikes per image, without the input's",
            "synaptic operations",
        ),
        (
            (
                row["way"],
                row["steps"],
                percent(row["accuracy"])
                + ("" if row["spread"] is None else f" ± {100 * row['spread']:.2f} ({row['seeds']} seeds)"),
                f"{100 * (row['accuracy'] - trained):+.2f}",
                f"{row['spikes']:,.0f}",
                f"{row['operations'] / 1e6:,.1f} M",
            )
            for row in rows
        ),
    )


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """A CSV file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return write_atomically(path, text.getvalue().encode())


def percent(share: float) -> str:
    """A share with two digits, without the sign."""
    return f"{100 * share:.2f}"


def _shown_steps(*curves: dict[str, Any]) -> list[int]:
    longest = max(len(curve["accuracy"]) for curve in curves)
    return [*(count for count in STEPS if count < longest), longest]


def _at(curve: dict[str, Any], steps: Sequence[int]) -> list[str]:
    return [percent(curve["accuracy"][count - 1]) for count in steps]


def _saturated(curve: dict[str, Any]) -> str:
    return f"{curve['saturated'] / curve['images']:,.0f}"


def _rate(curve: dict[str, Any]) -> str:
    return f"{sum(curve['rates'].values()) / len(curve['rates']):.4f}"
