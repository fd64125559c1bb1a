"""Sigma-delta populations: the definition against Lava's own arithmetic, files, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from rmp_lava import netx
from rmp_lava.backends import Fast, Lava, Loihi2, Reference, run
from rmp_lava.errors import DataError, NetFileError, NetworkError, RmpLavaWarning, UsageError
from rmp_lava.network import INPUT, Dense, Input, Layer, Neurons, SigmaDelta, SpikingNetwork
from rmp_lava.sigma_delta import initial_state, step


def network(**changed) -> SpikingNetwork:
    rng = np.random.default_rng(0)
    layers = (
        Layer("a", (4,), (Dense(INPUT, rng.integers(-100, 100, (4, 3))),), SigmaDelta(2, bias=np.array([3, -4, 0, 9]))),
        Layer("b", (2,), (Dense("a", 2 * rng.integers(-60, 60, (2, 4))),), SigmaDelta(0, "none")),
    )
    source = Input((3,), "frames", 500, SigmaDelta(1))
    return SpikingNetwork(**({"name": "s", "input": source, "layers": layers, "stage": "integer"} | changed))


def test_a_neuron_by_hand():
    """Bias 1 and threshold 2 at exponent 2: 4 and 8 state units; messages lose one bit."""
    neurons = SigmaDelta(2, bias=np.array(1), spike_exponent=1, state_exponent=1)
    state = initial_state((1,), 1)
    inputs = [0, 3, 1, -20, 13, 0, 8]
    #  sigma      0  3  4 -16  -3  -3  5;   act  4 7 8 0 1 1 9
    expected = [0, 0, 4, -4, 0, 0, 4]  # 8 >> 1 and -8 >> 1; then 1 is too little; 9 >> 1 is 4, and the half is lost
    assert [step(neurons, state, np.array([[a]]))[0, 0] for a in inputs] == expected
    assert state.sent == 9 and state.sigma == 5 and state.sigma_range == (-16, 5)


def test_biases_act_before_the_first_frame_arrives_and_frames_stay():
    net = network()
    frames = np.array([[[5, 0, -7], [6, 0, 90]]])
    result = run(net, frames, 5, "reference", record=("spikes", "potentials"))
    entering, hidden = result.spikes[INPUT][0], result.spikes["a"][0]
    assert entering.tolist() == [[320, 0, -448], [64, 0, 97 * 64], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert hidden[0].tolist() == [3 * 64, 0, 0, 9 * 64], "biases, where they reach the threshold"
    sums = np.cumsum(entering[:-1] @ net["a"].synapses[0].weight.T.astype(np.int64), axis=0)
    np.testing.assert_array_equal(result.potentials["a"][0], sums[-1])
    np.testing.assert_array_equal(
        result.spikes["b"][0, 1:], np.cumsum(hidden[:-1] @ net["b"].synapses[0].weight.T.astype(np.int64), axis=0)
    )
    np.testing.assert_array_equal(result.output[0], result.spikes["b"][0, -1])
    assert result.message_counts[INPUT] == 4 and result.schedule.latency == 5


def test_sums_beyond_24_bits_are_reported():
    frames = np.full((1, 3), 65535)
    net = network(input=Input((3,), "frames", 65535, SigmaDelta(1)))
    with pytest.warns(RmpLavaWarning, match="24 bits of a chip's state"):
        result = run(net, frames, 3, "reference")
    assert result.limits_reached()


def test_files_return_the_network(tmp_path):
    net = network()
    assert netx.load(netx.save(net, tmp_path / "a.net", for_lava_dl=True)) == net
    fine = net.map_layers(lambda layer: layer.replace(neurons=layer.neurons.replace(state_exponent=7)))
    assert netx.load(netx.save(fine, tmp_path / "b.net")) == fine
    with pytest.raises(NetFileError, match="state exponents other than 6"):
        netx.save(fine, tmp_path / "c.net", for_lava_dl=True)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"neurons": SigmaDelta(2, "hard")}, "hard reset"),
        ({"neurons": SigmaDelta(2, v_init=1)}, "v_init"),
        ({"neurons": SigmaDelta(-1)}, "threshold is -1"),
        ({"neurons": SigmaDelta(1, spike_exponent=8)}, "spike_exponent is 8"),
        ({"neurons": SigmaDelta(1, bias=np.array(2**19))}, "bias reaches 524288"),
        ({"neurons": SigmaDelta(1, "none", bias=np.array(2))}, "Sigma has none"),
        ({"neurons": Neurons(1)}, "soft reset neurons"),
    ],
)
def test_contradictions_are_refused(changed, sentence):
    net = network()
    with pytest.raises(NetworkError, match=sentence):
        net.replace(layers=(net.layers[0].replace(**changed), net.layers[1]))


def test_what_has_no_meaning_is_refused():
    net, frame = network(), np.zeros((1, 3))
    for backend in (Reference("stock"), Lava("stock"), Loihi2(), Fast(confidence=0.9)):
        with pytest.raises(UsageError, match=r"sigma-delta|implementation='stock'"):
            run(net, frame, 3, backend)
    with pytest.raises(NetworkError, match="set wait to 0"):
        net.replace(wait=1)
    with pytest.raises(DataError, match="4 frames, but the run has 3 steps"):
        run(net, np.zeros((1, 4, 3)), 3, "reference")
    with pytest.raises(DataError, match=r"integers in \[-500, 500\]"):
        run(net, np.full((1, 3), -501), 3, "reference")
    with pytest.raises(NetworkError, match="frames enter sigma-delta neurons"):
        net.replace(input=Input((3,), "frames", 500))
