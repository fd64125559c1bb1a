"""Hypothesis strategies for spiking networks and what is run through them; import as `from strategies import ...`.

Structure is drawn, so that it shrinks; the numbers in arrays come from a drawn seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from hypothesis import strategies as st

from rmp_lava.backends import BackendOptions, Lava, run
from rmp_lava.backends.options import options_of
from rmp_lava.choices import Backend
from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork, Synapse
from rmp_lava.results import Run

MAX_THRESHOLD = 2**17 - 1
MAX_STOCK = 255 << 7
"""Largest threshold, v_init and bias that synapses of stock neurons can say."""
EVERYTHING = ("counts", "spikes", "potentials")

seeds = st.integers(0, 2**32 - 1)


@dataclass
class Case:
    """A network, and how to run it."""

    network: SpikingNetwork
    images: np.ndarray = field(repr=False)
    steps: int
    blank: int = 0
    power_of_two: bool = False
    seed: int = 0

    def run(self, backend: Backend | BackendOptions = "reference", **changed) -> Run:
        chosen = options_of(backend)
        if isinstance(chosen, Lava) and chosen.time_limit is None:
            chosen = replace(chosen, time_limit=120)
        blank = max(1, self.blank) if chosen.implementation == "stock" else self.blank
        settings = {"blank": blank, "power_of_two": self.power_of_two, "seed": self.seed, "record": EVERYTHING}
        images = changed.pop("images", self.images)
        return run(self.network, images, changed.pop("steps", self.steps), chosen, **(settings | changed))


def assert_same_run(a: Run, b: Run) -> None:
    """Every spike, potential, count and output is equal; what only one of the two recorded is a difference."""
    for what in ("spikes", "potentials", "neuron_counts", "message_counts", "synaptic_operations"):
        one, other = getattr(a, what), getattr(b, what)
        assert set(one) == set(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=f"{what} of {name}")
    np.testing.assert_array_equal(a.output, b.output)
    assert a.output.dtype == b.output.dtype
    assert dict(a.neuron_updates) == dict(b.neuron_updates)
    crossing = [{name: count for name, count in run.boundary_spikes.items() if count} for run in (a, b)]
    assert crossing[0] == crossing[1]
    assert a.schedule == b.schedule


def integer_weights(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """8-bit weights as a chip holds them: odd ones only where all have the same sign."""
    if kind == "mixed":
        weight = 2 * rng.integers(-60, 100, shape)
    elif kind == "limits":
        weight = rng.choice([-256, -254, -2, 0, 2, 254], shape)
    elif kind == "excitatory":
        weight = rng.integers(0, 256, shape)
    elif kind == "inhibitory":
        weight = rng.integers(-255, 1, shape)
    else:
        weight = rng.choice([0, 0, 1, 255], shape)
    # Without positive ones they are inhibitory, and reach down to -255 only.
    return (weight if weight.max() > 0 else np.maximum(weight, -255)).astype(np.int16)


WEIGHT_KINDS = ("mixed", "mixed", "limits", "excitatory", "sparse", "inhibitory")


def _weights(draw, shape: tuple[int, ...], integer: bool) -> np.ndarray:
    rng = np.random.default_rng(draw(seeds))
    if integer:
        return integer_weights(rng, shape, draw(st.sampled_from(WEIGHT_KINDS)))
    # Sums of such numbers are exact in float32, so that every order of summation gives the same bits.
    return (rng.integers(-40, 64, shape) / 32).astype(np.float32)


def _fitting(source: int, target: int) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, padding, dilation) along one axis that lead from one size to another."""
    return [
        (k, s, p, d)
        for k, s, p, d in product((1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2))
        if source + 2 * p > d * (k - 1) and (source + 2 * p - d * (k - 1) - 1) // s + 1 == target
    ]


