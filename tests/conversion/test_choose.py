"""Of several options for balancing, the one whose outputs are closest to the trained network's is kept; all are recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from rmp_lava.backends import run
from rmp_lava.conversion import divergence
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import Balancing, candidates_for
from rmp_lava.conversion.divergence import TrainedOutputs, balance_best
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.quantize import quantize
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import ConversionError, UsageError

IMAGES = np.random.default_rng(0).random((48, 1, 6, 6), dtype=np.float32)


def model() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)).eval()


def traced(readout="potential"):
    return trace(model(), make_input("current", (1, 6, 6)), IMAGES, readout=readout)


def output_divergence(network, balanced, images, steps):
    return TrainedOutputs(network, images).divergence(balanced, steps)


def integer_divergence(network, balanced, images, steps):
    return output_divergence(network, quantize(balanced), images, steps)


GOOD = Balancing(thresholds="activation", v_init="half")
BAD = Balancing(thresholds="activation", v_init="half", alpha=0.05)


@pytest.mark.parametrize("candidates", [(GOOD, BAD), (BAD, GOOD)])
def test_the_nearest_outputs_win_in_any_order(candidates):
    network = traced()
    best = balance_best(network, IMAGES, 8, candidates)
    alone = balance(network, IMAGES, 8, GOOD)
    np.testing.assert_array_equal(best.layers[1].synapses[0].weight, alone.layers[1].synapses[0].weight)
    tried = best.provenance["balance"]["tried"]
    assert [each["alpha"] for each in tried] == [how.alpha for how in candidates]
    assert all(set(each) == {"alpha", "divergence", "float_divergence"} for each in tried)
    for each, how in zip(tried, candidates, strict=True):
        balanced = balance(network, IMAGES, 8, how)
        assert each["divergence"] == integer_divergence(network, balanced, IMAGES, 8)
        assert each["float_divergence"] == output_divergence(network, balanced, IMAGES, 8)
    assert best.provenance["balance"]["alpha"] == 1.0


def test_divergence_is_that_of_the_outputs_and_vanishes_with_time():
    network = traced()
    balanced = balance(network, IMAGES, 8, GOOD)
    logits = model()(torch.from_numpy(IMAGES)).double()
    found = torch.from_numpy(run(balanced, IMAGES, 8).output) / 8
    expected = nn.functional.kl_div(found.log_softmax(1), logits.log_softmax(1), log_target=True, reduction="batchmean")
    assert output_divergence(network, balanced, IMAGES, 8) == pytest.approx(expected.item(), rel=1e-4)
    longer = output_divergence(network, balance(network, IMAGES, 512, GOOD), IMAGES, 512)
    assert longer < output_divergence(network, balanced, IMAGES, 8) / 100


def test_counted_spikes_are_compared_in_the_networks_units():
    network = traced("count")
    assert output_divergence(network, balance(network, IMAGES, 512, GOOD), IMAGES, 512) < 1e-4


def test_a_single_output_is_compared_by_its_value():
    torch.manual_seed(1)
    one = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 1)).eval()
    network = trace(one, make_input("current", (1, 6, 6)), IMAGES)
    good, bad = (output_divergence(network, balance(network, IMAGES, 64, how), IMAGES, 64) for how in (GOOD, BAD))
    assert 0 < good < 0.01 < bad


def test_outputs_that_mean_nothing_are_not_compared():
    network = traced("count").replace(readout="potential")
    with pytest.raises(UsageError, match="use readout 'count'"):
        balance_best(network, IMAGES, 8, (GOOD, BAD))


def test_a_single_way_is_taken_as_it_is():
    assert "tried" not in balance_best(traced(), IMAGES, 8, (BAD,)).provenance["balance"]


def test_ways_of_a_method():
    each, joint = candidates_for("low-latency")
    assert (each.channelwise, joint.channelwise) == (True, False) and each.thresholds == joint.thresholds == "error"
    assert candidates_for("low-latency", channelwise=False) == (joint,)
    assert candidates_for("paper") == (Balancing(),)
    (paper_like,) = candidates_for("low-latency", thresholds="v_in", alpha={"0": 0.5})
    assert not paper_like.channelwise and paper_like.v_init == "half" and paper_like.calibrate == "bias"
    with pytest.raises(UsageError, match="channelwise thresholds come from activations"):
        candidates_for("low-latency", thresholds="v_in", channelwise=True)
    with pytest.raises(UsageError, match="method is 'fast'"):
        candidates_for("fast")


def test_conversion_says_what_it_tried():
    tried = convert(model(), IMAGES, steps=4).floating.provenance["balance"]["tried"]
    assert [each["channelwise"] for each in tried] == [True, False]


def test_integers_decide_where_float_networks_do_not_show_what_rounding_loses():
    network = traced()

    def rounded_badly(balanced):
        """Integers that are useless for one of the candidates."""
        integer = quantize(balanced)
        if balanced.provenance["balance"]["alpha"] == 1.0:
            last = integer.output
            turned = tuple(s.replace(weight=np.roll(s.weight, 1, axis=0)) for s in last.synapses)
            integer = integer.replace(layers=(*integer.layers[:-1], last.replace(synapses=turned)))
        return integer

    slightly_worse = Balancing(thresholds="activation", v_init="half", alpha=3.0)
    best = balance_best(network, IMAGES, 8, (GOOD, slightly_worse), integers=rounded_badly)
    assert best.provenance["balance"]["alpha"] == 3.0
    first, second = best.provenance["balance"]["tried"]
    assert first["divergence"] > second["divergence"] and first["float_divergence"] < second["float_divergence"]


def test_candidates_that_cannot_be_quantised_are_left_out():
    def refusing(balanced):
        if balanced.provenance["balance"]["alpha"] == 1.0:
            raise ConversionError("no integers")
        return quantize(balanced)

    best = balance_best(traced(), IMAGES, 8, (GOOD, BAD), integers=refusing)
    assert best.provenance["balance"]["alpha"] == 0.05
    assert best.provenance["balance"]["tried"][0]["divergence"] is None
    with pytest.raises(ConversionError, match="no integers"):
        balance_best(traced(), IMAGES, 8, (GOOD, GOOD), integers=refusing)


def test_a_network_of_dense_layers_is_balanced_once(monkeypatch):
    seen = []
    monkeypatch.setattr(
        divergence, "balance", lambda *args, **options: seen.append(args[3]) or balance(*args, **options)
    )
    layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.ReLU(), nn.Linear(6, 5)).eval()
    network = trace(layers, make_input("current", (1, 6, 6)), IMAGES)
    balance_best(network, IMAGES, 8, candidates_for("low-latency"))
    assert len(seen) == 1
    balance_best(traced(), IMAGES, 8, candidates_for("low-latency"))
    assert len(seen) == 3


def test_real_targets_are_compared_by_squared_differences():
    network = traced()
    conversion = convert(model(), IMAGES, steps=4, labels=np.zeros((48, 5), np.float32))
    trained = TrainedOutputs(network, IMAGES, real=True)
    found = run(conversion.floating, IMAGES, 4).in_trained_units(conversion.floating)
    expected = trained.outputs.numpy()
    error = ((found - expected) ** 2).mean() / (expected**2).mean()
    assert trained.divergence(conversion.floating, 4) == pytest.approx(error, rel=1e-4)
    tried = conversion.floating.provenance["balance"]["tried"]
    assert any(each["float_divergence"] == pytest.approx(error, rel=1e-4) for each in tried)
