"""lava-dl's sigma-delta networks on Lava's simulator and on `fast`:  python -m benchmarks.sigma_delta [FILE.net]

Needs one environment with Lava and PyTorch (Python 3.10). Without a file it takes PilotNet SDNN from lava-dl's wheel, and the
video that lava-dl ships with it. Lava and `fast` are timed in turns, without start-up; the fastest call counts, and messages
have to be equal.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import rmp_lava
from rmp_lava.backends import Fast, Lava
from rmp_lava.network import SpikingNetwork

FOLDER = "tests/lava/lib/dl/netx/gts/pilotnet_sdnn"
"""lava-dl's own files, below site-packages of the environment with Lava."""


def video(network: SpikingNetwork, folder: Path, frames: int, samples: int) -> np.ndarray:
    """(samples, frames, *input shape) integers: lava-dl's recorded video, enlarged where needed, or one of random changes."""
    recorded = np.load(folder / "act0.npy").transpose(3, 2, 1, 0)  # changes in 1/64, (frames, channels, height, width)
    shape, one = network.input.shape, np.empty(0)
    if len(shape) == 3 and shape[0] == recorded.shape[1]:
        factors = [-(-n // m) for n, m in zip(shape[1:], recorded.shape[2:], strict=True)]
        shown = (recorded / 64).cumsum(axis=0).repeat(factors[0], axis=2).repeat(factors[1], axis=3)
        one = shown[np.arange(frames) % len(shown), :, : shape[1], : shape[2]]
    if not one.size:
        random = np.random.default_rng(0)
        one = random.integers(-40, 65, (frames, *shape))
        for t in range(1, frames):
            one[t] = np.where(random.random(shape) < 0.8, one[t - 1], one[t])
    return np.stack([np.roll(one, 3 * i, axis=-1) for i in range(samples)]).astype(np.int32)


def main(
    net: Annotated[Path | None, typer.Argument(help="A sigma-delta network; lava-dl's PilotNet if omitted.")] = None,
    steps: Annotated[int, typer.Option(help="Frames, and time steps.")] = 20,
    batch: Annotated[int, typer.Option(help="Samples of `fast` at once.")] = 32,
    rounds: Annotated[int, typer.Option(help="Times that each is measured.")] = 3,
) -> None:
    """Print milliseconds per time step of a sample, and how many times Lava's speed that is."""
    found = importlib.util.find_spec("lava")
    if found is None or not found.submodule_search_locations:
        raise typer.BadParameter("Lava is not installed here; use the environment with Lava")
    folder = Path(next(iter(found.submodule_search_locations))).parent / FOLDER
    network = rmp_lava.load(net or folder / "network.net")
    frames = video(network, folder, steps, batch)
    rows = {
        "Lava, its own convolution": (Lava(conv_model="lava"), 1),
        "Lava, convolutions by BLAS": (Lava(conv_model="blas"), 1),
        "fast, 1 sample": (Fast(), 1),
        f"fast, {batch} samples": (Fast(), batch),
    }
    best, messages = dict.fromkeys(rows, np.inf), {}
    for _ in range(rounds):
        for name, (backend, samples) in rows.items():
            started = time.perf_counter()
            result = rmp_lava.run(network, frames[:samples], steps, backend, record=("counts",))
            seconds = result.seconds if isinstance(backend, Lava) else time.perf_counter() - started
            best[name] = min(best[name], 1000 * seconds / samples / steps)
            messages[name] = {layer: counts[0] for layer, counts in result.neuron_counts.items()}
    first, *others = messages.values()
    equal = all(np.array_equal(first[layer], other[layer]) for other in others for layer in first)
    print(
        f"{network.name}: {network.neuron_count:,} neurons, {steps} frames, {sum(map(np.sum, first.values())):,} messages"
    )
    print(f"messages of every neuron are {'equal' if equal else 'DIFFERENT'}")
    lava = best["Lava, its own convolution"]
    for name, milliseconds in best.items():
        print(f"{name:28} {milliseconds:9.3f} ms per step and sample {lava / milliseconds:8.1f} x")


if __name__ == "__main__":
    typer.run(main)
