"""The whole pipeline on 8x8 digits: train, convert, quantise, export, load, run on Lava, compare every spike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from .. import netx
from ..backends import Lava, run
from ..backends.lava import simulator
from ..choices import Implementation
from ..conversion.pipeline import convert
from ..conversion.stages import Stage
from ..conversion.truth import truth_of
from ..errors import UsageError
from ..network import SpikingNetwork
from ..registers import MAX_STEPS
from ..report.runs import compare_with_reference
from ..report.tables import activity_table, curve_table
from ..results import Run
from ..sources.images import from_dataset
from ..tables import table
from ..threads import limited_to
from ..training.data import as_float, load
from ..training.train import train
from ..words import percent

MODEL = "digits-cnn"
OPTIONS: dict[str, Any] = {
    "method": "paper",
    "encoding": "rate",
    "percentile": 99.9,
    "pooling": "fold",
    "readout": "potential",
}
"""For the exported network: the paper's balancing with deterministic input; the percentile ignores the rarest sums."""
COMPARISON_OPTIONS: dict[str, Any] = {
    "method": "paper",
    "encoding": "current",
    "percentile": 100.0,
    "pooling": "layer",
    "readout": "count",
}
"""For the comparison of resets, as in the paper: the largest V_in as threshold, pooling by spiking neurons, output spikes
counted. The input is a constant current, so that no random spikes blur the comparison."""
COMPARISON_STEPS = 128
CALIBRATION_IMAGES = 256
BLANK_STEPS = 1
"""Between two samples on Lava: stock neurons need one."""
SOFT, HARD = "largest thresholds, soft reset (RMP)", "largest thresholds, hard reset"


@dataclass(frozen=True)
class Demo:
    """Everything that the demo measured; accuracies are on the held-out quarter of the digits."""

    network: SpikingNetwork
    net_path: Path
    stages: tuple[Stage, ...]
    curves: dict[str, np.ndarray]
    run: Run
    lava_missing: str | None

    @property
    def steps_to_hard_best(self) -> tuple[float, int, int | None]:
        """(hard reset's best accuracy, T at which it first reaches it, T at which soft reset does)."""
        hard, soft = self.curves[HARD], self.curves[SOFT]
        reached = np.flatnonzero(soft >= hard.max())
        return float(hard.max()), int(hard.argmax()) + 1, int(reached[0]) + 1 if len(reached) else None

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        best, hard_steps, soft_steps = self.steps_to_hard_best
        return {
            "net": str(self.net_path),
            "stages": [stage.summary() for stage in self.stages],
            "accuracy_at": {name: curve.tolist() for name, curve in self.curves.items()},
            "hard_best_accuracy": best,
            "hard_best_steps": hard_steps,
            "soft_steps_to_hard_best": soft_steps,
            "lava_missing": self.lava_missing,
            "run": self.run.summary(self.network),
        }


