"""Measure all engines in turns and write tables and pictures:  python -m benchmarks.run [--quick] [--resume]

Each measurement runs in its own process and environment. Engines are interleaved round by round, and each result is on disk
before the next measurement starts.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

import rmp_lava
from rmp_lava import machine
from rmp_lava.files import write_atomically
from rmp_lava.threads import of_user

from . import networks, render

ROOT = Path(__file__).absolute().parents[1]
PILOTNET = "tests/lava/lib/dl/netx/gts/pilotnet_lif/network.net"
"""lava-dl's own file, below site-packages of the environment with Lava."""
FORMAT = 3
"""Of results.json. 1: spikes were counted over periods in which the network drained. 2: `fast` packed its weights in each call.
Such results are not read."""
GRACE_SECONDS = 20
ONE_SAMPLE = ("digits-cnn", "vgg16", "resnet20")
"""Networks that are also measured with one sample at a time."""

console = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Engine:
    """An engine; its process runs in `environment`."""

    kind: str
    environment: str
    conv_model: str = ""
    kernel: str = "auto"


ENGINES = {
    "fast": Engine("fast", "core"),
    "fast-dense": Engine("fast", "core", kernel="int8"),
    "fast-py310": Engine("fast", "lava"),
    "lava-blas": Engine("lava", "lava", "blas"),
    "lava-stock": Engine("lava", "lava", "lava"),
    "spikingjelly": Engine("peer", "peers"),
    "sinabs": Engine("peer", "peers"),
    "snntorch": Engine("peer", "peers"),
    "norse": Engine("peer", "peers"),
    "norse-iaf": Engine("peer", "peers"),
}
CHECK = {"check_samples": 2, "check_steps": 16}
"""The part of the input on which spikes are compared, layer by layer and sample by sample; for Lava all of it."""


@dataclass(frozen=True)
class Settings:
    """What is measured; a run resumes only with equal settings.

    Parameters
    ----------
    cpu_time : bool
        Measure the CPU time of each process instead of the time that passes: for machines that others use too.
    batch : int or None
        Samples in place of each network's own batch.
    least_seconds : float
        A measurement repeats its call until this much time has passed.
    time_limit : float
        Seconds after which a measurement is given up, its start-up included.
    growth_width, growth, growth_batch, growth_steps
        VGG-16's width, batch and steps for the growth of `fast`, and along each axis the values instead of those.
    anchor_steps : int
        Steps of PilotNet without an image; fewer than 10,000 are extrapolated.
    throughput_images : int
        Samples times steps in one bare convolution; the fastest counts.
    activity, activity_engines
        Spikes per neuron and step of VGG-16, for which these engines are measured; dense sums take the same time for all.
    conversion_width, conversion_images
        VGG-16 with batch normalisation that is converted, and the calibration images.
    busy_command
        Of rmp-lava, that runs alone and next to a busy process.
    """

    quick: bool
    rounds: int
    threads: int
    cpu_time: bool
    batch: int | None
    least_seconds: float
    time_limit: float
    growth_width: float
    growth: dict[str, list[float]]
    growth_batch: int
    growth_steps: int
    anchor_steps: int
    throughput_images: list[int]
    activity: list[float]
    activity_engines: list[str]
    conversion_width: float
    conversion_images: int
    busy_command: list[str]


def full_settings(threads: int) -> Settings:
    """Half an hour a round on two cores."""
    return Settings(
        quick=False,
        rounds=3,
        threads=threads,
        cpu_time=False,
        batch=None,
        least_seconds=1.0,
        time_limit=600,
        growth_width=0.25,
        growth={"steps": [64, 256, 1024, 2048], "batch": [1, 4, 16, 64, 256], "width": [0.25, 0.5, 1]},
        growth_batch=4,
        growth_steps=64,
        anchor_steps=10_000,
        throughput_images=[16, 64, 256],
        activity=[0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3],
        activity_engines=["fast", "fast-dense"],
        conversion_width=1.0,
        conversion_images=512,
        busy_command=["demo"],
    )


def quick_settings(threads: int) -> Settings:
    """A minute or two: runs everything, but too briefly for more than a first impression of speed."""
    return replace(
        full_settings(threads),
        quick=True,
        rounds=1,
        least_seconds=0.05,
        time_limit=100,
        growth={"steps": [16, 32], "batch": [1, 4], "width": [0.25, 0.5]},
        growth_batch=1,
        growth_steps=16,
        anchor_steps=100,
        throughput_images=[8],
        activity=[],
        activity_engines=[],
        conversion_width=0.125,
        conversion_images=16,
        busy_command=["info", "exports/reference/digits-soft.net"],
    )


