"""What long work says on standard error: a bar on terminals, a line in notebooks, and lines elsewhere.

Where no terminal looks on, as in files of SLURM and CI, a line appears after `FIRST` seconds and then every `EVERY` seconds.
It has the time that is left, by the rate so far. The log (`rmp_lava.progress`) gets the duration of all work.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress as Bar, TaskID

FIRST = 3.0
"""Seconds after which work says that it goes on. Few, as importing PyTorch can keep other threads waiting as long again."""
EVERY = 30.0
"""Seconds between two lines."""
LONG = 10.0
"""Commands that take longer say at the end how long they took."""
_CONTINUED = 2.0
"""Seconds between two pieces of work of the same computation, which counts as one."""
_TICK = 0.5
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
        self._started = clock()
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
            self._cell.show(self.line(self._clock()))

    def line(self, now: float) -> str:
        """Units done, the time that it took, and about how long the others will take at this rate."""
        spent, done = now - self._started, self.done - self._before
        left = f", about {duration(spent * (self.total - self.done) / done)} left" if done > 0 else ""
        return f"{self.label}: {self.done:,} of {self.total:,} after {duration(spent)}{left}"

    def __enter__(self) -> Progress:
        global _depth
        self._started = self._clock()
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
            self._cell.show(self.line(self._clock()), at_once=True)
        elif self._shown:
            _end(self)
        spent = self._clock() - self._started
        level = logging.INFO if self._shown else logging.DEBUG
        log.log(level, "%s: %d of %d in %.1f s", self.label, self.done, self.total, spent)


@contextmanager
def running(label: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Say that a command goes on where nothing else does, and how long it took if that was long."""
    global _depth
    started, work = clock(), _Command(label, clock())
    _depth += 1
    terminal = sys.stderr.isatty()
    if not terminal and _wanted():
        _begin(work)
    try:
        yield
    finally:
        _depth -= 1
        if not terminal and _wanted():
            _end(work)
        spent = clock() - started
        if spent >= LONG and _wanted():
            say(f"{label} took {duration(spent)}")
        log.info("%s took %.1f s", label, spent, extra=SHOWN)


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
    """One line below a cell of a notebook, which `display` made; later lines take the place of earlier ones."""

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

    A command says something only where it has no other work.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._work: list[Progress | _Command] = []
        self._due = self._ended = float("-inf")

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
        now = self._clock()
        if self._work and now >= self._due:
            self._due = now + EVERY
            parts = [each for each in self._work if isinstance(each, Progress)] or self._work
            self._write("; ".join(each.line(now) for each in parts))


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
