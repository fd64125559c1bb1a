"""The clock of all measurements. Imports the standard library only, as the environments of the peers do too."""

from __future__ import annotations

import time
from collections.abc import Callable


def repeated(call: Callable[[], object], least_seconds: float, *, cpu: bool = False) -> list[float]:
    """Seconds of each of the calls that it takes to fill `least_seconds`; `cpu`: of this process, not those that pass."""
    clock = time.process_time if cpu else time.perf_counter
    seconds: list[float] = []
    while sum(seconds) < least_seconds:
        started = clock()
        call()
        seconds.append(clock() - started)
    return seconds
