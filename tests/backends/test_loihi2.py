"""Backend loihi2 without a board: requirements, refusals, predicted differences and figures. Nothing pretends to run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import rmp_lava
from rmp_lava.backends import Loihi2, loihi2, obstacles
from rmp_lava.backends.loihi2 import Board, lowering_report, requirements
from rmp_lava.encoding import make_input
from rmp_lava.errors import BackendError, BackendUnavailableError, DataError, UsageError
from rmp_lava.measurement import Measurement
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.schedule import schedule
from rmp_lava.scores import Score


def one_layer(neurons: Neurons, weight=((100, -60),), source: Input | None = None) -> SpikingNetwork:
    source = source or Input((2,), "spikes")
    layer = Layer("a", (len(weight),), (Dense(INPUT, np.array(weight, np.int16)),), neurons)
    return SpikingNetwork("one", source, (layer,), "integer", "count")


def test_convolutions_with_exponents_become_sparse_and_too_large_ones_are_refused(monkeypatch):
    conv = Conv(INPUT, np.full((2, 2, 3, 3), 8, np.int16), padding=(1, 1), exponent=3)
    plain = Layer("plain", (2, 6, 6), (Conv(INPUT, conv.weight, padding=(1, 1)),), Neurons(50))
    shifted = Layer("shifted", (2, 6, 6), (conv, Conv("plain", conv.weight, padding=(1, 1))), Neurons(50))
    network = SpikingNetwork("two", make_input("poisson", (2, 6, 6)), (plain, shifted), "integer", "count")
    found = [each for each in lowering_report(network, 8).findings if each.kind == "exponent"]
    assert [(each.severity, each.where) for each in found] == [("information", "shifted")]
    # 36 positions with 2 x 2 x 9 weights, without those that look at the border.
    connections = 4 * (36 * 9 - 4 * 5 - 4 * 4 * 3)
    monkeypatch.setattr(obstacles, "MAX_SPARSE_CONNECTIONS", connections)
    assert not lowering_report(network, 8).of("obstacle")
    monkeypatch.setattr(obstacles, "MAX_SPARSE_CONNECTIONS", connections - 1)
    with pytest.raises(
        BackendError, match=f"shifted: its convolution from 'input' has .* and {connections:,} connections"
    ):
        lowering_report(network, 8).raise_if_blocked()


# Boards and requirements


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, Board()),
        ({"SLURM": "1", "PARTITION": "oheogulch"}, Board(partition="oheogulch")),
        ({"SLURM": "1", "PARTITION": "kp", "BOARD": "ncl-ext-og-01"}, Board(node="ncl-ext-og-01")),
        ({"NOSLURM": "1", "NXSDKHOST": "10.1.2.3", "LOIHI_GEN": "N3C1"}, Board(host="10.1.2.3", generation="N3C1")),
        ({"NXSDKHOST": "h", "HOST_BINARY": "/opt/nx_driver"}, Board(host="h", host_binary="/opt/nx_driver")),
    ],
)
def test_the_environment_names_a_board_as_lava_does(environment, expected):
    assert Board.from_environment(environment) == expected


def test_arguments_take_precedence_over_the_environment():
    environment = {"SLURM": "1", "BOARD": "ncl-og-02", "LOIHI_GEN": "N3C1"}
    assert Board.from_environment(environment, partition="kp", host=None) == Board(partition="kp", generation="N3C1")
    assert Board.from_environment(environment, generation="N3B2") == Board(node="ncl-og-02", generation="N3B2")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Board(generation="N2A2"), "'N2A2' is not a Loihi 2; choose one of N3B2, N3B3"),
        (lambda: Board(partition="kp", host="h"), "pass only one of them"),
        (lambda: Board(host="-oProxyCommand=x"), "is not a valid name"),
        (lambda: Board(node="a b"), "is not a valid name"),
        (lambda: Board(partition=""), "is not a valid name"),
        (lambda: Board(host="h", host_binary="; rm -rf"), "is not a valid path"),
        (lambda: Board(leak=2), "leak is 2; allowed are 0"),
        (lambda: Board.from_environment({"SLURM": "1", "NXSDKHOST": "h"}), "both SLURM and NXSDKHOST are set"),
        (lambda: Board.from_environment({"LOIHI_GEN": "N1"}), "'N1' is not a Loihi 2"),
    ],
)
def test_invalid_boards_are_refused(make, sentence):
    with pytest.raises(UsageError, match=sentence):
        make()


def test_each_requirement_has_a_state_and_what_is_not_found_a_remedy():
    found = {each.where: each for each in requirements({"PATH": "/nowhere"})}
    assert list(found)[:3] == ["Python 3.10", "lava-nc 0.10.0", "lava-loihi 0.7.0"]
    assert all(each.severity == "ok" or each.remedy for each in found.values())
    assert found["lava-loihi 0.7.0"].kind == "missing" and "inrc_interest" in found["lava-loihi 0.7.0"].remedy
    assert "sinfo is not installed" in found["board"].found
    contradiction = requirements({"SLURM": "1", "NXSDKHOST": "h"})[-1]
    assert contradiction.kind == "mismatch" and "both SLURM" in contradiction.found


def test_another_python_is_a_mismatch(monkeypatch):
    monkeypatch.setattr("sys.version_info", (3, 12, 1))
    assert requirements({})[0].kind == "mismatch" and loihi2.availability().startswith("Python 3.10: this is")


@pytest.mark.parametrize("options", [Loihi2(), Loihi2(board=Board(host="192.0.2.1")), Loihi2(measure="chip")])
def test_asking_for_the_chip_without_having_it_is_an_error_and_nothing_runs(options, monkeypatch):
    monkeypatch.setattr("rmp_lava.backends.lava.session.Worker", None)
    network = one_layer(Neurons(120))
    with pytest.raises(BackendUnavailableError, match="^backend 'loihi2' cannot run: .*simulate$"):
        rmp_lava.run(network, np.ones((1, 4, 2), np.uint8), 4, options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"measure": "both"}, "measure is 'both'; choose one of chip, host"),
        ({"neuron_program": "a:b"}, "'stock' does not accept one"),
        ({"implementation": "native"}, "'native' requires neuron_program"),
        ({"implementation": "native", "neuron_program": "a:b", "measure": "chip"}, "only stock neurons are measured"),
        ({"implementation": "other"}, "implementation is 'other'; choose one of native, stock"),
        ({"time_limit": 0}, "time limit is 0; it must be a positive number of seconds"),
    ],
)
def test_contradictory_options_are_refused(options, sentence):
    with pytest.raises(UsageError, match=sentence):
        Loihi2(**options)


def test_a_run_on_a_board_cannot_be_strict():
    with pytest.raises(UsageError, match="backend 'loihi2' does not detect saturation"):
        rmp_lava.run(one_layer(Neurons(120)), np.ones((1, 4, 2), np.uint8), 4, "loihi2", strict=True)


def test_what_is_known_to_fail_is_refused_before_a_board_is_requested(monkeypatch):
    monkeypatch.setattr(loihi2, "availability", lambda: None)
    monkeypatch.setattr(loihi2, "unreachable", lambda board: None)
    network, spikes = one_layer(Neurons(120)), np.ones((1, 4, 2), np.uint8)
    plan = loihi2.deployed_schedule(network, 4)
    with pytest.raises(UsageError, match="the period is 5 steps, but boards reset every power of two"):
        loihi2.run(network, spikes, schedule(network, 4, blank=1))
    with pytest.raises(BackendError, match="cannot be deployed: a: the threshold is 40000, so quantise it to 32640"):
        loihi2.run(one_layer(Neurons(40_000)), spikes, plan)
    with pytest.raises(UsageError, match="sends different messages in each step, which a network cannot hold"):
        loihi2.measure(network, spikes, plan)


# What differs on a board


def kinds(report, severity):
    return {each.kind for each in report.of(severity)}


@pytest.mark.parametrize(
    ("neurons", "obstacle"),
    [
        (Neurons(32_640), None),
        (Neurons(32_641), "threshold"),
        (Neurons(100, v_init=32_641), "v_init"),
        (Neurons(100, v_init=-40_000), "v_init"),
        (Neurons(100, bias=np.array([1], np.int16), bias_exponent=5), "bias"),
        (Neurons(100, bias=np.array([2], np.int16), bias_exponent=5), None),
        (Neurons(90_000, "hard", bias=np.array([1], np.int16), bias_exponent=5), None),
        (Neurons(100, "hard", v_init=3, voltage_decay=5), "v_init"),
    ],
)
def test_numbers_that_stock_neurons_cannot_represent_are_obstacles(neurons, obstacle):
    report = lowering_report(one_layer(neurons), 7)
    assert kinds(report, "obstacle") == (set() if obstacle is None else {obstacle})
    if obstacle is not None:
        with pytest.raises(BackendError, match="cannot be deployed: a: "):
            report.raise_if_blocked()


def test_sums_that_lava_would_wrap_are_an_obstacle():
    layer = Layer("wide", (1,), (Dense(INPUT, [[255] * 129]),), Neurons(1000))
    report = lowering_report(SpikingNetwork("wide", Input((129,), "current", 65535), (layer,), "integer"), 4)
    (found,) = [each for each in report.findings if each.severity == "obstacle"]
    assert (found.kind, found.where) == ("sums", "wide") and "2155773825" in found.found


def test_real_numbers_are_an_obstacle():
    layer = Layer("a", (1,), (Dense(INPUT, np.array([[1.0, 2.0]], np.float32)),), Neurons(1.5))
    report = lowering_report(SpikingNetwork("real", Input((2,), "spikes"), (layer,), readout="count"), 4)
    assert kinds(report, "obstacle") == {"numbers"}


def test_period_relays_and_thresholds_of_two_weights_are_reported():
    one = np.array([[2]], np.int16)
    layers = (
        Layer("a", (1,), (Dense(INPUT, one),), Neurons(257)),
        Layer("b", (1,), (Dense("a", one),), Neurons(2)),
        Layer("c", (1,), (Dense("b", one), Dense("a", one), Dense(INPUT, one)), Neurons(2)),
    )
    report = lowering_report(SpikingNetwork("skip", Input((1,), "spikes"), layers, "integer", "count"), 8)
    assert report.schedule.period == 16
    found = {(each.kind, each.where): each for each in report.of("information")}
    assert set(found) == {
        ("threshold", "a"),
        ("period", "network"),
        ("reset", "network"),
        ("relay", INPUT),
        ("relay", "a"),
    }
    assert "up to 2 steps" in found["relay", INPUT].found and "host" in found["relay", INPUT].remedy
    assert "relay neurons" in found["relay", "a"].remedy


@pytest.mark.parametrize("steps", [4, 3])
def test_potentials_that_wrap_are_predicted(steps):
    """T = 4 has a period of 8 with a reset before its end; T = 3 has one of 4, which ends with the pulse below the limit."""
    source = make_input("current", (2,), 255)
    network = one_layer(Neurons(32_640), ((200, 0), (-200, 0), (10, 0)), source)
    images = np.array([[1.0, 0.0], [0.1, 0.0]], np.float32)
    report = lowering_report(network, steps, images)
    assert {"range", "wrap", "spikes"} <= kinds(report, "difference") and report.images == 2
    # 3 or 4 steps of -51,000; a register beyond 2^17 shows them as positive.
    assert report.ranges["a"][0] == pytest.approx(-(2**17), abs=1)


def test_leak_is_counted_in_spikes():
    # Without leak the potential of 3 times 85 and a bit passes 255 in the third step; 1/4096 of it is more than that bit.
    layer = Layer("a", (1,), (Dense(INPUT, np.array([[255]], np.int16)),), Neurons(32_640, v_init=32_640 - 3 * 255 + 1))
    network = SpikingNetwork("slow", Input((1,), "spikes"), (layer,), "integer", "count")
    spikes = np.ones((1, 4, 1), np.uint8)
    assert lowering_report(network, 4, spikes).of("difference") == ()
    found = {each.kind: each for each in lowering_report(network, 4, spikes, leak=1).of("difference")}
    assert set(found) == {"leak", "spikes"} and found["spikes"].where == "a"


def test_a_backlog_crosses_unless_blank_steps_allow_a_reset():
    source = make_input("current", (1,), 255)
    network = one_layer(Neurons(100), ((90,),), source)  # a backlog of 22,850 a step
    images = np.ones((2, 1), np.float32)
    crossing = lowering_report(network, 5, images)
    assert crossing.schedule.period == 8 and "boundary" in kinds(crossing, "difference")
    assert lowering_report(network, 5, images, blank=5).of("difference") == ()


def test_public_reports_of_boards_are_cautions():
    wide = Layer("wide", (1, 1, 511), (Conv(INPUT, np.full((1, 1, 1, 1), 2, np.int16)),), Neurons(2))
    network = SpikingNetwork("wide", Input((1, 1, 511), "spikes"), (wide,), "integer", "count")
    assert {"width", "accumulator"} == kinds(lowering_report(network, 4), "caution")
    large = Layer("a", (1, 60, 60), (Conv(INPUT, np.full((1, 2, 1, 1), 2, np.int16)),), Neurons(2))
    network = SpikingNetwork("large", Input((2, 60, 60), "spikes"), (large,), "integer", "count")
    assert "input" in kinds(lowering_report(network, 4), "caution")


# Figures


PILOTNET = Measurement(
    board="Oheo Gulch",
    input="chip",
    steps=16,
    period=16,
    repetitions=625,
    # As lava-dl's notebook prints them (netx/pilotnet_snn/benchmark.ipynb); rails and phases that it does not print are 0.
    power={
        "total_power": [0.679234],
        "vdd_power": [0.252728],
        "vddm_power": [0.422127],
        "vddio_power": [0.004379],
        "static_total_power": 0.232078,
        "static_vdd_power": 0.0,
        "static_vddm_power": 0.0,
        "static_vddio_power": 0.0,
    },
    time={"avg_time_per_step": 152.85},
    activity={
        "core_idx": [0],
        "chip_idx": [0],
        "syn_ops": [2.285e10],
        "dendrite_updates": [3.70e9],
        "axon_out": [0],
        "spikes_in": [0],
    },
    memory={"core_idx": [0], "total_mpds": [0.5]},
    simulated_operations={"conv1": 1.0, "conv2": 2.0},
    simulated_spikes={"conv1": 3.0},
)


def test_figures_of_intels_printed_benchmark():
    figures = {each.name: each for each in PILOTNET.figures()}
    assert len(figures) == len(PILOTNET.figures())  # each name once
    assert figures["energy per sample"].value == pytest.approx(1.661e-3, rel=1e-3)
    assert figures["energy per sample, dynamic"].value == pytest.approx(0.447156 * 1.5285 / 625, rel=1e-3)
    assert figures["synaptic operations per sample"].value == pytest.approx(3.656e7)
    assert figures["total power"].origin == "measured" and figures["total power, dynamic"].origin == "derived"
    assert figures["synaptic operations per sample, simulated"].value == 3
    assert {each.origin for each in figures.values()} == {"measured", "derived", "simulated"}
    assert all(each.unit and each.how for each in figures.values())
    summary = PILOTNET.summary()
    assert summary["input_and_output"] == "excluded" and summary["chips"] == 1 and summary["repetitions"] == 625
    with pytest.raises(DataError, match="a time above 0"):
        dataclasses.replace(PILOTNET, time={"avg_time_per_step": 0.0})


def test_neurobench_items_by_hand():
    from rmp_lava.report.neurobench import neurobench

    source = make_input("current", (2,), 3)
    first = Layer("a", (2,), (Dense(INPUT, np.array([[4, 0], [2, 2]], np.int16)),), Neurons(5))
    last = Layer("b", (1,), (Dense("a", np.array([[2, 0]], np.int16)),), Neurons(9, "none"))
    network = SpikingNetwork("two", source, (first, last), "integer")
    result = rmp_lava.run(network, np.array([[1, 0]], np.float32), 2)  # messages 3, 0: a gets 12 and 6, b 2 a spike
    found = neurobench(network, result, Score("classification", 0.5))
    assert found["footprint"] == 6 + 2 * 2 + 3 * 3  # weights, thresholds, potentials
    assert found["connection_sparsity"] == 2 / 6
    assert found["activation_sparsity"] == 0.0  # both spike in both steps
    assert found["synaptic_operations"] == {"dense": 12.0, "effective_macs": 4.0, "effective_acs": 2.0}
    assert found["correctness"] == {"accuracy": 0.5} and not found["measured"] and found["power_w"] is None
    measured = neurobench(network, dataclasses.replace(result, measurement=PILOTNET))
    assert measured["measured"] and measured["energy_per_inference_j"] == pytest.approx(1.661e-3, rel=1e-3)
    assert measured["latency_s"] == pytest.approx(152.85e-6 * (2 + 2))
