"""Long work says how far it is where no terminal looks on, and libraries are silent unless asked."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from rmp_lava import progress
from rmp_lava.progress import Lines, Progress, duration


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def said(clock, monkeypatch):
    """Lines that are written, and the object that writes them, which ticks once a second for so many seconds."""
    monkeypatch.setattr(progress, "FIRST", 5.0)
    monkeypatch.setattr(progress, "LONG", 10.0)
    written: list[str] = []
    lines = Lines(written.append, clock)

    def wait(seconds: int) -> list[str]:
        written.clear()
        for _ in range(seconds):
            clock.now += 1
            lines.tick()
        return list(written)

    lines.wait = wait
    return lines


def test_a_line_comes_after_five_seconds_and_then_every_thirty(said, clock):
    work = Progress("images", 200, shown=True, clock=clock)
    said.begin(work)
    work.advance(10)
    assert said.wait(4) == [] and said.wait(1) == ["images: 10 of 200 after 5 s, about 95 s left"]
    work.update(50)
    assert said.wait(29) == [] and said.wait(1) == ["images: 50 of 200 after 35 s, about 2 min left"]
    said.end(work)
    assert said.idle and said.wait(100) == []


def test_how_long_it_takes_is_said_as_soon_as_that_is_known(said, clock):
    work = Progress("layers", 20, shown=True, clock=clock)
    said.begin(work)
    assert said.wait(6) == ["layers: 0 of 20 after 5 s"]
    work.advance()
    assert said.wait(1) == ["layers: 1 of 20 after 7 s, about 2 min left"]
    work.advance()
    assert said.wait(29) == [] and said.wait(1) == ["layers: 2 of 20 after 37 s, about 6 min left"]
    said.end(work)
    soon = Progress("layers", 2, shown=True, clock=clock)
    said.begin(soon)
    assert said.wait(1) == []
    soon.advance()
    assert said.wait(4) == []  # it ends before anybody could wonder


def test_short_pieces_of_one_computation_share_the_time_to_the_first_line(said, clock):
    for seconds in (3, 1):
        work = Progress("short", 10, shown=True, clock=clock)
        said.begin(work)
        assert said.wait(seconds) == []
        said.end(work)
    said.begin(Progress("third", 10, shown=True, clock=clock))
    assert said.wait(1) == ["third: 0 of 10 after 1 s"]


def test_work_that_starts_later_waits_again(said, clock):
    for _ in range(2):
        work = Progress("work", 10, shown=True, clock=clock)
        said.begin(work)
        assert said.wait(4) == []
        said.end(work)
        assert said.wait(60) == []


def test_nested_work_is_one_line_and_the_rate_leaves_out_what_was_done_before(said, clock):
    outer, inner = (Progress(name, 40, shown=True, done=20, clock=clock) for name in ("epochs", "batches"))
    said.begin(progress._Command("rmp-lava train", clock.now))
    said.begin(outer)
    said.begin(inner)
    inner.advance(10)
    # Half of the batches, and so half of the 20 epochs' first one.
    assert said.wait(5) == ["epochs: 20 of 40 after 5 s, about 3 min left; batches: 30 of 40 after 5 s, about 5 s left"]


def test_a_command_says_that_it_is_at_work_where_it_counts_nothing(said, clock):
    said.begin(progress._Command("rmp-lava report", clock.now))
    assert said.wait(35) == ["rmp-lava report: at work for 5 s", "rmp-lava report: at work for 35 s"]


@pytest.mark.parametrize(
    "seconds, words",
    [(0.2, "0 s"), (99.4, "99 s"), (99.5, "2 min"), (5970, "1 h 40 min"), (93_600, "26 h 0 min")],
)
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words


PROGRAM = """
import time, rmp_lava.progress as progress
progress.FIRST, progress.EVERY, progress._TICK = 0.1, 0.2, 0.02

def work(**options):
    with progress.Progress("counting", 10, **options) as bar:
        for _ in range(10):
            time.sleep(0.05)
            bar.advance()

def inside():
    with progress.Progress("outer", 1, shown=True):
        work()

{call}
"""


def lines_of(call: str) -> list[str]:
    """What a process writes to standard error, which is a pipe."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_process_without_a_terminal_writes_lines_while_it_works():
    first, *others = lines_of("work(shown=True)")
    assert re.fullmatch(r"counting: \d of 10 after \d s(, about \d s left)?", first) and others


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "work()",
        "work(shown=False)",
        "import logging; logging.getLogger('rmp_lava').setLevel('ERROR'); work(shown=True)",
        "import os; os.environ['RANK'] = '1'; work(shown=True)",
    ],
)
def test_libraries_quiet_levels_and_further_processes_write_nothing(call):
    assert lines_of(call) == []


@pytest.mark.slow
def test_work_within_work_that_is_shown_is_shown():
    assert any("outer: 0 of 1" in line and "; counting: " in line for line in lines_of("inside()"))


@pytest.mark.slow
def test_a_cell_of_a_notebook_shows_one_line_and_its_last_state():
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: extra [docs]")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: extra [docs]")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed: extra [docs]")
    work = PROGRAM.format(call="work(shown=True); work(shown=True)")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(work), nbformat.v4.new_code_cell("work()")])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    (shown,) = notebook.cells[0].outputs
    assert re.fullmatch(r"█{20} counting: 10 of 10 after \d+ s, about 0 s left", shown.data["text/plain"])
    assert notebook.cells[1].outputs == []
