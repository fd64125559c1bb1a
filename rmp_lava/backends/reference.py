"""Backend `reference`: numpy, slow and plain, the ground truth for the others.

Layer by layer over absolute time: a layer's input at step t is the sum of its synapses applied to their sources'
messages of step t - 1, so paths of different length need no special care. Sums are float64 (exact below 2^53), the
neuron is `rmp_lava.neuron.step`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator

import numpy as np

from ..encoding import encode
from ..errors import BackendError
from ..network import INPUT, Conv, Dense, Input, Neurons, SpikingNetwork, Synapse
from ..neuron import MAX_STATE, STATE_SHIFT, decay, initial_state, step, wrap24
from ..progress import Progress
from ..results import Run
from ..schedule import Schedule

BATCH_BYTES = 2**28


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    *,
    seed: int = 0,
    realisation: str = "native",
    record: Collection[str] = (),
    progress: bool = False,
) -> Run:
    """Run samples through a network; see `rmp_lava.run`.

    `realisation="stock"` models RMP neurons made of Lava's unmodified LIF and a self-synapse, with everything that
    differs there: the wrapping 24-bit current, and messages that cross the reset between two samples.
    """
    if realisation == "stock" and not network.is_integer:
        raise BackendError("stock neurons exist in integers only; quantise the network first")
    simulate = _simulate if realisation == "native" else _simulate_stock
    started = time.perf_counter()
    parts, carry = [], _Carry()
    with Progress("reference simulation", len(images), shown=progress) as bar:
        for first, batch in batches(network, images, plan):
            messages = encode(network.input, batch, plan.steps, seed=seed, first_sample=first)
            parts.append(simulate(network, messages, plan, record, carry))
            bar.advance(len(batch))
    name = "reference stock LIF with self-synapse" if realisation == "stock" else "reference neuron"
    return join(
        network,
        plan,
        parts,
        backend="reference",
        execution=f"numpy {np.__version__}, float64 sums, {name}",
        realisation=realisation,
        seconds=time.perf_counter() - started,
    )


def batches(network: SpikingNetwork, images: np.ndarray, plan: Schedule) -> Iterator[tuple[int, np.ndarray]]:
    """(index of the first image, images) in batches whose streams fit into `BATCH_BYTES`."""
    largest = max([int(np.prod(network.input.shape)), *(layer.size for layer in network)])
    size = max(1, BATCH_BYTES // (8 * largest * plan.period))
    for first in range(0, len(images), size):
        yield first, images[first : first + size]


def join(network: SpikingNetwork, plan: Schedule, parts: list[dict], **description) -> Run:
    """One `Run` from the dictionaries of its batches."""

    def concatenate(key: str) -> dict[str, np.ndarray]:
        return {name: np.concatenate([part[key][name] for part in parts]) for name in parts[0][key]}

    def total(key: str) -> dict[str, int]:
        return {name: sum(part[key][name] for part in parts) for name in parts[0][key]}

    predictions_at = None
    if parts[0].get("predictions_at") is not None:
        predictions_at = np.concatenate([part["predictions_at"] for part in parts])
    return Run(
        schedule=plan,
        output=np.concatenate([part["output"] for part in parts]),
        neuron_counts=concatenate("counts"),
        spikes=concatenate("spikes"),
        potentials=concatenate("potentials"),
        predictions_at=predictions_at,
        saturations=total("saturations"),
        large_inputs=total("large_inputs"),
        boundary_spikes=total("boundary_spikes"),
        **description,
    )


def _simulate(network: SpikingNetwork, messages: np.ndarray, plan: Schedule, record: Collection[str], _) -> dict:
    part = _empty_part()
    streams: dict[str, np.ndarray] = {}
    streams[INPUT] = _input_stream(network.input, messages, plan, part)
    _count(part, INPUT, streams[INPUT])
    for layer in network:
        currents = sum(_delayed(apply(s, streams[s.source])) for s in layer.synapses)
        state = initial_state(layer.neurons, layer.shape, len(messages), integer=network.is_integer)
        stream = np.zeros(currents.shape, dtype=np.uint8)
        is_output = layer is network.output
        scores = np.empty((len(messages), plan.period, layer.size)) if is_output else None
        for t in range(plan.period):
            stream[:, t] = step(layer.neurons, state, currents[:, t], integer=network.is_integer)
            if is_output:
                scores[:, t] = state.v.reshape(len(messages), -1)
        streams[layer.name] = stream
        _count(part, layer.name, stream)
        part["saturations"][layer.name] = state.saturations
        part["large_inputs"][layer.name] = state.large_inputs
        if "potentials" in record:
            part["potentials"][layer.name] = state.v
    if "spikes" in record:
        part["spikes"] = streams
    if network.readout == "count":
        scores = stream.reshape(scores.shape).cumsum(axis=1, dtype=np.int64)
    part["output"] = scores[:, -1].astype(np.int64 if network.is_integer or network.readout == "count" else np.float64)
    part["predictions_at"] = scores[:, plan.depth : plan.depth + plan.steps].argmax(axis=2).astype(np.int16)
    return part


def _empty_part() -> dict:
    return {key: {} for key in ("counts", "spikes", "potentials", "saturations", "large_inputs", "boundary_spikes")}


def _count(part: dict, name: str, stream: np.ndarray) -> None:
    part["counts"][name] = np.count_nonzero(stream, axis=1).astype(np.int64)
    part["boundary_spikes"][name] = int(stream[:, -1].reshape(len(stream), -1).any(axis=1).sum())


def _input_stream(source: Input, messages: np.ndarray, plan: Schedule, part: dict) -> np.ndarray:
    """(samples, period, *shape): messages, then blank steps; through the input's neurons where it has some."""
    stream = np.zeros((len(messages), plan.period, *source.shape), dtype=messages.dtype)
    stream[:, : plan.steps] = messages
    if source.neurons is None:
        return stream
    state = initial_state(source.neurons, source.shape, len(messages), integer=True)
    spikes = np.zeros(stream.shape, dtype=np.uint8)
    for t in range(plan.period):
        spikes[:, t] = step(source.neurons, state, stream[:, t], integer=True)
    part["saturations"][INPUT], part["large_inputs"][INPUT] = state.saturations, state.large_inputs
    return spikes


