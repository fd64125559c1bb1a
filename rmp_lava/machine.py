"""The machine and the versions that a measurement ran on, and its memory. Imports the standard library only."""

from __future__ import annotations

import os
import platform
import resource
import sys
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TypedDict

from .threads import usable_cores

INSTRUCTION_SETS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")
PACKAGES = "rmp-lava numpy torch lava-nc lava-dl spikingjelly snntorch sinabs norse numba scipy".split()


class Machine(TypedDict):
    """CPU model, usable cores, the instruction sets of `INSTRUCTION_SETS` that it has, memory in bytes, system."""

    cpu: str
    cpu_family_model_stepping: str
    cores: int
    instruction_sets: list[str]
    memory: int
    system: str


def describe() -> Machine:
    """This machine."""
    information = _fields("/proc/cpuinfo")
    flags = information.get("flags", "").split()
    return {
        "cpu": information.get("model name") or platform.processor() or platform.machine(),
        "cpu_family_model_stepping": "/".join(information.get(k, "?") for k in ("cpu family", "model", "stepping")),
        "cores": usable_cores(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()}",
    }


def environment() -> dict[str, str]:
    """Versions of Python and of the packages in `PACKAGES` that are installed."""
    return {"python": platform.python_version()} | versions(PACKAGES)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in packages:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def resident() -> int:
    """Resident memory of this process in bytes; 0 where the system does not report it."""
    return _status("VmRSS")


def peak_resident() -> int:
    """Largest resident memory of this process so far, in bytes."""
    # VmHWM rather than getrusage, whose figure starts with that of the parent process.
    return _status("VmHWM") or _peak(resource.RUSAGE_SELF)


def peak_of_children() -> int:
    """Largest resident memory of any child process that has ended, in bytes."""
    return _peak(resource.RUSAGE_CHILDREN)


def _peak(who: int) -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit


def _status(name: str) -> int:
    return int(_fields("/proc/self/status").get(name, "0").split()[0]) * 1024


def _fields(path: str) -> dict[str, str]:
    """`name : value` lines of a file in /proc, the first of each name; empty if there is no such file."""
    fields: dict[str, str] = {}
    if Path(path).is_file():
        for line in Path(path).read_text().splitlines():
            name, colon, value = line.partition(":")
            if colon:
                fields.setdefault(name.strip(), value.strip())
    return fields
