"""What this package uses of Lava and lava-loihi, according to public sources: the contract, and its check.

lava-loihi is available to INRC members only, so its names were never imported here. They are those that Intel's public notebooks
and users' public programs call. `api` is the only module that uses them, and it checks all of them first.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType, UnionType
from typing import Any

from ..board import GENERATIONS

_LAVA = "lava-nc 0.10.0, "
_PILOTNET = "https://github.com/lava-nc/lava-dl, tutorials/lava/lib/dl/netx/pilotnet_snn/"
_YOLO = "https://github.com/lava-nc/lava-dl, tutorials/lava/lib/dl/netx/yolo_kp/"
_GRADED = _LAVA + "lava/networks/gradedvecnetwork.py"


@dataclass(frozen=True)
class Parameter:
    """A keyword that is passed: the type of what is passed, and its meaning, with its unit if it is a number."""

    name: str
    takes: type | UnionType
    meaning: str


@dataclass(frozen=True)
class Result:
    """An attribute that is read from a probe after a run.

    `shape` is "number", "series" (samples over time), "per step" or "per core" (one value for each time step or neuro-core).
    """

    name: str
    shape: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class ApiName:
    """One name of the API.

    dotted : Module and name.
    kind : {"class", "function"}
    source : Where it is public.
    members : Member of a class that is used -> number of positional arguments of a method; None: it is not called.
    ports : Ports of an instance that are connected; checked on the instance, because a class does not show them.
    results : Read from an instance after a run, and checked then.
    """

    dotted: str
    kind: str
    parameters: tuple[Parameter, ...]
    source: str
    members: Mapping[str, int | None] = field(default_factory=dict)
    ports: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()

    @property
    def package(self) -> str:
        """Which package provides it."""
        return "lava-nc" if self.source.startswith(_LAVA) and self.source != _GRADED else "lava-loihi"


def _watts(name: str, rail: str) -> tuple[Result, Result]:
    return (
        Result(f"{name}_power", "series", "W", f"power of {rail} while the network runs"),
        Result(f"static_{name}_power", "number", "W", f"power of {rail} of the idle board"),
    )


def _microseconds(phase: str) -> Result:
    return Result(f"{phase}_time_per_step", "per step", "us", f"{phase} time of a time step")


def _per_core(name: str, unit: str, meaning: str) -> Result:
    return Result(name, "per core", unit, meaning)


CORE = (_per_core("core_idx", "1", "which neuro-core of its chip"), _per_core("chip_idx", "1", "which chip"))

SHAPE = Parameter("shape", tuple, "neurons along each axis, in Lava's order (width, height, channels)")
BITS = Parameter("num_message_bits", int, "bits of a message's payload; 0: single spikes")
GENERATION = Parameter("loihi_gen", Enum, "a member of ChipGeneration")
IN_AND_OUT = ("inp", "out")

CONTRACT = (
    ApiName(
        "lava.utils.loihi.use_slurm_host",
        "function",
        (
            Parameter("partition", str | None, "any board of this SLURM partition"),
            Parameter("board", str | None, "this SLURM node"),
            GENERATION,
        ),
        _LAVA + "lava/utils/loihi.py",
    ),
    ApiName(
        "lava.utils.loihi.use_ethernet_host",
        "function",
        (
            Parameter("host_address", str, "name or address of the board's host"),
            Parameter("host_binary_path", str, "path of the driver on that host"),
            GENERATION,
        ),
        _LAVA + "lava/utils/loihi.py",
    ),
    ApiName(
        "lava.utils.loihi.ChipGeneration",
        "class",
        (),
        _LAVA + "lava/utils/loihi.py",
        members=dict.fromkeys(GENERATIONS),
    ),
    ApiName(
        "lava.magma.core.run_configs.Loihi2HwCfg",
        "class",
        (
            Parameter("exception_proc_model_map", dict, "Process class -> ProcessModel class"),
            Parameter("callback_fxs", list, "probes"),
        ),
        _LAVA + "lava/magma/core/run_configs.py",
        members={"select": 2},
    ),
    ApiName("lava.proc.embedded_io.spike.PyToNxAdapter", "class", (SHAPE, BITS), _GRADED, ports=IN_AND_OUT),
    ApiName("lava.proc.embedded_io.spike.NxToPyAdapter", "class", (SHAPE,), _GRADED, ports=IN_AND_OUT),
    ApiName(
        "lava.proc.embedded_io.spike.PyToN3ConvAdapter",
        "class",
        (SHAPE, BITS),
        _PILOTNET + "utils.py",
        ports=IN_AND_OUT,
    ),
    ApiName(
        "lava.proc.embedded_io.state.Read",
        "class",
        (
            SHAPE,
            Parameter("interval", int, "time steps from one reading to the next"),
            Parameter("offset", int, "time steps before the first one"),
        ),
        _PILOTNET + "run.ipynb",
        members={"connect_var": 1},
        ports=("out",),
    ),
    ApiName(
        "lava.utils.loihi2_profiler.Loihi2Power",
        "class",
        (Parameter("num_steps", int, "time steps of the run"),),
        _PILOTNET + "benchmark.ipynb",
        results=(
            *_watts("total", "all rails"),
            *_watts("vdd", "VDD (neuro-cores and routers)"),
            *_watts("vddm", "VDDM (memories)"),
            *_watts("vddio", "VDDIO (interfaces)"),
        ),
    ),
    ApiName(
        "lava.utils.loihi2_profiler.Loihi2ExecutionTime",
        "class",
        (),
        _PILOTNET + "benchmark.ipynb",
        results=(
            *(_microseconds(phase) for phase in ("execution", "spiking", "management", "host")),
            Result("avg_time_per_step", "number", "us", "mean time of a time step"),
        ),
    ),
    ApiName(
        "lava.utils.loihi2_profiler.Loihi2Activity",
        "class",
        (),
        _PILOTNET + "benchmark.ipynb; " + _YOLO,
        results=(
            *CORE,
            _per_core("syn_ops", "operation", "synaptic operations, of non-zero weights"),
            _per_core("dendrite_updates", "update", "neuron updates: twice a LIF and step"),
            _per_core("axon_out", "message", "messages sent"),
            _per_core("spikes_in", "message", "messages received"),
        ),
    ),
    ApiName(
        "lava.utils.loihi2_profiler.Loihi2Memory",
        "class",
        (),
        _PILOTNET + "benchmark.ipynb; " + _YOLO,
        results=(CORE[0], _per_core("total_mpds", "1", "share of the neuro-core's memory that is taken")),
    ),
)
"""Everything that `api` uses besides Lava's Processes; Python 3.10 with lava-nc 0.10.0 and lava-loihi 0.7.0."""


