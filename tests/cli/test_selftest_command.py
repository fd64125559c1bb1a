"""The command `selftest`: what it prints, its file, exit codes, and errors of one sentence."""

from __future__ import annotations

import json
from functools import partial

import pytest

from rmp_lava.backends.circuit import Recording
from rmp_lava.backends.lava import simulator
from rmp_lava.errors import BackendError
from rmp_lava.selftest import execute
from rmp_lava.selftest.model import predict


@pytest.fixture
def call(call):
    return partial(call, "selftest")


class Predicting:
    """Plain integers in the place of Lava, so that what is printed can be looked at on any Python."""

    def __init__(self, backend, board, leak):
        self.backend, self.board, self.leak = backend, board, leak

    def circuit(self, circuit, time_limit):
        return predict(circuit)


class Leaking(Predicting):
    def circuit(self, circuit, time_limit):
        cells = {cells.name: 0 for cells in circuit.cells if cells.du == -1}
        for name, du in cells.items():
            circuit = circuit.with_cells(name, du=du)
        return predict(circuit)


class Hanging(Predicting):
    def circuit(self, circuit, time_limit):
        raise BackendError(f"Lava did not finish within the time limit of {time_limit:g} s")


@pytest.fixture
def on(monkeypatch):
    """Let an executor take the place of Lava."""

    def use(executor):
        monkeypatch.setattr(simulator, "availability", lambda: None)
        monkeypatch.setattr(execute, "Executor", executor)

    return use


SMALL = ("--only", "wiring", "--only", "du = -1", "--only", "dv = 4096")


def test_passing_rungs_are_a_table_and_exit_code_0(call, on):
    on(Predicting)
    code, output, error = call(*SMALL)
    assert code == 0 and error == ""
    assert output.count("│ passed │") == 3 and "whether u decays" in output
    assert output.rstrip().endswith("3 of 3 rungs passed (simulated, never run on hardware).")


def test_a_difference_is_explained_and_stops_the_ladder_with_exit_code_1(call, on, tmp_path):
    on(Leaking)
    code, output, error = call(*SMALL, "--json", tmp_path / "result.json")
    assert code == 1 and error == ""
    text = " ".join(output.split())
    assert "Rung 'du = -1' differs. Step 16, cell[0]: no spike, expected a spike." in text
    assert (
        "It means: du = -1 is taken as 0: u loses 1/4096 in each step. Try: the decay's added bit is always set" in text
    )
    assert "1 of 3 rungs passed" in text and "not run" in text
    found = json.loads((tmp_path / "result.json").read_text())
    assert not found["passed"] and [rung["verdict"] for rung in found["rungs"]] == ["passed", "differs", "not run"]
    assert found["rungs"][1]["difference"]["step"] == 16


def test_keep_going_runs_the_rest(call, on):
    on(Leaking)
    code, output, _ = call(*SMALL, "--keep-going")
    assert code == 1 and "2 of 3 rungs passed" in output and "not run" not in output


def test_a_rung_that_hangs_is_one_sentence_in_the_end(call, on):
    on(Hanging)
    code, output, _ = call("--only", "wiring", "--time-limit", "7")
    assert code == 1
    assert "Rung 'wiring' did not run to its end: Lava did not finish within the time limit of 7 s" in output


def test_a_ladder_that_is_broken_off_leaves_what_is_known(call, on, tmp_path):
    class Interrupted(Predicting):
        def circuit(self, circuit, time_limit):
            if circuit.cells[0].du == -1:
                raise KeyboardInterrupt
            return predict(circuit)

    on(Interrupted)
    assert call(*SMALL, "--json", tmp_path / "result.json")[0] == 130
    found = json.loads((tmp_path / "result.json").read_text())
    assert [rung["verdict"] for rung in found["rungs"]] == ["passed", "not run", "not run"] and not found["passed"]


def test_leak_is_expected_where_the_option_says_so(call, on, tmp_path):
    on(Predicting)
    code, output, _ = call(*SMALL, "--leak", 1, "--json", tmp_path / "result.json")
    assert code == 0 and "3 of 3 rungs passed" in output
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["leak"] == 1 and found["rungs"][1]["circuit"]["cells"][0]["du"] == 0
    assert found["rungs"][1]["found"]["spikes"] == {"cell": [[4, 7, 10, 13, 17, 21]]}


def test_json_on_standard_output_is_nothing_but_json(call, on):
    on(Predicting)
    code, output, error = call("--only", "wiring", "--json", "-")
    found = json.loads(output)
    assert code == 0 and found["passed"] and found["rungs"][0]["found"]["spikes"] == {"cells": [[3], [6], [8, 9]]}
    assert "1 of 1 rungs passed" in error


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--only", "wirring"), "rung 'wirring' is unknown; choose from 'wiring'"),
        (
            ("--partition", "oheogulch"),
            "SLURM partition oheogulch is for backend 'loihi2'; leave it out for backend 'lava'",
        ),
        (("--partition", "a", "--node", "b"), "pass only one of them"),
        (("--time-limit", "0"), "time limit is 0.0; it must be a positive"),
        (("--time-limit", "nan"), "time limit is nan; it must be a positive"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(call, on, arguments, found):
    on(Predicting)
    code, _, error = call(*arguments)
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and found in error


def test_a_board_that_is_not_there_is_refused_and_nothing_else_runs(call, on):
    on(Predicting)
    code, output, error = call("--backend", "loihi2", "--only", "wiring")
    assert code == 2 and output == "" and error.count("\n") == 1
    assert error.startswith("error: backend 'loihi2' cannot run the self-test: ")


def test_a_board_that_cannot_be_asked_for_is_refused_before_any_rung(call, monkeypatch):
    monkeypatch.setattr(execute.loihi2, "availability", lambda: None)
    monkeypatch.setenv("PATH", "/nowhere")
    code, output, error = call("--backend", "loihi2", "--partition", "oheogulch")
    assert code == 2 and output == "" and error.count("\n") == 1
    assert "sinfo is not installed here, so SLURM cannot be asked for Loihi 2 N3B3, SLURM partition oheogulch" in error


def test_missing_lava_is_refused(call, monkeypatch):
    monkeypatch.setattr(simulator, "availability", lambda: "Lava is not installed; install it")
    code, output, error = call("--only", "wiring")
    assert code == 2 and output == ""
    assert error == "error: backend 'lava' cannot run the self-test: Lava is not installed; install it\n"


def test_a_recording_that_lacks_a_population_is_a_failed_rung(call, on):
    class Silent(Predicting):
        def circuit(self, circuit, time_limit):
            return Recording({})

    on(Silent)
    code, output, _ = call("--only", "wiring")
    assert code == 1 and "recorded nothing of 'cells'" in " ".join(output.split())
