"""A job's Lava program: its Processes, their adapters, and what observes them. Imports Lava; runs in the child process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.run_configs import RunConfig

from ...errors import BackendError
from ...network import Conv, SpikingNetwork, windows
from ...netx import load
from ...processes.io import MessageSource, SpikeSink
from ...processes.rmp import RMP
from ..circuit import Circuit, Lines
from ..stock import LEAD_IN, unobserved
from .adapters import Adapters, DelayAdapters, Models
from .build import build
from .build_circuit import build_circuit
from .job import DONE, MESSAGES, NETWORK, Job, NetworkTask, array_path
from .population import LavaPopulation, lava_shape


@dataclass
class Program:
    """Connected Processes.

    process : One of them; running it runs all.
    steps : How long they run.
    execution : What runs them, in words.
    states : File -> Var that is written to it, channel-first, after the last step.
    """

    process: AbstractProcess
    steps: int
    run_config: RunConfig
    adapters: Adapters
    execution: str
    states: Mapping[Path, Var] = field(default_factory=dict)

    def save_states(self) -> None:
        """Write the final states, as long as the Processes have not been stopped."""
        for path, var in self.states.items():
            np.save(path, np.asarray(var.get()).transpose()[None])  # (1, *channel-first shape)


def program(folder: Path, job: Job) -> Program:
    """Build what a job in a folder describes."""
    if isinstance(job.task, Circuit):
        return _circuit_program(folder, job, job.task)
    return _network_program(folder, job, job.task)


def _adapters(job: Job, tag: str = "fixed_pt") -> Adapters:
    if job.target == "loihi2":
        from ..loihi2.adapters import ChipAdapters

        if job.board is None:
            raise BackendError("a job for a board names none; pass the board")
        return ChipAdapters(job.board, job.probe)
    return DelayAdapters(tag) if job.target == "adapted" else Adapters(tag)


@dataclass(frozen=True)
class _LeadIn:
    """Steps before the first message from the host and before the input's window, and from a population to its sink."""

    host: int
    input: int
    to_sink: int


def _network_program(folder: Path, job: Job, task: NetworkTask) -> Program:
    network, plan = load(folder / NETWORK), task.plan
    tag = "fixed_pt" if network.is_integer else "floating_pt"
    adapters = _adapters(job, tag)
    host = 0 if network.is_sigma_delta else LEAD_IN  # there, biases act from the first step on
    # One step in an adapter, and one in a synapse to the input's neurons.
    steps_in = 1 + (network.input.neurons is not None) if adapters.as_on_chip and not task.embedded else 0
    lead_in = _LeadIn(host, host + steps_in, int(adapters.as_on_chip))
    source = constant = None
    if task.embedded:
        constant = np.load(folder / MESSAGES, mmap_mode="r", allow_pickle=False)[0, 0]
    else:
        shape, path = lava_shape(network.input.shape), str(folder / MESSAGES)
        source = MessageSource(shape=shape, path=path, steps=plan.steps, period=plan.period, lead_in=host).s_out
    populations = build(
        network,
        source,
        plan,
        implementation=task.implementation,
        lead_in=lead_in.input,
        leak=task.leak,
        adapters=adapters,
        constant=constant,
    )
    _observe(network, populations, task, lead_in, adapters, folder)
    models, execution = _own_models(task.neuron_program), adapters.execution()
    if job.target != "loihi2" and any(isinstance(synapse, Conv) for layer in network for synapse in layer.synapses):
        if task.conv_model == "blas":
            from ...processes.conv_models import BLAS_CONV

            models = BLAS_CONV[tag] | models
        execution += ", convolutions by " + ("BLAS" if task.conv_model == "blas" else "Lava's own model")
    # Until the last sample has left the last layer and was observed.
    steps = lead_in.input + plan.duration(task.samples) + lead_in.to_sink
    process = next(iter(populations.values())).s_out.process
    return Program(process, steps, adapters.run_config(models, steps), adapters, execution)


