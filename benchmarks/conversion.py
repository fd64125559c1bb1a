"""How much of a trained network its integers keep: small networks of many architectures, each converted with default options.

    python -m benchmarks.conversion [--steps 256] [--only resnet18,gap] [--seed 0]
    python -m benchmarks.conversion --torchvision [--only resnet18,googlenet]
    python -m benchmarks.conversion --tasks [--only vgg,u_net]

For each: whether `check` passes it, the accuracy of the trained network on held-out images, the share of images on which the
float and the integer spiking network's arg max is the trained network's, and what was said. --torchvision: networks as
torchvision has them (`benchmarks.torchvision_networks`). --tasks: networks of several tasks (`benchmarks.tasks`).
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch

import rmp_lava
from benchmarks import tasks, torchvision_networks
from benchmarks.architectures import ARCHITECTURES, build, patterns

CALIBRATION, HELD_OUT = 64, 300


def measure(name: str, steps: list[int], seed: int) -> list[str]:
    """A row for each number of steps."""
    started = time.perf_counter()
    model = build(name, seed=seed)
    calibration, (images, labels) = patterns(CALIBRATION, 777)[0], patterns(HELD_OUT, 9999)
    with torch.no_grad():
        trained = model(torch.from_numpy(images)).argmax(dim=1).numpy()
    accuracy = float(np.mean(trained == labels))
    report = rmp_lava.check(model, calibration[:2])
    if not report.convertible:
        return [f"{name:20} trained {accuracy:7.2%}  refused by check: {report.obstacles[0].found}"]
    rows = []
    for count in steps:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                conversion = rmp_lava.convert(model, calibration, steps=count, name=name)
            except rmp_lava.RmpLavaError as error:
                rows.append(f"{name:20} trained {accuracy:7.2%}  T {count:5}  REFUSED after check passed it: {error}")
                continue
            agree = [
                float(np.mean(rmp_lava.run(network, images, count).predictions == trained))
                for network in (conversion.floating, conversion.integer)
            ]
        ours = [str(each.message) for each in said if issubclass(each.category, rmp_lava.RmpLavaWarning)]
        worst = max((layer.weight_error.rms for layer in conversion.integer if layer.weight_error), default=0.0)
        rows.append(
            f"{name:20} trained {accuracy:7.2%}  T {count:5}  float agrees {agree[0]:7.2%}  integer {agree[1]:7.2%}  "
            f"largest weight error {worst:6.2%}  {conversion.integer.readout:9}  {time.perf_counter() - started:5.1f} s"
            + "".join(f"\n    {text}" for text in ours)
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", default="256", help="T, or several with commas")
    parser.add_argument("--only", help="names with commas")
    parser.add_argument("--seed", type=int, default=0, help="of weights and training")
    parser.add_argument("--torchvision", action="store_true", help="networks of torchvision instead")
    parser.add_argument("--tasks", action="store_true", help="networks of several tasks instead")
    given = parser.parse_args()
    if given.torchvision or given.tasks:
        module = torchvision_networks if given.torchvision else tasks
        print(module.HEAD)
        for name in given.only.split(",") if given.only else module.NAMES:
            print(module.row(name), flush=True)
        return
    for name in given.only.split(",") if given.only else ARCHITECTURES:
        for row in measure(name, [int(each) for each in given.steps.split(",")], given.seed):
            print(row, flush=True)


if __name__ == "__main__":
    main()
