"""Equality and speed on a GPU, and its page:  python -m benchmarks.gpu [--device cuda] [--quick] [--resume] [--to docs]

At most eight minutes: each measurement runs in its own process with a limit, and each result is on disk before the next one
starts. `--device cpu --quick` runs the whole script in some minutes anywhere; its times say nothing.

Equal: every spike and potential of random graphs, of networks in exports/reference and of the measured ones, against backend
reference (measured networks: spikes of each layer, as the other libraries count them too). Measured: still images as constant
currents, which cost a GPU as much as any spikes, because its sums are dense.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import rmp_lava
from rmp_lava import machine
from rmp_lava.backends import Fast
from rmp_lava.errors import BackendError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork, Synapse

from . import networks
from .render import table
from .rows import LABELS, three_digits

ROOT = Path(__file__).absolute().parents[1]
LEVELS = 255
PEERS = ("spikingjelly", "snntorch")
REFERENCE = ["digits-soft", "digits-hard", "digits-deep", "resnet20-cifar", "vgg16-cifar"]
_CHECKED = {"check_samples": 2, "check_steps": 8}


@dataclass(frozen=True)
class Settings:
    """What is measured; a run resumes only with equal settings.

    networks : Name -> (images, batch of other libraries, the T of each measurement).
    graphs, compared : Number of random graphs, and files in exports/reference, that are compared.
    limit : Seconds of images after which a measurement stops, with those done so far.
    epoch : Images of a training's epoch.
    """

    device: str
    quick: bool
    networks: dict[str, tuple[int, int, list[int]]]
    graphs: int
    compared: list[str]
    limit: float
    time_limit: float
    epoch: int
    width: float
    threads: int
    least_seconds: float = 0.5
    cpu_time: bool = False


def settings_for(device: str, quick: bool) -> Settings:
    """Eight minutes on a GPU; quick: the same measurements of little work."""
    threads = machine.describe()["cores"]
    if quick:
        small = {"vgg16": (8, 2, [4, 8]), "resnet20": (8, 2, [4]), "pilotnet-if": (4, 2, [4])}
        return Settings(device, quick, small, 4, REFERENCE, 5.0, 120.0, 64, 0.25, threads, 0.05)
    full = {"vgg16": (10_000, 64, [64, 512]), "resnet20": (10_000, 128, [64]), "pilotnet-if": (1_000, 32, [64])}
    return Settings(device, quick, full, 60, REFERENCE, 50.0, 110.0, 20_000, 1.0, threads)


def still(name: str, width: float) -> SpikingNetwork:
    """A benchmark network that takes images, as constant currents of 8 bits; its neurons spike as often as before."""
    network = networks.build(name, width) if name == "vgg16" else networks.build(name)
    first, *others = network.layers
    neurons = first.neurons.replace(
        threshold=int(first.neurons.threshold) * LEVELS, v_init=int(first.neurons.v_init) * LEVELS
    )
    source = Input(network.input.shape, "current", levels=LEVELS)
    return network.replace(input=source, layers=(first.replace(neurons=neurons), *others))


def images_for(network: SpikingNetwork, count: int) -> np.ndarray:
    """uint8 (count, *input shape) with the mean of the other benchmarks' spikes."""
    random = np.random.default_rng(0)
    return random.integers(0, int(2 * networks.INPUT_RATE * LEVELS), (count, *network.input.shape)).astype(np.uint8)


