"""What long work says on standard error: a bar on terminals and in notebooks, and lines elsewhere.

Where no terminal looks on, as in files of SLURM and CI, a line appears before large libraries are imported, after `FIRST`
seconds, as soon as a rate tells how long the work will take, and then every `EVERY` seconds. The log (`rmp_lava.progress`) gets
the duration of all work.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.abc import MetaPathFinder
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bar, TaskID

FIRST = 3.0
"""Seconds after which work says that it goes on, and of measuring a rate."""
EVERY = 30.0
"""Seconds between two lines."""
LONG = 10.0
"""Commands that take longer say at the end how long they took."""
_CONTINUED = 2.0
"""Seconds between two pieces of work of the same computation, which counts as one."""
_TICK = 0.5
_WIDTH = 20
_HEAVY = {"torch", "numba", "scipy", "matplotlib", "lava"}
SHOWN = {"shown": True}
"""Marks records of the log that are on standard error already."""

log = logging.getLogger(__name__)
_depth = 0
"""How many pieces of work are shown, one inside the other."""


class Progress:
    """How far some work is, shown on standard error while it lasts; a context manager.

    label : What is in progress.
    total : Number of units.
    shown : False: never show it. None: if it is part of work that is shown; all work of a command is.
    done : Units that were done before.
    clock : Seconds, from any beginning.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        shown: bool | None = None,
        done: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label, self.total, self.done = label, total, done
        self._shown = (_depth > 0 if shown is None else shown) and _wanted()
        self._clock, self._before = clock, done
        self.started = clock()
        self._bar: Bar | None = None
        self._cell = _cell() if self._shown else None

    def advance(self, units: int = 1) -> None:
        """Add units to those done."""
        self.update(self.done + units)

    def update(self, done: int) -> None:
        """Set the number of units done."""
        self.done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
        elif self._cell is not None:
            self._cell.show(self._drawn())

    def line(self, now: float, part: float = 0.0) -> str:
        """Units done, the time that it took, and about how long the others will take at this rate; `part` of one more is done."""
        left = self.left(now, part)
        words = "" if left is None else f", about {duration(left)} left"
        return f"{self.label}: {self.done:,} of {self.total:,} after {duration(now - self.started)}{words}"

    def left(self, now: float, part: float = 0.0) -> float | None:
        """Seconds that the other units will take at the rate so far; None while there is none."""
        done = self.done + part - self._before
        return (now - self.started) * (self.total - self.done - part) / done if done > 0 else None

    def share(self, part: float) -> float:
        """Of the units that it began with, those that are done, and `part` of one more; 0 to 1."""
        return min(1.0, (self.done + part - self._before) / max(1, self.total - self._before))

    def _drawn(self) -> str:
        """A bar and the line, for notebooks."""
        full = round(_WIDTH * min(1.0, self.done / max(1, self.total)))
        return f"{'█' * full}{'░' * (_WIDTH - full)} {self.line(self._clock())}"

    def __enter__(self) -> Progress:
        global _depth
        self.started = self._clock()
        _depth += self._shown
        if self._shown and self._cell is None and sys.stderr.isatty():
            self._bar = _bars.open()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done)
        elif self._cell is None and self._shown:
            _begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _depth
        _depth -= self._shown
        if self._bar is not None:
            _bars.close(self._task)
        elif self._cell is not None:
            self._cell.show(self._drawn(), at_once=True)
        elif self._shown:
            _end(self)
        spent = self._clock() - self.started
        level = logging.INFO if self._shown else logging.DEBUG
        log.log(level, "%s: %d of %d in %.1f s", self.label, self.done, self.total, spent)


