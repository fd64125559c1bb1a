"""The one data structure: a network that exists is consistent, never changes, and knows its own shape."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import assume, given, strategies as st
from strategies import networks

from rmp_lava.encoding import make_input
from rmp_lava.errors import NetworkError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork

ONES = np.ones((2, 3), dtype=int)


def layer(name="a", source=INPUT, weight=ONES, shape=(2,), neurons=None, **changed) -> Layer:
    return Layer(name, shape, (Dense(source, weight),), neurons or Neurons(5), **changed)


def network(*layers: Layer, shape=(3,), **changed) -> SpikingNetwork:
    settings = {"stage": "integer", "readout": "potential"} | changed
    return SpikingNetwork("n", settings.pop("input", make_input("poisson", shape)), layers or (layer(),), **settings)


def conv(weight=(1, 1, 3, 3), **changed) -> Conv:
    return Conv(INPUT, np.ones(weight, dtype=int), **changed)


def with_conv(synapse: Conv, shape=(1, 4, 4)) -> SpikingNetwork:
    return network(Layer("a", (1, 2, 2), (synapse,), Neurons(5)), shape=shape)


def delayed(delay, stage="integer"):
    weight = ONES if stage == "integer" else ONES.astype(float)
    one = Layer("a", (2,), (Dense(INPUT, weight, delay=np.array(delay)),), Neurons(5))
    return network(one, stage=stage)


def biased(bias, exponent=6, stage="integer"):
    weight = ONES if stage == "integer" else ONES.astype(float)
    return network(layer(weight=weight, neurons=Neurons(5, bias=bias, bias_exponent=exponent)), stage=stage)


def neurons(stage="integer", **changed):
    settings = {"threshold": 5} | changed
    weight = ONES if stage == "integer" else ONES.astype(float)
    return network(layer(weight=weight, neurons=Neurons(**settings)), stage=stage)


CONTRADICTIONS = {
    "stage 'trained' is unknown": lambda: network(stage="trained"),
    "read-out 'latency' is unknown": lambda: network(readout="latency"),
    "has no layers": lambda: SpikingNetwork("n", make_input("poisson", (3,)), ()),
    "input levels are missing": lambda: network(input=Input((3,), "current", None)),
    "input levels are missing; only the current": lambda: network(
        layer(weight=ONES.astype(float)), input=Input((3,), "poisson", None), stage="balanced"
    ),
    "input levels are 0": lambda: network(input=Input((3,), "current", 0)),
    "input levels are 65536": lambda: network(input=Input((3,), "current", 65536)),
    "input levels are 2.5": lambda: network(input=Input((3,), "current", 2.5)),
    "rate encoding needs input neurons": lambda: network(input=Input((3,), "rate", 255)),
    "poisson input sends single spikes": lambda: network(input=Input((3,), "poisson", 2)),
    "input neurons never spike": lambda: network(input=Input((3,), "rate", 255, Neurons(5, "none"))),
    "layer 'input': threshold is 0": lambda: network(input=Input((3,), "rate", 255, Neurons(0))),
    "input encoding 'morse' is unknown": lambda: Input((3,), "morse"),
    "neuron reset 'half' is unknown": lambda: Neurons(5, "half"),
    "layer name ''": lambda: network(layer("")),
    "layer name 'a/b'": lambda: network(layer("a/b")),
    "layer name 'a\\nb'": lambda: network(layer("a\nb")),
    "layer name '.'": lambda: network(layer(".")),
    "layer name '\\ud800'": lambda: network(layer("\ud800")),
    "duplicate layer name 'input'": lambda: network(layer("input")),
    "duplicate layer name 'a'": lambda: network(layer(), layer()),
    "'a' has shape ()": lambda: network(layer(shape=())),
    "'a' has shape (2, 1)": lambda: network(layer(shape=(2, 1))),
    "'input' has shape (0,)": lambda: network(shape=(0,)),
    "has no synapses": lambda: network(Layer("a", (2,), (), Neurons(5))),
    "synapse from 'b', which is not an earlier layer": lambda: network(layer(source="b"), layer("b")),
    "synapse from 'a', which is not": lambda: network(layer(source="a", weight=ONES.astype(float)), stage="balanced"),
    "recurrent synapses only": lambda: network(layer(source="a", weight=ONES[:, :2])),
    "delays from 'input' are in a float network": lambda: delayed([[1]], "balanced"),
    "of shape (2, 2), up to 2; allowed are integers 0..62": lambda: delayed([[1, 2], [2, 1]]),
    "of shape (2, 1), up to 63; allowed": lambda: delayed([[63], [1]]),
    "of shape (1,), up to 1; allowed": lambda: delayed([1]),
    "has synapses with delays, but its network waits": lambda: delayed([[1]]).replace(wait=1),
    "current_decay is int16 of shape (3,)": lambda: neurons(reset="hard", current_decay=np.arange(3)),
    "current_decay is 4097": lambda: neurons(reset="hard", current_decay=np.array([0, 4097])),
    "layer 'a': dense weights of shape (2, 4)": lambda: network(layer(weight=np.ones((2, 4), dtype=int))),
    "layer 'a' has shape (3,), but its synapses from 'input' give (2,)": lambda: network(layer(shape=(3,))),
    "a convolution needs a (channels": lambda: with_conv(conv(), shape=(16,)),
    "convolution weights from 'input' have shape (3, 3)": lambda: with_conv(conv((3, 3))),
    "has stride (0, 1)": lambda: with_conv(conv(stride=(0, 1))),
    "padding (-1, 0)": lambda: with_conv(conv(padding=(-1, 0))),
    "pads it by (50000, 50000) to 10,000,800,016 values": lambda: with_conv(conv(padding=(50_000, 50_000))),
    "dilation (1, 0)": lambda: with_conv(conv(dilation=(1, 0))),
    "with 2 groups do not fit": lambda: with_conv(conv(groups=2)),
    "kernel (3, 3) is larger": lambda: with_conv(conv(), shape=(1, 2, 2)),
    "an integer network needs integers": lambda: network(layer(weight=ONES + 0.5)),
    "contain 256; 8-bit weights": lambda: network(layer(weight=256 * ONES)),
    "contain -257; 8-bit weights": lambda: network(layer(weight=-257 * ONES)),
    "a float network holds floating-point weights": lambda: network(stage="balanced"),
    "contain NaN or infinity": lambda: network(layer(weight=ONES * np.nan), stage="balanced"),
    "threshold is True; expected a number": lambda: neurons(threshold=True),
    "threshold is '5'; expected a number": lambda: neurons(threshold="5"),
    "threshold is nan": lambda: neurons("balanced", threshold=float("nan")),
    "threshold is 2.5; an integer network": lambda: neurons(threshold=2.5),
    "threshold is 0; allowed are 1..131071": lambda: neurons(threshold=0),
    "threshold is 131072; allowed are 1..131071": lambda: neurons(threshold=2**17),
    "threshold is -1.0; allowed are positive numbers": lambda: neurons("balanced", threshold=-1.0),
    "v_init is inf": lambda: neurons("balanced", v_init=float("inf")),
    "v_init is -131072; allowed": lambda: neurons(v_init=-(2**17)),
    "leaky neurons exist in integers only": lambda: neurons("balanced", reset="hard", voltage_decay=10),
    "leaky with a soft reset": lambda: neurons(voltage_decay=10),
    "voltage_decay is 4097": lambda: neurons(reset="hard", voltage_decay=4097),
    "current_decay is -1": lambda: neurons(reset="hard", current_decay=-1),
    "bias has shape (3,)": lambda: biased([1, 2, 3]),
    "bias must be finite": lambda: biased([1.0, np.inf], stage="balanced"),
    "bias must be finite floating-point": lambda: biased([1, 2], stage="balanced"),
    "bias is float32; an integer network": lambda: biased([1.5, 2.0]),
    "bias mantissa reaches 32768": lambda: biased([0, 32768]),
    "bias mantissa reaches 40000": lambda: biased([0, -40000]),
    "bias exponent is 8": lambda: biased([1, 2], exponent=8),
    "bias exponent is 6.5": lambda: biased([1, 2], exponent=6.5),
    "voltage_decay is 10.5": lambda: neurons(reset="hard", voltage_decay=10.5),
    "an array holds 18446744073709551615; integers": lambda: layer(weight=np.full((2, 3), 2**64 - 1, np.uint64)),
    "convolution weights from 'input' have shape (1, 1, 0, 0)": lambda: with_conv(conv((1, 1, 0, 0))),
    "class names of network 'n' are (1, 2); expected strings": lambda: network(class_names=(1, 2)),
    "never spikes (reset 'none'), but spikes are to be counted": lambda: network(
        layer(neurons=Neurons(5, "none")), readout="count"
    ),
    "has 3 class names for 2 outputs": lambda: network(class_names=("a", "b", "c")),
    "provenance cannot be written as JSON": lambda: network(provenance={"a": float("nan")}),
    "record of layer 'a' cannot be written as JSON": lambda: network(layer(record={"a": np.float32(1)})),
    "record of layer 'a' changes when written as JSON": lambda: network(layer(record={"a": (1, 2)})),
    "provenance changes when written as JSON": lambda: network(provenance={1: "one"}),
}


@pytest.mark.parametrize("sentence", CONTRADICTIONS)
def test_each_contradiction_is_refused_in_one_sentence(sentence):
    with pytest.raises(NetworkError) as caught:
        CONTRADICTIONS[sentence]()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_limits_themselves_are_allowed():
    weight = np.array([[-256, 0, 255], [1, 2, 3]])
    population = Neurons(2**17 - 1, v_init=-(2**17) + 1, bias=[-4096, 4095], bias_exponent=7)
    assert network(layer(weight=weight, neurons=population), input=Input((3,), "current", 65535))


# Values


def test_nothing_in_a_network_can_be_changed():
    weight = np.ones((2, 3), dtype=int)
    made = network(layer(weight=weight, neurons=Neurons(5, bias=[1, 2]), record={"a": 1}), provenance={"a": 1})
    weight[0, 0] = 7
    first = made.layers[0]
    assert first.synapses[0].weight[0, 0] == 1
    for array in (first.synapses[0].weight, first.neurons.bias):
        with pytest.raises(ValueError):
            array[0] = 1
    for thing in (made, first, first.neurons, first.synapses[0], made.input):
        for field in dataclasses.fields(thing):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(thing, field.name, None)
    for mapping in (first.record, made.provenance):
        with pytest.raises(TypeError):
            mapping["b"] = 2


@given(networks())
def test_equality_is_by_value(made):
    copies = tuple(one.replace(synapses=tuple(s.replace() for s in one.synapses)) for one in made.layers)
    assert made.replace(layers=copies) == made
    weight = np.array(made.output.synapses[0].weight)
    weight.flat[-1] += -1 if weight.flat[-1] > 0 else 1
    changed = made.output.replace(synapses=(made.output.synapses[0].replace(weight=weight), *made.output.synapses[1:]))
    assert made.replace(layers=(*made.layers[:-1], changed)) != made
    assert made != "a network"


def test_equality_tells_shapes_and_kinds_of_number_apart():
    assert Dense(INPUT, [[1, 2]]) != Dense(INPUT, [[1], [2]])
    assert Dense(INPUT, [[1, 2]]) != Dense(INPUT, [[1.0, 2.0]])
    assert Dense(INPUT, [[1, 2]]) != Conv(INPUT, [[1, 2]])
    assert Neurons(5, bias=[1]) != Neurons(5)


def test_an_exponent_without_a_bias_means_nothing():
    assert Neurons(5, bias_exponent=3) == Neurons(5)


@pytest.mark.parametrize("value, dtype", [(255, np.int16), (-(2**15), np.int16), (2**15, np.int64), (0.5, np.float32)])
def test_arrays_are_kept_narrow(value, dtype):
    assert Dense(INPUT, [[value]]).weight.dtype == dtype


def test_strides_in_lists_are_those_in_tuples():
    assert conv(stride=[2, 1], padding=[1, 0], dilation=[1, 2]) == conv(stride=(2, 1), padding=(1, 0), dilation=(1, 2))


@pytest.mark.parametrize("wait", [-1, 2**20 + 1, 1.0, True, "1", None])
def test_waiting_steps_are_integers(wait):
    with pytest.raises(NetworkError, match="waiting steps are .*; allowed are integers 0..1048576"):
        network(layer()).replace(wait=wait)


def test_neurons_wait_for_no_more_steps_than_messages_arrive_in():
    made = network(layer()).replace(balanced_steps=4)
    assert made.replace(wait=4).wait == 4
    with pytest.raises(NetworkError, match="wait for 5 steps, but it was balanced for T = 4.*set wait to 4 or less"):
        made.replace(wait=5)


@pytest.mark.parametrize("neurons", [Neurons(5, "hard"), Neurons(5, "none", current_decay=10)])
def test_only_neurons_that_keep_everything_wait(neurons):
    made = network(layer().replace(neurons=neurons))
    with pytest.raises(NetworkError, match="waits for 1 steps; only neurons with soft reset and without leak wait"):
        made.replace(wait=1)


# Structure


def test_depth_is_the_longest_path():
    residual = Layer("c", (2,), (Dense("b", ONES[:, :2]), Dense("a", ONES[:, :2]), Dense(INPUT, ONES)), Neurons(5))
    made = network(layer(), layer("b", "a", ONES[:, :2]), residual, layer("d", INPUT))
    assert made.depths == {"a": 1, "b": 2, "c": 3, "d": 1}
    assert made.depth == 3
    assert not made.is_chain
    assert network(layer(), layer("b", "a", ONES[:, :2])).is_chain
    assert not network(layer(), layer("b", INPUT)).is_chain


def test_look_up():
    made = network(layer(), layer("b", "a", ONES[:, :2]))
    assert made["b"] is made.output and [one.name for one in made] == ["a", "b"]
    assert made.source_shape(INPUT) == (3,) and made.source_shape("a") == (2,)
    assert made.neuron_count == 4 and made.parameter_count == 10
    with pytest.raises(KeyError):
        made["c"]


@st.composite
def convolutions(draw):
    pairs = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    kernel, size = draw(pairs(1, 4)), draw(pairs(1, 9))
    stride, padding, dilation = draw(pairs(1, 3)), draw(pairs(0, 3)), draw(pairs(1, 3))
    assume(all(n + 2 * p > d * (k - 1) for n, p, d, k in zip(size, padding, dilation, kernel, strict=True)))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    weight = rng.integers(-1, 2, (outputs, inputs // groups, *kernel))
    return Conv(INPUT, weight, stride, padding, dilation, groups), (inputs, *size)


def torch_conv(synapse: Conv, source: torch.Tensor) -> torch.Tensor:
    weight = torch.tensor(synapse.weight, dtype=source.dtype)
    return torch.conv2d(source, weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups)


@given(convolutions())
def test_convolution_has_pytorchs_shape(case):
    synapse, shape = case
    assert synapse.output_shape(shape) == tuple(torch_conv(synapse, torch.zeros(1, *shape)).shape[1:])


@given(convolutions())
def test_fan_out_is_what_each_source_neuron_reaches(case):
    synapse, shape = case
    size = int(np.prod(shape))
    reached = torch_conv(synapse.replace(weight=np.abs(synapse.weight)), torch.eye(size).reshape(size, *shape))
    np.testing.assert_array_equal(synapse.fan_out(shape), reached.reshape(size, -1).sum(1).numpy().reshape(shape))


def test_fan_out_of_dense_weights_counts_what_is_not_zero():
    np.testing.assert_array_equal(Dense(INPUT, [[1, 0, -2], [3, 0, 0]]).fan_out((3,)), [2, 0, 1])


@pytest.mark.parametrize("bias", [np.array(3), np.array([3, 4]), np.arange(8).reshape(2, 2, 2)])
def test_bias_is_per_neuron_channel_or_all(bias):
    found = Neurons(5, bias=bias).bias_per_neuron((2, 2, 2))
    expected = bias.reshape(-1, 1, 1) if bias.ndim == 1 else bias
    np.testing.assert_array_equal(found, np.broadcast_to(expected, (2, 2, 2)))
    assert Neurons(5).bias_per_neuron((2, 2, 2)) is None