def random_graph(seed: int) -> tuple[SpikingNetwork, np.ndarray, int]:
    """A small integer network of convolutions, shortcuts and a dense read-out, its images and T."""
    random = np.random.default_rng([seed, 3])
    channels, size = int(random.integers(1, 4)), int(random.integers(4, 8))
    shapes: dict[str, tuple[int, ...]] = {INPUT: (channels, size, size)}
    layers: list[Layer] = []
    wait = int(random.integers(2)) * (steps := int(random.integers(2, 9)))

    def neurons(shape: tuple[int, ...]) -> Neurons:
        reset = "soft" if wait else random.choice(["soft", "hard"])
        bias = random.integers(-60, 60, shape[:1]) if random.random() < 0.5 else None
        return Neurons(
            int(random.integers(50, 900)), reset, int(random.integers(0, 90)), bias, int(random.integers(0, 7))
        )

    def weights(*shape: int) -> np.ndarray:
        return 2 * random.integers(-127, 128, shape).astype(np.int16)

    for i in range(int(random.integers(1, 4))):
        source = list(shapes)[-1]
        kernel, stride = int(random.integers(1, 4)), int(random.integers(1, 3))
        outputs = int(random.integers(1, 10))
        first = Conv(source, weights(outputs, shapes[source][0], kernel, kernel), (stride, stride), (kernel // 2,) * 2)
        shape = first.output_shape(shapes[source])
        synapses: list[Synapse] = [first]
        for other in list(shapes)[:-1]:
            shortcut = Conv(other, weights(outputs, shapes[other][0], 1, 1))
            if shortcut.output_shape(shapes[other]) == shape:
                synapses.append(shortcut)
        shapes[f"conv{i}"] = shape
        layers.append(Layer(f"conv{i}", shape, tuple(synapses), neurons(shape)))
    last = list(shapes)[-1]
    read_out = Neurons(500, str(random.choice(["none", "soft"])))
    layers.append(Layer("out", (5,), (Dense(last, weights(5, int(np.prod(shapes[last])))),), read_out))
    readout = "potential" if read_out.reset == "none" else "count"
    source = Input(shapes[INPUT], "current", levels=int(random.choice([1, 255])))
    network = SpikingNetwork(f"graph {seed}", source, tuple(layers), "integer", readout, wait=wait)
    return network, random.random((3, *shapes[INPUT]), dtype=np.float32), steps


def equality(job: dict) -> dict:
    """Compare every spike and potential with backend reference; see `measure.measure`.

    Returns
    -------
    dict
        `compared`, name -> spikes; `different`, names; `execution` of the last run.
    """
    cases = [random_graph(seed) for seed in range(job["graphs"])]
    for name in job["networks"]:
        network = rmp_lava.load(ROOT / "exports" / "reference" / f"{name}.net").replace(name=name)
        samples = 1 if len(network.input.shape) == 3 and network.input.shape[1] == 32 else 4
        steps = network.balanced_steps if network.wait else 8
        cases.append((network, np.random.default_rng(0).random((samples, *network.input.shape)), steps or 8))
    kernels = ("auto",) if job["device"] != "cpu" else ("auto", "int8-matmul")
    answer: dict = {"compared": {}, "different": [], "kernels": []}
    record = ("spikes", "potentials")
    for network, images, steps in cases:
        expected = rmp_lava.run(network, images, steps, "reference", record=record)
        answer["compared"][network.name] = int(sum(expected.spike_counts.values()))
        for kernel in kernels:
            try:
                found = rmp_lava.run(network, images, steps, Fast(job["device"], kernel), record=record)
            except BackendError:  # not for all weights
                continue
            answer["execution"] = found.execution
            answer["kernels"] = sorted({*answer["kernels"], kernel})
            pairs = [(expected.output, found.output)]
            pairs += [
                (getattr(expected, what)[k], getattr(found, what)[k]) for what in record for k in getattr(found, what)
            ]
            if not all(np.array_equal(a, b) for a, b in pairs):
                answer["different"].append(f"{network.name} ({kernel})")
    return answer


def still_images(job: dict) -> dict:
    """Run images in slices until all are done or the limit has passed; the keys are those of `measure.measure` of "fast"."""
    network, images = rmp_lava.load(job["network"]), np.load(job["spikes"], allow_pickle=False)
    resident = machine.resident()
    prepared, steps, done, seconds = rmp_lava.prepare(network, Fast(job["device"])), job["steps"], 0, 0.0
    size = min(len(images), job["slice"])
    result = prepared.run(images[:size], steps)  # compiles, and fills caches
    start_up = time.time() - job["started"]
    while done < len(images) and seconds < job["limit"]:
        started = time.perf_counter()
        result = prepared.run(images[done : done + size], steps)
        seconds += time.perf_counter() - started
        done += result.samples
    counted = prepared.run(images[: job["check_samples"]], job["check_steps"])
    return {
        "seconds": [seconds],
        "start_up": start_up,
        "resident_before": resident,
        "resident_peak": machine.peak_resident(),
        "execution": result.execution,
        "images": done,
        "sample_steps": done * steps,
        "counts": {name: count.tolist() for name, count in counted.message_counts.items() if name != INPUT},
    }


def training(job: dict) -> dict:
    """Seconds of two epochs of VGG-16 on random images; the first one also compiles."""
    from rmp_lava.training import train
    from rmp_lava.training.data import Dataset

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (job["epoch"], 3, 32, 32)).astype(np.uint8)
    labels = random.integers(0, 10, job["epoch"])
    data = Dataset("random", images, labels, images[:32], labels[:32], tuple("abcdefghij"), "random numbers")
    ends = [time.perf_counter()]
    train.train(
        "vgg16-cifar",
        data,
        options={"width": job["width"], "batch_norm": True},
        epochs=2,
        device=job["device"],
        progress=False,
        on_epoch=lambda _: ends.append(time.perf_counter()),
    )
    seconds = np.diff(ends).tolist()
    return {"seconds": seconds[1:], "resident_peak": machine.peak_resident(), "images": job["epoch"]}


KINDS = {"equality": equality, "still": still_images, "training": training}


def device_in_words(device: str) -> str:
    """The device's name and memory, and the software on it."""
    import torch

    if not device.startswith("cuda"):
        return f"{machine.describe()['cpu']}, torch {torch.__version__}"
    properties = torch.cuda.get_device_properties(device)
    versions = machine.versions(["triton"])
    return (
        f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, torch {torch.__version__}, CUDA {torch.version.cuda}, "
        f"Triton {versions.get('triton', 'missing')}"
    )


def page(results: dict) -> str:
    """The page as Markdown."""
    settings, found = results["settings"], results["measurements"]
    on_gpu = settings["device"].startswith("cuda")
    lines = ["# On a GPU", ""]
    command = f"python -m benchmarks.gpu --device {settings['device']}" + (" --quick" if settings["quick"] else "")
    if not on_gpu:
        lines += [
            f"**Never run on a GPU.** This page comes from a dry run on a CPU, `{command}`: it shows that the script runs to its "
            "end and that what it compares is equal. Its times say nothing.",
            "",
        ]
    elif settings["quick"]:
        lines += ["**A quick run: too little work to tell a speed.**", ""]
    lines += [f"Measured on {results['date']} by `{command}` on {results['device']}; commit {results['commit']}.", ""]
    lines += ["## Equality", "", *_equality(found.get("equality", {"error": "not run"})), ""]
    lines += ["## Speed", "", "Still images, in 8 bits, as constant currents. Start-up ends with the first result.", ""]
    head = [
        "network",
        "engine",
        "T",
        "images",
        "s",
        "ms per sample-step",
        "images / s",
        "start-up, s",
        "spikes compared",
    ]
    rows = [_row(key, measurement, results) for key, measurement in found.items() if key.startswith("still/")]
    lines += table(head, rows, texts=2)
    lines += ["", "## Training", "", _training(found.get("training", {"error": "not run"}), settings), ""]
    return "\n".join(lines)


def _equality(measurement: dict) -> list[str]:
    if "error" in measurement:
        return [f"Not measured: {measurement['error']}"]
    compared, different = measurement["compared"], measurement["different"]
    graphs = [spikes for name, spikes in compared.items() if name.startswith("graph ")]
    others = [f"{name} ({spikes:,} spikes)" for name, spikes in compared.items() if not name.startswith("graph ")]
    verdict = (
        f"**Different: {', '.join(different)}.**"
        if different
        else "Every spike, potential and output is the reference's."
    )
    return [
        f"{len(graphs)} random graphs ({sum(graphs):,} spikes) and {', '.join(others)}; kernels: "
        f"{', '.join(measurement['kernels'])}. {verdict} The last run: {measurement['execution']}.",
    ]


def _row(key: str, measurement: dict, results: dict) -> list[str]:
    _, name, engine, steps = key.split("/")
    start = [name, LABELS[engine], steps]
    if "error" in measurement:
        return [*start, "", f"not measured: {measurement['error'].replace('|', '/')}", "", "", "", ""]
    seconds = statistics.median(measurement["seconds"])
    done = measurement.get("sample_steps") or measurement["job"]["batch"] * int(steps)
    counts, expected = measurement["counts"], results["expected"][name]
    equal = f"all {sum(map(sum, counts.values())):,} equal" if counts == expected else "DIFFERENT"
    figures = [f"{done // int(steps):,}", f"{seconds:.2f}", three_digits(1000 * seconds / done)]
    return [*start, *figures, f"{done / int(steps) / seconds:,.0f}", f"{measurement['start_up']:.1f}", equal]


def _training(measurement: dict, settings: dict) -> str:
    if "error" in measurement:
        return f"Not measured: {measurement['error']}"
    seconds, images = measurement["seconds"][-1], measurement["images"]
    return (
        f"An epoch of VGG-16 with batch normalisation at {settings['width']:g} of its channels on {images:,} random images takes "
        f"{seconds:.1f} s: {images / seconds:,.0f} images / s."
    )


def main(
    device: Annotated[str, typer.Option(help="PyTorch device.")] = "cuda",
    quick: Annotated[bool, typer.Option(help="The same measurements of little work.")] = False,
    resume: Annotated[bool, typer.Option(help="Continue after an interruption; what failed is repeated.")] = False,
    folder: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("exports/gpu"),
    to: Annotated[Path | None, typer.Option(help="Folder of the page gpu.md; that of the results if omitted.")] = None,
    peers_python: Annotated[
        str | None, typer.Option(help="Python with SpikingJelly and snnTorch; this one if omitted.")
    ] = None,
) -> None:
    """Compare and measure, and write the page."""
    from .run import Session

    settings = settings_for(device, quick)
    session = Session(
        folder.absolute(), settings, {"core": sys.executable, "peers": peers_python or sys.executable}, resume
    )
    session.results |= {"device": device_in_words(device)}
    expected = session.results.setdefault("expected", {})
    compared = {"kind": "equality", "device": device, "graphs": settings.graphs, "networks": settings.compared}
    session.measure("equality", "core", compared)
    for name, (count, batch, all_steps) in settings.networks.items():
        network = still(name, settings.width)
        images = images_for(network, count)
        files = networks.write(network, images, session.work / name)
        np.save(session.work / f"{name}-peers.npy", images[:batch, None])
        if name not in expected:
            some = images[: _CHECKED["check_samples"]]
            found = rmp_lava.run(network, some, _CHECKED["check_steps"], "reference").message_counts
            expected[name] = {layer.name: found[layer.name].tolist() for layer in network}
        for steps in all_steps:
            job = files | _CHECKED | {"device": device, "steps": steps}
            own = job | {"kind": "still", "slice": 500, "limit": settings.limit}
            session.measure(f"still/{name}/fast/{steps}", "core", own)
            for engine in PEERS if steps == all_steps[0] else ():
                if peers_python is None and importlib.util.find_spec(engine) is None:
                    print(f"{engine} is not installed here; pass --peers-python to measure it")
                    continue
                other = job | {"kind": "peer", "engine": engine, "batch": batch}
                other["spikes"] = str(session.work / f"{name}-peers.npy")
                session.measure(f"still/{name}/{engine}/{steps}", "peers", other)
    job = {"kind": "training", "device": device, "epoch": settings.epoch, "width": settings.width}
    session.measure("training", "core", job)
    path = (to or folder) / "gpu.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(session.results), encoding="utf-8")
    print(path)


if __name__ == "__main__":
    typer.run(main)
