"""Accuracy against the number of steps on CIFAR-10, without and with fine-tuning.

    rmp-lava train vgg16-cifar --width 0.5 --batch-norm --data-dir cifar10_jpeg.zip --precision bfloat16
    python examples/cifar10_latency.py exports/vgg16-cifar.pt cifar10_jpeg.zip
    python examples/cifar10_latency.py exports/vgg16-cifar.pt cifar10_jpeg.zip --tune 3000 --steps 4 8

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
from rmp_lava.conversion.balance import Balancing, balance
from rmp_lava.conversion.scale import unscale
from rmp_lava.conversion.tune import tune

WAYS = {
    "low latency, current": ("low-latency", "current"),
    "low latency, rate": ("low-latency", "rate"),
    "low latency, Poisson": ("low-latency", "poisson"),
    "the paper's, Poisson": ("paper", "poisson"),
}


def main() -> None:
    """Convert, tune where asked for, run, and print one row per number of steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint")
    parser.add_argument("data", help="folder or .zip of CIFAR-10")
    parser.add_argument("--steps", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--images", type=int, default=10_000, help="test images")
    parser.add_argument("--calibration", type=int, default=512, help="training images for the thresholds")
    parser.add_argument(
        "--ways", type=int, default=len(WAYS), help="how many of the ways of conversion, from the first"
    )
    parser.add_argument("--tune", type=int, default=0, metavar="N", help="fine-tune on N training images, two epochs")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()

    model, metadata = load_model(given.checkpoint)
    dataset = load("cifar10", given.data)
    split = split_validation(dataset)
    # Files lie class by class.
    order = np.random.default_rng(0).permutation(len(split.train_images))
    training, labels = split.train_images[order], split.train_labels[order]
    calibration = as_float(training[: given.calibration])
    chosen = np.random.default_rng(1).permutation(len(dataset.test_images))[: given.images]
    test, truth = as_float(dataset.test_images[chosen]), dataset.test_labels[chosen]
    trained = evaluate(model, test, truth)
    print(f"{dataset.source}; {len(test):,} test images, {given.calibration} for calibration")
    print(f"trained network: {trained:.2%} ({metadata['model']}, {metadata['options']})", flush=True)
    results = {"ann": trained, "images": len(test), "torch": torch.__version__, "rows": []}

    def measure(name: str, network: rmp_lava.SpikingNetwork, steps: int, seconds: float) -> None:
        result = rmp_lava.run(rmp_lava.quantize(network), test, steps)
        accuracy = result.accuracy(truth)
        results["rows"].append({"way": name, "steps": steps, "accuracy": accuracy, "conversion_seconds": seconds})
        print(
            f"T = {steps:3}  {accuracy:7.2%}  {100 * (accuracy - trained):+6.2f} points  {name}  (made in {seconds:.0f} s)",
            flush=True,
        )
        if given.json:
            given.json.write_text(json.dumps(results, indent=2))

    for steps in given.steps:
        for name, (method, encoding) in list(WAYS.items())[: 0 if given.tune else given.ways]:
            started = time.perf_counter()
            network = rmp_lava.convert(model, calibration, steps=steps, method=method, encoding=encoding)
            measure(name, network, steps, time.perf_counter() - started)
        if given.tune:
            started = time.perf_counter()
            network = rmp_lava.convert(model, calibration, steps=steps)
            tuned = tune(
                unscale(network),
                training[: given.tune],
                labels[: given.tune],
                steps,
                epochs=2,
                batch_size=64,
                augmentation="crop-flip",
                precision="bfloat16",
                progress=True,
            )
            network = balance(tuned, calibration, steps, Balancing("tuned", v_init="half"))
            measure(f"tuned on {given.tune} images", network, steps, time.perf_counter() - started)


if __name__ == "__main__":
    main()
