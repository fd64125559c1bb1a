"""From the results of a run to one Markdown page and its pictures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

OURS = ("fast", "fast-py310", "lava-blas")
LABELS = {
    "fast": "rmp-lava fast",
    "fast-py310": "rmp-lava fast, Python 3.10",
    "lava-blas": "Lava, our BLAS Conv",
    "lava-stock": "Lava, its own Conv",
    "spikingjelly": "SpikingJelly",
    "sinabs": "sinabs",
    "snntorch": "snnTorch",
    "norse": "norse (LIFBox)",
    "norse-iaf": "norse (IAF, resets to zero)",
}
PEERS = ("spikingjelly", "sinabs", "snntorch", "norse", "norse-iaf")
AXES = {
    "steps": ("T, steps of input", "against T", "growth_batch"),
    "batch": ("batch, samples", "against the batch", "growth_steps"),
    "width": ("width, factor on VGG-16's channels", "against the width", "growth_steps"),
}
CHIP_OPERATIONS = 2.285e10
"""Loihi 2's own counter in lava-dl's PilotNet LIF benchmark notebook: 10,000 steps without an image."""
NET_OPERATIONS, NET_UPDATES = 2.270e10, 1.585e9
"""What that network's non-zero weights and its neurons must give in 10,000 steps."""

COLOURS = {"ours": "#1f6fb4", "lava": "#c2702f", "peer": "#8a8f98"}


class Row:
    """All rounds of one engine on one network."""

    def __init__(self, engine: str, measurements: Sequence[dict]) -> None:
        self.engine = engine
        self.done = [m for m in measurements if "error" not in m]
        self.error = next((m["error"] for m in measurements if "error" in m), "")
        last = measurements[-1]
        self.job, self.environment = last["job"], last.get("environment", {})
        self.execution = last.get("execution", "")
        self.milliseconds = [1000 * statistics.median(m["seconds"]) / sample_steps(m) for m in self.done]

    @property
    def median(self) -> float | None:
        """Milliseconds per sample and step: median of the rounds."""
        return statistics.median(self.milliseconds) if self.milliseconds else None

    @property
    def memory(self) -> tuple[float, float] | None:
        """MiB before the run and at its peak, medians of the rounds."""
        if not self.done:
            return None
        return tuple(statistics.median(m[k] for m in self.done) / 2**20 for k in ("resident_before", "resident_peak"))


def sample_steps(measurement: dict) -> int:
    """Samples times steps of one timed call."""
    return measurement.get("sample_steps") or measurement["job"]["batch"] * measurement["job"]["steps"]


def rows_of(results: dict, network: str) -> dict[str, Row]:
    """Engine -> row, in the order of `LABELS`."""
    prefix, found = f"engines/{network}/", {}
    for key, measurement in results["measurements"].items():
        if key.startswith(prefix):
            found.setdefault(key.removeprefix(prefix).rpartition("/")[0], []).append(measurement)
    return {engine: Row(engine, found[engine]) for engine in LABELS if engine in found}


def spikes_agree(row: Row, fast: Row | None, without_delays: dict[str, list[int]]) -> str:
    """In words: whether an engine's spikes are as they should be, layer by layer and sample by sample.

    Lava's must be those of `fast` over the whole period (of stock neurons those of the reference); the peers' and
    `fast`'s own must be those of a simulation without delays, in the T steps that each layer sees the input.
    """
    in_lava, expected = row.engine.startswith("lava"), without_delays
    if in_lava:
        expected = row.done[-1].get("expected_period") if row.done else None
        expected = expected or (fast.done[-1].get("counts_period") if fast and fast.done else None)
    found = row.done[-1].get("counts_period" if in_lava else "counts") if row.done else None
    if not expected or not found:
        return "-"
    pairs = {name: (sum(expected[name]), sum(found[name])) for name in expected}
    total, other = (sum(pair[i] for pair in pairs.values()) for i in (0, 1))
    if all(found[name] == expected[name] for name in expected):
        return f"all {total:,} equal"
    name, (a, b) = max(pairs.items(), key=lambda item: abs(item[1][1] - item[1][0]) / max(1, item[1][0]))
    return f"{other / max(1, total) - 1:+.1%}; most in {name}: {b:,} for {a:,}"