def problems(
    contract: Iterable[ApiName] = CONTRACT, load: Callable[[str], ModuleType] = importlib.import_module
) -> list[str]:
    """What is missing or different, one sentence per name; empty if the whole contract holds."""
    found = []
    for name in contract:
        module, _, attribute = name.dotted.rpartition(".")
        try:
            value = getattr(load(module), attribute)
        except Exception as error:  # a broken library can raise anything at import
            found.append(f"{name.dotted} of {name.package} is missing ({type(error).__name__}: {error})")
            continue
        difference = _difference(name, value)
        if difference:
            found.append(f"{name.dotted} of {name.package} {difference}; expected as in {name.source}")
    return found


def _difference(name: ApiName, value: Any) -> str | None:
    if name.kind == "class" and not inspect.isclass(value):
        return f"is not a class but {type(value).__name__}"
    if name.kind == "function" and (inspect.isclass(value) or not callable(value)):
        return f"is not a function but {type(value).__name__}"
    lacks = (_lack(member, arguments, value) for member, arguments in name.members.items())
    return next(filter(None, lacks), None) or _refusal(name, value)


def _lack(member: str, arguments: int | None, value: type) -> str | None:
    if not hasattr(value, member):
        return f"has no {member}"
    if arguments is not None:
        try:
            inspect.signature(getattr(value, member)).bind(*range(1 + arguments))  # the instance first
        except (TypeError, ValueError) as problem:
            return f"has a {member} that does not take {arguments} by position ({problem})"
    return None


def _refusal(name: ApiName, value: Any) -> str | None:
    """Why a call with the contract's keywords, and no other arguments, would be refused."""
    if name.members and not name.parameters:
        return None  # never called
    wanted = [parameter.name for parameter in name.parameters]
    try:
        known = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return f"does not reveal its parameters ({', '.join(wanted)} are needed)"
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known)
    by_name = {p.name for p in known if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    refused = [parameter for parameter in wanted if parameter not in by_name]
    if refused and not takes_any:
        return f"has no parameter {refused[0]!r}, only ({', '.join(p.name for p in known)})"
    others = [p.name for p in known if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    unknown = [parameter for parameter in others if parameter not in wanted]
    return f"also requires {unknown[0]!r}" if unknown else None
