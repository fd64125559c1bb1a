"""The figures of the experiments, as PNG and SVG."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from rmp_lava.plot.style import drawing
from rmp_lava.report.page.svg import to_png, to_svg

from .tables import RESETS

SOFT, HARD, TRAINED = "#1f6fb4", "#c2702f", "#6b7078"
_COLOURS = {"soft": SOFT, "hard": HARD, "shared": "#7a4fa0"}
_WAITS = {"T": SOFT, "2": "#4aa36c", "1": "#7a4fa0", "0": HARD}
_LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))


def draw_neuron(measured: dict[str, Any], folder: Path) -> list[Path]:
    """Output rate against input rate, and their ratio over a wide range of thresholds."""
    with drawing():
        figure = _figure(9, 3.6)
        left, right = figure.subplots(1, 2)
        for reset, colour in (("soft", SOFT), ("hard", HARD)):
            for (eta, out), line in zip(measured["out"][reset].items(), _LINES, strict=True):
                left.plot(measured["rates_in"], out, color=colour, linestyle=line, label=f"{reset}, η = {eta}")
            right.plot(measured["wide_etas"], measured["kept"][reset], color=colour, label=f"{reset} reset")
        left.set(xlabel="input spikes per step", ylabel="output spikes per step", xlim=(0, 1), ylim=(0, 1.02))
        left.set_title("η = threshold / weight of an input spike")
        left.legend(fontsize=7, ncols=2)
        right.set(xscale="log", xlabel="η", ylabel="output rate · threshold / input rate · weight", ylim=(0, 1.05))
        right.xaxis.set_major_formatter("{x:g}")
        right.set_title("what arrives, at half a spike per step")
        right.legend()
        return _save(figure, folder / "neuron")


def draw_resets(name: str, measured: dict[str, Any], folder: Path) -> list[Path]:
    """Accuracy over time steps for each alpha: soft reset, hard reset with each kind of thresholds, and the trained network."""
    with drawing():
        figure = _figure(6.4, 4)
        axes = figure.subplots()
        handles: dict[str, Line2D] = {}
        for alpha, line in zip(_alphas(measured), itertools.cycle(_LINES)):
            for kind, colour in _COLOURS.items():
                curve = measured["curves"].get(f"{kind}-{alpha:g}-integer")
                if curve is not None:
                    accuracy = _percent(curve["accuracy"])
                    axes.plot(range(1, len(accuracy) + 1), accuracy, color=colour, linestyle=line)
                    handles[RESETS[kind]] = Line2D([], [], color=colour)
            handles[f"α = {alpha:g}"] = Line2D([], [], color=TRAINED, linestyle=line)
        trained = 100 * measured["trained"]
        axes.axhline(trained, color=TRAINED, linewidth=0.8)
        axes.annotate("trained network", (1, trained), (2, 3), textcoords="offset points", color=TRAINED)
        axes.set_xscale("log", base=2)
        axes.set(xlabel="time steps T", ylabel="accuracy (%)", ylim=(0, 100), title=name)
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.legend(handles.values(), handles.keys(), fontsize=7)
        return _save(figure, folder / f"{name}-resets")


def draw_activity(name: str, measured: dict[str, Any], folder: Path) -> list[Path]:
    """Spikes per neuron and step, layer by layer, for soft reset at each alpha."""
    with drawing():
        figure = _figure(6.4, 3.4)
        axes = figure.subplots()
        for alpha, line in zip(_alphas(measured), itertools.cycle(_LINES)):
            rates = measured["curves"][f"soft-{alpha:g}-integer"]["rates"]
            axes.plot(list(rates), list(rates.values()), color=SOFT, linestyle=line, label=f"α = {alpha:g}")
        axes.set(ylabel="spikes per neuron and step", title=name)
        axes.set_ylim(bottom=0)
        axes.tick_params(axis="x", rotation=60)
        axes.legend()
        return _save(figure, folder / f"{name}-activity")


def draw_latency(name: str, trained: float, rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Accuracy at few time steps, one line per conversion; bars are the standard deviation over seeds."""
    with drawing():
        figure = _figure(6.4, 4)
        axes = figure.subplots()
        for conversion in dict.fromkeys(row["conversion"] for row in rows):
            own = [row for row in rows if row["conversion"] == conversion]
            axes.errorbar(
                [row["steps"] for row in own],
                _percent([row["accuracy"] for row in own]),
                yerr=_percent([row["spread"] or 0 for row in own]),
                marker="o",
                markersize=4,
                capsize=2,
                label=conversion,
            )
        _over_steps(axes, {row["steps"] for row in rows}, f"{name}; line: trained network", trained)
        return _save(figure, folder / f"{name}-latency")


def draw_waiting(name: str, trained: float, rows: list[dict[str, Any]], folder: Path) -> list[Path]:
    """Accuracy of integers at few time steps, one line for each wait; tuned networks with wait = T, for which they are made."""
    with drawing():
        figure = _figure(6.4, 4)
        axes = figure.subplots()
        integers = [row for row in rows if row["form"] == "integer"]
        for conversion in sorted({row["conversion"] for row in integers}):
            for wait, colour in _WAITS.items():
                own = [
                    row
                    for row in integers
                    if row["conversion"] == conversion
                    and wait == ("T" if row["wait"] == row["steps"] else str(row["wait"]))
                ]
                if not own or (conversion != "untuned" and wait != "T"):
                    continue
                accuracy = _percent([trained + row["accuracy"] - row["trained"] for row in own])
                line, label = ("--", "untuned") if conversion == "untuned" else ("-", conversion)
                label = f"{label}, wait = {wait}"
                axes.plot(
                    [row["steps"] for row in own], accuracy, line, color=colour, marker="o", markersize=4, label=label
                )
        _over_steps(axes, {row["steps"] for row in rows}, f"{name}, integers; line: trained network", trained)
        return _save(figure, folder / f"{name}-waiting")


def _over_steps(axes: Axes, steps: set[int], title: str, trained: float) -> None:
    """Time steps at which there are points, and per cent, with a line at the trained network's accuracy."""
    axes.axhline(100 * trained, color=TRAINED, linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted(steps))
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.set(xlabel="time steps T", ylabel="accuracy (%)", title=title)
    axes.legend(fontsize=7, handlelength=4)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def _alphas(measured: dict[str, Any]) -> list[float]:
    return list(dict.fromkeys(pair["alpha"] for pair in measured["pairs"]))


def _percent(shares: list[float]) -> list[float]:
    return [100 * share for share in shares]


def _save(figure: Figure, path: Path) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = {
        path.with_name(f"{path.name}.{kind}"): draw(figure) for kind, draw in (("png", to_png), ("svg", to_svg))
    }
    for each, content in contents.items():
        each.write_bytes(content)
    return list(contents)