def _observe(
    network: SpikingNetwork,
    populations: Mapping[str, LavaPopulation],
    task: NetworkTask,
    lead_in: _LeadIn,
    adapters: Adapters,
    folder: Path,
) -> None:
    """Connect a sink to each observed population, and a probe to each probed one."""
    samples, steps, period = task.samples, task.plan.steps, task.plan.period
    kinds = ("counts", "sums", "last", "crossing", *(("spikes",) if task.record_spikes else ()))
    for i, (name, (start, wait)) in enumerate(windows(network).items()):
        population = populations.get(name)
        if population is None:  # an embedded input sends nothing
            continue
        begin = lead_in.input + start
        if task.observed is None or name in task.observed:
            paths = {kind: str(array_path(folder, kind, i)) for kind in kinds}
            if name == network.output.name:
                paths["done"] = str(folder / DONE)
            # What the host sends is observed where it is sent, before any adapter.
            from_host = population.a_in is None
            port = population.s_out if from_host else adapters.leave(population.s_out)
            sink = SpikeSink(
                shape=port.shape,
                paths=paths,
                samples=samples,
                steps=steps,
                period=period,
                lead_in=lead_in.host if from_host else begin + lead_in.to_sink,
                wait=wait,
                crosses=unobserved(task.plan, wait),
            )
            port.connect(sink.a_in)
        if name in task.probed:
            path = str(array_path(folder, "membrane", i))
            adapters.probe(population.membrane, path, samples=samples, steps=wait + steps, period=period, lead_in=begin)


def _circuit_program(folder: Path, job: Job, circuit: Circuit) -> Program:
    adapters = _adapters(job)
    steps_in = int(adapters.as_on_chip and bool(circuit.lines))
    late = steps_in + int(adapters.as_on_chip)
    circuit = circuit.later(steps_in)
    sources = {lines.name: _line_source(folder, i, lines, circuit.steps) for i, lines in enumerate(circuit.lines)}
    populations = build_circuit(circuit, {name: source.s_out for name, source in sources.items()}, adapters)
    for i, population in enumerate(populations.values()):
        port = adapters.leave(population.s_out)
        paths = {"spikes": str(array_path(folder, "spikes", i))}
        sink = SpikeSink(
            shape=port.shape, paths=paths, samples=1, steps=circuit.steps, period=circuit.steps, lead_in=late
        )
        port.connect(sink.a_in)
    states = {}
    if adapters.reads_variables:
        states = {array_path(folder, "membrane", i): each.membrane for i, each in enumerate(populations.values())}
    process = next(iter(populations.values())).s_out.process
    steps = circuit.steps + late
    return Program(process, steps, adapters.run_config({}, steps), adapters, adapters.execution(), states)


def _line_source(folder: Path, index: int, lines: Lines, steps: int) -> MessageSource:
    """Sends a line's messages once, and nothing after them."""
    path = folder / f"line{index}.npy"
    np.save(path, lines.messages[None].astype(np.int32))  # (1, steps, *shape)
    sent = len(lines.messages)
    return MessageSource(shape=lava_shape(lines.shape), path=str(path), steps=sent, period=max(steps, sent), lead_in=0)


def _own_models(neuron_program: str | None) -> Models:
    """The user's ProcessModel of `RMP`."""
    if neuron_program is None:
        return {}
    module, _, name = neuron_program.partition(":")
    sys.path.insert(0, "")
    try:
        model = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as problem:
        raise BackendError(
            f"neuron program {neuron_program!r} cannot be imported ({problem}); it must be package.module:ProcessModel, in the "
            "current folder, in PYTHONPATH or installed"
        ) from None
    if getattr(model, "implements_process", None) is not RMP:
        raise BackendError(
            f"neuron program {neuron_program!r} is no ProcessModel of rmp_lava.processes.rmp.RMP; "
            "decorate it with @implements(proc=RMP, protocol=LoihiProtocol)"
        )
    return {RMP: model}
