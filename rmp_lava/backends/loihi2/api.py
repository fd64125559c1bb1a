"""Every call into lava-loihi, and those into lava-nc that only a board needs. Never run on hardware.

`require` compares the installed API with `contract.CONTRACT` before anything else here is called. What classes and functions do
not reveal is checked when it is used: arguments, an instance's ports, and its results after a run.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import BackendError, BackendUnavailableError
from ..board import Board
from ..lava.job import Probe, Reading
from .contract import CONTRACT, ApiName, Result, problems

RUN_CONFIG = "lava.magma.core.run_configs.Loihi2HwCfg"
PROBES: dict[Probe, str] = {
    "power": "lava.utils.loihi2_profiler.Loihi2Power",
    "time": "lava.utils.loihi2_profiler.Loihi2ExecutionTime",
    "activity": "lava.utils.loihi2_profiler.Loihi2Activity",
    "memory": "lava.utils.loihi2_profiler.Loihi2Memory",
}
"""Probes by what they measure. Each run has only one, because they disturb each other's figures."""


def require() -> None:
    """Refuse an API that is missing or differs from the contract.

    Raises
    ------
    BackendUnavailableError
        Naming the first difference, and how many there are.
    """
    found = problems()
    if found:
        more = f"; {len(found) - 1} further differences, see rmp-lava doctor" if len(found) > 1 else ""
        raise BackendUnavailableError(f"backend 'loihi2' cannot run: {found[0]}{more}")


def select_board(board: Board) -> str:
    """Make Lava use a board, through its environment variables; returns its description.

    Raises
    ------
    BackendUnavailableError
        If it cannot be reached.
    """
    generation = getattr(_value("lava.utils.loihi.ChipGeneration"), board.generation)
    try:
        if board.host is not None:
            ethernet = {"host_address": board.host, "host_binary_path": board.host_binary}
            _call("lava.utils.loihi.use_ethernet_host", **ethernet, loihi_gen=generation)
        else:
            slurm = {"partition": board.partition, "board": board.node}
            _call("lava.utils.loihi.use_slurm_host", **slurm, loihi_gen=generation)
    except (ImportError, ValueError, OSError) as problem:  # OSError: no sinfo or ping on this machine
        raise BackendUnavailableError(f"{board.describe()} cannot be reached: {problem}") from None
    return board.describe()


def run_config(on_the_host: Mapping[type, type], probes: list[Any], own: Mapping[type, type] | None = None) -> Any:
    """Lava's choice of ProcessModels for a board, refusing any that would simulate neurons or synapses on the host.

    Parameters
    ----------
    on_the_host : mapping
        Process -> ProcessModel of sources, sinks and delays.
    probes : list
        As `probe` returns them.
    own : mapping or None
        Process -> ProcessModel of the user's neuron program.

    Raises
    ------
    BackendError
        If the user's program is a Python model; later, if Lava chooses one for a Process that belongs on the chip.
    """
    configs = _module(RUN_CONFIG.rpartition(".")[0])
    for process, model in (own or {}).items():
        if issubclass(model, configs.AbstractPyProcessModel):
            raise BackendError(
                f"{model.__name__} is a Python model of {process.__name__}, which would simulate it on the host; a board "
                "requires a model for neuro-cores"
            )

    class ChipOnly(configs.Loihi2HwCfg):  # type: ignore[name-defined, misc]
        """Lava falls back on a Python model where there is none for a neuro-core: that would be a simulation."""

        def select(self, process: Any, proc_models: Any) -> Any:
            chosen = super().select(process, proc_models)
            if issubclass(chosen, configs.AbstractPyProcessModel) and type(process) not in on_the_host:
                raise BackendError(
                    f"lava-loihi has no model of {type(process).__name__} for a neuro-core, and {chosen.__name__} would "
                    "simulate it on the host; update lava-loihi, or pass a neuron program of your own"
                )
            return chosen

    return _call(RUN_CONFIG, ChipOnly, exception_proc_model_map={**on_the_host, **(own or {})}, callback_fxs=probes)