def _convolution(draw, source: str, shape: tuple[int, ...], size: tuple[int, int] | None, c_out: int, integer: bool):
    """A convolution from a source, to the given (height, width) or to any; None if there is none."""
    axes = []
    for axis in (0, 1):
        targets = [size[axis]] if size else range(1, 7)
        choices = [choice for target in targets for choice in _fitting(shape[1 + axis], target)]
        if not choices:
            return None
        axes.append(draw(st.sampled_from(choices)))
    (kh, sh, ph, dh), (kw, sw, pw, dw) = axes
    groups = draw(st.sampled_from([g for g in range(1, shape[0] + 1) if shape[0] % g == 0 and c_out % g == 0]))
    weight = _weights(draw, (c_out, shape[0] // groups, kh, kw), integer)
    exponent = _exponent(draw, integer)
    return Conv(source, weight, stride=(sh, sw), padding=(ph, pw), dilation=(dh, dw), groups=groups, exponent=exponent)


def _dense(draw, source: str, size: int, shape: tuple[int, ...], integer: bool) -> Dense:
    weight = _weights(draw, (size, int(np.prod(shape))), integer)
    return Dense(source, weight, exponent=_exponent(draw, integer))


def _delayed(draw, synapse: Synapse) -> Synapse:
    """A dense synapse with delays: one, one per target or source, or one for each weight."""
    if not isinstance(synapse, Dense):
        return synapse
    outputs, inputs = synapse.weight.shape
    shape = draw(st.sampled_from([(1, 1), (outputs, 1), (1, inputs), (outputs, inputs)]))
    largest = draw(st.sampled_from([0, 1, 2, 9, 62]))
    return synapse.replace(delay=np.random.default_rng(draw(seeds)).integers(0, largest + 1, shape))


def _exponent(draw, integer: bool) -> int:
    return draw(st.sampled_from([0, 0, 1, 2, 4, 7])) if integer else 0


def _neurons(
    draw, shape: tuple[int, ...], integer: bool, stock: bool, resets: tuple[str, ...], leaky: bool = False
) -> Neurons:
    reset = draw(st.sampled_from(resets))
    kind = draw(st.sampled_from([None, None, "one", "channel", "neuron"]))
    bias_shape = {None: None, "one": (), "channel": shape[:1], "neuron": shape}[kind]
    rng = np.random.default_rng(draw(seeds))
    if not integer:
        bias = None if kind is None else (rng.integers(-8, 24, bias_shape) / 32).astype(np.float32)
        v_init = draw(st.integers(-64, 64)) / 32
        return Neurons(draw(st.integers(1, 160)) / 32, reset, v_init=v_init, bias=bias)
    largest = MAX_STOCK if stock else MAX_THRESHOLD
    threshold = draw(
        st.one_of(st.integers(1, 900), st.integers(1, 300), st.sampled_from([1, largest]), st.integers(1, largest))
    )
    v_init = draw(st.one_of(st.just(0), st.integers(-1000, 1000), st.sampled_from([-largest, largest])))
    bias = exponent = None
    if kind is not None:
        low, high = draw(st.sampled_from([(-20, 120), (-4096, 4096)]))
        bias = rng.integers(low, high, bias_shape).astype(np.int16)
        exponent = draw(st.sampled_from([6, 7] if stock and reset == "soft" else range(8)))
    neurons = Neurons(threshold, reset, v_init=v_init, bias=bias, bias_exponent=6 if exponent is None else exponent)
    if leaky and reset != "soft" and draw(st.booleans()):
        decays = st.one_of(st.integers(0, 4096), st.sampled_from([0, 1, 4095, 4096]))
        neurons = neurons.replace(current_decay=draw(decays), voltage_decay=draw(decays))
        if draw(st.booleans()):
            rng = np.random.default_rng(draw(seeds))
            each = draw(st.sampled_from([shape[:1], shape]))
            neurons = neurons.replace(current_decay=rng.choice([0, 1, 77, 2048, 4095, 4096], each))
            if draw(st.booleans()):
                neurons = neurons.replace(voltage_decay=rng.integers(0, 4097, each))
            if reset == "hard" and not stock:
                thresholds = rng.choice([0, 7, 300, 131071, 131072], each)
                thresholds.flat[0] = min(thresholds.flat[0], MAX_THRESHOLD)  # not all of them may be beyond
                neurons = neurons.replace(threshold=thresholds)
    return neurons


def _input(draw, integer: bool, stock: bool, encodings: tuple[str, ...], leaky: bool) -> Input:
    shape = draw(
        st.one_of(st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6)), st.tuples(st.integers(1, 8)))
    )
    encoding = draw(st.sampled_from(encodings))
    if encoding == "driven":
        # As lava-dl's files have it: messages go straight to input neurons.
        neurons = _neurons(draw, shape, True, stock, ("soft", "hard"), leaky)
        return Input(shape, "spikes", draw(st.sampled_from([1, 200, 65535])), neurons)
    if encoding == "current":
        return make_input("current", shape, draw(st.sampled_from([1, 7, 255] if integer else [None, 15])))
    if encoding == "spikes":  # or numbers of events
        return make_input("spikes", shape, draw(st.sampled_from([1, 1, 3, 255] if integer else [1, 3])))
    return make_input(encoding, shape)


