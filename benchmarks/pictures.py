"""The pictures of a page, in the style of `rmp_lava.plot`."""

from __future__ import annotations

from pathlib import Path

from rmp_lava.errors import UsageError

from .rows import AXES, LABELS, growth, rows_of, three_digits

COLOURS = {"ours": "#1f6fb4", "lava": "#c2702f", "peer": "#8a8f98"}


def draw(results: dict, folder: Path) -> list[Path]:
    """Write the pictures; returns their paths, or none if matplotlib is not installed."""
    try:
        from rmp_lava.plot.style import drawing
    except UsageError:
        return []
    with drawing():
        figures = {"engines": _draw_engines(results)} | {axis: _draw_growth(results, axis) for axis in AXES}
        paths = {folder / f"benchmarks-{name}.png": figure for name, figure in figures.items() if figure is not None}
        for path, figure in paths.items():
            figure.savefig(path, dpi=130)
    return list(paths)


def _figure(width: float, height: float):
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _draw_engines(results: dict):
    """One point per engine, one panel per network; further left is faster."""
    panels = {name: rows_of(results, name) for name in results["networks"]}
    panels = {name: [r for r in rows.values() if r.median] for name, rows in panels.items()}
    panels = {name: rows for name, rows in panels.items() if rows}
    if not panels:
        return None
    heights = [0.7 + 0.24 * len(rows) for rows in panels.values()]
    figure = _figure(8, sum(heights) + 0.4)
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)
    for axis, (name, rows) in zip(axes[:, 0], panels.items(), strict=True):
        rows = sorted(rows, key=lambda row: -row.median)
        for y, row in enumerate(rows):
            kind = "ours" if row.engine.startswith("fast") else "lava" if row.engine.startswith("lava") else "peer"
            slowest = max(row.milliseconds)
            axis.plot([min(row.milliseconds), slowest], [y, y], color=COLOURS[kind], linewidth=3, alpha=0.4)
            axis.plot(row.median, y, "o", color=COLOURS[kind], markersize=7)
            axis.annotate(three_digits(row.median), (slowest, y), (7, 0), textcoords="offset points", va="center")
        axis.set_yticks(range(len(rows)), [LABELS[row.engine] for row in rows])
        axis.set_ylim(-0.6, len(rows) - 0.4)
        axis.set_xscale("log")
        fastest, slowest = min(min(r.milliseconds) for r in rows), max(max(r.milliseconds) for r in rows)
        axis.set_xlim(fastest / 1.5, 2 * slowest)
        _plain_ticks(axis.xaxis, slowest / fastest)
        axis.grid(alpha=0.25)
        axis.set_title(results["networks"][name]["title"], loc="left", fontweight="bold")
        axis.tick_params(axis="y", length=0)
    axes[-1, 0].set_xlabel("milliseconds per sample and step, logarithmic: median, and fastest to slowest round")
    return figure


def _plain_ticks(axis, span: float) -> None:
    """Plain numbers on a logarithmic axis; between powers of ten only if there are few ticks."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("{x:g}" if span < 12 else "")


def _draw_growth(results: dict, name: str):
    points = growth(results, name)
    if len(points) < 2:
        return None
    label, title = AXES[name]
    figure = _figure(8, 3)
    axes = figure.subplots(1, 2)
    values = [point[0] for point in points]
    panels = ((1, "seconds"), (3, "peak memory, MiB"))
    for axis, (column, unit) in zip(axes, panels, strict=True):
        heights = [point[column] for point in points]
        axis.plot(values, heights, "o-", color=COLOURS["ours"], markersize=4)
        axis.set_xlabel(label)
        axis.set_title(unit, loc="left")
        axis.set_ylim(0, 1.1 * max(heights))
        axis.grid(alpha=0.25)
        if name != "width":
            axis.set_xscale("log", base=2)
        axis.set_xticks(values, [f"{value:g}" for value in values])
        axis.minorticks_off()
    axes[1].plot(values, [point[2] for point in points], ":", color="grey", label="before the run: libraries and input")
    axes[1].legend(loc="lower right")
    if name != "width":  # proportional growth is a straight line at any size
        axes[0].set_yscale("log")
        axes[0].autoscale(axis="y")
        axes[0].plot(values, [points[-1][1] * v / values[-1] for v in values], ":", color="grey", label="in proportion")
        _plain_ticks(axes[0].yaxis, max(p[1] for p in points) / min(p[1] for p in points))
        axes[0].legend()
    figure.suptitle(f"fast {title}", x=0.01, ha="left", fontweight="bold")
    return figure