class Session:
    """The results so far, written to disk after every measurement."""

    def __init__(self, folder: Path, settings: Settings, pythons: dict[str, str], resume: bool) -> None:
        self.folder, self.settings, self.pythons = folder, settings, pythons
        self.work, self.path = folder / "work", folder / "results.json"
        self.work.mkdir(parents=True, exist_ok=True)
        self.results = {
            "format": FORMAT,
            "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
            "machine": machine.describe(),
            "commit": _commit(),
            "settings": asdict(settings),
            "networks": {},
            "measurements": {},
        }
        if resume and self.path.is_file():
            earlier = json.loads(self.path.read_text())
            if earlier.get("format") != FORMAT or earlier["settings"] != json.loads(json.dumps(asdict(settings))):
                raise typer.BadParameter(f"{self.path} holds a run with other settings; run again without --resume")
            failed = [key for key, value in earlier["measurements"].items() if "error" in value]
            for key in failed:  # a resumed run tries again what failed
                del earlier["measurements"][key]
            if earlier["commit"] != self.results["commit"]:
                earlier["commit"] += f", resumed at {self.results['commit'] or 'an unknown one'}"
            self.results = earlier

    def save(self) -> None:
        write_atomically(self.path, json.dumps(self.results, indent=1).encode())

    def measure(self, key: str, environment: str, job: dict) -> None:
        """Run one job in its own process, unless its result exists already."""
        if key in self.results["measurements"]:
            return
        console.print(f"{key} ...", end=" ")
        module = "benchmarks.peers" if job["kind"] == "peer" else "benchmarks.measure"
        with tempfile.TemporaryDirectory(prefix="rmp-lava-benchmark-") as name:
            job = job | {"threads": self.settings.threads, "result": f"{name}/result.json"}
            job["cpu_time"] = self.settings.cpu_time
            job.setdefault("least_seconds", self.settings.least_seconds)
            Path(name, "job.json").write_text(json.dumps(job | {"started": time.time()}))
            # Each engine's threads wait as they do for its users: rmp-lava's sleep, the peers' spin.
            variables = of_user() | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(self.settings.threads)}
            if job["kind"] == "lava":
                del variables["OMP_NUM_THREADS"]  # a process per layer already; the backend chooses the threads
            command = [self.pythons[environment], "-m", module, f"{name}/job.json"]
            result = _run(command, variables, self.settings.time_limit)
            if "error" not in result:
                result = json.loads(Path(name, "result.json").read_text())
        result["job"] = {k: v for k, v in job.items() if k not in ("result", "network", "spikes", "weights")}
        self.results["measurements"][key] = result
        self.save()
        if "error" in result:
            console.print(f"failed: {result['error']}", style="red", markup=False)
        elif "seconds" in result:
            console.print(f"{min(result['seconds']):.3f} s, {result['resident_peak'] / 2**20:,.0f} MiB")
        else:
            console.print("done")


def _run(command: list[str], variables: dict[str, str], time_limit: float) -> dict:
    # In a session of its own, a measurement gets its Ctrl-C from here, once, and has the time to end Lava's processes.
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=time_limit)
        except subprocess.TimeoutExpired:
            _interrupt(process)
            return {"error": f"not finished within {time_limit:g} s"}
        except BaseException:
            _interrupt(process)
            raise
    if process.returncode:
        lines = [line for line in output.strip().splitlines() if line.strip()] or ["ended without a message"]
        return {"error": lines[-1][:300]}
    return {}


