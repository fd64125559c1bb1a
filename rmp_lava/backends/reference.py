"""Backend `reference`: numpy, slow and plain, the ground truth for the others.

Layer by layer in local time (see `rmp_lava.schedule`): a layer's input at step t is the sum of its synapses applied to
their sources' messages of step t. Sums are float64 (exact below 2^53), the neuron is `rmp_lava.neuron.step`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from functools import partial

import numpy as np

from ..encoding import encode
from ..errors import BackendError
from ..network import INPUT, Input, SpikingNetwork
from ..neuron import State, initial_state, step
from ..progress import Progress
from ..results import Run
from ..schedule import Schedule
from .batches import batch_size, count_stream, empty_part, join
from .options import Reference
from .stock import simulate_stock
from .synapses import apply

BATCH_BYTES = 2**28


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    options: Reference = Reference(),
    *,
    seed: int = 0,
    record: Collection[str] = (),
    progress: bool = False,
    leak: int = 0,
) -> Run:
    """Run samples through a network; see `rmp_lava.run`.

    `implementation="stock"` models RMP neurons made of Lava's unmodified LIF and a self-synapse, with everything that
    differs there: the wrapping 24-bit current, messages that cross the reset between two samples, and with `leak` 1 membranes
    that lose 1/4096 a step, as on a board that takes no smaller decay than du = 0.
    """
    implementation = options.implementation
    if implementation == "stock" and not network.is_integer:
        raise BackendError("stock neurons exist in integers only; quantise the network first")
    simulate = _simulate if implementation == "native" else partial(simulate_stock, leak=leak)
    started = time.perf_counter()
    parts, carry = [], {}
    with Progress("reference simulation", len(images), shown=progress) as bar:
        for first, batch in batches(network, images, plan):
            messages = encode(network.input, batch, plan.steps, seed=seed, first_sample=first)
            parts.append(simulate(network, messages, plan, record, carry))
            bar.advance(len(batch))
    name = "reference stock LIF with self-synapse" if implementation == "stock" else "reference neuron"
    return join(
        plan,
        parts,
        backend="reference",
        execution=f"numpy {np.__version__}, float64 sums, {name}",
        implementation=implementation,
        seconds=time.perf_counter() - started,
    )


def batches(network: SpikingNetwork, images: np.ndarray, plan: Schedule) -> Iterator[tuple[int, np.ndarray]]:
    """(index of the first image, images) in batches whose streams fit into `BATCH_BYTES`."""
    size = batch_size(network, plan, BATCH_BYTES)
    for first in range(0, len(images), size):
        yield first, images[first : first + size]


def _simulate(network: SpikingNetwork, messages: np.ndarray, plan: Schedule, record: Collection[str], _) -> dict:
    part = empty_part()
    streams: dict[str, np.ndarray] = {}
    streams[INPUT] = _input_stream(network.input, messages, part)
    for layer in network:
        currents = sum(apply(s, streams[s.source]) for s in layer.synapses)
        state = initial_state(layer.neurons, layer.shape, len(messages), integer=network.is_integer)
        stream = np.zeros(currents.shape, dtype=np.uint8)
        is_output = layer is network.output
        scores = np.empty((len(messages), plan.steps, layer.size)) if is_output else None
        for t in range(plan.steps):
            stream[:, t] = step(layer.neurons, state, currents[:, t], integer=network.is_integer)
            if is_output:
                scores[:, t] = state.v.reshape(len(messages), -1)
        streams[layer.name] = stream
        _note(part, layer.name, state)
        if "potentials" in record:
            part["potentials"][layer.name] = state.v
    count_stream(part, network, streams, record)
    if "spikes" in record:
        part["spikes"] = streams
    if network.readout == "count":
        scores = stream.reshape(scores.shape).cumsum(axis=1, dtype=np.int64)
    part["output"] = scores[:, -1].astype(np.int64 if network.is_integer or network.readout == "count" else np.float64)
    part["predictions_at"] = scores.argmax(axis=2).astype(np.int32)
    return part


def _input_stream(source: Input, messages: np.ndarray, part: dict) -> np.ndarray:
    """(samples, T, *shape) messages, through the input's neurons where it has some."""
    if source.neurons is None:
        return messages
    state = initial_state(source.neurons, source.shape, len(messages), integer=True)
    spikes = np.zeros(messages.shape, dtype=np.uint8)
    for t in range(messages.shape[1]):
        spikes[:, t] = step(source.neurons, state, messages[:, t], integer=True)
    _note(part, INPUT, state)
    return spikes


def _note(part: dict, name: str, state: State) -> None:
    """Enter what a population's state has seen."""
    part["saturations"][name], part["large_inputs"][name] = state.saturations, state.large_inputs
    part["potential_ranges"][name] = state.v_range
    if state.u_range is not None:
        part["current_ranges"][name] = state.u_range
