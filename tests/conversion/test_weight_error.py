"""Rounding errors count where weights are used: silent units' weights do not hide what others lose."""

from __future__ import annotations

import numpy as np
import pytest

from rmp_lava.conversion.weight_error import weight_error
from rmp_lava.network import INPUT, Conv, Dense, Layer, Neurons, WeightError


def measured(weight, integers, rates=None, mean_rate=None, scale=1.0) -> WeightError:
    layer = Layer("a", (len(weight),), (Dense("b", np.array(weight, np.float32)),), Neurons(1.0), mean_rate=mean_rate)
    sources = {} if rates is None else {"b": np.array(rates)}
    return weight_error(layer, (Dense("b", np.array(integers)),), scale, sources)


def test_errors_of_weights_by_hand():
    found = measured([[3.0, 4.0], [0.0, 0.5]], [[3, 5], [0, 0]])
    assert found.rms == pytest.approx(np.sqrt(1.25 / 25.25))
    assert found.worst_row == 1.0  # all of the second row is lost
    assert found.zeroed == 1 / 3


def test_weights_count_by_the_rate_of_their_source():
    huge = [[1000.0, 0.4], [1000.0, 0.4]]
    integers = [[1000, 0], [1000, 0]]
    hidden, found = measured(huge, integers), measured(huge, integers, rates=[0.0, 0.5])
    assert hidden.rms < 0.001 and found.rms == 1.0 and found.zeroed == hidden.zeroed == 0.5
    one, two = measured([[2.0, 3.0]], [[2, 2]], rates=[0.5, 0.25]), measured([[2.0, 3.0]], [[2, 2]], rates=[1.0, 0.5])
    assert one.rms == two.rms == pytest.approx(np.sqrt(0.25 / (4 * 0.5 + 9 * 0.25)))
    # Where no source is ever active, all weights count alike.
    assert measured([[2.0, 3.0]], [[2, 2]], rates=[0.0, 0.0]) == measured([[2.0, 3.0]], [[2, 2]])


def test_the_worst_row_is_of_a_unit_that_spikes():
    weight, integers = [[1.0, 1.0], [1.0, 0.4], [1.0, 1.0]], [[1, 1], [1, 0], [0, 0]]
    assert measured(weight, integers).worst_row == 1.0
    found = measured(weight, integers, mean_rate=[0.1, 0.2, 0.0]).worst_row
    assert found == pytest.approx(np.sqrt(0.16 / 1.16))


def test_channels_in_groups_and_the_scale_of_integers():
    weight = np.array([2.0, 3.0, 0.25, 5.0], np.float32).reshape(2, 2, 1, 1)
    synapse = Conv("b", weight, groups=2)
    layer = Layer("a", (2, 1, 1), (synapse, Dense(INPUT, np.ones((2, 1), np.float32))), Neurons(1.0))
    integers = (synapse.replace(weight=np.array([8, 12, 0, 20]).reshape(2, 2, 1, 1)), Dense(INPUT, np.full((2, 1), 4)))
    found = weight_error(layer, integers, 4.0, {"b": np.array([0.0, 0.0, 1.0, 0.0])})
    assert found.worst_row == pytest.approx(np.sqrt(0.0625 / (1 + 0.0625)))
    assert found.rms == pytest.approx(np.sqrt(0.0625 / (2 + 0.0625))) and found.zeroed == 1 / 6
