"""Energy and time: a public measurement, sums that can be done by hand, and coefficients that are not public."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compiled_networks import mnist, pilotnet
from hypothesis import given, strategies as st

import rmp_lava
from rmp_lava.errors import UsageError
from rmp_lava.hardware import Interval, Profile, check, estimate, load_profile, map_network
from rmp_lava.hardware.interval import largest, total
from rmp_lava.network import INPUT, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.results import Run
from rmp_lava.schedule import Schedule, schedule

OHEO_GULCH = load_profile("oheo_gulch")
# lava-dl, netx/pilotnet_snn/benchmark.ipynb, 10,000 steps without an image: dynamic power times time, and time of a step.
MEASURED_DYNAMIC, MEASURED_STEP = 0.447156 * 1.5285, 152.85e-6
# Its counters; what is not of conv2 and conv3 belongs to the deeper layers, as conv1's input is silent.
OPERATIONS = {"conv2": 1.61e10, "conv3": 4.51e9, "conv4": 2.285e10 - 1.61e10 - 4.51e9}


def run_of(network: SpikingNetwork, steps: int, *, operations=None, messages=None, samples=1, blank=0) -> Run:
    """What a backend would return of so many operations and messages per layer and sample."""
    names = [layer.name for layer in network]
    sizes = {layer.name: layer.size for layer in network}
    if network.input.neurons is not None:
        sizes[INPUT] = int(np.prod(network.input.shape))
    return Run(
        "fast",
        "by hand",
        "native",
        schedule(network, steps, blank=blank),
        np.zeros((samples, network.output.size)),
        {name: np.full(samples, (messages or {}).get(name, 0)) for name in (INPUT, *names)},
        {name: np.full(samples, (operations or {}).get(name, 0)) for name in names},
        {name: size * steps * samples for name, size in sizes.items()},
    )


def test_the_counters_of_pilotnet_give_the_measured_energy():
    network = pilotnet()
    result = run_of(network, 10_000, operations={name: int(n) for name, n in OPERATIONS.items()})
    found = estimate(network, result, "oheo_gulch")
    assert found.dynamic == pytest.approx(MEASURED_DYNAMIC, rel=0.1)
    assert found.step_seconds == pytest.approx(MEASURED_STEP, rel=0.1)
    assert found.total - found.dynamic == pytest.approx(1.78 * found.period_seconds)
    busiest = max(found.layers, key=lambda layer: layer.step_seconds)
    assert busiest.name == "conv3"


@pytest.mark.slow
@pytest.mark.lava
def test_our_own_run_of_pilotnet_gives_the_measured_energy():
    import importlib.util

    site = Path(importlib.util.find_spec("lava").submodule_search_locations[0]).parent
    network = rmp_lava.load(site / "tests/lava/lib/dl/netx/gts/pilotnet_lif/network.net")
    silence = np.zeros((1, 500, *network.input.shape), dtype=np.uint8)
    result = rmp_lava.run(network, silence, 500, backend="fast")
    found = estimate(network, result, "oheo_gulch")
    assert 20 * found.dynamic == pytest.approx(MEASURED_DYNAMIC, rel=0.1)
    assert found.step_seconds == pytest.approx(MEASURED_STEP, rel=0.1)


def energy_of(**values) -> Profile:
    """Oheo Gulch with other coefficients, in pJ and W."""
    section = {
        key: replace(q, value=values[key], bounds=None) if key in values else q
        for key, q in OHEO_GULCH.sections["energy"].items()
    }
    return replace(OHEO_GULCH, sections={**OHEO_GULCH.sections, "energy": section})


def test_the_sum_by_hand():
    network = mnist()
    result = run_of(
        network, 8, samples=3, operations={"a": 1000, "b": 500, "c": 20}, messages={INPUT: 100, "a": 10, "b": 4, "c": 2}
    )
    profile = energy_of(synaptic_operation=10.0, neuron_update=100.0, message=7.0, active_power=0.5, static_power=2.0)
    found = estimate(network, result, profile)
    operations, updates = 1520 * 10e-12, (128 + 64 + 10) * 8 * 100e-12
    # Layer a sends to the one core of b, b to the one core of c, and c to nobody.
    messages = (10 + 4) * 7e-12
    active = 0.5 * 8 * found.step_seconds
    assert found.dynamic == pytest.approx(operations + updates + messages + active)
    assert found.total == pytest.approx(found.dynamic + 2.0 * 8 * found.step_seconds)
    assert found.macs == 784 * 128 + 128 * 64 + 64 * 10
    assert found.latency_seconds == pytest.approx(11 * found.step_seconds)
    assert sum(layer.energy for layer in found.layers) == pytest.approx(found.dynamic - active)
    assert [missing for missing in found.left_out if "unknown" in missing] == [
        "time of messages: unknown for oheo_gulch"
    ]


def test_the_busiest_core_sets_the_time_of_a_step():
    network = mnist()
    result = run_of(network, 10, operations={"a": 1_000_000})
    found = estimate(network, result, OHEO_GULCH)
    # 25 of 128 neurons on the fullest of six cores.
    seconds = 100_000 * 25 / 128 * 0.43e-9 + 25 * 4e-9
    assert found.step_seconds == pytest.approx(seconds)
    idle = estimate(network, run_of(network, 10), OHEO_GULCH)
    assert idle.step_seconds == pytest.approx(max(200e-9, 64 * 4e-9))


def test_messages_take_time_where_it_is_known():
    network = mnist()
    result = run_of(network, 10, messages={"a": 10**6})
    found = estimate(network, result, "loihi1")
    fullest = found.mapping["a"].usage["neurons"].largest
    # A hundred thousand messages a step, each to the cores of b.
    sent = 10**5 * found.mapping["b"].cores * fullest / 128
    assert found["a"].step_seconds == pytest.approx(sent * 5.1e-9 + fullest * 9.7e-9)
    assert "time of messages" not in "\n".join(found.left_out)
    assert "time of messages: unknown for oheo_gulch" in estimate(network, result, OHEO_GULCH).left_out


def test_several_chips_take_longer_steps():
    network = mnist()
    cores = {
        key: replace(q, value=2 if key == "usable_per_chip" else q.value)
        for key, q in load_profile("kapoho_point").sections["cores"].items()
    }
    board = load_profile("kapoho_point")
    board = replace(board, sections={**board.sections, "cores": cores})
    found = estimate(network, run_of(network, 10), board)
    assert found.mapping.chips == 3 and found.step_seconds == pytest.approx(10e-6)


def test_what_is_unknown_is_left_out_and_listed():
    network = mnist()
    result = run_of(network, 8, messages={"a": 10**9})
    found = estimate(network, result, "loihi1")
    assert found.total is None and "static_power" not in found.parts
    assert found.parts["message"] == pytest.approx(10**9 * 111e-12)
    listed = "\n".join(found.left_out)
    for missing in ("static power: unknown", "hops", "input and output"):
        assert missing in listed
    found = estimate(network, result, "oheo_gulch")
    assert "message" not in found.parts and found.total is not None
    assert "messages: unknown" in "\n".join(found.left_out) and "static power" not in "\n".join(found.left_out)
    assert found.dynamic == estimate(network, run_of(network, 8), "oheo_gulch").dynamic


def test_a_board_draws_power_for_all_of_its_chips():
    """Also for those without neurons: 16 of VPX as published, 8 of Kapoho Point by what one chip takes elsewhere."""
    network = mnist()
    for board, watts, active in (("vpx", 16.05, 16 * 0.0423), ("kapoho_point", 8 * 1.0, 8 * 0.02)):
        found = estimate(network, run_of(network, 8), board)
        assert found.mapping.chips == 1
        assert found.parts["static_power"] == pytest.approx(watts * found.period_seconds)
        assert found.parts["active_power"] == pytest.approx(active * found.period_seconds)
    static = found.parts_between["static_power"]
    assert (static.low, static.high) == pytest.approx(
        (8 * 1.0 * found.step.low * found.period, 8 * 1.78 * found.step.high * found.period)
    )


def test_bounds_are_those_of_the_coefficients():
    network = pilotnet()
    result = run_of(network, 16, operations={name: int(n) * 16 // 10_000 for name, n in OPERATIONS.items()})
    found = estimate(network, result, "oheo_gulch")
    operations = sum(int(n) * 16 // 10_000 for n in OPERATIONS.values())
    updates = 158_509 * 16
    low = operations * 12.4e-12 + updates * 42.5e-12
    high = operations * 29.0e-12 + updates * 99.6e-12 + 0.03 * found.step.high * 16
    assert found.dynamic_between.low == pytest.approx(low) and found.dynamic_between.high == pytest.approx(high)
    # All six published runs of it, in J per inference, and both published steps.
    for measured in (0.562e-3, 0.981e-3, 1.071e-3, 1.094e-3, 1.199e-3, 1.386e-3):
        assert measured in found.dynamic_between
    assert 152.85e-6 in found.step and 182.6e-6 in found.step and 120e-6 not in found.step
    assert found.summary()["between"]["dynamic_joules"]["low"] == found.dynamic_between.low


def test_published_figures_lie_between_their_bounds():
    checks = [check(anchor) for chip in ("loihi2", "loihi1") for anchor in load_profile(chip).anchors]
    assert len(checks) >= 19 and sum(not each.is_bound for each in checks) >= 8
    assert [each.anchor.name for each in checks if not each.holds] == []
    for each in checks:
        assert each.anchor.measured.source and each.measured > 0
    by_name = {(each.anchor.name, each.anchor.figure): each for each in checks}
    # By hand: LANL's autoencoder on 16 chips, 300,000 operations and 10,000 updates in 48.3 us.
    lanl = by_name["LANL autoencoder, inference", "dynamic energy"].predicted
    assert lanl.low == pytest.approx(3e5 * 12.4e-12 + 1e4 * 42.5e-12 + 16 * 0.04 * 48.3e-6)
    assert lanl.high == pytest.approx(3e5 * 29.0e-12 + 1e4 * 99.6e-12 + 16 * 0.0473 * 48.3e-6)
    whole = by_name["Q-learning, update", "whole energy"]
    assert whole.predicted.value == pytest.approx((1.78 + 0.01) * 58.42e-6) and whole.is_bound


def test_bounds_are_no_wider_than_the_figures_need():
    """Each bound of a coefficient is within a tenth of what one figure or source needs, so a narrower one would exclude it."""
    checks = {(c.anchor.name, c.anchor.figure): c for c in map(check, load_profile("loihi2").anchors)}
    lowest = checks["PilotNet LIF, run 1 of 6, older power profiler", "dynamic energy"]
    highest = checks["PilotNet LIF, run 6 of 6", "dynamic energy"]
    assert lowest.predicted.low > 0.9 * lowest.measured and highest.predicted.high < 1.1 * highest.measured
    steps = [c for (name, figure), c in checks.items() if figure == "time of a step"]
    assert min(c.predicted.low for c in steps) > 0.9 * min(c.measured for c in steps)
    assert max(c.predicted.high for c in steps) < 1.1 * max(c.measured for c in steps)
    lanl = checks["LANL autoencoder, inference", "time"]
    assert lanl.predicted.low > 0.9 * lanl.measured


@given(st.lists(st.tuples(*[st.floats(0, 1e6)] * 3).map(sorted), min_size=1, max_size=4), st.floats(0, 1e3))
def test_intervals_enclose_their_values(triples, factor):
    intervals = [Interval(*triple) for triple in triples]
    for found in (total(*intervals), largest(*intervals), intervals[0] * factor, intervals[0] * intervals[-1]):
        assert found.low <= found.value <= found.high and found.value in found


def test_messages_between_chips_are_counted():
    network = mnist()
    board = load_profile("kapoho_point")
    cores = {key: replace(q, value=2) if key == "usable_per_chip" else q for key, q in board.sections["cores"].items()}
    board = replace(board, sections={**board.sections, "cores": cores})
    found = estimate(network, run_of(network, 8, messages={"a": 90, "b": 10}), board)
    # Layer a lies on cores 0 to 2, b on 3 and c on 4: of a's cores, the first two are on another chip than b; b and c differ.
    assert found["a"].crossing == pytest.approx(90 * 2 / 3) and found["b"].crossing == pytest.approx(10)
    assert found.crossing == found.summary()["messages_between_chips"] == pytest.approx(70)
    assert "links between chips, for 70 messages" in "\n".join(found.left_out)
    assert "links between chips" not in "\n".join(estimate(network, run_of(network, 8), "oheo_gulch").left_out)


def test_hops_are_left_out_with_what_one_of_them_would_cost():
    network = mnist()
    result = run_of(network, 8, messages={"a": 1000})
    # 1000 messages to the one core of b, 3.0 pJ each.
    assert "each hop of all messages would add 3 nJ" in "\n".join(estimate(network, result, "loihi1").left_out)
    assert "would add" not in "\n".join(estimate(network, result, OHEO_GULCH).left_out)


def test_other_numbers_of_steps():
    network = mnist()
    result = run_of(network, 16, operations={"a": 10**6}, blank=4)
    found = estimate(network, result, OHEO_GULCH)
    same, double = found.at(1), found.at(2)
    assert same["dynamic"] == pytest.approx(found.dynamic) and same["total"] == pytest.approx(found.total)
    assert same["latency_seconds"] == pytest.approx(found.latency_seconds)
    assert double["steps"] == 32 and double["dynamic"] == pytest.approx(2 * found.dynamic)
    assert double["latency_seconds"] == pytest.approx((32 + 3) * found.step_seconds)
    static = found.parts["static_power"]
    assert double["total"] - double["dynamic"] == pytest.approx(static * 36 / 20)


def test_stock_neurons_cost_more_than_native_ones():
    network = mnist()
    network = network.replace(layers=tuple(x.replace(neurons=Neurons(500)) for x in network))
    result = run_of(network, 8, operations={"a": 100}, messages={"a": 10, "b": 5})
    native = estimate(network, result, OHEO_GULCH)
    stock = estimate(network, result, OHEO_GULCH, map_network(network, OHEO_GULCH, "stock"))
    # The threshold comes back with each spike, and two pulses a period keep every neuron quiet.
    assert stock.synaptic_operations == native.synaptic_operations + 15 + 2 * sum(layer.size for layer in network)
    clock = stock["(clock)"]
    assert (clock.synaptic_operations, clock.neuron_updates) == (
        0,
        8 * map_network(network, OHEO_GULCH, "stock")["(clock)"].size,
    )


def test_pulses_and_biases_of_stock_neurons_are_counted():
    network = mnist()
    bias = np.array([1, 0, -257] * 42 + [0, 0])  # no single weight can represent 257
    first = network.layers[0].replace(neurons=Neurons(500, v_init=257, bias=bias))
    network = network.replace(
        layers=(first, *(x.replace(neurons=Neurons(500, "hard", v_init=3)) for x in network.layers[1:]))
    )
    result = run_of(network, 8, blank=1)
    mapping = map_network(network, OHEO_GULCH, "stock")
    found = estimate(network, result, OHEO_GULCH, mapping)
    assert found[first.name].synaptic_operations == (2 + 2) * 128 + 3 * 42 * 9
    # Axons: two represent 257; 1 and -257 = -256 - 1 are weights of three signs and exponents.
    plain = network.replace(layers=(first.replace(neurons=Neurons(500)), *network.layers[1:]))
    axons = [map_network(each, OHEO_GULCH, "stock")[first.name].usage["axons_in"].largest for each in (plain, network)]
    assert axons[1] - axons[0] == 2 + 3
    assert [found[x.name].synaptic_operations for x in network.layers[1:]] == [x.size for x in network.layers[1:]]
    # The clock's neurons: two that keep quiet, and a first potential for each depth. The constant one spikes in every step.
    assert mapping["(clock)"].size == 2 + len(network.layers) and mapping["(constants)"].size == 1
    assert found["(constants)"].messages == 9 * mapping["(constants)"].receivers
    assert found["(constants)"].macs == found["(clock)"].macs == 0


@pytest.mark.lava
def test_weights_are_counted_as_lava_gets_them():
    from rmp_lava.backends.lava.pulses import _mantissas
    from rmp_lava.stock_weights import MAX_VALUE, weights_for

    chance = np.random.default_rng(0)
    for values in (np.arange(-400, 400), chance.integers(-MAX_VALUE, MAX_VALUE + 1, (8, 4, 4)), np.zeros(3, dtype=int)):
        lines = _mantissas(values)
        assert weights_for(values) == (sum(np.count_nonzero(line) for line in lines.values()), len(lines))


def test_a_run_without_counts_has_no_energy():
    network = mnist()
    result = replace(run_of(network, 8), synaptic_operations={})
    with pytest.raises(UsageError, match="counted nothing in 'a', 'b'"):
        estimate(network, result, OHEO_GULCH)


def test_a_side_branch_does_not_make_the_prediction_later():
    two = np.full((3, 3), 2)
    layers = (
        Layer("side", (3,), (Dense(INPUT, two),), Neurons(4)),
        Layer("deep", (3,), (Dense("side", two),), Neurons(4)),
        Layer("out", (3,), (Dense(INPUT, two),), Neurons(4)),
    )
    network = SpikingNetwork("side", Input((3,), "spikes", 1), layers, "integer", "count")
    plan = schedule(network, 8, blank=1)
    assert plan == Schedule(8, depth=1, blank=1, drain=1)
    assert (plan.latency, plan.duration(3)) == (9, 3 * 9 + 2)
    found = estimate(network, run_of(network, 8), OHEO_GULCH)
    assert found.latency == found.summary()["latency"] == 9
    result = rmp_lava.run(network, np.ones((1, 8, 3), np.uint8), 8, backend="reference")
    assert result.schedule.latency == result.summary(network)["latency"] == 9


def test_clock_neurons_whose_pulses_are_a_period_apart_are_one():
    layers = [Layer("l0", (3,), (Dense(INPUT, np.full((3, 3), 2)),), Neurons(4))]
    layers += [Layer(f"l{i}", (3,), (Dense(f"l{i - 1}", np.full((3, 3), 2)),), Neurons(4)) for i in range(1, 4)]
    network = SpikingNetwork("deep", Input((3,), "spikes", 1), tuple(layers), "integer", "count")
    # Two neurons silence each of the depths 1 .. 4; in a period of 3 steps, those of 1 and 4 are the same.
    for period, neurons in ((None, 8), (4, 8), (3, 6), (2, 4)):
        assert map_network(network, OHEO_GULCH, "stock", period=period)["(clock)"].size == neurons
    result = replace(run_of(network, 2, blank=1), implementation="stock")
    assert estimate(network, result, OHEO_GULCH)["(clock)"].neuron_updates == 6 * 3


def test_both_compartments_of_loihi1s_soft_reset_are_updated():
    network = mnist()
    soft = network.replace(layers=(network.layers[0].replace(neurons=Neurons(500)), *network.layers[1:]))
    result = run_of(network, 8)
    hard, found = (estimate(each, result, "loihi1")["a"].neuron_updates for each in (network, soft))
    assert (hard, found) == (128 * 8, 2 * 128 * 8)


def test_relays_are_counted():
    two = np.full((3, 3), 2)
    layers = (
        Layer("a", (3,), (Dense(INPUT, two),), Neurons(4)),
        Layer("b", (3,), (Dense("a", two),), Neurons(4)),
        Layer("c", (3,), (Dense("b", two), Dense("a", two)), Neurons(4)),
    )
    network = SpikingNetwork("skip", Input((3,), "spikes", 1), layers, "integer", "count")
    result = run_of(network, 8, messages={"a": 6})
    found = estimate(network, result, OHEO_GULCH, map_network(network, OHEO_GULCH, "stock"))
    relay = next(layer for layer in found.layers if layer.name == "a +1")
    assert (relay.synaptic_operations, relay.neuron_updates, relay.macs) == (6, 24, 0)
    assert found.macs == 4 * 9


def test_comparison_multiplies_what_each_figure_counts():
    network = mnist()
    found = estimate(network, run_of(network, 8, operations={"a": 1000}), OHEO_GULCH)
    energies = {label: joules for label, joules, _ in found.comparisons()}
    assert energies["45 nm, float32 arithmetic"] == pytest.approx(found.macs * 4.6e-12)
    assert energies["45 nm, float32 accumulation of spikes"] == pytest.approx(1000 * 0.9e-12)


def test_samples_that_were_left_early_cost_less():
    network = mnist()
    result = replace(run_of(network, 16, samples=2), steps_used=np.array([4, 8]))
    found = estimate(network, result, OHEO_GULCH)
    assert (found.steps, found.period, found.latency) == (6, 6, 9)
