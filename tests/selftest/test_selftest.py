"""The ladder: what it expects is right, what it runs is what it describes, and a fault in any rung is found and explained."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from rmp_lava.backends import Reference, loihi2, run
from rmp_lava.backends.circuit import Circuit, Recording
from rmp_lava.backends.lava.session import run_circuit
from rmp_lava.errors import BackendError, UsageError
from rmp_lava.network import Conv
from rmp_lava.selftest import execute
from rmp_lava.selftest.execute import Executor, executor_for
from rmp_lava.selftest.ladder import RungResult, circuits, climb, ladder, passed, summary
from rmp_lava.selftest.model import DOCUMENTED, predict
from rmp_lava.selftest.network_rungs import FULL, digits, vgg16
from rmp_lava.selftest.rung import Rung, bursts
from rmp_lava.selftest.verdict import SPIKES, STATE, explain, first_difference

CIRCUITS = {rung.name: rung for rung in circuits()}
by_circuit = pytest.mark.parametrize("name", CIRCUITS)


def same_spikes(rung: Rung, one: Recording, other: Recording) -> bool:
    return all(np.array_equal(one.spikes[name], other.spikes[name]) for name in rung.expected.spikes)


def prediction(rung: Rung, suspect) -> Recording:
    return predict(suspect.circuit or rung.subject, suspect.rules)


class Replaying:
    """Returns earlier recordings, and for other rungs what is expected. Neither a chip nor a simulator."""

    backend = "replay"
    board = None
    leak = 0

    def __init__(self, **recordings) -> None:
        self.recordings = recordings
        self.asked: list[Circuit] = []

    def circuit(self, circuit, time_limit):
        self.asked.append(circuit)
        rung = next(rung for rung in self.rungs if rung.subject is circuit)
        found = self.recordings.get(rung.name.replace(" ", "_"), rung.expected)
        if isinstance(found, BackendError):
            raise found
        return found


# --- what is expected


@by_circuit
def test_expectations_follow_from_the_documented_rules(name):
    # Written out by hand on one side, step by step in plain integers on the other.
    rung = CIRCUITS[name]
    found = predict(rung.subject)
    for population, spikes in rung.expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[population], spikes, err_msg=population)
    for population, u in rung.expected.currents.items():
        np.testing.assert_array_equal(found.currents[population], u, err_msg=population)


@by_circuit
def test_each_suspect_is_detectable_and_differs_from_the_others(name):
    # By spikes alone: the states of a chip may not be readable.
    rung = CIRCUITS[name]
    assert rung.suspects
    known = [("expected", rung.expected)]
    for suspect in rung.suspects:
        found = prediction(rung, suspect)
        assert not [other for other, each in known if same_spikes(rung, each, found)], suspect.means
        known.append((suspect.means, found))


@by_circuit
def test_weights_are_what_a_synapse_can_represent(name):
    # Otherwise Lava rounds them, and the rung tests the rounding.
    for connection in CIRCUITS[name].subject.connections:
        weight = connection.weight
        mixed = weight.min() < 0 < weight.max()
        assert np.abs(weight).max() <= (256 if mixed else 255) and 0 <= connection.exponent <= 7
        assert not mixed or not (weight % 2).any()


@by_circuit
def test_every_population_is_connected_to_the_others(name):
    # Lava runs only what is connected with the Process that is started: the rest would silently do nothing.
    circuit = CIRCUITS[name].subject
    reached = {circuit.cells[0].name}
    for _ in circuit.connections:
        for each in circuit.connections:
            if {each.source, each.target} & reached:
                reached |= {each.source, each.target}
    assert reached == {part.name for part in (*circuit.lines, *circuit.cells)}


@by_circuit
def test_a_circuit_survives_its_way_into_the_worker(name):
    circuit = CIRCUITS[name].subject
    again = pickle.loads(pickle.dumps(circuit))
    assert json.dumps(again.summary()) == json.dumps(circuit.summary())
    assert again.cells == circuit.cells


def test_names_are_unique_and_each_rung_has_its_texts():
    assert len(CIRCUITS) == len(circuits())
    for rung in CIRCUITS.values():
        for text in (rung.tests, rung.reason, rung.means, rung.remedy, *(s.means for s in rung.suspects)):
            assert text and not text.endswith(".")


def test_bursts_are_spiked_off_a_threshold_at_a_time():
    assert bursts(6, 2, 10, np.array([10, 11, 31, -5])).T.tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


# --- explanations


@by_circuit
def test_each_suspect_is_named_when_a_recording_shows_it(name):
    rung = CIRCUITS[name]
    for suspect in rung.suspects:
        found = prediction(rung, suspect)
        for recording in (found, Recording(found.spikes)):  # states may not be readable
            difference = first_difference(rung, rung.expected, recording)
            (explanation,) = explain(rung, rung.expected, recording, difference)
            assert (explanation.means, explanation.remedy) == (suspect.means, suspect.remedy)


@by_circuit
def test_what_no_suspect_explains_is_not_explained_by_one(name):
    rung = CIRCUITS[name]
    spikes = {population: 1 - each for population, each in rung.expected.spikes.items()}
    difference = first_difference(rung, rung.expected, Recording(spikes))
    (explanation,) = explain(rung, rung.expected, Recording(spikes), difference)
    assert explanation.means == f"{rung.means}; no known cause explains how" and explanation.remedy == rung.remedy


def test_the_first_difference_is_the_earliest_of_all_populations():
    rung = CIRCUITS["always on"]
    spikes = {name: each.copy() for name, each in rung.expected.spikes.items()}
    spikes["always"][9, 1] = 0
    spikes["soft"][4, 0] = 0
    difference = first_difference(rung, rung.expected, Recording(spikes, rung.expected.currents))
    assert (difference.population, difference.neuron, difference.step) == ("soft", (0,), 5)
    assert str(difference) == "step 5, soft[0]: no spike, expected a spike"
    assert difference.what == SPIKES and difference.sample is None


def test_a_state_is_compared_where_spikes_are_correct():
    rung = CIRCUITS["du = -1"]
    difference = first_difference(rung, rung.expected, Recording(rung.expected.spikes, {"cell": np.array([6399])}))
    assert difference.what == STATE and (difference.expected, difference.found) == (6400, 6399)
    assert "is 6399, expected 6400" in str(difference)
    assert first_difference(rung, rung.expected, Recording(rung.expected.spikes)) is None


@pytest.mark.parametrize("spikes", [{}, {"cell": np.zeros((23, 1), int)}])
def test_a_recording_of_another_shape_is_an_error(spikes):
    rung = CIRCUITS["du = -1"]
    with pytest.raises(BackendError, match="rung 'du = -1' recorded .* of 'cell', expected spikes of shape"):
        first_difference(rung, rung.expected, Recording(spikes))


# --- the ladder


def climbed(replaying: Replaying, **options):
    replaying.rungs = list(CIRCUITS.values())[:4]
    return list(climb(replaying.rungs, replaying, **options))


def test_the_ladder_stops_at_the_first_difference():
    rung = CIRCUITS["du = -1"]
    results = climbed(Replaying(**{"du_=_-1": prediction(rung, rung.suspects[1])}))
    assert [result.verdict for result in results] == ["passed", "differs", "not run", "not run"]
    assert not passed(results) and results[1].explanations[0].means == rung.suspects[1].means


def test_the_ladder_continues_with_keep_going():
    rung = CIRCUITS["du = -1"]
    results = climbed(Replaying(**{"du_=_-1": prediction(rung, rung.suspects[1])}), keep_going=True)
    assert [result.verdict for result in results] == ["passed", "differs", "passed", "passed"]
    assert not passed(results)


def test_a_rung_that_cannot_run_stops_the_ladder_too():
    results = climbed(Replaying(wiring=BackendError("the board hangs")))
    assert [result.verdict for result in results] == ["failed", "not run", "not run", "not run"]
    assert results[0].error == "the board hangs"


def test_the_summary_holds_what_a_report_needs():
    rung = CIRCUITS["du = -1"]
    replaying = Replaying(**{"du_=_-1": prediction(rung, rung.suspects[0])})
    results = climbed(replaying)
    found = json.loads(json.dumps(summary(replaying.rungs, results, replaying), allow_nan=False))
    assert found["backend"] == "replay" and found["board"] is None
    assert found["on_hardware"] is False and found["passed"] is False
    assert {"python", "system", "lava-nc", "lava-loihi", "numpy"} <= set(found["versions"])
    wiring, persists, *_ = found["rungs"]
    assert wiring["expected"] == wiring["found"] == {"spikes": {"cells": [[3], [6], [8, 9]]}, "u": wiring["found"]["u"]}
    assert persists["expected"]["spikes"] == {"cell": [[4, 7, 10, 13, 16, 19, 22]]}
    assert persists["found"]["spikes"] == {"cell": [[]]} and persists["execution"] == "plain integers"
    assert persists["difference"]["step"] == 4 and persists["explanations"][0]["means"] == rung.suspects[0].means
    assert persists["circuit"]["cells"][0]["du"] == -1


def test_the_summary_names_the_board_even_if_nothing_was_returned():
    # If a board hangs, the first rung's error is all that there is.
    rung = CIRCUITS["wiring"]
    failed = RungResult(rung, "failed", error="the board hangs")
    found = summary([rung], [failed], Executor("loihi2", loihi2.Board(node="og-1")))
    assert found["board"] == "Loihi 2 N3B3, SLURM node og-1" and found["on_hardware"] is False


def test_a_summary_of_an_unfinished_ladder_has_not_passed():
    rungs = list(CIRCUITS.values())[:2]
    replaying = Replaying()
    replaying.rungs = rungs
    found = summary(rungs, [next(climb(rungs, replaying))], replaying)
    assert [rung["verdict"] for rung in found["rungs"]] == ["passed", "not run"] and found["passed"] is False


def test_rungs_are_chosen_by_name_in_the_ladder_s_order():
    assert [rung.name for rung in ladder(["dense", "wiring"])] == ["wiring", "dense"]
    with pytest.raises(UsageError, match="full is for rung 'vgg16'"):
        ladder(["wiring"], full=True)
    with pytest.raises(UsageError, match="rung 'wirring' is unknown; choose from 'wiring', .*'vgg16'"):
        ladder(["wirring"])


# --- a board whose membranes lose 1/4096 per step

LEAKING = {name: rung.leaking() for name, rung in CIRCUITS.items()}
by_leaking_circuit = pytest.mark.parametrize("name", [name for name in CIRCUITS if LEAKING[name] is not CIRCUITS[name]])


def test_spikes_with_leak_are_those_computed_by_hand():
    # u is 6400 in step 2 and loses 2 (in 1/64) per step; v sums it and exceeds 299 * 64 = 19,136 after three steps, from step
    # 14 on (6376 + 6374 + 6372) only after four.
    rung = LEAKING["du = -1"]
    assert [cells.du for cells in rung.subject.cells] == [0]
    assert (np.flatnonzero(rung.expected.spikes["cell"]) + 1).tolist() == [4, 7, 10, 13, 17, 21]
    assert rung.expected.currents["cell"].tolist() == [6400 - 2 * 22]
    assert "never decays" not in rung.tests and "loses 1/4096" in rung.reason


@by_leaking_circuit
def test_leaks_change_membranes_only_and_suspects_stay_apart(name):
    rung, plain = LEAKING[name], CIRCUITS[name]
    assert rung.suspects and set(rung.expected.spikes) >= set(plain.expected.spikes)
    for leaking, cells in zip(rung.subject.cells, plain.subject.cells, strict=True):
        assert leaking == (replace(cells, du=0) if cells.du == -1 else cells)
    found = [rung.expected, *(prediction(rung, suspect) for suspect in rung.suspects)]
    assert not any(same_spikes(rung, one, two) for i, one in enumerate(found) for two in found[:i])
    for suspect, recording in zip(rung.suspects, found[1:], strict=True):
        difference = first_difference(rung, rung.expected, recording)
        assert explain(rung, rung.expected, recording, difference)[0].means == suspect.means


def test_a_board_that_does_not_leak_is_explained():
    rung = LEAKING["du = -1"]
    difference = first_difference(rung, rung.expected, CIRCUITS["du = -1"].expected)
    (explanation,) = explain(rung, rung.expected, CIRCUITS["du = -1"].expected, difference)
    assert "does not decay" in explanation.means and "without --leak" in explanation.remedy


def test_the_ladder_and_the_executors_take_the_leak(monkeypatch):
    assert [rung.subject.cells[0].du for rung in ladder(["du = -1", "bias"], leak=1)] == [0, 4095]
    monkeypatch.setattr(execute.simulator, "availability", lambda: None)
    monkeypatch.setattr(execute.loihi2, "availability", lambda: None)
    monkeypatch.setattr(execute.loihi2, "unreachable", lambda board: None)
    board = loihi2.Board(node="og-1", leak=1)
    assert [executor_for("lava", None, leak).leak for leak in (None, 0, 1)] == [0, 0, 1]
    assert [executor_for("loihi2", board, leak).board.leak for leak in (None, 0, 1)] == [1, 0, 1]
    assert summary([], [], executor_for("loihi2", board))["leak"] == 1


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.parametrize("name", ["du = -1", "self-synapse", "reset", "conv"])
def test_a_leaking_circuit_passes_on_lava(name):
    (result,) = climb([LEAKING[name]], Executor("lava", leak=1), time_limit=120)
    assert result.verdict == "passed", (result.error, str(result.difference))
    for population, u in result.expected.currents.items():
        np.testing.assert_array_equal(result.found.currents[population], u, err_msg=population)


@pytest.mark.lava
@pytest.mark.slow
def test_a_leaking_network_passes_on_lava():
    rung = digits().leaking()
    plain, expected = digits().expectation(), rung.expectation()
    assert any((plain.currents[name] != u).any() for name, u in expected.currents.items())
    (result,) = climb([rung], Executor("lava", leak=1), time_limit=300)
    assert result.verdict == "passed", (result.error, str(result.difference))


# --- networks


def networks(name: str) -> Rung:
    return {"digits": digits, "vgg16": vgg16}[name]()


@pytest.fixture(scope="module", params=["digits", "vgg16"])
def network_rung(request) -> Rung:
    return networks(request.param)


@pytest.mark.slow
def test_networks_stay_within_the_range_of_stock_neurons(network_rung):
    assert_within_range(network_rung)


@pytest.mark.slow
def test_the_full_vgg16_does_too():
    assert_within_range(vgg16(FULL))


def assert_within_range(rung: Rung) -> None:
    """No potential wraps, none crosses into the next sample, each layer spikes: otherwise a correct chip would differ."""
    trial = rung.subject
    found = run(trial.network, trial.images, trial.steps, Reference("stock"), power_of_two=True)
    assert not any(found.large_inputs.values()) and not any(found.boundary_spikes.values())
    period = found.schedule.period
    assert period & (period - 1) == 0
    silent = [
        layer.name for layer in trial.network if layer.neurons.reset != "none" and not found.spike_counts[layer.name]
    ]
    assert not silent


def changed_layer(rung: Rung, index: int, change) -> Rung:
    """The rung on a network with one layer changed; what is expected stays."""
    network = rung.subject.network
    layers = list(network.layers)
    layers[index] = change(layers[index])
    faulty = network.replace(layers=tuple(layers))
    return replace(rung, subject=replace(rung.subject, network=faulty), expected=rung.expectation())


def with_weight(layer, change):
    synapse, *others = layer.synapses
    weight = synapse.weight.copy()
    change(weight)
    return layer.replace(synapses=(synapse.replace(weight=weight), *others))


def zero_half(weight):
    weight[:, : weight.shape[1] // 2 + 1] = 0


FAULTS = {
    "weights": lambda layer: with_weight(layer, zero_half),
    "threshold": lambda layer: layer.replace(neurons=layer.neurons.replace(threshold=layer.neurons.threshold * 2)),
    "v_init": lambda layer: layer.replace(neurons=layer.neurons.replace(v_init=layer.neurons.threshold)),
}


def explained(rung: Rung, found: Recording):
    expected = rung.expectation()
    difference = first_difference(rung, expected, found)
    return difference, explain(rung, expected, found, difference)[0]


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1, -2])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_layer_is_named(network_rung, fault, index):
    layer = network_rung.subject.network.layers[index]
    faulty = changed_layer(network_rung, index, FAULTS[fault])
    difference, explanation = explained(faulty, faulty.subject.expectation())
    assert difference.population == layer.name and difference.sample == 0
    if "first one that differs" in explanation.means:
        assert (
            f"layer {layer.name!r} ({'conv' if isinstance(layer.synapses[0], Conv) else 'dense'}, " in explanation.means
        )
        sources = ", ".join(repr(synapse.source) for synapse in layer.synapses)
        assert f"from {sources} is correct" in explanation.means
    else:  # some of these faults only delay
        assert f"layer {layer.name!r} spikes one step" in explanation.means


def test_a_late_layer_and_a_wrong_sample_are_distinguished():
    rung = digits()
    expected = rung.expectation()
    rung = replace(rung, expected=expected)
    late = {
        name: np.roll(each, 1, axis=1) * (np.arange(each.shape[1]) > 0).reshape(1, -1, *[1] * (each.ndim - 2))
        for name, each in expected.spikes.items()
    }
    assert explained(rung, Recording(late))[1].means == "layer 'conv' spikes one step late"
    second = {name: each.copy() for name, each in expected.spikes.items()}
    second["block1.conv1"][1, 5] ^= 1
    difference, explanation = explained(rung, Recording(second))
    assert str(difference).startswith("step 6, block1.conv1[0, 0, 0] of sample 1: ")
    assert explanation.means.startswith("sample 0 is correct but sample 1 is not, from layer 'block1.conv1' on")
    potentials = {**expected.currents, "dense": expected.currents["dense"] + 1}
    assert "final potential of layer 'dense' is not" in explained(rung, Recording(expected.spikes, potentials))[1].means


# --- on Lava


@pytest.fixture(scope="module")
def lava() -> Executor:
    return Executor("lava")


@pytest.mark.lava
@pytest.mark.slow
@by_circuit
def test_a_circuit_passes_on_lava(lava, name):
    (result,) = climb([CIRCUITS[name]], lava, time_limit=120)
    assert result.verdict == "passed", (result.error, str(result.difference))
    # Every recorded state too, not only those that the rung compares.
    model = predict(CIRCUITS[name].subject)
    for population, u in model.currents.items():
        np.testing.assert_array_equal(result.found.currents[population], u, err_msg=population)


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.parametrize("name", ["wiring", "bias", "pulse", "reset", "boundary", "conv"])
def test_a_circuit_gives_the_same_through_adapters(name):
    # With the timing of a board, whose adapters take a step each; resets and biases are delayed too.
    rung = CIRCUITS[name]
    found = run_circuit(rung.subject, 120, "adapted")
    assert "adapters as delays" in found.execution
    assert first_difference(rung, rung.expected, Recording(found.spikes)) is None


@pytest.mark.lava
def test_a_board_without_lava_loihi_is_an_error_in_the_worker_too():
    if loihi2.availability() is None:
        pytest.skip("lava-loihi is here")
    with pytest.raises(BackendError, match="Lava failed: .*lava-loihi"):
        run_circuit(CIRCUITS["wiring"].subject, 60, "loihi2", loihi2.Board(partition="oheogulch"))


@by_circuit
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_circuit_with_late_lines_does_the_same_later(name, steps):
    circuit = CIRCUITS[name].subject
    if not circuit.lines:
        assert circuit.later(steps) is circuit
        return
    late = replace(circuit.later(steps), steps=circuit.steps + steps)
    late = late.with_messages(lambda messages: np.concatenate([np.zeros((steps, *messages.shape[1:]), int), messages]))
    expected, found = predict(circuit), predict(late)
    for population, spikes in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[population][steps:], spikes, err_msg=population)


@pytest.mark.lava
@pytest.mark.slow
def test_networks_pass_on_lava(lava, network_rung):
    (result,) = climb([network_rung], lava, time_limit=300)
    assert result.verdict == "passed", (result.error, str(result.difference))


def narrow_sums() -> Circuit:
    """A step's input if it saturates at 16 bits: 32767, and later -32768."""
    circuit = CIRCUITS["wide sum"].subject
    one, two = np.array([[1, 0, 0, 0, 0, 0]]), np.array([[0, 0, 0, 0, 1, 0]])
    stopping = circuit.with_connection(0, weight=255 * one).with_connection(1, weight=-255 * two)
    rest = [replace(stopping.connections[0], weight=weight, exponent=0) for weight in (127 * one, -128 * two)]
    return replace(stopping, connections=(*stopping.connections, *rest))


