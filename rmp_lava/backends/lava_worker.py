"""The child process in which Lava runs: `python -m rmp_lava.backends.lava_worker JOB_FOLDER`.

Lava forks one OS process per ProcessModel, sets the process-wide start method of multiprocessing, hangs when torch has
run before the fork, and can wait for ever after a crash. A process group of its own makes all of that harmless: the
parent (`lava_sim`) ends the group, whatever happens. If the parent dies, this process notices and ends the group itself.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import NoReturn

from ..errors import RmpLavaError

_WATCH_SECONDS = 0.2


def _end_with_parent() -> None:
    """Wait until the parent's end of standard input closes, then end this process group."""
    # The raw file descriptor: a thread inside sys.stdin would hold its lock across the forks, which close it.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGTERM)


def _fail(folder: Path, sentence: str) -> NoReturn:
    """Leave word of a failure and end at once: a regular exit would wait for ProcessModels that never end."""
    (folder / "error.txt").write_text(sentence)
    os._exit(1)


def _watch(actors: list, finished: threading.Event, folder: Path) -> None:
    """End the run when a ProcessModel has failed: Lava keeps its exception in a pipe and waits for it for ever."""
    while not finished.wait(_WATCH_SECONDS):
        for actor in actors:
            failure = actor.exception
            if failure is not None:
                print(failure[1], flush=True)
                _fail(folder, f"{type(failure[0]).__name__}: {failure[0]}")
            if actor.exitcode not in (None, 0) and not finished.is_set():
                _fail(folder, f"a ProcessModel ended with exit code {actor.exitcode}")


def main(folder: Path) -> None:
    """Read the job, run it, write `result.json` last."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = json.loads((folder / "job.json").read_text())

    from importlib.metadata import version

    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg

    from ..network import INPUT, Conv
    from ..netx import load
    from ..processes.conv_models import BLAS_CONV
    from ..processes.io import MessageSource, SpikeSink, StateProbe
    from ..schedule import Schedule
    from .lava_build import build, lava_shape
    from .stock import LEAD_IN

    network = load(folder / "network.net")
    plan = Schedule(**job["schedule"])
    timing = {"steps": plan.steps, "period": plan.period}
    source = MessageSource(
        shape=lava_shape(network.input.shape), path=str(folder / "messages.npy"), lead_in=LEAD_IN, **timing
    )
    built = build(network, source.s_out, plan, realisation=job["realisation"], lead_in=LEAD_IN)
    timing["samples"] = job["samples"]
    for i, (name, depth) in enumerate({INPUT: 0, **network.depths}.items()):
        population = built.populations[name]
        timing["lead_in"] = LEAD_IN + depth
        sink = SpikeSink(
            shape=population.shape,
            counts_path=str(folder / f"counts{i}.npy"),
            last_path=str(folder / f"last{i}.npy"),
            crossing_path=str(folder / f"crossing{i}.npy"),
            spikes_path=str(folder / f"spikes{i}.npy") if job["record_spikes"] else None,
            done_path=str(folder / "done.npy") if name == network.output.name else None,
            **timing,
        )
        population.s_out.connect(sink.a_in)
        if name in job["probed"]:
            StateProbe(var=population.membrane, path=str(folder / f"membrane{i}.npy"), **timing)
    tag = "fixed_pt" if network.is_integer else "floating_pt"
    finished = threading.Event()
    models = BLAS_CONV[tag] if job["conv_model"] == "blas" else None
    source.create_runtime(run_cfg=Loihi2SimCfg(select_tag=tag, exception_proc_model_map=models))
    actors = source.runtime._messaging_infrastructure.actors
    threading.Thread(target=_watch, args=(actors, finished, folder), daemon=True).start()
    started = time.perf_counter()
    source.run(condition=RunSteps(num_steps=LEAD_IN + job["samples"] * plan.period + plan.depth))
    seconds = time.perf_counter() - started
    finished.set()
    source.stop()
    execution = f"Lava {version('lava-nc')} CPU simulator, {tag}, Python {sys.version.split()[0]}"
    if any(isinstance(synapse, Conv) for layer in network for synapse in layer.synapses):
        execution += ", convolutions by BLAS" if models else ", convolutions by Lava's own model"
    result = {"seconds": seconds, "execution": execution}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    job_folder = Path(sys.argv[1])
    try:
        main(job_folder)
    except RmpLavaError as problem:
        _fail(job_folder, str(problem))
    except Exception as problem:
        traceback.print_exc()
        _fail(job_folder, f"{type(problem).__name__}: {problem}")
