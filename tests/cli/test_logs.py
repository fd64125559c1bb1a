"""The log of a command: its level, its file, and what reaches standard error."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import warnings

import pytest
from commands import run_main

from rmp_lava import hardware
from rmp_lava.cli.logs import first
from rmp_lava.errors import RmpLavaWarning


@pytest.fixture
def call(capsys):
    """Call the command line in this process: (exit code, standard error)."""
    log = logging.getLogger("rmp_lava")
    before = (log.level, list(log.handlers), log.propagate)

    def run(*arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            code = run_main(*arguments)
        return code, capsys.readouterr().err

    yield run
    for handler in log.handlers:
        handler.close()
    log.setLevel(before[0])
    log.handlers, log.propagate = before[1], before[2]


def test_a_file_gets_what_was_called_found_and_failed(call, tmp_path):
    path = tmp_path / "logs" / "a.log"
    assert call("profiles", "loihi2", "--log-file", path) == (0, "")
    assert call(f"--log-file={path}", "fit", "none.net")[0] == 2
    lines = path.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ rmp_lava[\w.]*: ", line) for line in lines)
    said = [line.split(": ", 1)[1] for line in lines]
    assert said[0] == f"rmp-lava profiles loihi2 --log-file {path}" and said[1].startswith("rmp-lava profiles took ")
    assert said[-1].startswith("none.net does not exist") and " ERROR " in lines[-1]


def test_a_log_takes_names_that_are_no_unicode(call, tmp_path):
    assert call("profiles", "--log-file", tmp_path / "a.log") == (0, "")
    logging.getLogger("rmp_lava").info("none\udcff.net")
    assert "none\\udcff.net" in (tmp_path / "a.log").read_text()


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        (None, ["warning: careful"]),
        ("error", []),
        ("info", ["info: a detail", "warning: careful"]),
        ("debug", ["debug: a trifle", "info: a detail", "warning: careful"]),
    ],
)
@pytest.mark.parametrize("way", ["option", "variable"])
def test_standard_error_gets_what_the_level_allows(call, monkeypatch, level, shown, way):
    def speak(name):
        log = logging.getLogger("rmp_lava.hardware")
        log.debug("a trifle")
        log.info("a %s", "detail")
        warnings.warn("careful", RmpLavaWarning, stacklevel=2)
        return load_profile(name)

    load_profile = hardware.load_profile
    monkeypatch.setattr(hardware, "load_profile", speak)
    if level is not None and way == "variable":
        monkeypatch.setenv("RMP_LAVA_LOG", level)
    code, text = call("profiles", "loihi2", *(["--log-level", level] if level and way == "option" else []))
    assert code == 0 and text.splitlines() == shown


def test_a_log_that_cannot_be_written_and_an_unknown_level_are_refused(call, tmp_path):
    (tmp_path / "file").write_text("")
    code, text = call("profiles", "--log-file", tmp_path / "file" / "a.log")
    assert code == 2 and text.startswith("error: ") and "cannot be written" in text
    code, text = call("profiles", "--log-level", "loud")
    assert code == 2 and "'debug', 'info', 'warning', 'error'" in text


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("run a.net --log-level debug --steps 3", "--log-level debug run a.net --steps 3"),
        ("run a.net --log-file=x.log", "--log-file=x.log run a.net"),
        ("--log-file x.log run -- --log-level", "--log-file x.log run -- --log-level"),
        ("run --log-level", "--log-level run"),
    ],
)
def test_options_of_the_log_may_follow_the_command(given, parsed):
    assert first(given.split()) == parsed.split()


COMMAND = """
import sys, rmp_lava.progress as progress
progress.FIRST, progress.EVERY, progress.LONG, progress._TICK = 0.1, 0.3, 0.0, 0.05
from rmp_lava.cli import main
main()
"""


@pytest.mark.slow
def test_a_command_with_standard_error_in_a_file_says_that_it_works_how_far_it_is_and_how_long_it_took(tmp_path):
    arguments = ["train", "digits-cnn", "--epochs", "6", "--output", "d.pt", "--json", "-"]
    with (tmp_path / "said").open("w") as said:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=said, cwd=tmp_path, timeout=300
        )
    lines = (tmp_path / "said").read_text().splitlines()
    assert done.returncode == 0 and json.loads(done.stdout)["epochs"] == 6
    assert "rmp-lava train: importing libraries" in lines
    assert any(
        re.fullmatch(r"training digits-cnn, batches: \d+ of 228 after \d+ s, about \d+ s left", line) for line in lines
    )
    assert re.fullmatch(r"rmp-lava train took \d+ s", lines[-1])
