"""Whether files of lava-dl run here exactly as in lava-dl: every message of every layer in every step, and every potential.

    python -m benchmarks.lava_dl FOLDER ... [--steps 12] [--samples 2] [--message-bits 3] [--json found.json]
    python -m benchmarks.lava_dl FOLDER ... --speed [--steps 100] [--rounds 3]

lava-dl's unmodified loader runs each file on Lava's simulator in a process of its own. Of this package it gets the Processes
that write messages to files, and the convolutions, which are Lava's, faster. With `--speed` it gets nothing: a sample runs there,
without start-up, and on `fast`, prepared; of some rounds the fastest counts. `--conv-model` chooses the other convolutions.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import rmp_lava
from rmp_lava.errors import RmpLavaError
from rmp_lava.network import INPUT, SpikingNetwork, histories, populations, windows

TIME_LIMIT = 180.0
"""Seconds without a finished file after which the loader is stopped: an exception in one of Lava's processes hangs the others."""

LOADER = r"""
import json
import sys
import time
import warnings
from pathlib import Path
import numpy as np
from lava.lib.dl.netx.hdf5 import Network
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.source import RingBuffer as Source
from rmp_lava.processes.conv_models import BLAS_CONV
from rmp_lava.processes.io import SpikeSink, StateProbe

warnings.simplefilter("ignore")

def run(job):
    folder = Path(job["folder"])
    net = Network(net_config=job["path"], **{k: tuple(v) if k == "input_shape" else v for k, v in job["call"].items()})
    timing = {"samples": job["samples"], "steps": job["steps"], "period": job["period"]}
    messages = np.load(folder / "messages.npy").astype(np.int32)      # (steps, channels first)
    if len(net.in_layer.inp.shape) == 1:
        messages = messages.reshape(len(messages), -1)
    source = Source(data=messages.transpose(range(messages.ndim)[::-1]))  # (x, y, channel, steps)
    driven = type(net.in_layer).__name__ == "Input"                   # the loader leaves the block's own port open
    source.s_out.connect(net.in_layer.neuron.a_in if driven else net.inp)
    for i, layer in enumerate(net.layers if job["rounds"] == 0 else []):
        timing["lead_in"] = job["lead_in"][i]
        paths = {what: str(folder / f"{what}{i}.npy") for what in ("counts", "last", "crossing", "sums", "spikes")}
        sink = SpikeSink(shape=layer.out.shape, paths=paths, **timing)
        layer.out.connect(sink.a_in)
        state = "v" if hasattr(layer.neuron, "v") else "sigma"
        if state == "v":  # until its first reset, so that no bias makes a neuron spike before its window
            layer.neuron.v.init = np.full(layer.neuron.v.shape, 1 - 2**23)
        StateProbe(var=getattr(layer.neuron, state), path=str(folder / f"v{i}.npy"), **timing)
    models = BLAS_CONV["fixed_pt"] if job["conv_model"] == "blas" else None
    config = Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=models)
    seconds = []
    if job["rounds"]:
        net.run(condition=RunSteps(num_steps=1), run_cfg=config)  # compiles, and starts the processes
        each = (len(messages) - 1) // job["rounds"]
        for _ in range(job["rounds"]):
            started = time.perf_counter()
            net.run(condition=RunSteps(num_steps=each), run_cfg=config)
            seconds.append((time.perf_counter() - started) / each)
    else:
        net.run(condition=RunSteps(num_steps=len(messages)), run_cfg=config)
    builders = net.runtime._executable.proc_builders
    used = {b.proc_model.__module__ for p, b in builders.items() if type(p).__name__ == "Conv"}
    net.stop()
    return {"blocks": len(net.layers), "conv_models": sorted(used), "seconds_per_step": seconds}

for job in json.loads(sys.argv[1]):
    try:
        found = run(job)
    except Exception as error:
        found = {"refused": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    (Path(job["folder"]) / "done.part").write_text(json.dumps(found))
    (Path(job["folder"]) / "done.part").rename(Path(job["folder"]) / "done.json")
"""


