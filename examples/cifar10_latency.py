"""Accuracy against the number of steps on CIFAR-10, without and with fine-tuning.

    rmp-lava train vgg16-cifar --width 0.5 --batch-norm --levels 8 --epochs 40 --data-dir cifar10_jpeg.zip
    rmp-lava tune exports/vgg16-cifar.pt --steps 4 --epochs 2 --precision bfloat16 --augmentation crop-flip \\
        --data-dir cifar10_jpeg.zip --output exports/vgg16-cifar-4.net
    python examples/cifar10_latency.py exports/vgg16-cifar.pt cifar10_jpeg.zip --tuned exports/vgg16-cifar-4.net

Thresholds and tuning see training images only; the table is of test images, all of them unless --images says less. Each
number of steps gets a conversion of its own, 8-bit weights, and the integers run on backend `fast`.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

import rmp_lava
from rmp_lava.ann.checkpoint import load_model
from rmp_lava.ann.data import as_float, load, split_validation
from rmp_lava.ann.train import evaluate

WAYS = {
    "current": {"method": "low-latency", "encoding": "current"},
    "searched": {"method": "low-latency", "encoding": "current", "search": "outputs"},
    "rate": {"method": "low-latency", "encoding": "rate"},
    "poisson": {"method": "low-latency", "encoding": "poisson"},
    "paper": {"method": "paper", "encoding": "poisson"},
}
"""By name; low latency but for the last, which is the paper's recipe with Poisson spikes."""


def main() -> None:
    """Convert and run in each way, then what was tuned before, and print one row for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("data", help="folder or .zip of CIFAR-10")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--calibration", type=int, default=512, help="training images for the thresholds")
    parser.add_argument("--ways", nargs="*", choices=WAYS, default=list(WAYS), help="of conversion")
    parser.add_argument("--tuned", nargs="*", default=[], metavar="NET", help="files that `rmp-lava tune` has written")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    model, metadata = load_model(given.checkpoint)
    dataset = load("cifar10", given.data)
    split = split_validation(dataset)
    # Files lie class by class.
    order = np.random.default_rng(0).permutation(len(split.train_images))
    calibration = as_float(split.train_images[order[: given.calibration]])
    chosen = np.random.default_rng(1).permutation(len(dataset.test_images))[: given.images]
    test, truth = as_float(dataset.test_images[chosen]), dataset.test_labels[chosen]
    trained = evaluate(model, test, truth)
    print(f"{dataset.source}; {len(test):,} test images, {given.calibration} training images for calibration")
    print(f"trained network: {trained:.2%} ({metadata['model']}, {metadata['options']})", flush=True)
    results = {"ann": trained, "images": len(test), "torch": torch.__version__, "rows": []}

    def measure(name: str, integers: rmp_lava.SpikingNetwork, steps: int, seconds: float | None = None) -> None:
        result = rmp_lava.run(integers, test, steps)
        accuracy = result.accuracy(truth)
        messages = sum(result.spike_counts.values()) / len(test)  # pixels of current encoding too
        row = {"way": name, "steps": steps, "accuracy": accuracy, "messages": messages, "conversion_seconds": seconds}
        results["rows"].append(row)
        made = "" if seconds is None else f"  (made in {seconds:.0f} s)"
        print(
            f"T = {steps:3}  {accuracy:7.2%}  {100 * (accuracy - trained):+6.2f} points  {messages:9,.0f} messages  {name}{made}",
            flush=True,
        )
        if given.json:
            given.json.write_text(json.dumps(results, indent=2) + "\n")

    for path in given.tuned:
        network = rmp_lava.load(path)
        own = network.provenance["balance"]["steps"]
        for steps in sorted({own, *(steps for steps in given.steps if steps > own)}):
            measure(f"tuned for {own} steps, {Path(path).name}", network, steps)
    for steps in given.steps:
        for name in given.ways:
            started = time.perf_counter()
            network = rmp_lava.convert(model, calibration, steps=steps, **WAYS[name])
            integers = rmp_lava.quantize(network)
            measure(name, integers, steps, time.perf_counter() - started)


if __name__ == "__main__":
    main()
