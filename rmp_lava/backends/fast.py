"""Backend `fast`: batched PyTorch with the same integers and the same spikes as the reference.

Time is folded into the batch: one convolution per layer computes all steps' inputs, then the neurons advance step by
step. Integer networks compute in float32, which is exact as long as every sum stays below 2^24; that bound is checked
from the weights, and float64 (exact below 2^53) is used where it does not hold.
"""

from __future__ import annotations

import time
from collections.abc import Collection

import numpy as np
import torch
import torch.nn.functional as F

from ..encoding import encode
from ..errors import BackendError, BackendUnavailableError
from ..network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork, Synapse
from ..neuron import CURRENT_LIMIT, MAX_STATE, STATE_SHIFT
from ..progress import Progress
from ..results import Run
from ..schedule import Schedule
from .parts import batch_size, empty_part, join

BATCH_BYTES = 2**28
EXACT_FLOAT32 = 2**24


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    *,
    seed: int = 0,
    record: Collection[str] = (),
    device: str = "cpu",
    progress: bool = False,
) -> Run:
    """Run samples through a network; see `rmp_lava.run`.

    Float networks compute in float32: rounding can move a potential across its threshold, so their spikes agree with
    the reference's in almost all but not in all cases. Integer networks agree in every spike and potential.

    Raises
    ------
    BackendError
        If a layer has leaky neurons, which this backend does not have.
    BackendUnavailableError
        If the device does not exist.
    """
    populations = {INPUT: network.input.neurons} | {layer.name: layer.neurons for layer in network}
    leaky = [name for name, neurons in populations.items() if neurons is not None and neurons.is_leaky]
    if leaky:
        raise BackendError(f"backend 'fast' has no leaky neurons, but {leaky[0]!r} has; use backend 'reference'")
    dtype = _exact_dtype(network)
    started = time.perf_counter()
    parts = []
    # cuDNN may choose Winograd or FFT convolutions, which round where plain sums are exact. Not tested on a GPU.
    plain_sums = torch.backends.cudnn.flags(enabled=False)
    with torch.no_grad(), plain_sums, Progress("fast simulation", len(images), shown=progress) as bar:
        simulation = Simulation(network, plan, record, _device(device), dtype)
        for first in range(0, len(images), simulation.batch_size):
            batch = images[first : first + simulation.batch_size]
            parts.append(simulation(encode(network.input, batch, plan.steps, seed=seed, first_sample=first)))
            bar.advance(len(batch))
    return join(
        network,
        plan,
        parts,
        backend="fast",
        execution=f"torch {torch.__version__}, {device}, {str(dtype).removeprefix('torch.')} sums",
        realisation="native",
        seconds=time.perf_counter() - started,
    )


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise BackendUnavailableError(
            f"device {name!r} cannot be used ({str(error).splitlines()[0]}); use 'cpu'"
        ) from None
    return device


def _exact_dtype(network: SpikingNetwork) -> torch.dtype:
    if not network.is_integer:
        return torch.float32
    largest = {INPUT: network.input.largest_message}
    bound = max(sum(int(_fan_in_sum(s).max()) * largest.get(s.source, 1) for s in layer.synapses) for layer in network)
    return torch.float32 if bound < EXACT_FLOAT32 else torch.float64


def _fan_in_sum(synapse: Synapse) -> np.ndarray:
    weight = np.abs(synapse.weight.astype(np.int64))
    return weight.reshape(len(weight), -1).sum(axis=1)