def markdown(results: dict, pictures: Iterable[str] = ()) -> str:
    """The page."""
    pictures = list(pictures)
    settings, machine = results["settings"], results["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"Measured on {results['date']} by `make benchmark" + (" ARGS=--quick" if settings["quick"] else "") + "`: "
        f"{_plural(settings['rounds'], 'round')}, the engines taking turns, each measurement in a process of its own. "
        "Tables show the median round, with the fastest and the slowest in brackets. What is compared, and how, stands "
        "in `benchmarks/README.md`.",
        "",
    ]
    if settings["quick"]:
        lines += ["**A smoke run: sizes are too small to say anything about speed.**", ""]
    lines += _machine(results, machine, settings) + _overview(results)
    lines += _pictures(pictures, ["engines"])
    for name in results["networks"]:
        lines += _network(results, name)
    lines += _throughput(results) + _anchor(results) + _growth(results)
    lines += _pictures(pictures, AXES)
    return "\n".join(lines).rstrip() + "\n"


def _machine(results: dict, machine: dict, settings: dict) -> list[str]:
    versions = {}
    for measurement in results["measurements"].values():
        if "environment" in measurement:
            text = ", ".join(f"{name} {version}" for name, version in measurement["environment"].items())
            versions[text] = None
    sets = ", ".join(machine["instruction_sets"]) or "none of those that matter here"
    return [
        f"- Machine: {machine['cpu']} (family/model/stepping {machine['cpu_family_model_stepping']}), "
        f"{_plural(machine['cores'], 'core')}, {machine['memory'] / 2**30:.0f} GiB; {sets}; {machine['system']}",
        f"- Torch threads: {settings['threads']} in every engine but Lava, which runs one process per layer",
        *(f"- Environment: {text}" for text in versions),
        *([f"- Commit: {results['commit']}"] if results["commit"] else []),
        "",
    ]


def _overview(results: dict) -> list[str]:
    """Milliseconds per sample and step of everything, one row per engine."""
    table = {name: rows_of(results, name) for name in results["networks"]}
    table = {name: rows for name, rows in table.items() if rows}
    engines = [engine for engine in LABELS if any(engine in rows for rows in table.values())]
    body = [
        [LABELS[engine], *(_time(rows[engine].median) if engine in rows else "" for rows in table.values())]
        for engine in engines
    ]
    lines = [
        "## Milliseconds per sample and step",
        "",
        *_table(["engine", *table], body),
        "",
        "What ran, in the engines' words:",
        "",
    ]
    for engine in engines:
        said = {
            rows[engine].execution: name for name, rows in table.items() if engine in rows and rows[engine].execution
        }
        where = (lambda name: f" ({name})") if len(said) > 1 else (lambda name: "")
        lines += [f"- {LABELS[engine]}: {execution}{where(name)}" for execution, name in said.items()]
    return [*lines, ""]


def _network(results: dict, name: str) -> list[str]:
    network, rows = results["networks"][name], rows_of(results, name)
    if not rows:
        return []
    fast = rows.get("fast") or rows.get("fast-py310")
    peers = [row.median for row in rows.values() if row.engine in PEERS and row.median]
    fastest = min(peers, default=None)
    stock = rows["lava-stock"].median if "lava-stock" in rows else None
    lines = [
        f"## {network['title']}",
        "",
        f"{network['neurons']:,} neurons, {network['parameters']:,} weights, {network['multiplications']:,} "
        f"multiplications per step, depth {network['depth']}. {_rates(fast)}{network['note']}",
        "",
    ]
    header = ["engine", "batch", "T", "samples x steps / s", "ms per sample-step", "x fastest peer", "x Lava's own"]
    header += ["peak memory (before), MiB", "spikes compared"]
    body = []
    for row in rows.values():
        start = [LABELS[row.engine], row.job["batch"], row.job["steps"]]
        if row.median is None:
            body.append([*start, f"not measured: {_cell(row.error)}", *[""] * 5])
            continue
        before, peak = row.memory
        spread = f"{_time(row.median)} ({_time(min(row.milliseconds))}..{_time(max(row.milliseconds))})"
        body.append(
            [
                *start,
                f"{1000 / row.median:,.0f}",
                spread,
                _times(fastest, row.median),
                _times(stock, row.median),
                f"{peak:,.0f} ({before:,.0f})",
                spikes_agree(row, fast, network["counts"]),
            ]
        )
    return [*lines, *_table(header, body), ""]


def _rates(fast: Row | None) -> str:
    rates = [] if fast is None or not fast.done else list(fast.done[-1]["rates"].values())
    if not rates:
        return ""
    return (
        f"Spikes per neuron and step, by layer: {min(rates):.1%} to {max(rates):.1%}, "
        f"on average {statistics.mean(rates):.1%}. "
    )