@contextmanager
def running(label: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Say that a command goes on where nothing else does, and how long it took if that was long."""
    global _depth
    started, work = clock(), _Command(label, clock())
    _depth += 1
    terminal, finder = sys.stderr.isatty(), _BeforeLibraries(label)
    if not terminal and _wanted():
        _begin(work)
        if not sys.modules.keys() & _HEAVY:
            sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        _depth -= 1
        with suppress(ValueError):
            sys.meta_path.remove(finder)
        if not terminal and _wanted():
            _end(work)
        spent = clock() - started
        if spent >= LONG and _wanted():
            say(f"{label} took {duration(spent)}")
        log.info("%s took %.1f s", label, spent, extra=SHOWN)


class _BeforeLibraries(MetaPathFinder):
    """Finds nothing, but says that a command has begun when it imports libraries, which keeps other threads from speaking."""

    def __init__(self, label: str) -> None:
        self._label, self._silent = label, True

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if self._silent and name in _HEAVY:
            self._silent = False  # stays in `sys.meta_path` until the end, because Python iterates over it now
            say(f"{self._label}: importing libraries")


class _Command:
    def __init__(self, label: str, started: float) -> None:
        self._label, self._started = label, started

    def line(self, now: float) -> str:
        return f"{self._label}: at work for {duration(now - self._started)}"


class _Bars:
    """The bars of a terminal, one below the other where one piece of work is part of another."""

    def __init__(self) -> None:
        self._shown: Bar | None = None
        self._count = 0

    def open(self) -> Bar:
        if self._shown is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn, TimeRemainingColumn

            self._shown = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._shown.start()
        self._count += 1
        return self._shown

    def close(self, task: TaskID) -> None:
        assert self._shown is not None
        self._count -= 1
        self._shown.remove_task(task)
        if not self._count:
            self._shown.stop()
            self._shown = None


_bars = _Bars()


class Cell:
    """A bar below a cell of a notebook, which `display` made; later lines take the place of earlier ones."""

    def __init__(self, count: int, display: Callable[..., Any]) -> None:
        self.count, self._last = count, time.monotonic()
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)

    def show(self, line: str, *, at_once: bool = False) -> None:
        now = time.monotonic()
        if at_once or now - self._last >= _TICK:
            self._last = now
            self._handle.update({"text/plain": line}, raw=True)


_last_cell: Cell | None = None


def _cell() -> Cell | None:
    """The line of the cell that runs; None outside notebooks."""
    global _last_cell
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):  # IPython in a terminal has none
        return None
    if _last_cell is None or _last_cell.count != shell.execution_count:
        from IPython.display import display

        _last_cell = Cell(shell.execution_count, display)
    return _last_cell


class Lines:
    """Decides when a line is due, and writes what all work says, outermost first; `tick` is called often.

    A command says something only where it has no other work. Work inside other work is part of one of its units.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._work: list[Progress | _Command] = []
        self._due = self._ended = float("-inf")
        self._announced: Progress | None = None

    @property
    def idle(self) -> bool:
        return not self._work

    def begin(self, work: Progress | _Command) -> None:
        now = self._clock()
        if self.idle and now - self._ended > _CONTINUED:
            self._due = now + FIRST
        self._work.append(work)

    def end(self, work: Progress | _Command) -> None:
        self._work.remove(work)
        self._ended = self._clock()

    def tick(self) -> None:
        now, part = self._clock(), 0.0
        counted = [each for each in self._work if isinstance(each, Progress)]
        lines = [] if counted else [each.line(now) for each in self._work if isinstance(each, _Command)]
        known = False  # how long the outermost will take
        for work in reversed(counted):
            lines.insert(0, work.line(now, part))
            known = now - work.started >= FIRST and (work.left(now, part) or 0) >= LONG
            part = work.share(part)
        if lines and (now >= self._due or known and counted[0] is not self._announced):
            self._due = now + EVERY
            self._announced = counted[0] if known else self._announced
            self._write("; ".join(lines))


def duration(seconds: float) -> str:
    """About so much time: "8 s", "3 min", "2 h 10 min"."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def say(line: str) -> None:
    """Write a line to standard error, and to the log."""
    with suppress(OSError, ValueError):  # closed, or a full disk: no reason to end the work
        print(line, file=sys.stderr, flush=True)
    log.info("%s", line, extra=SHOWN)


def _wanted() -> bool:
    """Whether this process speaks: not where a log level silences it, and of torchrun's processes only the first."""
    return log.getEffectiveLevel() <= logging.WARNING and os.environ.get("RANK", "0") == "0"


_lines = Lines(say)
_lock = threading.Lock()
_thread: threading.Thread | None = None


def _begin(work: Progress | _Command) -> None:
    global _thread
    with _lock:
        _lines.begin(work)
        if _thread is None:
            _thread = threading.Thread(target=_tick, name="rmp-lava progress", daemon=True)
            _thread.start()


def _end(work: Progress | _Command) -> None:
    with _lock:
        _lines.end(work)


def _tick() -> None:
    global _thread
    while True:
        time.sleep(_TICK)
        with _lock:
            if _lines.idle:
                _thread = None
                return
            _lines.tick()
