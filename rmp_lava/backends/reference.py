"""Backend `reference`: numpy, slow and plain, the ground truth for the others.

Layer by layer in local time (see `rmp_lava.schedule`): a layer's input at step t is the sum of its synapses applied to
their sources' messages of observed step t, or of earlier ones where synapses have delays or are recurrent. Sums are float64
(exact below 2^53), the neuron is `rmp_lava.neuron.step`.
"""

from __future__ import annotations

import time
from collections.abc import Collection

import numpy as np

from .. import sigma_delta
from ..choices import Record
from ..encoding import encode
from ..errors import BackendError
from ..network import INPUT, Input, SigmaDelta, SpikingNetwork, delays
from ..neuron import State, initial_state, phases, step
from ..progress import Progress
from ..readout import output
from ..registers import MAX_CONV_SUM
from ..results import Run
from ..schedule import Schedule
from .batches import Part, batch_size, join
from .options import Reference
from .stock import simulate_stock
from .synapses import apply, apply_all, apply_recurrent

BATCH_BYTES = 2**28


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    options: Reference = Reference(),
    *,
    seed: int = 0,
    record: Collection[Record] = (),
    progress: bool = False,
    leak: int = 0,
) -> Run:
    """Run samples through a network; see `rmp_lava.run`.

    Parameters
    ----------
    leak : {0, 1}
        1: membranes of stock neurons lose 1/4096 per step, as on a board whose smallest decay is du = 0.
    """
    if options.implementation == "stock" and not network.is_integer:
        raise BackendError("stock neurons exist in integers only; quantise the network first")
    started = time.perf_counter()
    parts: list[Part] = []
    last_spikes: dict[str, np.ndarray] = {}  # of stock neurons, which reach into the next sample
    with Progress("reference simulation", len(images), shown=progress) as bar:
        size = batch_size(network, plan, BATCH_BYTES)
        if plan.wait and options.implementation == "stock":
            size = len(images)  # the next sample's waiting steps come before this one's last step in later layers
        for first in range(0, len(images), size):
            batch = images[first : first + size]
            messages = encode(network.input, batch, plan.steps, seed=seed, first_sample=first)
            if network.is_sigma_delta:
                parts.append(_simulate_sigma_delta(network, messages, record))
            elif options.implementation == "stock":
                parts.append(simulate_stock(network, messages, plan, record, last_spikes, leak))
            else:
                parts.append(_simulate(network, messages, record))
            bar.advance(len(batch))
    name = "reference neuron" if options.implementation == "native" else "reference stock LIF with self-synapse"
    name = "sigma-delta neurons" if network.is_sigma_delta else name
    return join(
        plan,
        parts,
        backend="reference",
        execution=f"numpy {np.__version__}, float64 sums, {name}",
        implementation=options.implementation,
        seconds=time.perf_counter() - started,
    )


def _simulate(network: SpikingNetwork, messages: np.ndarray, record: Collection[str]) -> Part:
    part = Part()
    samples, steps = messages.shape[:2]
    streams = {INPUT: _input_stream(network.input, messages, part)}
    potentials = np.empty((samples, steps, network.output.size))
    for layer in network:
        currents = apply_all(layer.forward, streams)  # (samples, T, *shape)
        state = initial_state(layer.neurons, layer.shape, samples, integer=network.is_integer)
        stream = np.zeros(currents.shape, dtype=np.uint8)
        wait = network.wait if network.waits(layer) else 0
        for phase in phases(steps, wait):
            for t in phase.steps:
                a = currents[:, t] + apply_recurrent(layer.recurrent, stream[:, :t]) if phase.receives else None
                spikes = step(layer.neurons, state, a, integer=network.is_integer, fires=phase.fires)
                if phase.fires:
                    stream[:, t - wait] = spikes
                if phase.fires and layer is network.output:
                    potentials[:, t - wait] = state.v.reshape(samples, -1)
        streams[layer.name] = stream
        _note(part, layer.name, state)
        if "waiting" in record and state.waiting_range is not None:
            part.waiting_ranges[layer.name] = state.waiting_range
        if "potentials" in record:
            part.potentials[layer.name] = state.v
    _read_out(part, network, streams, potentials, record)
    return part


def _simulate_sigma_delta(network: SpikingNetwork, frames: np.ndarray, record: Collection[str]) -> Part:
    part, encoder = Part(), network.input.neurons
    samples, steps = frames.shape[:2]
    assert isinstance(encoder, SigmaDelta)
    state = sigma_delta.initial_state(network.input.shape, samples)
    sent = [sigma_delta.encode_step(encoder, state, frames[:, t]) for t in range(steps)]
    streams, waiting = {INPUT: np.stack(sent, axis=1)}, delays(network)
    part.note(INPUT, state.beyond, 0, None, None)
    for layer in network:
        currents, large = np.zeros((samples, steps, *layer.shape), dtype=np.int64), 0
        for synapse, delay in zip(layer.synapses, waiting[layer.name], strict=True):
            if steps <= 1 + delay:
                continue  # no message arrives any more
            sums = apply(synapse, streams[synapse.source][:, : steps - 1 - delay]).astype(np.int64)
            large += int(np.count_nonzero(np.abs(sums) >= MAX_CONV_SUM))
            currents[:, 1 + delay :] += sigma_delta.as_lava_sums(synapse, sums)
        state, neurons = sigma_delta.initial_state(layer.shape, samples), layer.neurons
        assert isinstance(neurons, SigmaDelta)
        stream, sigma = np.zeros_like(currents), np.zeros_like(currents)
        for t in range(steps):
            stream[:, t] = sigma_delta.step(neurons, state, currents[:, t])
            sigma[:, t] = state.sigma
        streams[layer.name] = stream
        part.note(layer.name, state.beyond, large, state.sigma_range, None)
        if "potentials" in record:
            part.potentials[layer.name] = state.sigma
    _read_out(part, network, streams, sigma.reshape(samples, steps, -1), record)
    return part


def _read_out(
    part: Part,
    network: SpikingNetwork,
    streams: dict[str, np.ndarray],
    potentials: np.ndarray,
    record: Collection[str],
) -> None:
    """Enter counts and predictions from all streams, and the read-out's potentials after each step (samples, T, outputs)."""
    steps = potentials.shape[1]
    part.count_streams(network, streams, record)
    counts = streams[network.output.name].reshape(potentials.shape).cumsum(axis=1, dtype=np.int64)
    scores = output(network, counts, potentials, np.arange(1, steps + 1)[:, None])  # (samples, T, outputs)
    part.output = scores[:, -1]
    part.predictions_at = scores.argmax(axis=2).astype(np.int32)


def _input_stream(source: Input, messages: np.ndarray, part: Part) -> np.ndarray:
    """(samples, T, *shape) messages, through the input's neurons if it has any."""
    if source.neurons is None:
        return messages
    state = initial_state(source.neurons, source.shape, len(messages), integer=True)
    spikes = np.zeros(messages.shape, dtype=np.uint8)
    for t in range(messages.shape[1]):
        spikes[:, t] = step(source.neurons, state, messages[:, t], integer=True)
    _note(part, INPUT, state)
    return spikes


def _note(part: Part, name: str, state: State) -> None:
    part.note(name, state.saturations, state.large_inputs, state.v_range, state.u_range)