def _interrupt(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _prepare(session: Session, name: str, pilotnet: Path | None) -> dict | None:
    """Write a network and its input once; returns the keys of a job that name them, or None if it is missing."""
    if name == "pilotnet-lif" and pilotnet is None:
        return None
    spec, size = networks.NETWORKS[name], _size(name, session.settings)
    network = rmp_lava.load(pilotnet) if name == "pilotnet-lif" else networks.build(name)
    spikes = networks.spikes_for(network, size.batch, size.steps)
    files = networks.write(network, spikes, session.work / name)
    if name == "pilotnet-lif":
        shutil.copy(pilotnet, files["network"])  # as lava-dl has written it
    checked = spikes[: CHECK["check_samples"], : CHECK["check_steps"]]
    for_lava = spikes[: size.lava_samples, : size.lava_steps]
    session.results["networks"][name] = {
        "title": spec.title,
        "note": spec.note,
        "neurons": network.neuron_count,
        "parameters": network.parameter_count,
        "multiplications": networks.multiplications(network),
        "depth": network.depth,
        "convolutions": networks.convolutions(network),
        "size": asdict(size),
        "expected": {
            "checked": networks.expected_counts(network, checked),
            "lava": networks.expected_counts(network, for_lava),
        },
    }
    return files


def _size(name: str, settings: Settings) -> networks.Size | None:
    spec = networks.NETWORKS[name]
    size = spec.quick if settings.quick else spec.full
    return size if size is None or settings.batch is None else replace(size, batch=settings.batch)


def compare_engines(session: Session, names: list[str], engines: list[str], files: dict[str, dict]) -> None:
    """Run all engines on all networks, round by round, so that a slow minute of the machine affects all of them."""
    for i in range(session.settings.rounds):
        for name in names:
            size = _size(name, session.settings)
            for label in engines:
                engine = ENGINES[label]
                if engine.kind == "peer" and name == "pilotnet-lif":
                    continue  # no other library has its neurons
                if engine.kind == "lava" and (
                    not size.lava_steps or (engine.conv_model == "lava" and i >= size.stock_rounds)
                ):
                    continue
                job = _job(label) | files[name] | {"batch": size.batch, "steps": size.steps} | CHECK
                if engine.kind == "lava":
                    job |= {"batch": size.lava_samples, "steps": size.lava_steps}
                session.measure(f"engines/{name}/{label}/{i + 1}", engine.environment, job)


def _job(label: str) -> dict:
    engine = ENGINES[label]
    return {"kind": engine.kind, "engine": label, "conv_model": engine.conv_model, "kernel": engine.kernel}


def run_one_sample(session: Session, names: list[str], engines: list[str], files: dict[str, dict]) -> None:
    """One sample at a time, as Lava runs them."""
    for i in range(session.settings.rounds):
        for name in names:
            if name not in ONE_SAMPLE or not _size(name, session.settings).lava_steps:
                continue
            for label in engines:
                engine = ENGINES[label]
                if engine.kind == "lava":
                    continue
                job = _job(label) | files[name] | {"batch": 1, "steps": _size(name, session.settings).steps}
                session.measure(f"one/{name}/{label}/{i + 1}", engine.environment, job)


def vary_activity(session: Session, engines: list[str]) -> None:
    """VGG-16 with other thresholds, and an input that spikes as often as its neurons."""
    settings, size = session.settings, _size("vgg16", session.settings)
    for activity in settings.activity:
        chosen = [e for e in engines if e in settings.activity_engines]
        keys = [f"activity/{activity:g}/{label}/{i + 1}" for i in range(settings.rounds) for label in chosen]
        if all(key in session.results["measurements"] for key in keys):
            continue
        network = networks.build("vgg16", spike_rate=activity)
        spikes = networks.spikes_for(network, size.batch, size.steps, mean_rate=activity)
        files = networks.write(network, spikes, session.work / "activity")
        for key in keys:
            label = key.split("/")[2]
            job = _job(label) | files | {"batch": size.batch, "steps": size.steps}
            session.measure(key, ENGINES[label].environment, job)


def grow(session: Session) -> None:
    """Time and memory of `fast` against steps, batch and width."""
    settings = session.settings
    spikes_file, written = session.work / "growth.npy", set()
    for axis, values in settings.growth.items():
        for value in values:
            width = value if axis == "width" else settings.growth_width
            network_file = session.work / f"vgg16-{width:g}.net"
            if width not in written:
                written.add(width)
                network = networks.build("vgg16", width)
                rmp_lava.save(network, network_file)
                np.save(spikes_file, networks.spikes_for(network, 4, 64))  # repeated where more is asked for
            job = {"kind": "fast", "network": str(network_file), "spikes": str(spikes_file)}
            job |= {"batch": settings.growth_batch, "steps": settings.growth_steps}
            if axis != "width":
                job |= {axis: value}
            session.measure(f"growth/{axis}/{value:g}", "core", job)


def time_conversion(session: Session) -> None:
    """Tracing, folding and balancing of VGG-16 as `rmp-lava convert --steps 16` does them."""
    settings = session.settings
    job = {"kind": "conversion", "width": settings.conversion_width, "images": settings.conversion_images}
    for i in range(settings.rounds):
        session.measure(f"conversion/{i + 1}", "core", job)


def _commit() -> str:
    """The checkout's commit, marked where files differ from it; empty outside a checkout."""
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _python(environment: str, given: str | None) -> str:
    """Path of an environment's Python; the bootstrap script installs what is missing."""
    if given:
        return given
    if environment == "core":
        return sys.executable
    console.print(f"preparing the environment of {environment!r} (takes minutes the first time) ...")
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "PYTHONPATH")}
    command = ["scripts/bootstrap.sh", environment, "python", "-c", "import sys; print(sys.executable)"]
    done = subprocess.run(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise typer.BadParameter(f"environment {environment!r} could not be prepared; see the message above")
    return done.stdout.strip().splitlines()[-1]


def _site_packages(python: str) -> Path:
    command = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())