ENCODINGS = ("poisson", "rate", "current", "spikes", "driven")


@st.composite
def networks(
    draw,
    *,
    integer: bool = True,
    stock: bool = False,
    max_layers: int = 4,
    chain: bool = False,
    encodings: tuple[str, ...] = ENCODINGS,
    resets: tuple[str, ...] = ("soft", "soft", "hard"),
    leaky: bool = False,
    late: bool = False,
    graded: bool = False,
) -> SpikingNetwork:
    """Valid networks with convolutions and dense layers, weight exponents, skip paths, biases and every kind of read-out.

    `stock` restricts them to what stock neurons with a self-synapse can express; `leaky` adds lava-dl's CUBA neurons, `late`
    delays and recurrent synapses, `graded` messages for several spikes.
    """
    source = _input(draw, integer, stock, encodings, leaky)
    shapes = {INPUT: source.shape}
    layers: list[Layer] = []
    readout = draw(st.sampled_from(["count", "potential", "total"] if "soft" in resets else ["count", "potential"]))
    count = draw(st.integers(1, max_layers))
    for i in range(count):
        before = list(shapes)[-1]
        synapses: list[Synapse] = []
        if len(shapes[before]) == 3 and draw(st.booleans()):
            synapses.append(_convolution(draw, before, shapes[before], None, draw(st.integers(1, 4)), integer))
        else:
            size = draw(st.integers(1, 6))
            synapses.append(_dense(draw, before, size, shapes[before], integer))
        shape = synapses[0].output_shape(shapes[before])
        for _ in range(0 if chain else draw(st.integers(0, 2))):
            other = draw(st.sampled_from(list(shapes)))
            if len(shape) == 1:
                synapses.append(_dense(draw, other, shape[0], shapes[other], integer))
            elif len(shapes[other]) == 3:
                conv = _convolution(draw, other, shapes[other], shape[1:], shape[0], integer)
                synapses += [conv] if conv is not None else []
        if late:
            if len(shape) == 1 and draw(st.booleans()):
                synapses.append(_dense(draw, f"layer{i}", shape[0], shape, integer))
            synapses = [_delayed(draw, each) if draw(st.booleans()) else each for each in synapses]
        allowed = resets
        if i == count - 1:
            allowed = {"count": resets, "potential": (*resets, "none", "none"), "total": ("soft",)}[readout]
        neurons = _neurons(draw, shape, integer, stock, allowed, leaky and integer)
        if graded and integer and neurons.reset == "soft" and draw(st.booleans()):
            neurons = neurons.replace(largest_spike=draw(st.sampled_from([2, 3, 100, 255])))
        name = f"layer{i}"
        layers.append(Layer(name, shape, tuple(synapses), neurons))
        shapes[name] = shape
    network = SpikingNetwork("random", source, tuple(layers), "integer" if integer else "analog", readout)
    if integer and readout == "total":
        network = network.replace(output_offset=draw(st.sampled_from([0, 0, 128, -64, 4095 << 7])))
    return network


def make_images(network: SpikingNetwork, samples: int, steps: int, seed: int) -> np.ndarray:
    """Images or spikes for a network, among them the brightest and the darkest."""
    rng = np.random.default_rng(seed)
    source = network.input
    if source.encoding == "spikes":
        return rng.integers(0, source.levels + 1, (samples, steps, *source.shape)).astype(np.int32)
    images = rng.integers(-16, 81, (samples, *source.shape)) / 64
    return np.clip(images, 0, 1).astype(np.float32)


@st.composite
def cases(draw, *, max_steps: int = 8, max_samples: int = 3, waiting: bool = False, **restrictions) -> Case:
    """Networks with images and a schedule; the arguments are those of `networks`. `waiting` neurons have soft resets."""
    network = draw(networks(**({"resets": ("soft",)} if waiting else {}), **restrictions))
    steps = draw(st.integers(1, max_steps))
    if waiting:
        network = network.replace(wait=draw(st.one_of(st.integers(0, steps), st.just(steps))))
    return Case(
        network=network,
        images=make_images(network, draw(st.integers(1, max_samples)), steps, draw(seeds)),
        steps=steps,
        blank=draw(st.sampled_from([0, 0, 1, 3])),
        power_of_two=draw(st.booleans()),
        seed=draw(st.integers(0, 5)),
    )
