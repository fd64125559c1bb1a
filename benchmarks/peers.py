"""One measurement of another library, in the environment of `constraints/peers.txt`. Of rmp-lava it imports `machine` only.

    python -m benchmarks.peers JOB.json

Each library runs the same integrate-and-fire neuron with reset by subtraction, in float32, without gradients, as
its documentation shows. rmp-lava's neuron spikes where v > threshold, on integers; the libraries compare with >=
or >. Every potential therefore starts 1/2 lower, which gives exactly the same spikes with either comparison.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rmp_lava import machine

from .clock import repeated

BELOW = 0.5
"""How far below rmp-lava's the initial potentials are."""
_NORSE_SHIFT = 2.0**50


def _connection(synapse: dict, weight: torch.Tensor, kinds: tuple[type, type] = (nn.Conv2d, nn.Linear)) -> nn.Module:
    """A convolution or a dense layer of torch's (or of a library's classes with torch's arguments)."""
    conv, linear = kinds
    if weight.ndim == 4:
        c_out, c_in, *kernel = weight.shape
        module = conv(c_in, c_out, tuple(kernel), tuple(synapse["stride"]), tuple(synapse["padding"]), bias=False)
    else:
        module = linear(weight.shape[1], weight.shape[0], bias=False)
    module.weight = nn.Parameter(weight, requires_grad=False)
    return module


class Graph:
    """A network of one library: `run` takes (samples, steps, *shape) float32 and gives (samples, outputs) counts.

    `counts`, if a dictionary, receives each layer's spikes per sample.
    """

    weight_scale = 1.0

    def __init__(self, layers: list[dict], weights: dict[str, np.ndarray], samples: int) -> None:
        self.layers, self.samples = layers, samples
        self.connections, self.neurons = {}, {}
        for layer in layers:
            self.connections[layer["name"]] = [
                (s["source"], self.connect(s, torch.tensor(weights[s["weight"]]) * self.weight_scale))
                for s in layer["synapses"]
            ]
            layer["start"] = layer["v_init"] - BELOW
            self.neurons[layer["name"]] = self.population(layer["threshold"], layer["start"])
        last_use = {source: name for name, synapses in self.connections.items() for source, _ in synapses}
        self.done_after = {name: [s for s, n in last_use.items() if n == name] for name in self.connections}

    def connect(self, synapse: dict, weight: torch.Tensor) -> nn.Module:
        return _connection(synapse, weight)

    def population(self, threshold: int, start: float):
        raise NotImplementedError

    def run(self, spikes: torch.Tensor, counts: dict | None = None) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, streams: dict[str, torch.Tensor], dense_dims: int, fire) -> torch.Tensor:
        """Layer after layer; `fire(layer, current)` gives spikes. Streams are dropped after their last use."""
        for layer in self.layers:
            total = None
            for source, module in self.connections[layer["name"]]:
                stream = streams[source]
                if isinstance(module, nn.Linear):
                    stream = stream.flatten(dense_dims)
                current = module(stream)
                total = current if total is None else total + current
            streams[layer["name"]] = spikes = fire(layer, total)
            for source in self.done_after[layer["name"]]:
                del streams[source]
        return spikes


class SpikingJelly(Graph):
    """Multi-step mode: layers take (T, N, *) and fold time into the batch; neurons run over T in one call."""

    note = "multi-step mode, torch backend, IFNode(v_reset=None)"

    def __init__(self, *arguments) -> None:
        from spikingjelly.activation_based import functional, layer, neuron

        self.library = functional, layer, neuron
        super().__init__(*arguments)

    def connect(self, synapse, weight):
        layer = self.library[1]
        module = _connection(synapse, weight, (layer.Conv2d, layer.Linear))
        module.step_mode = "m"
        return module

    def population(self, threshold, start):
        node = self.library[2].IFNode(v_threshold=float(threshold), v_reset=None, detach_reset=True, step_mode="m")
        if torch.get_default_device().type == "cuda":  # its fastest backend that is installed
            node.backend = next(b for b in ("triton", "cupy", "torch") if b in node.supported_backends)
            type(self).note = self.note.replace("torch backend", f"{node.backend} backend")
        node.set_reset_value("v", start)
        return node.eval()

    def run(self, spikes, counts=None):
        def fire(layer, current):
            node = self.neurons[layer["name"]]
            self.library[0].reset_net(node)
            fired = node(current)
            if counts is not None:
                counts[layer["name"]] = fired.flatten(2).sum(dim=(0, 2))
            return fired

        return self.forward({"input": spikes.transpose(0, 1)}, 2, fire).sum(dim=0)


class Sinabs(Graph):
    """Time folded into the batch as (N T, *) with IAFSqueeze, at most one spike per step."""

    note = "IAFSqueeze(spike_fn=SingleSpike), time folded into the batch"

    def population(self, threshold, start):
        from sinabs.activation import SingleSpike
        from sinabs.layers import IAFSqueeze

        return IAFSqueeze(
            batch_size=self.samples, spike_threshold=torch.tensor(float(threshold)), spike_fn=SingleSpike
        ).eval()

    def run(self, spikes, counts=None):
        def fire(layer, current):
            node = self.neurons[layer["name"]]
            node.init_state_with_shape((self.samples, *current.shape[1:]))
            node.v_mem.fill_(layer["start"])
            fired = node(current)
            if counts is not None:
                counts[layer["name"]] = fired.reshape(self.samples, -1).sum(dim=1)
            return fired

        return self.forward({"input": spikes.flatten(0, 1)}, 1, fire).unflatten(0, (self.samples, -1)).sum(dim=1)


