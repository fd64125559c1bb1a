"""Render the results of a run as one Markdown page with pictures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .pictures import draw
from .rows import AXES, LABELS, PEERS, Row, bare_throughput, growth, rows_of, spikes_agree, three_digits

CHIP_OPERATIONS = 2.285e10
"""Loihi 2's own counter in lava-dl's PilotNet LIF benchmark notebook: 10,000 steps without an image."""
NET_OPERATIONS, NET_UPDATES = 2.270e10, 1.585e9
"""Synaptic operations and neuron updates of that network in 10,000 steps, from its non-zero weights and its neurons."""


def markdown(results: dict, pictures: Iterable[str] = ()) -> str:
    """The page as Markdown."""
    pictures = list(pictures)
    settings, machine = results["settings"], results["machine"]
    lines = [
        "# Benchmarks",
        "",
        f"Measured on {results['date']} by `make benchmark" + (" ARGS=--quick" if settings["quick"] else "") + "`: "
        f"{_plural(settings['rounds'], 'round')}, engines interleaved, each measurement in its own process. "
        "Tables show the median round, with the fastest and slowest in brackets; the fastest peer is one whose spikes are equal. "
        "`benchmarks/README.md` "
        "describes what is compared, and how.",
        "",
    ]
    if settings["quick"]:
        lines += ["**A quick run, once each: a first impression of speed.**", ""]
    if settings["cpu_time"]:
        lines += ["**CPU time of each process**, as other processes ran too; Lava's is the time that passed.", ""]
    lines += _machine(results, machine, settings) + _overview(results)
    lines += _pictures(pictures, ["engines"])
    for name in results["networks"]:
        lines += _network(results, name)
    lines += _one_sample(results) + _activity(results)
    lines += _throughput(results) + _anchor(results) + _growth(results) + conversion(results) + _busy(results)
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
    found = {name: rows_of(results, name) for name in results["networks"]}
    found = {name: rows for name, rows in found.items() if rows}
    engines = [engine for engine in LABELS if any(engine in rows for rows in found.values())]
    body = [
        [LABELS[engine], *(three_digits(rows[engine].median) if engine in rows else "" for rows in found.values())]
        for engine in engines
    ]
    lines = [
        "## Milliseconds per sample and step",
        "",
        *table(["engine", *found], body),
        "",
        "What ran, as reported by each engine:",
        "",
    ]
    for engine in engines:
        executions = {
            rows[engine].execution: name for name, rows in found.items() if engine in rows and rows[engine].execution
        }
        where = (lambda name: f" ({name})") if len(executions) > 1 else (lambda name: "")
        lines += [f"- {LABELS[engine]}: {execution}{where(name)}" for execution, name in executions.items()]
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
        spread = (
            f"{three_digits(row.median)} ({three_digits(min(row.milliseconds))}..{three_digits(max(row.milliseconds))})"
        )
        body.append(
            [
                *start,
                f"{1000 / row.median:,.0f}",
                spread,
                _times(fastest, row.median),
                _times(stock, row.median),
                "-" if row.engine.startswith("lava") else f"{peak:,.0f} ({before:,.0f})",  # in processes of its own
                spikes_agree(row, network["expected"]),
            ]
        )
    return [*lines, *table(header, body), ""]


def _one_sample(results: dict) -> list[str]:
    body = []
    for name, network in results["networks"].items():
        rows, batched = rows_of(results, name, "one"), rows_of(results, name)
        rows |= {engine: row for engine, row in batched.items() if engine.startswith("lava")}
        for engine, row in rows.items():
            if row.median is not None and row.start_up is not None:
                milliseconds = f"{three_digits(row.median)} ({three_digits(1000 / row.median)} steps / s)"
                body.append([network["title"], LABELS[engine], row.job["steps"], milliseconds, f"{row.start_up:.1f}"])
    if not body:
        return []
    text = (
        "All of a sample's steps in one call, of a network that is prepared. Start-up is the time from the start of the process "
        "to the first result: imports, reading, preparing, the first run; of Lava without the run."
    )
    header = ["network", "engine", "T", "ms per step", "start-up, s"]
    return ["## One sample", "", text, "", *table(header, body), ""]


def _activity(results: dict) -> list[str]:
    found: dict[str, dict[str, Row]] = {}
    for key in results["measurements"]:
        if key.startswith("activity/"):
            activity = key.split("/")[1]
            found[activity] = rows_of(results, activity, "activity")
    if not found:
        return []
    peers = [rows_of(results, "vgg16"), *found.values()]
    fastest = min((row.median for rows in peers for e, row in rows.items() if e in PEERS and row.median), default=None)
    body = []
    for activity, rows in found.items():
        fast = rows.get("fast")
        if fast is None or fast.median is None:
            continue
        dense = rows["fast-dense"].median if "fast-dense" in rows else None
        rates = list(fast.done[-1]["rates"].values())
        body.append(
            [
                f"{float(activity):.0%}",
                f"{statistics.mean(rates):.1%}",
                three_digits(fast.median),
                three_digits(dense),
                _times(dense, fast.median),
                _times(fastest, fast.median),
            ]
        )
    text = (
        "VGG-16, thresholds and input for other rates of spikes. The peers compute dense sums, whose time does not depend on the "
        f"spikes: the fastest of all their measurements takes {three_digits(fastest)} ms."
    )
    header = ["target", "spikes per neuron and step", "fast, ms", "dense sums only, ms", "x dense", "x fastest peer"]
    return ["## Activity", "", text, "", *table(header, body), ""]


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
        body.append([name, torch, _tera(int8), f"{_tera(best)} ({shape})", _tera(real), _tera(reached), share])
        if int8 and row and row.median:
            reasons += _limit(rows, row, torch, 1000 * 2 * network["multiplications"] / int8)
    if not body:
        return []
    header = ["network", "torch", "bare int8, TOP/s", "best layer", "bare float32, TOP/s", "fast, TOP/s", "fast / int8"]
    return [
        "## Share of the machine's throughput that `fast` reaches",
        "",
        "Throughput of the network's convolutions alone (oneDNN, uint8 spikes, int8 weights, exact 32-bit sums) and of the whole "
        "of `fast`: encoding, convolutions, neurons, counts. An operation is a multiplication or an addition, whether or not "
        "a neuron spiked. [Where the time goes](kernels.md) tells what the rest is.",
        "",
        *table(header, body),
        "",
        *reasons,
        "",
    ]


def _limit(rows: dict[str, Row], row: Row, torch: str, bare: float) -> list[str]:
    """Largest possible speed-up over the fastest peer on this machine, if only convolutions (`bare` ms) took time."""
    peers = [rows[engine].median for engine in PEERS if engine in rows and rows[engine].median]
    if not peers:
        return []
    return [
        f"- torch {torch}: the bare 8-bit convolutions take {bare:.2f} ms per sample-step, "
        f"`fast` {row.median:.2f}, the fastest peer {min(peers):.2f}. With nothing but these convolutions, all dense, `fast` "
        f"would be {min(peers) / bare:.1f} times as fast as that peer; it is {min(peers) / row.median:.1f} times as fast, with "
        "event-driven sums where few neurons spike."
    ]


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
        *table(["", "fast", "expected", "Loihi 2's counter"], body),
        "",
    ]


def _growth(results: dict) -> list[str]:
    lines = []
    for axis, (label, _) in AXES.items():
        points = growth(results, axis)
        if points:
            body = [[f"{value:g}", f"{s:.3f}", f"{peak:,.0f} ({before:,.0f})"] for value, s, before, peak in points]
            lines += [*table([label, "s", "peak memory (before), MiB"], body), ""]
    if not lines:
        return []
    s = results["settings"]
    text = (
        f"VGG-16 with {s['growth_width']:g} of its channels, {s['growth_batch']} samples, {s['growth_steps']} steps, "
    )
    return ["## Scaling of `fast`", "", text + "except for the parameter in the first column.", "", *lines]


def conversion(results: dict) -> list[str]:
    """Duration of conversion, as lines of Markdown; none if it was not measured."""
    measured = [value for key, value in results["measurements"].items() if key.startswith("conversion/")]
    if not measured:
        return []
    lines = ["## Conversion", ""]
    found = [each for each in measured if "error" not in each]
    if not found:
        return [*lines, f"Not measured: {measured[0]['error']}", ""]
    seconds = sorted(each["seconds"][0] for each in found)
    width, images = results["settings"]["conversion_width"], results["settings"]["conversion_images"]
    peak = max(each["resident_peak"] for each in found) / 2**20
    return [
        *lines,
        f"`convert` of VGG-16 with batch normalisation at {width:g} of its channels ({found[0]['parameters']:,} parameters) "
        f"for T = 16, with {images} calibration images: {statistics.median(seconds):.0f} s "
        f"({seconds[0]:.0f} to {seconds[-1]:.0f} in {_plural(len(seconds), 'round')}), {peak:,.0f} MiB.",
        "",
    ]


def _busy(results: dict) -> list[str]:
    measurement = results["measurements"].get("busy")
    if measurement is None:
        return []
    lines = ["## Next to a busy process", ""]
    if "error" in measurement:
        return [*lines, f"Not measured: {measurement['error']}", ""]
    quiet, busy = (statistics.median(measurement[kind]) for kind in ("quiet", "busy"))
    job = measurement["job"]
    return [
        *lines,
        f"`rmp-lava {' '.join(job['command'])}` takes {quiet:.1f} s alone and {busy:.1f} s next to a process that computes in "
        f"one thread: {busy / quiet:.2f} times as long ({_plural(job['rounds'], 'round')}, `python -m benchmarks.busy`).",
        "",
    ]


def _pictures(pictures: list[str], names: Iterable[str]) -> list[str]:
    shown = [f"benchmarks-{name}.png" for name in names if f"benchmarks-{name}.png" in pictures]
    return [line for picture in shown for line in (f"![{Path(picture).stem}]({picture})", "")]


def table(header: Sequence[str], body: Iterable[Sequence[Any]], texts: int = 1) -> list[str]:
    """Lines of a Markdown table, in which all but the first columns, of text, are aligned right."""
    lines = [header, ["---"] * texts + ["---:"] * (len(header) - texts), *body]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "/")


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


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


def write(results: dict, folder: Path) -> list[Path]:
    """Write `benchmarks.md` and its pictures into a folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = draw(results, folder)
    page = folder / "benchmarks.md"
    page.write_text(markdown(results, [picture.name for picture in pictures]), encoding="utf-8")
    return [page, *pictures]
