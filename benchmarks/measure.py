"""One measurement of rmp-lava, in the environment of this interpreter:  python -m benchmarks.measure JOB.json"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import rmp_lava
from rmp_lava import machine
from rmp_lava.network import INPUT, SpikingNetwork
from rmp_lava.results import Run

from .clock import repeated

ANCHOR_STEPS = 10_000
CONVERSION_STEPS = 16


def measure(job: dict) -> dict:
    """Run a job of `benchmarks.run`.

    Returns
    -------
    dict
        Of a job of kind "fast" or "lava": `seconds` of each timed call, `start_up` in seconds from the start of the process to
        the first result (of Lava without the run), `resident_before` and `resident_peak` in bytes,
        `execution` as the backend reports it, `sample_steps` of one call, `rates` (layer -> spikes per neuron and step),
        and `counts` (layer -> spikes of each sample that is compared). The other kinds: see their functions.
    """
    if job["kind"] in ("throughput", "busy"):
        from . import busy, throughput

        return (busy if job["kind"] == "busy" else throughput).measure(job)
    if job["kind"] in ("equality", "still", "training"):
        from . import gpu

        return gpu.KINDS[job["kind"]](job)
    kinds = {"fast": _fast, "lava": _lava, "anchor": _anchor, "conversion": _conversion}
    return kinds[job["kind"]](job)


def _fast(job: dict) -> dict:
    import torch

    torch.set_num_threads(job["threads"])
    network, spikes = _load(job)
    spikes = _repeated(spikes, job["batch"], job["steps"])
    resident = machine.resident()
    prepared = rmp_lava.prepare(network, rmp_lava.Fast(kernel=job.get("kernel", "auto")))
    result = prepared.run(spikes, job["steps"])
    start_up = time.time() - job["started"] if "started" in job else None
    seconds = repeated(lambda: prepared.run(spikes, job["steps"]), job["least_seconds"], cpu=job.get("cpu_time", False))
    peak = machine.peak_resident()
    answer = {
        "seconds": seconds,
        "start_up": start_up,
        "resident_before": resident,
        "resident_peak": peak,
        "execution": result.execution,
        "sample_steps": len(spikes) * job["steps"],
        "rates": _rates(network, result),
    }
    if job.get("check_samples"):
        checked = spikes[: job["check_samples"], : job["check_steps"]]
        answer["counts"] = _counts(prepared.run(checked, job["check_steps"]))
    return answer


def _lava(job: dict) -> dict:
    network, spikes = _load(job)
    spikes = spikes[: job["batch"], : job["steps"]]
    resident = machine.resident()
    # Leaky neurons are Lava's own; RMP neurons are a Process of rmp-lava's.
    implementation = "stock" if any(layer.neurons.is_leaky for layer in network) else "native"
    result = rmp_lava.run(network, spikes, job["steps"], rmp_lava.Lava(implementation, conv_model=job["conv_model"]))
    return {
        "seconds": [result.seconds],
        "start_up": time.time() - job["started"] - result.seconds if "started" in job else None,
        "resident_before": resident,
        "resident_peak": machine.peak_of_children(),
        "execution": result.execution,
        # All steps of Lava cost the same, so those that drain the pipeline count too.
        "sample_steps": result.schedule.duration(len(spikes)),
        "rates": _rates(network, result),
        "counts": _counts(result),
    }


def _anchor(job: dict) -> dict:
    """Operations of lava-dl's PilotNet without an image in `steps` steps, extrapolated to 10,000."""
    import torch

    torch.set_num_threads(job["threads"])
    network = rmp_lava.load(job["network"])
    silence = np.zeros((1, job["steps"], *network.input.shape), np.uint8)
    started = time.perf_counter()
    result = rmp_lava.run(network, silence, job["steps"], "fast")
    seconds = time.perf_counter() - started
    factor = ANCHOR_STEPS / job["steps"]
    return {
        "seconds": [seconds],
        "steps": job["steps"],
        "input": silence.nbytes,
        "execution": result.execution,
        "resident_peak": machine.peak_resident(),
        "synaptic_operations": factor * sum(int(v.sum()) for v in result.synaptic_operations.values()),
        "neuron_updates": factor * sum(result.neuron_updates.values()),
        "operations_by_layer": {name: factor * int(v.sum()) for name, v in result.synaptic_operations.items()},
    }


def _conversion(job: dict) -> dict:
    """VGG-16 with batch normalisation for T = 16, by `convert`'s default method; random weights and images (seeded)."""
    import torch

    from rmp_lava.training.models import MODELS

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    model = MODELS["vgg16-cifar"].build(width=job["width"], batch_norm=True).train()
    with torch.no_grad():
        for _ in range(10):  # sets the statistics of the normalisations
            model(torch.rand(64, 3, 32, 32))
    images = np.random.default_rng(0).random((job["images"], 3, 32, 32), dtype=np.float32)
    started = time.perf_counter()
    network = rmp_lava.convert(model.eval(), images, steps=CONVERSION_STEPS).integer
    return {
        "seconds": [time.perf_counter() - started],
        "resident_peak": machine.peak_resident(),
        "neurons": network.neuron_count,
        "parameters": network.parameter_count,
    }


def _load(job: dict) -> tuple[SpikingNetwork, np.ndarray]:
    return rmp_lava.load(job["network"]), np.load(job["spikes"], allow_pickle=False)


def _repeated(spikes: np.ndarray, samples: int, steps: int) -> np.ndarray:
    """(samples, steps, ...) spikes of the file, repeated where the job needs more."""
    repeats = (-(-samples // len(spikes)), -(-steps // spikes.shape[1]))
    if max(repeats) > 1:
        spikes = np.tile(spikes, repeats + (1,) * (spikes.ndim - 2))
    return spikes[:samples, :steps]


def _rates(network: SpikingNetwork, result: Run) -> dict[str, float]:
    counts = result.spike_counts
    sample_steps = result.samples * result.schedule.steps
    return {layer.name: counts[layer.name] / sample_steps / layer.size for layer in network}


def _counts(result: Run) -> dict[str, list[int]]:
    return {name: count.tolist() for name, count in result.message_counts.items() if name != INPUT}


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    Path(job["result"]).write_text(json.dumps(measure(job) | {"environment": machine.environment()}))