def run_demo(*, steps: int, lava_samples: int, seed: int, folder: Path, report: Callable[[str], None]) -> Demo:
    """Run the demo; `report` is called with a sentence at the start of each step."""
    if lava_samples < 1:
        raise UsageError(f"samples are {lava_samples}; at least 1 is required")
    if not 1 <= steps <= MAX_STEPS:
        raise UsageError(f"steps are {steps}; allowed are 1..{MAX_STEPS}")
    dataset = load("digits")
    report(f"1  Train {MODEL} on {len(dataset.train_images):,} 8x8 digits, no bias, no batch normalisation")
    with limited_to(1):
        trained = train(MODEL, dataset, seed=seed, checkpoint_path=folder / "demo.pt", progress=True)
    report(f"2  Convert to RMP neurons: balance thresholds over {steps} steps; quantise to Loihi 2's integers")
    split = from_dataset(dataset)
    calibration, _ = split.calibration(CALIBRATION_IMAGES, seed)
    common: dict[str, Any] = {
        "name": MODEL,
        "class_names": split.class_names,
        "dataset": split.dataset,
        "validation_fraction": split.validation_fraction,
        "provenance": {"checkpoint": "demo.pt", "training_seed": seed} | split.provenance,
        "seed": seed,
        "shuffle": False,  # drawn at random
        "progress": True,
    }
    with limited_to(1):
        conversion = convert(trained.model, calibration, steps=steps, **OPTIONS, **common)
    report("3  Export, and load again")
    path = netx.save(conversion.integer, folder / "demo.net")
    network = netx.load(path)
    images, labels = as_float(dataset.test_images), dataset.test_labels
    report(f"4  Simulate {len(images)} held-out digits")
    floating = run(conversion.floating, images, steps, seed=seed, progress=True)
    integer = run(network, images, steps, seed=seed, progress=True)
    truth = truth_of(trained.model, conversion.analog, images, labels, network.output.shape)
    stages = [
        Stage("trained ANN", len(images), truth.trained_score),
        Stage("float SNN", len(images), floating.score(conversion.floating, labels), "backend fast"),
        Stage("integer SNN", len(images), integer.score(network, labels), "backend fast"),
    ]
    curves = {"exported network": integer.accuracy_at(labels)}
    report(f"5  Compare soft with hard reset, thresholds as in the paper, T up to {COMPARISON_STEPS}")
    for reset, name in (("soft", SOFT), ("hard", HARD)):
        options = COMPARISON_OPTIONS | common | {"steps": COMPARISON_STEPS, "reset": reset}
        with limited_to(1):
            compared = convert(trained.model, calibration, **options)
        curves[name] = run(compared.integer, images, COMPARISON_STEPS, seed=seed, progress=True).accuracy_at(labels)
    missing = simulator.availability()
    if missing is None:
        stages += _lava_stages(network, images[:lava_samples], labels[:lava_samples], steps, seed, report)
    return Demo(network, path, tuple(stages), curves, integer, missing)


def _lava_stages(
    network: SpikingNetwork,
    images: np.ndarray,
    labels: np.ndarray,
    steps: int,
    seed: int,
    report: Callable[[str], None],
) -> list[Stage]:
    stages = []
    neurons: tuple[tuple[Implementation, str], ...] = (
        ("native", "Lava, RMP neurons"),
        ("stock", "Lava, stock LIF neurons"),
    )
    for implementation, name in neurons:
        report(f"6  Run {len(images)} of them on the Lava CPU simulator: {name.removeprefix('Lava, ')}")
        result = run(
            network,
            images,
            steps,
            Lava(implementation, time_limit=600),
            record=("spikes", "potentials"),
            seed=seed,
            blank=BLANK_STEPS,
            progress=True,
        )
        differences = compare_with_reference(network, images, result, seed)
        note = "; ".join(differences) or "every spike and final potential equals the reference"
        stages.append(Stage(name, len(images), result.score(network, labels), note))
    return stages


def show_demo(demo: Demo, console: Console) -> None:
    """Print the demo's tables."""
    rows = [(s.name, f"{s.images:,}", str(s.score), s.note) for s in demo.stages]
    if demo.lava_missing:
        rows.append(("Lava", "0", "not run", demo.lava_missing))
    console.print()
    console.print(table("Stages (held-out digits)", ("stage", "images", "accuracy", ""), rows, text_columns=(0, 3)))
    console.print(curve_table(demo.curves))
    best, hard_steps, soft_steps = demo.steps_to_hard_best
    reached = f"after {soft_steps} steps" if soft_steps else "not within these steps"
    console.print(
        f"With the paper's thresholds (largest V_in), hard reset reaches its best accuracy, {percent(best, 2)}, after "
        f"{hard_steps} steps; soft reset reaches it {reached}.\n"
    )
    console.print(activity_table(demo.network, demo.run))
    console.print(f"Network: {demo.net_path}; to inspect it: rmp-lava info {demo.net_path}")