class Stepwise(Graph):
    """The whole network, step by step, as in the documentation of snnTorch and norse."""

    def initial(self, v: torch.Tensor):
        """The library's state for these potentials."""
        raise NotImplementedError

    def step(self, node, current, state):
        return node(current, state)

    def run(self, spikes, counts=None):
        states = {layer["name"]: None for layer in self.layers}
        if counts is not None:
            counts.update({layer["name"]: 0 for layer in self.layers})

        def fire(layer, current):
            name = layer["name"]
            if states[name] is None:
                states[name] = self.initial(torch.full_like(current, layer["start"]))
            fired, states[name] = self.step(self.neurons[name], current, states[name])
            if counts is not None:
                counts[name] = counts[name] + fired.flatten(1).sum(dim=1)
            return fired

        return sum(self.forward({"input": spikes[:, t]}, 1, fire) for t in range(spikes.shape[1]))


class SnnTorch(Stepwise):
    note = "Leaky(beta=1, reset_mechanism='subtract', surrogate_disable=True), step by step"

    def population(self, threshold, start):
        from snntorch import Leaky

        return Leaky(beta=1.0, threshold=float(threshold), reset_mechanism="subtract", surrogate_disable=True).eval()

    def initial(self, v):
        return v


class NorseBox(Stepwise):
    """LIFBox with `reset_subtract`, and a time constant of 2^50 steps.

    norse has no integrate-and-fire neuron that resets by subtraction. Weights times 2^50 make this one integrate
    without a leak: powers of two are exact, and the leak is smaller than float32 resolves.
    """

    note = "LIFBoxCell(reset_subtract) with a time constant of 2^50 steps, step by step"
    weight_scale = _NORSE_SHIFT

    def population(self, threshold, start):
        from norse.torch.functional.lif_box import LIFBoxParameters
        from norse.torch.functional.reset import reset_subtract
        from norse.torch.module.lif_box import LIFBoxCell

        parameters = LIFBoxParameters(
            tau_mem_inv=torch.tensor(1.0),
            v_th=torch.tensor(float(threshold)),
            method="heaviside",
            reset_method=reset_subtract,
        )
        return LIFBoxCell(parameters, dt=1 / _NORSE_SHIFT).eval()

    def initial(self, v):
        from norse.torch.functional.lif_box import LIFBoxFeedForwardState

        return LIFBoxFeedForwardState(v)


class NorseIaf(Stepwise):
    """norse's plain integrate-and-fire neuron, which resets to a value; a different neuron, included for its speed."""

    note = "IAFCell, which resets to zero, step by step"

    def population(self, threshold, start):
        from norse.torch.functional.iaf import IAFParameters
        from norse.torch.module.iaf import IAFCell

        parameters = IAFParameters(
            v_th=torch.tensor(float(threshold)), v_reset=torch.tensor(-BELOW), method="heaviside"
        )
        return IAFCell(parameters).eval()

    def initial(self, v):
        from norse.torch.functional.iaf import IAFFeedForwardState

        return IAFFeedForwardState(v)


LIBRARIES = {
    "spikingjelly": SpikingJelly,
    "sinabs": Sinabs,
    "snntorch": SnnTorch,
    "norse": NorseBox,
    "norse-iaf": NorseIaf,
}


def measure(job: dict) -> dict:
    """Run a job of `benchmarks.run`; see `measure.measure` for the keys of the answer."""
    torch.set_num_threads(job["threads"])
    torch.set_default_device(job.get("device", "cpu"))
    with np.load(job["weights"], allow_pickle=False) as file:
        layers = json.loads(str(file["graph"]))
        weights = {name: file[name] for name in file.files if name != "graph"}
    spikes = np.load(job["spikes"], allow_pickle=False)
    build = LIBRARIES[job["engine"]]
    with torch.inference_mode():
        messages = _messages(spikes[: job["batch"]], job["steps"])
        network = build(layers, weights, len(messages))
        resident = machine.resident()

        def run() -> None:
            _finished(network.run(messages))

        run()  # the first call also chooses and compiles kernels
        start_up = time.time() - job["started"]
        seconds = repeated(run, job["least_seconds"], cpu=job.get("cpu_time", False))
        peak = machine.peak_resident()
        counts: dict[str, torch.Tensor] = {}
        if job.get("check_samples"):
            check = _messages(spikes[: job["check_samples"]], job["check_steps"])
            build(layers, weights, len(check)).run(check, counts)
    return {
        "seconds": seconds,
        "start_up": start_up,
        "resident_before": resident,
        "resident_peak": peak,
        "execution": f"torch {torch.__version__}, float32, {build.note}",
        "counts": {name: [int(c) for c in count] for name, count in counts.items()},
    }


def _messages(spikes: np.ndarray, steps: int) -> torch.Tensor:
    """(samples, steps, *shape) float32; a single step is the input of all."""
    some = torch.tensor(spikes[:, :steps], dtype=torch.float32)
    return some if some.shape[1] > 1 else some.expand(-1, steps, *some.shape[2:])


def _finished(result: torch.Tensor) -> None:
    """Wait until a GPU has computed a result."""
    if result.is_cuda:
        torch.cuda.synchronize(result.device)


if __name__ == "__main__":
    job = json.loads(Path(sys.argv[1]).read_text())
    Path(job["result"]).write_text(json.dumps(measure(job) | {"environment": machine.environment()}))
