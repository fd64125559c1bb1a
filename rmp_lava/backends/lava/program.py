"""A job's Lava program: the network, its ends, and who observes it. Imports Lava; runs in the child process."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BackendError
from ...network import INPUT
from ...netx import load
from ...processes.io import MessageSource, SpikeSink
from ...processes.rmp import RMP
from ...schedule import Schedule
from ..stock import LEAD_IN
from .adapters import AdaptedEnds, Ends
from .build import LavaNetwork, build, lava_shape


def _ends_of(target: str) -> type[Ends]:
    if target == "loihi2":
        from ..loihi2.adapters import ChipEnds

        return ChipEnds
    return {"cpu": Ends, "adapted": AdaptedEnds}[target]


class Program:
    """Everything that a job needs, connected: run `process` for `steps` steps with `run_config`."""

    def __init__(self, folder: Path, job: dict[str, Any]) -> None:
        self.folder, self.job = folder, job
        self.network = load(folder / "network.net")
        self.plan = Schedule(**job["schedule"])
        self.ends = _ends_of(job["target"])(self.network, job)
        messages = folder / "messages.npy"
        if job["embedded"]:
            steps_in, source = 0, None
            constant = np.load(messages, mmap_mode="r", allow_pickle=False)[0, 0]
        else:
            steps_in, constant = self.ends.steps_in, None
            timing = {"steps": self.plan.steps, "period": self.plan.period, "lead_in": LEAD_IN}
            source = MessageSource(shape=lava_shape(self.network.input.shape), path=str(messages), **timing)
        self.lead_in = LEAD_IN + steps_in
        built = build(
            self.network,
            None if source is None else source.s_out,
            self.plan,
            implementation=job["implementation"],
            lead_in=self.lead_in,
            leak=job["leak"],
            entry=self.ends.entry,
            constant=constant,
        )
        self._observe(built)
        self.process = built.processes[0]
        self.run_config = self.ends.run_config(_own_models(job["neuron_program"]), self.steps)

    @property
    def steps(self) -> int:
        """Until the last sample has left the last layer and its observer has seen it."""
        return self.lead_in + self.plan.duration(self.job["samples"]) + self.ends.steps_out

    @property
    def execution(self) -> str:
        """What runs the network, in words."""
        return self.ends.execution()

    def readings(self) -> dict[str, Any]:
        """What was measured."""
        return self.ends.readings()

    def _observe(self, built: LavaNetwork) -> None:
        """Attach sinks to the observed populations (None: all), and probes to the probed layers' membranes."""
        observed = self.job["observed"]
        for i, (name, depth) in enumerate({INPUT: 0, **self.network.depths}.items()):
            population = built.populations.get(name)
            if population is None:  # an embedded input sends nothing
                continue
            timing = {"samples": self.job["samples"], "steps": self.plan.steps, "period": self.plan.period}
            if observed is None or name in observed:
                # What the host sends is seen where it is sent, before any adapter.
                from_host = population.a_in is None
                late = LEAD_IN if from_host else self.lead_in + depth + self.ends.steps_out
                sink = self._sink(i, name, population.shape, timing | {"lead_in": late})
                (population.s_out if from_host else self.ends.spikes(population)).connect(sink.a_in)
            if name in self.job["probed"]:
                path = str(self.folder / f"membrane{i}.npy")
                self.ends.probe(population.membrane, path, timing | {"lead_in": self.lead_in + depth})

    def _sink(self, i: int, name: str, shape: tuple[int, ...], timing: dict[str, int]) -> SpikeSink:
        def path(kind: str, wanted: bool = True) -> str | None:
            return str(self.folder / f"{kind}.npy") if wanted else None

        return SpikeSink(
            shape=shape,
            counts_path=path(f"counts{i}"),
            last_path=path(f"last{i}"),
            crossing_path=path(f"crossing{i}"),
            spikes_path=path(f"spikes{i}", self.job["record_spikes"]),
            done_path=path("done", name == self.network.output.name),
            **timing,
        )


def _own_models(neuron_program: str | None) -> dict:
    """The user's ProcessModel of `RMP`, as Lava's `exception_proc_model_map` takes it."""
    if neuron_program is None:
        return {}
    module, _, name = neuron_program.partition(":")
    try:
        model = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as problem:
        raise BackendError(
            f"neuron program {neuron_program!r} cannot be imported ({problem}); it takes package.module:ProcessModel"
        ) from None
    if getattr(model, "implements_process", None) is not RMP:
        raise BackendError(
            f"neuron program {neuron_program!r} is no ProcessModel of rmp_lava.processes.rmp.RMP; "
            "decorate it with @implements(proc=RMP, protocol=LoihiProtocol)"
        )
    return {RMP: model}