@dataclass
class Job:
    """One run of the loader.

    path, folder : The file, and where messages lie and results go.
    call : Further arguments of `Network`.
    samples, steps, period : Observed steps of each sample, and steps from one to the next.
    lead_in : Of each block, steps before its first window.
    rounds : Only measure the time of a step, in so many runs; 0: write messages and potentials to files.
    """

    path: str
    folder: str
    call: dict[str, object]
    samples: int
    steps: int
    period: int
    lead_in: list[int]
    conv_model: str = "blas"
    rounds: int = 0


class Loaded:
    """What the loader's network did, block by block; `refused` is its exception if it stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = json.loads((folder / "done.json").read_text())
        self.refused: str | None = found.get("refused")
        self.blocks: int = found.get("blocks", 0)
        self.conv_models: list[str] = found.get("conv_models", [])
        self.seconds_per_step: list[float] = found.get("seconds_per_step", [])

    def spikes(self, block: int) -> np.ndarray:
        """(samples, steps, *shape) messages."""
        found: np.ndarray = np.load(self.folder / f"spikes{block}.npy")
        return found

    def potentials(self, block: int) -> np.ndarray:
        """(samples, *shape) v, or sigma, after the last step of each sample."""
        found: np.ndarray = np.load(self.folder / f"v{block}.npy")
        return found


def prepare(
    network: SpikingNetwork, path: Path, folder: Path, messages: np.ndarray, period: int, conv_model: str = "blas"
) -> Job:
    """A job that sends (samples, T, *input shape) messages, one sample every `period` steps."""
    folder.mkdir(parents=True)
    samples, steps, *shape = messages.shape
    driven, start = network.input.neurons is not None, windows(network)
    late = 0 if driven else 1  # messages from outside take a step to reach the first block
    names = [each.name for each in populations(network)]
    lead_in = [late + start[name].start - (0 if driven else 1) for name in names]
    stream = np.zeros((samples * period + max(lead_in) + 1, *shape), dtype=np.int32)
    for i, sample in enumerate(messages):
        stream[i * period : i * period + steps] = sample
    np.save(folder / "messages.npy", stream)
    call: dict[str, object] = {}
    if not network.is_sigma_delta:
        call = {"reset_interval": period, "reset_offset": late}
        if not driven and network.input.levels != 1:
            call["input_message_bits"] = int(network.input.levels or 1).bit_length()
    if not driven and len(shape) == 3:
        call["input_shape"] = shape[::-1]
    return Job(str(path), str(folder), call, samples, steps, period, lead_in, conv_model)


def unmodified_loader(jobs: list[Job], time_limit: float = TIME_LIMIT) -> list[Loaded]:
    """Run jobs, in as few processes as hang."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(rmp_lava.__file__).parents[1])}
    done = [Path(job.folder) / "done.json" for job in jobs]
    while remaining := [job for job, found in zip(jobs, done, strict=True) if not found.exists()]:
        process = subprocess.Popen(
            [sys.executable, "-c", LOADER, json.dumps([asdict(job) for job in remaining])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=remaining[0].folder,
            env=environment,
            start_new_session=True,
        )
        finished, since = len(jobs) - len(remaining), time.monotonic()
        while process.poll() is None and time.monotonic() - since < time_limit:
            time.sleep(0.1)
            if (now := sum(found.exists() for found in done)) != finished:
                finished, since = now, time.monotonic()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        error = process.communicate()[1].decode(errors="replace")
        left = [job for job, found in zip(jobs, done, strict=True) if not found.exists()]
        if left:
            lines = [line for line in error.splitlines() if "Error" in line]
            refused = {"refused": lines[-1] if lines else "it hangs"}
            (Path(left[0].folder) / "done.json").write_text(json.dumps(refused))
    return [Loaded(Path(job.folder)) for job in jobs]


def messages_for(network: SpikingNetwork, samples: int, steps: int, seed: int = 0) -> np.ndarray:
    """(samples, steps, *input shape) random messages that make neurons spike; of sigma-delta networks frames that change."""
    rng, source = np.random.default_rng(seed), network.input
    shape = (samples, steps, *source.shape)
    if network.is_sigma_delta:
        frames = rng.integers(-128, 128, (samples, 1, *source.shape)) + rng.integers(-9, 10, shape).cumsum(axis=1)
        return frames.astype(np.int32)
    if source.neurons is not None:
        return rng.integers(0, 3 * int(source.neurons.threshold) + 2, shape).astype(np.int32)
    sent = rng.random(shape) < rng.choice([0.05, 0.3, 0.9], (samples, steps, *[1] * len(source.shape)))
    return (rng.integers(1, (source.levels or 1) + 1, shape) * sent).astype(np.int32)


@dataclass(frozen=True)
class Comparison:
    """Of one file: why it is not read here, why not there, and the first difference; None where there is none.

    messages : That were compared; silent layers prove little.
    """

    file: str
    refused: str | None = None
    warnings: tuple[str, ...] = ()
    netx: str | None = None
    difference: str | None = None
    messages: int = 0

    @property
    def verdict(self) -> str:
        """In one line."""
        if self.refused is not None:
            return f"refused: {self.refused}"
        if self.netx is not None:
            return f"read; lava-dl's loader stops: {self.netx}"
        return self.difference or f"read, runs, equal in all {self.messages:,} messages"


def compare(
    paths: Iterable[Path],
    *,
    samples: int = 2,
    steps: int = 12,
    message_bits: int = 0,
    num_layers: int | None = None,
    backends: tuple[str, ...] = ("fast",),
    conv_model: str = "blas",
) -> Iterator[Comparison]:
    """Compare files one after the other with what lava-dl's loader does with them."""
    with tempfile.TemporaryDirectory() as scratch:
        read: list[tuple[Comparison, SpikingNetwork, np.ndarray]] = []
        jobs = []
        for i, path in enumerate(paths):
            found, network = _read(path, message_bits, num_layers)
            if network is None:
                yield found
                continue
            history = max(histories(network).values())
            # What is under way when a sample ends would reach into the next one.
            some = 1 if history or network.is_sigma_delta else samples
            length = max(steps, network.depth + 6) if network.is_sigma_delta else steps + history
            messages = messages_for(network, some, length)
            read.append((found, network, messages))
            job = prepare(network, path, Path(scratch) / str(i), messages, length, conv_model)
            job.call |= {} if num_layers is None else {"num_layers": num_layers}
            jobs.append(job)
        for (found, network, messages), loaded in zip(read, unmodified_loader(jobs), strict=True):
            if loaded.refused is not None:
                yield replace(found, netx=loaded.refused)
                continue
            difference, count = None, 0
            for backend in backends:
                run = rmp_lava.run(network, messages, messages.shape[1], backend, record=("spikes", "potentials"))
                difference = difference or difference_of(network, run, loaded)
                count = sum(run.spike_counts.values())
            yield replace(found, difference=difference, messages=count)


def _read(path: Path, message_bits: int, num_layers: int | None) -> tuple[Comparison, SpikingNetwork | None]:
    """What reading a file says, and its network."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            network = rmp_lava.load(path, input_message_bits=message_bits, num_layers=num_layers)
        except RmpLavaError as error:
            return Comparison(str(path), refused=str(error).removeprefix(f"{path}: ")), None
    if network.input.encoding == "current" and network.input.neurons is None:  # a file of ours
        network = network.replace(input=network.input.replace(encoding="spikes"))
    return Comparison(str(path), warnings=tuple(str(each.message) for each in caught)), network


def speed(
    path: Path,
    steps: int,
    rounds: int,
    *,
    message_bits: int = 0,
    num_layers: int | None = None,
    conv_model: str = "lava",
) -> str:
    """How long a step of one sample takes on Lava's simulator and on `fast`, in words."""
    found, network = _read(path, message_bits, num_layers)
    if network is None:
        return found.verdict
    with tempfile.TemporaryDirectory() as scratch:
        messages = messages_for(network, 1, steps)
        job = prepare(
            network,
            path,
            Path(scratch) / "job",
            np.concatenate([messages] * rounds, axis=1),
            rounds * steps + 1,
            conv_model,
        )
        job.call |= {} if num_layers is None else {"num_layers": num_layers}
        (loaded,) = unmodified_loader([replace(job, rounds=rounds)])
    if loaded.refused is not None:
        return replace(found, netx=loaded.refused).verdict
    prepared, own = rmp_lava.prepare(network), []
    prepared.run(messages, steps)
    for _ in range(10 * rounds):
        started = time.perf_counter()
        prepared.run(messages, steps)
        own.append((time.perf_counter() - started) / steps)
    lava, fast = 1000 * min(loaded.seconds_per_step), 1000 * min(own)
    return f"{steps} steps: Lava {lava:.3f} ms per step, fast {fast:.3f} ms, {lava / fast:.1f} times as fast"


def difference_of(network: SpikingNetwork, run: rmp_lava.Run, loaded: Loaded) -> str | None:
    """The first layer in which a run differs from what the loader did, in words."""
    names = [each.name for each in populations(network)]
    if loaded.blocks != len(names):
        return f"{loaded.blocks} blocks instead of {len(names)}"
    for block, name in enumerate(names):
        spikes, expected = run.spikes[name], loaded.spikes(block)
        if not np.array_equal(spikes, expected):
            where = np.argwhere((spikes != expected).reshape(*spikes.shape[:2], -1).any(axis=2))[0]
            return f"messages of {name!r} differ first in sample {where[0]}, step {where[1] + 1}"
        # The voltage of a soft reset's LIF is no membrane potential (docs/net-format.md).
        soft = name != INPUT and network[name].neurons.reset == "soft" and not network.is_sigma_delta
        if name in run.potentials and not soft and not np.array_equal(run.potentials[name], loaded.potentials(block)):
            return f"potentials of {name!r} differ"
    return None


def main(arguments: list[str] | None = None) -> int:
    """Print one line per file; 1 if any differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lava_dl", description=__doc__.partition("\n")[0])
    parser.add_argument("places", nargs="+", type=Path, help="Files, or folders that hold .net files.")
    parser.add_argument("--steps", type=int, default=12, help="Time steps of a sample, at least.")
    parser.add_argument("--samples", type=int, default=2, help="One where messages may reach into the next sample.")
    parser.add_argument("--message-bits", type=int, default=0, help="lava-dl's input_message_bits.")
    parser.add_argument("--num-layers", type=int, help="lava-dl's num_layers.")
    parser.add_argument("--backend", nargs="+", default=["fast"], help="Backends of this package.")
    parser.add_argument(
        "--conv-model", choices=("blas", "lava"), help="lava: Lava's own, slow; with --speed the default."
    )
    parser.add_argument("--json", type=Path, help="Also write the comparisons to a file.")
    parser.add_argument("--speed", action="store_true", help="Only the time of a step of one sample.")
    parser.add_argument("--rounds", type=int, default=3, help="Runs of the loader with --speed.")
    chosen = parser.parse_args(arguments)
    conv_model = chosen.conv_model or ("lava" if chosen.speed else "blas")
    paths = [path for place in chosen.places for path in (sorted(place.rglob("*.net")) if place.is_dir() else [place])]
    if chosen.speed:
        for path in paths:
            bits, layers = chosen.message_bits, chosen.num_layers
            words = speed(
                path, chosen.steps, chosen.rounds, message_bits=bits, num_layers=layers, conv_model=conv_model
            )
            print(f"{path.name:32} {words}", flush=True)
        return 0
    results = []
    for found in compare(
        paths,
        samples=chosen.samples,
        steps=chosen.steps,
        message_bits=chosen.message_bits,
        num_layers=chosen.num_layers,
        backends=tuple(chosen.backend),
        conv_model=conv_model,
    ):
        results.append(found)
        print(f"{Path(found.file).name:32} {found.verdict}", flush=True)
        for warning in found.warnings:
            print(f"{'':32}   {warning.removeprefix(found.file + ': ')}", flush=True)
    if chosen.json is not None:
        chosen.json.write_text(json.dumps([asdict(each) for each in results], indent=2))
    return int(any(each.difference for each in results))


if __name__ == "__main__":
    sys.exit(main())
