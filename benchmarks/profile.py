"""Where one thread of `fast` spends its time, against the machine's bound:  python -m benchmarks.profile [resnet20 | FILE.net]

All times are CPU time, of the fastest of some runs. The bound is that of the network's dense sums alone: oneDNN's 8-bit kernel,
on as many images at once as suit it. What is less than the bound comes from event-driven sums, from shortcuts that only scale,
and from constant inputs, which are summed once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import rmp_lava
from rmp_lava.backends.fast import events, layers, neurons, simulation, streams, synapses
from rmp_lava.errors import BackendError
from rmp_lava.network import Synapse

from . import networks

KINDS = ("dense sums", "events", "choice", "adding", "neurons", "the rest")
_Times = Counter[tuple[str, str]]


class Clock:
    """Adds up the time of functions by layer and kind, without that of the functions inside them."""

    def __init__(self) -> None:
        self.times: _Times = Counter()
        self.layer = ""
        self._inner = [0.0]

    def wrap(self, owner: type, name: str, kind: str, layer_of: Callable[[Any], str] | None = None) -> None:
        """Time a method, and from then on count for the layer that it belongs to, if that is given."""
        function = getattr(owner, name)

        def timed(this: Any, *arguments: Any, **options: Any) -> Any:
            self.layer = layer_of(this) if layer_of is not None else self.layer
            self._inner.append(0.0)
            started = time.thread_time()
            try:
                return function(this, *arguments, **options)
            finally:
                seconds = time.thread_time() - started
                self.times[self.layer, kind] += seconds - self._inner.pop()
                self._inner[-1] += seconds

        setattr(owner, name, timed)


def timed_methods(clock: Clock) -> None:
    """Time the parts of `fast`, until the process ends."""
    for kind in (synapses.ConvSums, synapses.DenseSums):
        for name in ("_int8", "_plain", "_matmul"):
            clock.wrap(kind, name, "dense sums")
    clock.wrap(events.EventSums, "__call__", "events")
    clock.wrap(events.EventSums, "pay", "choice")
    clock.wrap(layers.LayerSimulation, "currents", "adding", lambda this: this.layer.name)
    clock.wrap(layers.WindowSums, "total", "adding", lambda this: this.layer.name)
    clock.wrap(layers.WindowSums, "are_safe", "choice")
    for population in (neurons.FusedPopulation, neurons.FusedFloatPopulation, neurons.TorchPopulation):
        clock.wrap(population, "advance", "neurons")
    for population in (neurons.FusedPopulation, neurons.Population):
        clock.wrap(population, "burst", "neurons")
    clock.wrap(neurons.Population, "settle", "neurons")
    clock.wrap(streams.InputSimulation, "advance", "the rest", lambda _: "input")
    for name in ("__init__", "_read_out", "_finish"):
        clock.wrap(simulation.BatchSimulation, name, "the rest", lambda _: "read-out and counts")


def bound(synapse: Synapse, source_shape: tuple[int, ...]) -> float:
    """CPU seconds of a synapse's sums for one set of messages, by the 8-bit kernel, or in float32 where there is none."""
    device = torch.device("cpu")
    try:
        sums = synapses.make_sums(synapse, source_shape, synapses.Arithmetic(device, torch.float32, "int8", 1))
    except BackendError:
        sums = synapses.make_sums(synapse, source_shape, synapses.Arithmetic(device, torch.float32, "float32", 1))
    found = []
    for sets in (8, 32, 128):
        messages = (torch.rand(sets, *sums.shape) < 0.1).to(torch.uint8 if sums.takes_bytes else torch.float32)
        call = partial(sums._compute, sums.kernel, messages)
        found.append(min(_cpu_seconds(call) for _ in range(12)) / sets)
    return min(found)


def _cpu_seconds(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def main(
    network: Annotated[
        str, typer.Argument(help="A network of benchmarks.networks, or a file, on random images.")
    ] = "resnet20",
    batch: Annotated[int, typer.Option(min=1, help="Samples.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="T.")] = 32,
    rounds: Annotated[int, typer.Option(min=1, help="Runs, of which the fastest counts.")] = 3,
) -> None:
    """Print a table of microseconds per sample and step."""
    torch.set_num_threads(1)
    if Path(network).is_file():
        loaded = rmp_lava.load(network)
        images = np.random.default_rng(0).random((batch, *loaded.input.shape), dtype=np.float32)
    else:
        loaded = networks.build(network)
        images = networks.spikes_for(loaded, batch, steps)
    prepared = rmp_lava.prepare(loaded)
    result = prepared.run(images, steps)
    # Before the methods are timed.
    sets = 1 / steps if loaded.wait == steps else 1  # of messages per step
    bounds = Counter({n.name: sets * sum(bound(s, loaded.source_shape(s.source)) for s in n.synapses) for n in loaded})
    clock = Clock()
    timed_methods(clock)
    found: list[tuple[float, _Times]] = []
    for _ in range(rounds):
        clock.times = Counter()
        total = _cpu_seconds(partial(prepared.run, images, steps))
        found.append((total, clock.times))
    total, times = min(found, key=lambda each: each[0])
    times["outside", "the rest"] = total - sum(times.values())
    per_step = 1e6 / (batch * steps)
    print("\n".join(table(times, bounds, per_step)))
    share = sum(bounds.values()) * 1e6 / (total * per_step)
    print(
        f"\n{loaded.name}: {batch} samples, T = {steps}, one thread: {total * per_step / 1000:.3f} ms of CPU time per sample and "
        f"step; the bare sums are {share:.0%} of it. {result.execution}."
    )


def table(times: _Times, bounds: Counter[str], factor: float) -> list[str]:
    """A Markdown table with a row for each layer; `times` in seconds times a factor, `bounds` in seconds per image."""
    lines = ["| layer | bound | " + " | ".join([*KINDS, "all"]) + " |", "| --- |" + " ---: |" * (len(KINDS) + 2)]
    names = list(dict.fromkeys(layer for layer, _ in times))
    rows = [(name, 1e6 * bounds[name], [factor * times[name, kind] for kind in KINDS]) for name in names]
    rows.append(("**all**", sum(row[1] for row in rows), [sum(row[2][i] for row in rows) for i in range(len(KINDS))]))
    for name, least, parts in rows:
        cells = [f"{value:.1f}" if value else "" for value in (least, *parts, sum(parts))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    typer.run(main)
