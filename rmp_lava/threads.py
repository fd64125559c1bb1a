"""How many threads PyTorch takes, and how idle ones wait. Imports the standard library only, unless it limits threads.

OpenMP's threads spin for milliseconds after each parallel region. Next to a busy process they take the time that the working
ones need: a run can take five times as long. Passive waiting costs some microseconds per region instead. OpenMP reads its
environment when PyTorch is loaded, so `import rmp_lava` comes first, or the variables are set outside.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""GNU's OpenMP reads the first, LLVM's and Intel's both."""
_WAITING_OF_USER = (*_WAITING, "GOMP_SPINCOUNT", "KMP_LIBRARY")
_COUNT = "OMP_NUM_THREADS"
_settled: dict[str, str] = {}


def settle(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set passive waiting, and the number of threads where OpenMP would start more than `usable_cores`; never over the user's."""
    if not any(name in environment for name in _WAITING_OF_USER):
        _settled.update(_WAITING)
    cores = usable_cores(environment)
    if _COUNT not in environment and cores < _affinity():
        _settled[_COUNT] = str(cores)
    environment.update(_settled)


def of_user(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without what `settle` has set, for child processes that choose for themselves."""
    return {name: value for name, value in environment.items() if _settled.get(name) != value}


def usable_cores(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Cores that this process may use, at least 1: by affinity, quota of its control groups, and Slurm's allocation.

    Sources: cgroups(7); `cpu.max` of the kernel's cgroup-v2.rst, `cpu.cfs_quota_us` of its sched-bwc.rst; sbatch(1).

    Parameters
    ----------
    root : pathlib.Path
        Where `proc` and `sys` are.
    """
    limits = [float(_affinity()), *_quotas(root)]
    allocated = environment.get("SLURM_CPUS_PER_TASK", "")
    if allocated.isdecimal():
        limits.append(int(allocated))
    return max(1, math.ceil(min(limits)))


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """PyTorch with at most so many threads, of this thread's calls: one where their work is too small to share."""
    import torch

    before = torch.get_num_threads()
    if before <= threads:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _quotas(root: Path) -> tuple[float, ...]:
    """Cores that each control group above this process is allowed, where it has a limit; read once, as each run asks."""
    found = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        folder = root / "sys/fs/cgroup" / controllers  # version 2 has no controllers here
        if not folder.is_dir():
            folder = folder.with_name("cpu")
        # A limit holds for all groups below. In a container the path may be that of the host, and only the root exists.
        for group in (folder / path.lstrip("/"), *(folder / path.lstrip("/")).parents):
            if not group.is_relative_to(folder):
                break
            quota, period = _limit(group)
            if quota > 0 and period > 0:
                found.append(quota / period)
    return tuple(found)


def _limit(group: Path) -> tuple[int, int]:
    """(quota, period) in microseconds; (0, 0) where there is none."""
    words = " ".join(_lines(group / "cpu.max")).split() or [
        *_lines(group / "cpu.cfs_quota_us"),
        *_lines(group / "cpu.cfs_period_us"),
    ]
    if len(words) == 2 and all(word.isdecimal() for word in words):  # "max" and -1: no limit
        return int(words[0]), int(words[1])
    return 0, 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
