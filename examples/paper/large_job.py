"""Run one of the paper's large networks through all stages, in its own process so that its peak memory can be measured.

`large` calls it as `python -m examples.paper.large_job JOB.json`; the result is written next to the job, as JOB.result.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import rmp_lava
from rmp_lava.errors import RmpLavaError, UsageError
from rmp_lava.machine import peak_resident
from rmp_lava.training.checkpoint import load_model
from rmp_lava.training.data.lazy_images import Images
from rmp_lava.training.models import model_spec

from .large_images import Shown, blocks, load_images, settle


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Run one network through all stages in this process.

    Parameters
    ----------
    job : dict
        Made by `large`: "settings", which determine the outcome, and "places" of files.

    Returns
    -------
    dict
        "neurons", "weights" (of the converted network), "images", "data" (a description), "stages" (name -> seconds, and peak
        memory until then), "methods" (name -> what the conversion gives), "peak_bytes".
    """
    settings, places = job["settings"], job["places"]
    stages = Stages()
    torch.manual_seed(settings["seed"])
    with stages("build"):
        model = _build(settings, places["checkpoint"])
    with stages("images"):
        shown = load_images(settings, places["data"])
    with stages("network itself"):
        if places["checkpoint"] is None:
            settle(model, shown.calibration)
        wanted = _outputs(model, shown.test)
    result: dict[str, Any] = {"images": len(shown.test), "data": shown.what, "methods": {}}
    trained = places["checkpoint"] is not None
    for method in settings["methods"]:
        made, size = _convert_and_run(model, shown, wanted, method, settings, Path(places["folder"]), stages)
        if shown.labels is None or not trained:
            made.pop("accuracy", None)
        result["methods"][method] = made
        result |= size
    if trained and shown.labels is not None:
        result["trained_accuracy"] = float((wanted.argmax(axis=1) == shown.labels).mean())
    return result | {"stages": stages.done, "peak_bytes": peak_resident()}


class Stages:
    """Stage -> seconds, processor seconds (fewer on a shared machine) and peak memory."""

    def __init__(self) -> None:
        self.done: dict[str, dict[str, float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        print(f"{name} ... ", end="", flush=True, file=sys.stderr)
        started = time.perf_counter(), time.process_time()
        yield
        now = time.perf_counter(), time.process_time()
        seconds, cpu_seconds = (round(b - a, 2) for a, b in zip(started, now, strict=True))
        self.done[name] = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": peak_resident()}
        print(f"{seconds:.1f} s; ", end="", flush=True, file=sys.stderr)


def _convert_and_run(
    model: nn.Module,
    shown: Shown,
    wanted: np.ndarray,
    method: str,
    settings: dict[str, Any],
    folder: Path,
    stages: Stages,
) -> tuple[dict[str, Any], dict[str, int]]:
    """Results of one conversion, and the size of the network."""
    steps, seed, path = settings["steps"], settings["seed"], folder / f"{settings['model']}-{method}.net"
    timed = {}

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        with stages(f"{method}: {name}"):
            yield
        timed[name] = stages.done[f"{method}: {name}"]["seconds"]

    with stage("convert"):
        network = rmp_lava.convert(
            model,
            shown.calibration,
            steps=steps,
            method=method,
            pooling=settings["pooling"],
            seed=seed,
            name=settings["model"],
            progress=True,
            **settings["methods"][method],
        ).floating
    with stage("quantise"):
        network = rmp_lava.quantize(network)
    with stage("save"):
        rmp_lava.save(network, path)
    # Load it again, so that only one is in memory; `save` has compared what it wrote.
    del network
    with stage("load"):
        network = rmp_lava.load(path)
    outputs = np.empty_like(wanted)
    spikes: dict[str, int] = {}
    with stage("run"):
        for some, images in blocks(shown.test):
            # One seed per block, because each run counts its samples from 0.
            result = rmp_lava.run(network, images, steps, backend="fast", seed=seed + some.start, progress=True)
            outputs[some] = result.in_trained_units(network)
            for name, count in result.spike_counts.items():
                spikes[name] = spikes.get(name, 0) + count
    made = {
        "steps": steps,
        "seconds": timed,
        "peak_bytes": peak_resident(),
        "net_bytes": path.stat().st_size,
        "execution": result.execution,
        "same_prediction": float((outputs.argmax(axis=1) == wanted.argmax(axis=1)).mean()),
        "output_error": float(np.sqrt(np.square(outputs - wanted).mean() / np.square(wanted).mean())),
        "spikes_per_neuron": {
            layer.name: spikes[layer.name] / len(outputs) / layer.size
            for layer in network
            if layer.neurons.reset != "none"
        },
        "pooling": {layer.name: layer.record["pooling"] for layer in network if "pooling" in layer.record},
        "accuracy": None if shown.labels is None else float((outputs.argmax(axis=1) == shown.labels).mean()),
    }
    return made, {"neurons": network.neuron_count, "weights": network.parameter_count}


def _build(settings: dict[str, Any], checkpoint: str | None) -> nn.Module:
    spec = model_spec(settings["model"])
    if checkpoint is None:
        return spec.build(**settings["options"]).eval()
    model, metadata = load_model(checkpoint)
    classes = settings["options"]["classes"]
    if metadata["model"] != spec.name or spec.outputs(metadata["options"]) != classes:
        raise UsageError(
            f"checkpoint {checkpoint} holds {metadata['model']!r} with {spec.outputs(metadata['options'])} classes; "
            f"expected {spec.name!r} with {classes}"
        )
    return model


def _outputs(model: nn.Module, images: Images) -> np.ndarray:
    """(N, classes) outputs of the trained network."""
    found = []
    with torch.no_grad():
        for _, some in blocks(images):
            found += [model(torch.from_numpy(part)).numpy() for part in np.array_split(some, -(-len(some) // 8))]
    return np.concatenate(found)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    try:
        path.with_suffix(".result").write_text(json.dumps(measure(json.loads(path.read_text()))))
    except RmpLavaError as error:
        sys.exit(f"Error: {error}")
