"""Graded messages: speed of lava-dl's sigma-delta networks next to Lava's simulator, or accuracy of trained networks.

    python -m benchmarks.sigma_delta [FILE.net]
    python -m benchmarks.sigma_delta --accuracy digits --accuracy vgg16 --accuracy resnet20 [--data-dir cifar10.zip]
    python -m benchmarks.sigma_delta --graded vgg16 --graded resnet20 [--data-dir cifar10.zip]

Speed needs one environment with Lava and PyTorch (Python 3.10). Without a file it is of PilotNet SDNN in lava-dl's wheel, for the
 video that lava-dl ships with it. Lava and `fast` are timed in turns, without start-up; the fastest call counts, and messages
have to be equal. Accuracy is that of networks in exports/reference: what they were trained to, with 8-bit weights (one scale per
channel), and as sigma-delta neurons after depth + 1 steps. `--graded` compares networks whose neurons wait with graded spikes.
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
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.graded import graded
from rmp_lava.conversion.restore import restore
from rmp_lava.network import SpikingNetwork
from rmp_lava.training.data import load

REFERENCE = Path(__file__).absolute().parents[1] / "exports" / "reference"
TRAINED = {
    "digits": ("digits-soft.net", "digits"),
    "vgg16": ("vgg16-cifar-trained.net", "cifar10"),
    "resnet20": ("resnet20-cifar-trained.net", "cifar10"),
}
"""Files and data sets."""
TUNED = {"vgg16": "vgg16-cifar.net", "resnet20": "resnet20-cifar.net"}
"""Whose neurons wait for all of their steps, of CIFAR-10."""
CALIBRATION = 256
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


def accuracy(name: str, data_dir: Path | None, images: int | None) -> str:
    """A line with the accuracies of a network in each form."""
    file, dataset = TRAINED[name]
    data = load(dataset, data_dir)
    random = np.random.default_rng(0)
    some = data.train_images[random.permutation(len(data.train_images))[:CALIBRATION]]
    chosen = random.permutation(len(data.test_images))[:images]
    analog = restore(rmp_lava.load(REFERENCE / file))
    conversion = rmp_lava.convert(AnalogNetwork(analog), some, neurons="sigma-delta", name=name)
    stages = conversion.stages(data.test_images[chosen], data.test_labels[chosen])
    found = {stage.name: 100 * (stage.score.accuracy or 0.0) for stage in stages}
    first, eight, last = (found[each] for each in (stages[0].name, "8-bit ANN", "sigma-delta"))
    return (
        f"{name:9} {len(chosen):6,} images, {conversion.steps:2} steps: trained {first:.2f} %, 8-bit ANN {eight:.2f} %, "
        f"sigma-delta {last:.2f} % ({last - eight:+.2f} points)"
    )


def with_graded_spikes(name: str, data_dir: Path | None, images: int | None) -> str:
    """Two lines: what a network whose neurons wait reaches and costs per image, and the same with graded spikes."""
    data = load("cifar10", data_dir)
    chosen = np.random.default_rng(0).permutation(len(data.test_images))[:images]
    waiting = rmp_lava.load(REFERENCE / TUNED[name])
    lines = []
    for network, kind in ((waiting, "waiting"), (graded(waiting), "graded")):
        runs = [
            rmp_lava.run(network, data.test_images[some], network.balanced_steps or 1)
            for some in np.array_split(chosen, -(-len(chosen) // 1000))
        ]
        right = np.concatenate([run.predictions for run in runs]) == data.test_labels[chosen]
        messages, operations = (
            sum(sum(map(np.sum, counts.values())) for counts in each) / len(chosen)
            for each in ([run.message_counts for run in runs], [run.synaptic_operations for run in runs])
        )
        lines.append(
            f"{name:9} {kind:8} {len(chosen):6,} images, T = {network.balanced_steps}: {100 * right.mean():.2f} %, "
            f"{messages:,.0f} messages, {operations:,.0f} synaptic operations, {runs[0].schedule.latency} steps"
        )
    return "\n".join(lines)


def main(
    net: Annotated[Path | None, typer.Argument(help="A sigma-delta network; lava-dl's PilotNet if omitted.")] = None,
    steps: Annotated[int, typer.Option(help="Frames, and time steps.")] = 20,
    batch: Annotated[int, typer.Option(help="Samples of `fast` at once.")] = 32,
    rounds: Annotated[int, typer.Option(help="Times that each is measured.")] = 3,
    accuracies: Annotated[list[str] | None, typer.Option("--accuracy", help=f"Only of: {', '.join(TRAINED)}.")] = None,
    graded_names: Annotated[list[str] | None, typer.Option("--graded", help=f"Only of: {', '.join(TUNED)}.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where CIFAR-10 is, as for rmp-lava.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Test images, drawn at random; all if omitted.")] = None,
) -> None:
    """Print milliseconds per time step of a sample and how many times Lava's speed that is, or accuracies."""
    for measure, names, known in ((accuracy, accuracies, TRAINED), (with_graded_spikes, graded_names, TUNED)):
        if unknown := set(names or ()) - set(known):
            raise typer.BadParameter(f"{', '.join(sorted(unknown))} is unknown; choose from {', '.join(known)}")
        for name in names or ():
            print(measure(name, data_dir, images), flush=True)
    if accuracies or graded_names:
        return
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