def _delayed(currents: np.ndarray) -> np.ndarray:
    """The same stream one step later: a synapse sends at step t what it received at t - 1."""
    delayed = np.zeros_like(currents)
    delayed[:, 1:] = currents[:, :-1]
    return delayed


def apply(synapse: Synapse, stream: np.ndarray) -> np.ndarray:
    """Synaptic input (samples, steps, *target shape) float64 that a stream (samples, steps, *source shape) causes."""
    samples, steps, *shape = stream.shape
    flat = stream.reshape(samples * steps, *shape).astype(np.float64)
    weight = synapse.weight.astype(np.float64)
    if isinstance(synapse, Dense):
        result = flat.reshape(samples * steps, -1) @ weight.T
    elif isinstance(synapse, Conv):
        result = _convolve(synapse, flat, weight)
    else:
        raise BackendError(f"the reference does not know synapses of type {type(synapse).__name__}")
    return result.reshape(samples, steps, *result.shape[1:])


def _convolve(synapse: Conv, images: np.ndarray, weight: np.ndarray) -> np.ndarray:
    c_out, height, width = synapse.output_shape(images.shape[1:])
    (ph, pw), (sh, sw), (dh, dw) = synapse.padding, synapse.stride, synapse.dilation
    padded = np.pad(images, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    result = np.zeros((len(images), c_out, height, width))
    inputs, outputs = images.shape[1] // synapse.groups, c_out // synapse.groups
    for group in range(synapse.groups):
        source = padded[:, group * inputs : (group + 1) * inputs]
        target = slice(group * outputs, (group + 1) * outputs)
        for i in range(weight.shape[2]):
            for j in range(weight.shape[3]):
                rows = slice(i * dh, i * dh + sh * (height - 1) + 1, sh)
                columns = slice(j * dw, j * dw + sw * (width - 1) + 1, sw)
                result[:, target] += np.einsum(
                    "oc,ncxy->noxy", weight[target, :, i, j], source[:, :, rows, columns], optimize=True
                )
    return result


class _Carry:
    """What crosses the reset between two samples on stock neurons: the spikes of the last step."""

    def __init__(self) -> None:
        self.spikes: dict[str, np.ndarray] = {}


class _StockPopulation:
    """Lava's unmodified LIF in the settings that `backends.lava_build` gives it.

    Soft reset: the current u is the membrane (du = -1, dv = 4096), and a spike comes back as -threshold one step later;
    the bias comes through a synapse too. Else: the LIF itself, whose current wraps where the definition's does not.
    """

    def __init__(self, neurons: Neurons, shape: tuple[int, ...]) -> None:
        self.neurons = neurons
        self.soft = neurons.reset == "soft"
        self.threshold = int(neurons.threshold) << STATE_SHIFT
        bias = neurons.bias_per_neuron(shape)
        self.bias = 0 if bias is None else bias.astype(np.int64) << neurons.bias_exponent
        self.u = np.zeros(shape, dtype=np.int64)
        self.v = np.zeros(shape, dtype=np.int64)
        self.saturations = self.large_inputs = 0

    def reset(self) -> None:
        v_init = int(self.neurons.v_init) << STATE_SHIFT
        self.u = np.full_like(self.u, v_init if self.soft else 0)
        self.v = np.full_like(self.v, v_init)

    def lead_in(self) -> np.ndarray:
        """Who spikes in the step before the first sample: only a hard reset's bias is there, all else takes a synapse."""
        return (np.broadcast_to(self.bias, self.v.shape) > self.threshold) & (self.neurons.reset == "hard")

    def step(self, a: np.ndarray, last_spikes: np.ndarray) -> np.ndarray:
        current = a.astype(np.int64) << STATE_SHIFT
        if self.soft:
            current = current - self.threshold * last_spikes.astype(np.int64) + self.bias
            self.u = self._wrapped(self.u + current)
            # The current holds +2^23 too, where the definition's potential saturates.
            self.saturations += int(np.count_nonzero(np.abs(self.u) > MAX_STATE))
            return np.clip(self.u, -MAX_STATE, MAX_STATE) > self.threshold
        self.u = self._wrapped(decay(self.u, self.neurons.current_decay) + current)
        wide = decay(self.v, self.neurons.voltage_decay) + self.u + self.bias
        self.v = np.clip(wide, -MAX_STATE, MAX_STATE)
        self.saturations += int(np.count_nonzero(self.v != wide))
        if self.neurons.reset == "none":
            return np.zeros(self.v.shape, dtype=bool)
        spikes = self.v > self.threshold
        self.v = np.where(spikes, 0, self.v)
        return spikes

    def _wrapped(self, wide: np.ndarray) -> np.ndarray:
        wrapped = wrap24(wide)
        self.large_inputs += int(np.count_nonzero(wrapped != wide))
        return wrapped

    def potential(self, spikes: np.ndarray) -> np.ndarray:
        """Membrane potential after the step, in state units: the self-synapse's subtraction is still under way."""
        return self.u - self.threshold * spikes.astype(np.int64) if self.soft else self.v


def _simulate_stock(
    network: SpikingNetwork, messages: np.ndarray, plan: Schedule, record: Collection[str], carry: _Carry
) -> dict:
    shapes = {INPUT: network.input.shape} | {layer.name: layer.shape for layer in network}
    populations = {layer.name: _StockPopulation(layer.neurons, layer.shape) for layer in network}
    if network.input.neurons is not None:
        populations[INPUT] = _StockPopulation(network.input.neurons, network.input.shape)
    streams = {
        name: np.zeros((len(messages), plan.period, *shape), dtype=messages.dtype if name == INPUT else np.uint8)
        for name, shape in shapes.items()
    }
    potentials = {name: np.zeros((len(messages), *shapes[name]), dtype=np.int64) for name in populations}
    last = carry.spikes
    if not last:
        last = {name: np.zeros(shape, dtype=np.uint8) for name, shape in shapes.items()}
        last |= {name: population.lead_in() for name, population in populations.items()}
    for sample in range(len(messages)):
        for t in range(plan.period):
            if t == 0:
                for population in populations.values():
                    population.reset()
            now = {INPUT: messages[sample, t] if t < plan.steps else np.zeros_like(messages[sample, 0])}
            if INPUT in populations:
                now[INPUT] = populations[INPUT].step(now[INPUT], last[INPUT])
            for layer in network:
                a = sum(apply(s, last[s.source][None, None])[0, 0] for s in layer.synapses)
                now[layer.name] = populations[layer.name].step(a, last[layer.name])
            for name in streams:
                streams[name][sample, t] = now[name]
            last = now
        for name, population in populations.items():
            potentials[name][sample] = population.potential(last[name])
    carry.spikes = last
    part = _empty_part()
    for name, stream in streams.items():
        _count(part, name, stream)
    for name, population in populations.items():
        part["saturations"][name] = population.saturations
        part["large_inputs"][name] = population.large_inputs
    if "spikes" in record:
        part["spikes"] = streams
    if "potentials" in record:
        part["potentials"] = {layer.name: potentials[layer.name] for layer in network}
    output = network.output.name
    scores = part["counts"][output] if network.readout == "count" else potentials[output]
    part["output"] = scores.reshape(len(messages), -1)
    return part