def into_chip(port: Any, message_bits: int, *, convolution: bool) -> Any:
    """The port on the chip from which synapses receive what a port on the host sends."""
    kind = "PyToN3ConvAdapter" if convolution else "PyToNxAdapter"
    adapter = _call(f"lava.proc.embedded_io.spike.{kind}", shape=port.shape, num_message_bits=message_bits)
    port.connect(adapter.inp)
    return adapter.out


def out_of_chip(port: Any) -> Any:
    """The port on the host that sends the spikes of a population on the chip."""
    adapter = _call("lava.proc.embedded_io.spike.NxToPyAdapter", shape=port.shape)
    port.connect(adapter.inp)
    return adapter.out


def state_out_of_chip(var: Any, interval: int, step: int) -> Any:
    """The port on the host that sends a Var's value at the end of step `step` and every `interval` steps."""
    offset = (step - 1) % interval
    reader = _call("lava.proc.embedded_io.state.Read", shape=var.shape, interval=interval, offset=offset)
    reader.connect_var(var)
    return reader.out


def probe(kind: Probe, steps: int) -> Any:
    """A probe that measures while a network runs for `steps` steps."""
    known = [parameter.name for parameter in _entry(PROBES[kind]).parameters]
    return _call(PROBES[kind], **({"num_steps": steps} if "num_steps" in known else {}))


def reading(kind: Probe, measured: Any) -> Reading:
    """What a probe measured, by the contract's names: a number, or one for each sample, step or core.

    Raises
    ------
    BackendError
        If a result of the contract is missing or not numeric.
    """
    return {result.name: _checked(kind, measured, result) for result in _entry(PROBES[kind]).results}


def _checked(kind: Probe, measured: Any, result: Result) -> float | list[float]:
    try:
        values = np.asarray(getattr(measured, result.name), dtype=np.float64)
    except (AttributeError, TypeError, ValueError) as problem:
        raise BackendError(
            f"{PROBES[kind]} measured no {result.name} ({problem}); expected {result.meaning} in {result.unit}"
        ) from None
    scalar = result.shape == "number"
    if (values.size != 1 if scalar else values.ndim != 1 or not values.size) or not np.isfinite(values).all():
        raise BackendError(
            f"{PROBES[kind]}.{result.name} has shape {values.shape}, smallest {np.min(values, initial=0)}; expected "
            f"{'one finite number' if scalar else 'finite numbers in one row'}, {result.meaning} in {result.unit}"
        )
    return float(values.reshape(-1)[0]) if scalar else values.tolist()


def _call(dotted: str, instead: Any = None, **passed: Any) -> Any:
    """Call a name of the contract, or its subclass `instead`, after checking the arguments; check the result's ports."""
    entry = _entry(dotted)
    takes = {parameter.name: parameter for parameter in entry.parameters}
    for name, value in passed.items():
        if name not in takes:
            raise BackendError(f"{dotted} has no parameter {name} in the contract, only {', '.join(takes) or 'none'}")
        if isinstance(value, bool) or not isinstance(value, takes[name].takes):
            kind = getattr(takes[name].takes, "__name__", takes[name].takes)
            raise BackendError(f"{name} of {dotted} is {value!r}; it must be {kind}: {takes[name].meaning}")
    made = (instead or _value(dotted))(**passed)
    absent = next((port for port in entry.ports if not hasattr(made, port)), None)
    if absent is not None:
        raise BackendUnavailableError(
            f"an instance of {dotted} of {entry.package} has no {absent}; expected as in {entry.source}"
        )
    return made


def _value(dotted: str) -> Any:
    module, _, name = dotted.rpartition(".")
    return getattr(_module(module), name)


def _entry(dotted: str) -> ApiName:
    return next(name for name in CONTRACT if name.dotted == dotted)


def _module(name: str) -> Any:
    return importlib.import_module(name)