app = typer.Typer(add_completion=False)


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Everything once, in two minutes.")] = False,
    resume: Annotated[bool, typer.Option(help="Continue after Ctrl-C; failed measurements are repeated.")] = False,
    rounds: Annotated[int | None, typer.Option(help="Rounds of measurements; tables show the median.")] = None,
    threads: Annotated[int | None, typer.Option(help="Torch threads of every engine; all cores if omitted.")] = None,
    cpu_time: Annotated[
        bool, typer.Option("--cpu-time", help="CPU time in place of the time that passes, for a busy machine.")
    ] = False,
    batch: Annotated[int | None, typer.Option(min=1, help="Samples, in place of each network's own batch.")] = None,
    activity: Annotated[
        list[float] | None, typer.Option(help="Only this rate of spikes of VGG-16; may be repeated.")
    ] = None,
    network: Annotated[list[str] | None, typer.Option(help="Only this network; may be repeated.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Only this engine; may be repeated.")] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("exports/benchmarks"),
    render_file: Annotated[Path | None, typer.Option("--render", help="Only render this results.json.")] = None,
    to: Annotated[Path, typer.Option(help="Folder of the rendered page.")] = Path("docs"),
    conversion: Annotated[bool, typer.Option("--conversion", help="Only measure how long conversion takes.")] = False,
    core_python: Annotated[str | None, typer.Option(help="Python of the environment for fast.")] = None,
    lava_python: Annotated[str | None, typer.Option(help="Python 3.10 with Lava.")] = None,
    peers_python: Annotated[str | None, typer.Option(help="Python with the peers.")] = None,
) -> None:
    """Compare speed and memory of rmp-lava, Lava and other libraries."""
    if render_file is not None:
        measured = json.loads(render_file.read_text())
        if measured.get("format") != FORMAT:
            raise typer.BadParameter(
                f"{render_file} has format {measured.get('format')}; this version renders {FORMAT}, so measure again"
            )
        for path in render.write(measured, to):
            print(path)
        return
    names = [n for n in (network or networks.NETWORKS) if n in networks.NETWORKS]
    chosen = [e for e in (engine or ENGINES) if e in ENGINES]
    unknown = {*(network or [])} - {*networks.NETWORKS} | {*(engine or [])} - {*ENGINES}
    if unknown:
        known = ", ".join([*networks.NETWORKS, *ENGINES])
        raise typer.BadParameter(f"{', '.join(sorted(unknown))} is neither a network nor an engine; known are {known}")
    threads = threads or machine.describe()["cores"]
    settings = quick_settings(threads) if quick else full_settings(threads)
    settings = replace(
        settings,
        rounds=rounds or settings.rounds,
        cpu_time=cpu_time,
        batch=batch,
        activity=activity or settings.activity,
        activity_engines=settings.activity_engines or ["fast", "fast-dense"],
    )
    given = {"core": core_python, "lava": lava_python, "peers": peers_python}
    needed = ["core"] if conversion else ["core", *dict.fromkeys(ENGINES[e].environment for e in chosen)]
    if "lava" not in needed and not conversion and "pilotnet-lif" in names:
        needed.append("lava")  # the file comes with lava-dl
    pythons = {name: _python(name, given[name]) for name in dict.fromkeys(needed)}
    session = Session(folder.absolute(), settings, pythons, resume)
    pilotnet = _site_packages(pythons["lava"]) / PILOTNET if "lava" in pythons else None
    if pilotnet is not None and not pilotnet.is_file():
        pilotnet = None
    try:
        if conversion:
            time_conversion(session)
            print("\n".join(render.conversion(session.results)))
            return
        names = [name for name in names if _size(name, settings) is not None]
        files = {name: _prepare(session, name, pilotnet) for name in names}
        session.save()
        names = [name for name in names if files[name]]
        compare_engines(session, names, chosen, files)
        run_one_sample(session, names, chosen, files)
        if "vgg16" in names:
            vary_activity(session, chosen)
        if "fast" in chosen:
            largest = max(session.results["networks"], key=lambda n: session.results["networks"][n]["multiplications"])
            job = {"kind": "throughput", "images": settings.throughput_images, "network_name": largest}
            job["least_seconds"] = min(0.3, settings.least_seconds)
            job["convolutions"] = session.results["networks"][largest]["convolutions"]
            for environment in ("core", "lava"):
                if environment in pythons:
                    session.measure(f"throughput/{environment}", environment, job)
        if not network and not engine:
            grow(session)
            time_conversion(session)
            job = {"kind": "busy", "command": settings.busy_command, "processes": 1, "rounds": settings.rounds}
            session.measure("busy", "lava" if "lava" in pythons else "core", job)
            if pilotnet is not None:
                job = {"kind": "anchor", "network": str(pilotnet), "steps": settings.anchor_steps}
                session.measure("anchor/pilotnet-lif", "core", job)
    except KeyboardInterrupt:
        console.print(f"\nStopped; measurements so far are in {session.path}. Continue with --resume.")
        raise typer.Exit(130) from None
    for path in render.write(session.results, folder):
        print(path)


if __name__ == "__main__":
    app()
