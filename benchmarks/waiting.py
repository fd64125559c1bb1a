"""Neurons that wait for all T steps next to the same with wait = 0:  python -m benchmarks.waiting [--data-dir cifar10.zip]

The trained VGG-16 and ResNet-20 of exports/reference are converted for each T and wait = T; the same integers then run on `fast`
with wait = T and with wait = 0, in turns.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from typing import Annotated

import numpy as np
import torch
import typer

import rmp_lava
from rmp_lava.machine import describe, versions
from rmp_lava.network import SpikingNetwork
from rmp_lava.training.data import load, split_validation

from .clock import repeated

REFERENCE = Path(__file__).absolute().parents[1] / "exports" / "reference"
POOLING = {"vgg16-cifar": "layer", "resnet20-cifar": "fold"}
STEPS = (4, 8, 16)
CALIBRATION = 512


def converted(name: str, images: np.ndarray, steps: int) -> SpikingNetwork:
    """Integers of a trained network for T = wait = `steps`."""
    trained = rmp_lava.load_trained(str(REFERENCE / f"{name}-trained.net")).model
    made = rmp_lava.convert(trained, images, steps=steps, wait=steps, pooling=POOLING[name], diagnose=False)
    return made.integer


def milliseconds(network: SpikingNetwork, images: np.ndarray, steps: int, rounds: int, *, cpu: bool) -> list[float]:
    """Per image, with wait = 0 and with wait = T: the median round of each, in turns after one run that does not count."""
    runs = []
    for wait in (0, steps):
        runs.append(partial(rmp_lava.prepare(network.replace(wait=wait)).run, images, steps))
        runs[-1]()
    seconds = [[repeated(run, 1e-9, cpu=cpu)[0] for run in runs] for _ in range(rounds)]
    return [1000 * median(each) / len(images) for each in zip(*seconds, strict=True)]


def main(
    data_dir: Annotated[Path | None, typer.Option(help="CIFAR-10: where it is, or your own copy.")] = None,
    images: Annotated[int, typer.Option(min=1, help="Test images of a run.")] = 2048,
    rounds: Annotated[int, typer.Option(min=1, help="Runs of each network, of which the median counts.")] = 5,
    cpu_time: Annotated[bool, typer.Option("--cpu-time", help="CPU time, on a machine that others use too.")] = False,
) -> None:
    """Print a Markdown table."""
    data = load("cifar10", data_dir)
    unseen = split_validation(data).train_images
    some = unseen[np.random.default_rng(0).permutation(len(unseen))[:CALIBRATION]]
    print("| network | T | wait 0, ms | wait T, ms | times as fast | of T |")
    print("| --- |" + " ---: |" * 5)
    for name in POOLING:
        for steps in STEPS:
            network = converted(name, some, steps)
            before, now = milliseconds(network, data.test_images[:images], steps, rounds, cpu=cpu_time)
            ratio = before / now
            print(f"| {name} | {steps} | {before:.2f} | {now:.2f} | {ratio:.1f} | {ratio / steps:.2f} |", flush=True)
    machine, found, threads = describe(), versions(["rmp-lava", "torch", "numba"]), torch.get_num_threads()
    print(
        f"\n{'CPU time' if cpu_time else 'Time'} per image of {images} at once, median of {rounds} rounds, {threads} "
        f"threads of {machine['cpu']} ({' '.join(machine['instruction_sets'])}); "
        f"{', '.join(f'{name} {version}' for name, version in found.items())}."
    )


if __name__ == "__main__":
    typer.run(main)
