"""Backend `reference`: numpy, slow and plain, the ground truth for the others.

Layer by layer in local time (see `rmp_lava.schedule`): a layer's input at step t is the sum of its synapses applied to
their sources' messages of observed step t. Sums are float64 (exact below 2^53), the neuron is `rmp_lava.neuron.step`.
"""

from __future__ import annotations

import time
from collections.abc import Collection

import numpy as np

from ..choices import Record
from ..encoding import encode
from ..errors import BackendError
from ..network import INPUT, Input, SpikingNetwork
from ..neuron import State, initial_state, phases, step
from ..progress import Progress
from ..readout import output
from ..results import Run
from ..schedule import Schedule
from .batches import Part, batch_size, join
from .options import Reference
from .stock import simulate_stock
from .synapses import apply_all

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
            if options.implementation == "stock":
                parts.append(simulate_stock(network, messages, plan, record, last_spikes, leak))
            else:
                parts.append(_simulate(network, messages, record))
            bar.advance(len(batch))
    name = "reference neuron" if options.implementation == "native" else "reference stock LIF with self-synapse"
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
        currents = apply_all(layer.synapses, streams)  # (samples, T, *shape)
        state = initial_state(layer.neurons, layer.shape, samples, integer=network.is_integer)
        stream = np.zeros(currents.shape, dtype=np.uint8)
        wait = network.wait if network.waits(layer) else 0
        for phase in phases(steps, wait):
            for t in phase.steps:
                a = currents[:, t] if phase.receives else None
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
    part.count_streams(network, streams, record)
    counts = streams[network.output.name].reshape(potentials.shape).cumsum(axis=1, dtype=np.int64)
    scores = output(network, counts, potentials, np.arange(1, steps + 1)[:, None])  # (samples, T, outputs)
    part.output = scores[:, -1]
    part.predictions_at = scores.argmax(axis=2).astype(np.int32)
    return part


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
