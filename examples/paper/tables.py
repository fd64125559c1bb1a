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
"""Experiment with many time steps -> how its thresholds were chosen."""


def markdown(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Lines of a Markdown table; None becomes a dash."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return [*lines, *(f"| {' | '.join('-' if cell is None else str(cell) for cell in row)} |" for row in rows)]


def summary_table(networks: Mapping[str, dict[str, Any]]) -> list[str]:
    """One row per network: accuracy when trained, at few and at many time steps, and the speed-up of soft reset.

    `networks` maps names to "trained" and those of "waiting", "latency", "lossless", "settled" and "resets" that were measured.
    At each T the best conversion is shown.
    """
    at_few = {name: _few_steps(result) for name, result in networks.items()}
    few = sorted({row["steps"] for rows in at_few.values() for row in rows})
    settled = {
        name: {MANY_STEPS[key]: result[key] for key in MANY_STEPS if key in result} for name, result in networks.items()
    }
    many = sorted({len(curve["accuracy"]) for curves in settled.values() for curve in curves.values()})
    resets = any("resets" in result for result in networks.values())
    columns = (
        "network",
        "trained",
        *(f"T = {count}" for count in (*few, *many)),
        *("soft reset reaches hard reset's best accuracy",) * resets,
    )
    rows = []
    for name, result in networks.items():
        trained = result["trained"]["accuracy"]
        row: list[Any] = [name, percent(trained)]
        for count in few:
            of_count = [each for each in at_few[name] if each["steps"] == count]
            best = max(of_count, key=lambda each: each["accuracy"], default=None)
            row.append(best and f"{_with_loss(best['accuracy'], trained)}, {best['conversion']}")
        for count in many:
            last = [
                (curve["accuracy"][-1], curve["trained"], thresholds)
                for thresholds, curve in settled[name].items()
                if len(curve["accuracy"]) == count
            ]
            row.append(f"{_with_loss(*max(last)[:2])}, {max(last)[2]}" if last else None)
        speedup = _speedup_of_each(result["resets"]["pairs"]) if "resets" in result else None
        rows.append((*row, *(speedup,) * resets))
    return markdown(columns, rows)


def _few_steps(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of integers that were measured on all images."""
    rows = [row for row in result.get("waiting", ()) if row["form"] == "integer" and row["wait"] == row["steps"]]
    return [*result.get("latency", ()), *(row | {"conversion": f"{row['conversion']}, wait = T"} for row in rows)]


def _with_loss(accuracy: float, trained: float) -> str:
    return f"{percent(accuracy)} ({100 * (accuracy - trained):+.2f})"


_THRESHOLDS = {"own": "own", "soft": "soft reset's"}
RESETS = {"soft": "soft reset", "hard": "hard reset", "shared": "hard reset, soft reset's thresholds"}
"""Prefix of a curve's name (see `resets.THRESHOLDS`) -> label."""


def _speedup_of_each(pairs: Sequence[dict[str, Any]]) -> str:
    """The speed-up for each kind of hard-reset thresholds; one text if all are equal."""
    kinds = dict.fromkeys(pair["thresholds"] for pair in pairs)
    found = {kind: _speedup([pair for pair in pairs if pair["thresholds"] == kind]) for kind in kinds}
    if len(set(found.values())) == 1:
        return next(iter(found.values()))
    return "; ".join(f"{_THRESHOLDS[kind]} thresholds: {words}" for kind, words in found.items())


def _speedup(pairs: Sequence[dict[str, Any]]) -> str:
    """The range of step ratios over all alphas."""
    if all(pair["hard_steps"] is None and pair["soft_steps"] is not None for pair in pairs):
        return "at every alpha; hard reset stays at chance"
    times = [pair["step_ratio"] for pair in pairs]
    if None in times:
        return "not at every alpha"
    low, high = f"{min(times):.1f}", f"{max(times):.1f}"
    return f"{low if low == high else f'{low} to {high}'} times faster"


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
    """Accuracy of one curve at powers of two, and its difference from the trained network."""
    steps = _shown_steps(curve)
    losses = [f"{100 * (curve['accuracy'][count - 1] - curve['trained']):+.2f}" for count in steps]
    return markdown(
        (
            "",
            *(f"T = {count}" for count in steps),
            "spikes per image, without input",
            "saturated updates per image",
        ),
        (
            ("accuracy (%)", *_at(curve, steps), f"{curve['spikes']:,.0f}", _saturated(curve)),
            ("against the trained network", *losses, None, None),
        ),
    )


def pairs_table(measured: dict[str, Any]) -> list[str]:
    """Time steps of both resets to hard reset's best accuracy, and to shares of the trained network's accuracy."""
    shares = measured["pairs"][0]["step_ratio_at"]
    return markdown(
        (
            "alpha",
            "hard reset's thresholds",
            "hard reset's best (%)",
            "hard reaches it at T",
            "soft reaches it at T",
            "ratio",
            "soft reset's best (%)",
            *(f"ratio at {100 * float(share):g} %" for share in shares),
        ),
        (
            (
                f"{pair['alpha']:g}",
                _THRESHOLDS[pair["thresholds"]],
                percent(pair["hard_best"]) + (" (chance)" if pair["hard_steps"] is None else ""),
                pair["hard_steps"] or "never",
                pair["soft_steps"] or "never",
                "-" if pair["step_ratio"] is None else f"{pair['step_ratio']:.1f}",
                percent(pair["soft_best"]),
                *("-" if each is None else f"{each:.1f}" for each in pair["step_ratio_at"].values()),
            )
            for pair in measured["pairs"]
        ),
    )


def latency_table(trained: float, rows: list[dict[str, Any]]) -> list[str]:
    """Accuracy at few time steps."""
    return markdown(
        (
            "conversion",
            "T",
            "accuracy (%)",
            "against the trained network",
            "spikes per image, without input",
            "synaptic operations",
        ),
        (
            (
                row["conversion"],
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


def waiting_table(rows: list[dict[str, Any]]) -> list[str]:
    """Accuracy of each conversion, one column for each T, with the difference from the trained network on the same images."""
    steps = sorted({row["steps"] for row in rows})
    found = {
        (row["conversion"], row["form"], _wait(row), row["steps"]): row for row in rows if row["form"] != "clipped"
    }
    kinds = dict.fromkeys(key[:3] for key in sorted(found, key=lambda key: (key[0] == "untuned", key[1], key[2])))
    lines = []
    for conversion, form, wait in kinds:
        cells = [found.get((conversion, form, wait, count)) for count in steps]
        lines.append(
            (conversion, FORMS[form], wait, *(each and _with_loss(each["accuracy"], each["trained"]) for each in cells))
        )
    return markdown(("network", "numbers", "wait", *(f"T = {count}" for count in steps)), lines)


FORMS = {"float": "float", "integer": "integers"}


def _wait(row: dict[str, Any]) -> str:
    return "T" if row["wait"] == row["steps"] else str(row["wait"])


def losses_table(rows: list[dict[str, Any]]) -> list[str]:
    """Points that an untuned network loses to each kind of error: rows of wait = T, and of wait = 0 for the last."""
    untuned = [row for row in rows if row["conversion"] == "untuned"]
    steps = sorted({row["steps"] for row in untuned})
    lines = []
    for count in steps:
        own = {(row["form"], row["wait"]): row for row in untuned if row["steps"] == count}
        waiting = [own[form, count] for form in ("clipped", "float", "integer")]
        clipped, levels, rounded = (100 * (row["trained"] - row["accuracy"]) for row in waiting)
        uneven = 100 * (own["integer", 0]["lost"] - waiting[-1]["lost"])
        parts = (clipped, levels - clipped, rounded - levels, rounded, uneven)
        lines.append((count, *(f"{part:+.2f}" for part in parts)))
    columns = ("T", "clipping", "T levels", "8-bit weights", "together, wait = T", "uneven spikes, wait = 0")
    return markdown(columns, lines)


def costs_table(rows: list[dict[str, Any]]) -> list[str]:
    """What an inference of each integer network costs, and how that compares with neurons that do not wait."""
    lines = []
    for row in sorted(
        (row for row in rows if row["form"] == "integer"),
        key=lambda row: (row["conversion"] == "untuned", row["steps"]),
    ):
        energy = {bound: 1e3 * joules for bound, joules in row["energy"].items()}
        lines.append(
            (
                row["conversion"],
                row["steps"],
                row["wait"],
                _with_loss(row["accuracy"], row["trained"]),
                f"{row['images']:,}",
                f"{row['spikes']:,.0f}",
                f"{row['operations'] / 1e6:,.1f} M",
                f"{energy['value']:.2f} ({energy['low']:.2f} .. {energy['high']:.2f})",
                f"{row['latency']:,.0f}",
                _at_equal_accuracy(row, rows) if row["wait"] else None,
            )
        )
    return markdown(
        (
            "network",
            "T",
            "wait",
            "accuracy (%)",
            "images",
            "spikes",
            "synaptic operations",
            "energy (mJ)",
            "latency (steps)",
            "operations, against wait = 0 at equal accuracy",
        ),
        lines,
    )


def _at_equal_accuracy(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Operations over those of the same network with the fewest steps that lose as little without waiting."""
    same = [each for each in rows if (each["conversion"], each["form"]) == (row["conversion"], row["form"])]
    still = [each for each in same if not each["wait"]]
    as_good = [each for each in still if each["lost"] <= row["lost"]]
    if not as_good:
        most = max(still, key=lambda each: each["steps"])
        return f"below {row['operations'] / most['operations']:.2f}: T = {most['steps']} loses more"
    cheapest = min(as_good, key=lambda each: each["operations"])
    return f"{row['operations'] / cheapest['operations']:.2f} (T = {cheapest['steps']})"


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    """Write a CSV file atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return write_atomically(path, text.getvalue().encode())


def percent(share: float) -> str:
    """A share in per cent with two decimals, without the sign."""
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
