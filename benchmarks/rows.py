"""Evaluate the results of a run: all rounds of each engine on each network, scaling, bare throughput."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

LABELS = {
    "fast": "rmp-lava fast",
    "fast-dense": "rmp-lava fast, dense sums only",
    "fast-py310": "rmp-lava fast, Python 3.10",
    "lava-blas": "Lava, our BLAS Conv",
    "lava-stock": "Lava, its own Conv",
    "spikingjelly": "SpikingJelly",
    "sinabs": "sinabs",
    "snntorch": "snnTorch",
    "norse": "norse (LIFBox)",
    "norse-iaf": "norse (IAF, resets to zero)",
}
PEERS = ("spikingjelly", "sinabs", "snntorch", "norse")
"""Engines with the same neuron, to the fastest of which `fast` is compared; norse's IAF resets to zero."""
AXES = {
    "steps": ("T, steps", "against T"),
    "batch": ("batch, samples", "against the batch"),
    "width": ("width, factor on VGG-16's channels", "against the width"),
}


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
    def start_up(self) -> float | None:
        """Seconds from the start of the process to the first result, median of the rounds."""
        seconds = [m["start_up"] for m in self.done if m.get("start_up") is not None]
        return statistics.median(seconds) if seconds else None

    @property
    def memory(self) -> tuple[float, float] | None:
        """MiB before the run and at its peak, medians of the rounds."""
        if not self.done:
            return None
        return tuple(statistics.median(m[k] for m in self.done) / 2**20 for k in ("resident_before", "resident_peak"))


def sample_steps(measurement: dict) -> int:
    """Samples times steps of one timed call."""
    return measurement.get("sample_steps") or measurement["job"]["batch"] * measurement["job"]["steps"]


def rows_of(results: dict, network: str, kind: str = "engines") -> dict[str, Row]:
    """Engine -> row, in the order of `LABELS`; `kind` "one" are those of one sample."""
    prefix, found = f"{kind}/{network}/", {}
    for key, measurement in results["measurements"].items():
        if key.startswith(prefix):
            found.setdefault(key.removeprefix(prefix).rpartition("/")[0], []).append(measurement)
    return {engine: Row(engine, found[engine]) for engine in LABELS if engine in found}


def spikes_agree(row: Row, expected: dict[str, dict[str, list[int]]]) -> str:
    """Describe whether an engine's spikes are the expected ones, layer by layer and sample by sample.

    Parameters
    ----------
    expected : dict
        "checked" and "lava" -> layer -> spikes of each sample; Lava runs other samples than the rest.
    """
    found = row.done[-1].get("counts") if row.done else None
    right = expected["lava" if row.engine.startswith("lava") else "checked"]
    if not found:
        return "-"
    pairs = {name: (sum(right[name]), sum(found[name])) for name in right}
    total, other = (sum(pair[i] for pair in pairs.values()) for i in (0, 1))
    if all(found[name] == right[name] for name in right):
        return f"all {total:,} equal"
    name, (a, b) = max(pairs.items(), key=lambda item: abs(item[1][1] - item[1][0]) / max(1, item[1][0]))
    return f"{other / max(1, total) - 1:+.1%}; most in {name}: {b:,} for {a:,}"


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


def bare_throughput(measurement: dict, kind: str) -> tuple[float | None, float | None, str]:
    """Operations per second over all layers, those of the best layer, and its name."""
    timed = [(layer, layer["seconds"][kind]) for layer in measurement["layers"] if layer["seconds"][kind]]
    if not timed:
        return None, None, "-"
    operations = [2 * layer["multiplications"] for layer, _ in timed]
    total = sum(operations) / sum(seconds for _, seconds in timed)
    best, layer = max((n / s, layer["name"]) for n, (layer, s) in zip(operations, timed, strict=True))
    return total, best, layer


def three_digits(value: float | None) -> str:
    """Milliseconds with three significant digits."""
    return "-" if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"