class Simulation:
    """A network on its device; called once per batch of messages."""

    def __init__(
        self, network: SpikingNetwork, plan: Schedule, record: Collection[str], device: torch.device, dtype: torch.dtype
    ) -> None:
        self.network, self.plan, self.record, self.device, self.dtype = network, plan, record, device, dtype
        self.weights = {
            (layer.name, i): torch.tensor(s.weight, device=device).to(dtype)
            for layer in network
            for i, s in enumerate(layer.synapses)
        }
        self.stream_dtype = torch.uint8  # spikes wait for their targets in a quarter of the memory
        self.batch_size = batch_size(network, plan, BATCH_BYTES)

    def __call__(self, messages: np.ndarray) -> dict:
        """Simulate a batch; returns its part of the `Run` (see `backends.parts.join`)."""
        part = empty_part()
        streams = self.start(messages, part)
        self._count(part, INPUT, streams[INPUT])
        for layer in self.network:
            population, scores = self.advance(layer, streams, part)
            self._count(part, layer.name, streams[layer.name])
            part["saturations"][layer.name] = population.saturations
            if "potentials" in self.record:
                part["potentials"][layer.name] = self._to_state(population.v)
        if "spikes" in self.record:
            part["spikes"] = {name: stream.cpu().numpy() for name, stream in streams.items()}
            kept = messages.dtype if self.network.input.neurons is None else np.uint8
            part["spikes"][INPUT] = part["spikes"][INPUT].astype(kept)
        return part | self._read_out(streams[self.network.output.name], scores)

    def start(self, messages: np.ndarray, part: dict | None = None) -> dict[str, torch.Tensor]:
        """Streams (samples, period, *shape) by source name, with the input's only."""
        return {INPUT: self._input_stream(self.network.input, messages, part)}

    def advance(
        self, layer: Layer, streams: dict[str, torch.Tensor], part: dict | None = None
    ) -> tuple[_Population, torch.Tensor | None]:
        """Add a layer's stream; its sources' must be there. Returns its last state, and the read-out's potentials."""
        currents = self.currents(layer, streams)
        samples = len(currents)
        population = _Population(layer.neurons, layer.shape, samples, self.network.is_integer, self.device, self.dtype)
        stream = torch.zeros(currents.shape, dtype=self.stream_dtype, device=self.device)
        is_output = layer.name == self.network.output.name
        shape = (samples, self.plan.period, layer.size)
        scores = torch.empty(shape, dtype=self.dtype, device=self.device) if is_output else None
        for t in range(self.plan.period):
            spikes = population.step(currents[:, t - 1] if t else None)
            if spikes is not None:
                stream[:, t] = spikes
            if is_output:
                scores[:, t] = population.v.reshape(samples, -1)
        streams[layer.name] = stream
        if part is not None:
            part["large_inputs"][layer.name] = self._large_inputs(currents[:, :-1])
        return population, scores

    def _large_inputs(self, currents: torch.Tensor) -> int:
        if not self.network.is_integer or max(map(abs, torch.aminmax(currents))) < CURRENT_LIMIT:
            return 0
        return int(torch.count_nonzero(currents.abs() >= CURRENT_LIMIT))

    def _to_state(self, v: torch.Tensor) -> np.ndarray:
        return v.cpu().numpy().astype(np.int64 if self.network.is_integer else np.float64)

    def _read_out(self, stream: torch.Tensor, scores: torch.Tensor) -> dict:
        if self.network.readout == "count":
            scores = stream.reshape(scores.shape).cumsum(dim=1)
            output = scores[:, -1].cpu().numpy().astype(np.int64)
        else:
            output = self._to_state(scores[:, -1])
        window = scores[:, self.plan.depth : self.plan.depth + self.plan.steps].cpu().numpy()
        return {"output": output, "predictions_at": window.argmax(axis=2).astype(np.int16)}

    def _input_stream(self, source: Input, messages: np.ndarray, part: dict | None) -> torch.Tensor:
        shape = (len(messages), self.plan.period, *source.shape)
        stream = torch.zeros(shape, dtype=self.dtype, device=self.device)
        # Messages are at most 16 bits wide; torch has no unsigned 16-bit arithmetic, so they travel as float32.
        stream[:, : self.plan.steps] = torch.tensor(
            np.ascontiguousarray(messages, dtype=np.float32), device=self.device
        )
        if source.neurons is None:
            return stream
        population = _Population(source.neurons, source.shape, len(messages), True, self.device, self.dtype)
        spikes = torch.stack([population.step(stream[:, t]) for t in range(self.plan.period)], dim=1)
        if part is not None:
            part["saturations"][INPUT] = population.saturations
            part["large_inputs"][INPUT] = self._large_inputs(stream)
        return spikes

    def currents(self, layer: Layer, streams: dict[str, torch.Tensor]) -> torch.Tensor:
        """(samples, period, *shape); index t holds what arrives one step later, as every synapse delays by one."""
        total = None
        for i, synapse in enumerate(layer.synapses):
            stream = streams[synapse.source]
            flat = stream.reshape(-1, *stream.shape[2:]).to(self.dtype)
            weight = self.weights[layer.name, i]
            if isinstance(synapse, Dense):
                current = F.linear(flat.flatten(1), weight)
            elif isinstance(synapse, Conv):
                current = F.conv2d(
                    flat, weight, None, synapse.stride, synapse.padding, synapse.dilation, synapse.groups
                )
            else:
                raise BackendError(f"backend 'fast' does not know synapses of type {type(synapse).__name__}")
            total = current if total is None else total.add_(current)
        return total.reshape(len(stream), self.plan.period, *layer.shape)

    @staticmethod
    def _count(part: dict, name: str, stream: torch.Tensor) -> None:
        part["counts"][name] = torch.count_nonzero(stream, dim=1).cpu().numpy().astype(np.int64)
        part["boundary_spikes"][name] = int((stream[:, -1] != 0).flatten(1).any(dim=1).sum())


class _Population:
    """Neurons of a batch; integers live in float32, whose sums are exact here (see the module's text)."""

    def __init__(
        self,
        neurons: Neurons,
        shape: tuple[int, ...],
        samples: int,
        integer: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.neurons, self.integer = neurons, integer
        self.scale = 1 << STATE_SHIFT if integer else 1
        self.threshold = float(neurons.threshold) * self.scale
        self.v = torch.full((samples, *shape), float(neurons.v_init) * self.scale, dtype=dtype, device=device)
        bias = neurons.bias_per_neuron(shape)
        if bias is not None and integer:
            bias = bias.astype(np.int64) << neurons.bias_exponent
        self.bias = None if bias is None else torch.tensor(np.array(bias), device=device).to(dtype)
        self.saturations = 0

    def step(self, a: torch.Tensor | None) -> torch.Tensor | None:
        """Advance by one step with input `a` (None: no input); returns who spikes, or None for a read-out."""
        if self.bias is not None:
            self.v += self.bias
        if a is not None:
            self.v.add_(a, alpha=self.scale)
        if self.integer:
            low, high = torch.aminmax(self.v)  # far cheaper than counting, and nearly always all there is to know
            if low < -MAX_STATE or high > MAX_STATE:
                self.saturations += int(torch.count_nonzero(self.v.abs() > MAX_STATE))
                self.v.clamp_(-MAX_STATE, MAX_STATE)
        if self.neurons.reset == "none":
            return None
        spikes = (self.v > self.threshold).to(self.v.dtype)
        if self.neurons.reset == "soft":
            self.v.sub_(spikes, alpha=self.threshold)
        else:
            self.v.mul_(1 - spikes)
        return spikes