def _throughput(results: dict) -> list[str]:
    body, reasons = [], []
    for key, measurement in results["measurements"].items():
        if not key.startswith("throughput/") or "error" in measurement:
            continue
        environment, name = key.split("/")[1], measurement["job"]["network_name"]
        network = results["networks"][name]
        rows = rows_of(results, name)
        row = rows.get("fast" if environment == "core" else "fast-py310")
        reached = 2 * network["multiplications"] * 1000 / row.median if row and row.median else None
        int8, best, shape = bare_throughput(measurement, "int8")
        real, _, _ = bare_throughput(measurement, "float32")
        share = f"{reached / int8:.0%}" if reached and int8 else "-"
        torch = measurement["environment"].get("torch", "")
        drained = network.get("multiplications_until_drained")
        factor = drained / network["multiplications"] / network["size"]["steps"] if drained else None
        whole = f"{factor * reached / int8:.0%}" if reached and int8 and factor else "-"
        body.append([name, torch, _tera(int8), f"{_tera(best)} ({shape})", _tera(real), _tera(reached), share, whole])
        if int8 and drained and row and row.median:
            reasons += _limit(network, rows, row, torch, 2 * drained / int8)
    if not body:
        return []
    header = ["network", "torch", "bare int8, TOP/s", "best layer", "bare float32, TOP/s", "fast, TOP/s", "fast / int8"]
    header += ["with the steps that drain"]
    return [
        "## How much of the machine `fast` reaches",
        "",
        "The network's convolutions alone, with spikes as uint8 and weights as int8 (oneDNN, 32-bit sums: exact), against "
        "the whole of `fast`: encoding, convolutions, neurons, counts. An operation is a multiplication or an addition, "
        "whether or not a neuron spiked. The last column also counts the operations after the input's last step, until "
        "it has left the network: on chip and in Lava they are part of a run. `--profile NETWORK` shows where the rest goes.",
        "",
        *_table(header, body),
        "",
        *reasons,
        "",
    ]


def _limit(network: dict, rows: dict[str, Row], row: Row, torch: str, bare_seconds: float) -> list[str]:
    """How far the fastest peer could be left behind on this machine, if convolutions were all there is."""
    peers = [
        r.median for engine, r in rows.items() if engine not in OURS and not engine.startswith("lava") and r.median
    ]
    if not peers:
        return []
    bare = 1000 * bare_seconds / network["size"]["steps"]
    return [
        f"- torch {torch}: the bare 8-bit convolutions of a run until it is drained take {bare:.2f} ms per sample-step, "
        f"`fast` {row.median:.2f}, the fastest peer {min(peers):.2f}. With nothing but these convolutions, `fast` would be "
        f"{min(peers) / bare:.1f} times as fast as that peer; it is {min(peers) / row.median:.1f} times as fast."
    ]


def bare_throughput(measurement: dict, kind: str) -> tuple[float | None, float | None, str]:
    """Operations per second over all layers, those of the best layer, and its name."""
    timed = [(layer, layer["seconds"][kind]) for layer in measurement["layers"] if layer["seconds"][kind]]
    if not timed:
        return None, None, "-"
    operations = [2 * layer["multiplications"] for layer, _ in timed]
    total = sum(operations) / sum(seconds for _, seconds in timed)
    best, layer = max((n / s, layer["name"]) for n, (layer, s) in zip(operations, timed, strict=True))
    return total, best, layer


def _anchor(results: dict) -> list[str]:
    measurement = results["measurements"].get("anchor/pilotnet-lif")
    if measurement is None:
        return []
    lines = ["## Anchor: lava-dl's PilotNet without an image, 10,000 steps", ""]
    if "error" in measurement:
        return [*lines, f"Not measured: {measurement['error']}", ""]
    body = [
        [
            "synaptic operations",
            f"{measurement['synaptic_operations']:.4g}",
            f"{NET_OPERATIONS:.4g}",
            f"{CHIP_OPERATIONS:.4g}",
        ],
        ["neuron updates", f"{measurement['neuron_updates']:.4g}", f"{NET_UPDATES:.4g}", ""],
    ]
    extrapolated = "" if measurement["steps"] >= 10_000 else f", extrapolated from {measurement['steps']:,} steps"
    return [
        *lines,
        f"{measurement['seconds'][0]:.1f} s, {measurement['resident_peak'] / 2**20:,.0f} MiB; "
        f"{measurement['execution']}{extrapolated}. The silent input alone is {measurement['input'] / 2**20:,.0f} MiB.",
        "",
        *_table(["", "fast", "expected", "Loihi 2's counter"], body),
        "",
    ]


def growth(results: dict, axis: str) -> list[tuple[float, float, float, float]]:
    """(value, seconds, MiB before the run, peak MiB) along an axis."""
    prefix = f"growth/{axis}/"
    return sorted(
        (
            float(key.removeprefix(prefix)),
            statistics.median(m["seconds"]),
            m["resident_before"] / 2**20,
            m["resident_peak"] / 2**20,
        )
        for key, m in results["measurements"].items()
        if key.startswith(prefix) and "error" not in m
    )


