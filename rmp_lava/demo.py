"""The whole way once, on real digits: train, convert, quantise, export, load, run on Lava, compare every spike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from . import netx
from .ann.data import load
from .ann.train import evaluate, train
from .backends import lava_sim, run
from .network import SpikingNetwork
from .report.tables import activity_table, curve_table, percent, table
from .results import Run
from .workflow import Stage, compare_with_reference, convert_model

MODEL = "digits-cnn"
OPTIONS = {"encoding": "poisson", "percentile": 100.0, "pooling": "fold", "readout": "potential"}


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
        hard, soft = self.curves["hard reset"], self.curves["soft reset (RMP)"]
        reached = np.flatnonzero(soft >= hard.max())
        return float(hard.max()), int(hard.argmax()) + 1, int(reached[0]) + 1 if len(reached) else None

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        best, hard_steps, soft_steps = self.steps_to_hard_best
        return {
            "net": str(self.net_path),
            "stages": [{"name": s.name, "images": s.images, "accuracy": s.accuracy, "note": s.note} for s in self.stages],
            "accuracy_at": {name: curve.tolist() for name, curve in self.curves.items()},
            "hard_best_accuracy": best,
            "hard_best_steps": hard_steps,
            "soft_steps_to_hard_best": soft_steps,
            "lava_missing": self.lava_missing,
            "run": self.run.summary(self.network),
        }


def run_demo(*, steps: int, lava_samples: int, seed: int, folder: Path, report: Callable[[str], None]) -> Demo:
    """Run the demo; `report` is told each step as it begins."""
    dataset = load("digits")
    report(f"1  Train {MODEL} on {len(dataset.train_images):,} digits (8x8, scikit-learn), no bias, no batch norm")
    trained = train(MODEL, dataset, seed=seed, checkpoint_path=folder / f"{MODEL}.pt", progress=True)
    report(f"2  Convert to RMP neurons: balance thresholds over {steps} steps; quantise to Loihi 2's integers")
    options = OPTIONS | {"steps": steps, "seed": seed, "v_init": "zero", "alpha": 1.0}
    provenance = {"checkpoint": f"{MODEL}.pt", "training_seed": seed}
    soft = convert_model(trained.model, dataset, name=MODEL, provenance=provenance, options=options | {"reset": "soft"})
    hard = convert_model(trained.model, dataset, name=MODEL, provenance=provenance, options=options | {"reset": "hard"})
    report("3  Export, and load again")
    path = netx.save(soft.integer, folder / f"{MODEL}.net")
    hard_path = netx.save(hard.integer, folder / f"{MODEL}-hard.net")
    network = netx.load(path)
    report(f"4  Simulate {len(dataset.test_images)} held-out digits")
    images, labels = dataset.test_images, dataset.test_labels
    runs = {
        "float SNN": run(soft.floating, images, steps, seed=seed, progress=True),
        "integer SNN": run(network, images, steps, seed=seed, progress=True),
    }
    hard_run = run(netx.load(hard_path), images, steps, seed=seed, progress=True)
    stages = [Stage("trained ANN", len(images), evaluate(trained.model, images, labels))]
    stages += [Stage(name, len(images), result.accuracy(labels), "backend fast") for name, result in runs.items()]
    missing = lava_sim.availability()
    if missing is None:
        stages += _lava_stages(network, images[:lava_samples], labels[:lava_samples], steps, seed, report)
    curves = {"soft reset (RMP)": runs["integer SNN"].accuracy_at(labels), "hard reset": hard_run.accuracy_at(labels)}
    return Demo(network, path, tuple(stages), curves, runs["integer SNN"], missing)


def _lava_stages(
    network: SpikingNetwork, images: np.ndarray, labels: np.ndarray, steps: int, seed: int, report: Callable[[str], None]
) -> list[Stage]:
    stages = []
    options = {"seed": seed, "power_of_two": True}
    for realisation, name in (("native", "Lava, RMP neurons"), ("stock", "Lava, stock LIF neurons")):
        report(f"5  Run {len(images)} of them on the Lava CPU simulator: {name.removeprefix('Lava, ')}")
        result = run(
            network,
            images,
            steps,
            "lava",
            realisation=realisation,
            record=("spikes", "potentials"),
            time_limit=600,
            progress=True,
            **options,
        )
        differences = compare_with_reference(network, images, result, options)
        note = "; ".join(differences) or "every spike and final potential equals the reference"
        stages.append(Stage(name, len(images), result.accuracy(labels), note))
    return stages


def show_demo(demo: Demo, console: Console) -> None:
    """Print the demo's tables."""
    rows = [(s.name, f"{s.images:,}", percent(s.accuracy), s.note) for s in demo.stages]
    if demo.lava_missing:
        rows.append(("Lava", "0", "not run", demo.lava_missing))
    result = table("Stages (held-out digits)", ("stage", "images", "accuracy", ""), rows)
    result.columns[3].justify = "left"
    console.print()
    console.print(result)
    console.print(curve_table(demo.curves, demo.run.schedule.steps))
    best, hard_steps, soft_steps = demo.steps_to_hard_best
    reached = f"after {soft_steps} steps" if soft_steps else "not within these steps"
    console.print(f"Hard reset is best after {hard_steps} steps ({percent(best)}); soft reset reaches that {reached}.\n")
    console.print(activity_table(demo.network, demo.run))
    console.print(f"The network is in {demo.net_path}; look at it with: rmp-lava info {demo.net_path}")