def no_wrap() -> Circuit:
    """What is left if u saturates: the spikes that take it over the end and back do nothing."""
    return CIRCUITS["u wraps"].subject.without(3).with_connection(2, weight=np.array([[0, 1, 0, 0]]))


def planted(rung: Rung) -> tuple[Circuit, str]:
    """A circuit that does on Lava what a suspect does on a chip, and the suspect's explanation."""
    stand_ins = {"wide sum": (narrow_sums, 1), "u wraps": (no_wrap, 0)}  # registers that Lava does not have
    if rung.name in stand_ins:
        make, index = stand_ins[rung.name]
        return make(), rung.suspects[index].means
    suspect = [each for each in rung.suspects if each.circuit is not None and each.rules == DOCUMENTED][-1]
    return suspect.circuit, suspect.means


@pytest.mark.lava
@pytest.mark.slow
@by_circuit
def test_a_fault_planted_on_lava_is_found_and_explained(lava, name):
    rung = CIRCUITS[name]
    circuit, means = planted(rung)
    (result,) = climb([replace(rung, subject=circuit)], lava, time_limit=120)
    assert result.verdict == "differs"
    # "The chip" runs the faulty circuit; suspects are those of the rung.
    (explanation,) = explain(rung, rung.expected, result.found, result.difference)
    assert explanation.means == means


@pytest.mark.lava
@pytest.mark.slow
@pytest.mark.parametrize("fault", ["weights", "threshold"])
def test_a_fault_planted_into_a_network_on_lava_is_found(lava, network_rung, fault):
    faulty = changed_layer(network_rung, 1, FAULTS[fault])
    (result,) = climb([faulty], lava, time_limit=300)
    assert result.verdict == "differs"
    assert result.difference.population == network_rung.subject.network.layers[1].name


@pytest.mark.lava
@pytest.mark.slow
def test_a_circuit_that_takes_too_long_is_an_error(lava):
    (result,) = climb([CIRCUITS["wiring"]], lava, time_limit=0.001)
    assert result.verdict == "failed" and "time limit of 0.001 s" in result.error