def _growth(results: dict) -> list[str]:
    lines = []
    for axis, (label, _, _) in AXES.items():
        points = growth(results, axis)
        if points:
            body = [[f"{value:g}", f"{s:.3f}", f"{peak:,.0f} ({before:,.0f})"] for value, s, before, peak in points]
            lines += [*_table([label, "s", "peak memory (before), MiB"], body), ""]
    if not lines:
        return []
    s = results["settings"]
    text = (
        f"VGG-16 with {s['growth_width']:g} of its channels, {s['growth_batch']} samples, {s['growth_steps']} steps, "
    )
    return ["## How `fast` grows", "", text + "but for what the first column changes.", "", *lines]


def _pictures(pictures: list[str], names: Iterable[str]) -> list[str]:
    shown = [f"benchmarks-{name}.png" for name in names if f"benchmarks-{name}.png" in pictures]
    return [line for picture in shown for line in (f"![{Path(picture).stem}]({picture})", "")]


def _table(header: Sequence[str], body: Iterable[Sequence[Any]]) -> list[str]:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "/")


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def _time(milliseconds: float | None) -> str:
    """Three significant digits."""
    return "-" if milliseconds is None else f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:,.0f}"


def _times(reference: float | None, value: float) -> str:
    return (
        "-"
        if reference is None
        else f"{reference / value:.2g}"
        if reference < 100 * value
        else f"{reference / value:,.0f}"
    )


def _tera(operations: float | None) -> str:
    return "-" if operations is None else f"{operations / 1e12:.3g}"


def draw(results: dict, folder: Path) -> list[Path]:
    """Write the pictures; returns their paths, none where matplotlib is missing."""
    try:
        import matplotlib
    except ImportError:
        return []
    matplotlib.use("agg")
    from matplotlib import pyplot

    style = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}
    with pyplot.rc_context(style):
        figures = {"engines": _draw_engines(pyplot, results)}
        figures |= {axis: _draw_growth(pyplot, results, axis) for axis in AXES}
        paths = []
        for name, figure in figures.items():
            if figure is not None:
                paths.append(folder / f"benchmarks-{name}.png")
                figure.savefig(paths[-1], dpi=130)
                pyplot.close(figure)
    return paths


def _draw_engines(pyplot, results: dict):
    """A point per engine, one panel per network; further left is faster."""
    panels = {name: rows_of(results, name) for name in results["networks"]}
    panels = {name: [r for r in rows.values() if r.median] for name, rows in panels.items()}
    panels = {name: rows for name, rows in panels.items() if rows}
    if not panels:
        return None
    heights = [0.7 + 0.24 * len(rows) for rows in panels.values()]
    figure, axes = pyplot.subplots(
        len(panels),
        figsize=(8, sum(heights) + 0.4),
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": heights},
    )
    for axis, (name, rows) in zip(axes[:, 0], panels.items(), strict=True):
        rows = sorted(rows, key=lambda row: -row.median)
        for y, row in enumerate(rows):
            kind = "ours" if row.engine.startswith("fast") else "lava" if row.engine.startswith("lava") else "peer"
            slowest = max(row.milliseconds)
            axis.plot([min(row.milliseconds), slowest], [y, y], color=COLOURS[kind], linewidth=3, alpha=0.4)
            axis.plot(row.median, y, "o", color=COLOURS[kind], markersize=7)
            axis.annotate(_time(row.median), (slowest, y), (7, 0), textcoords="offset points", va="center")
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
    """Numbers instead of powers on a logarithmic axis; between powers of ten only where there is little else."""
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter("{x:g}" if span < 12 else "")


def _draw_growth(pyplot, results: dict, name: str):
    points = growth(results, name)
    if len(points) < 2:
        return None
    label, title, _ = AXES[name]
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
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
    axes[1].legend(frameon=False, loc="lower right")
    if name != "width":  # what grows in proportion is a straight line, whatever its size
        axes[0].set_yscale("log")
        axes[0].autoscale(axis="y")
        axes[0].plot(values, [points[-1][1] * v / values[-1] for v in values], ":", color="grey", label="in proportion")
        _plain_ticks(axes[0].yaxis, max(p[1] for p in points) / min(p[1] for p in points))
        axes[0].legend(frameon=False)
    figure.suptitle(f"fast {title}", x=0.01, ha="left", fontweight="bold")
    return figure


def write(results: dict, folder: Path) -> list[Path]:
    """Write `benchmarks.md` and its pictures into a folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw(results, folder)
    page = folder / "benchmarks.md"
    page.write_text(markdown(results, [picture.name for picture in pictures]), encoding="utf-8")
    return [page, *pictures]
