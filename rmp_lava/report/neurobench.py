"""The metrics of NeuroBench for a network and one run of it (Yik et al., Nature Communications 16, 1545, 2025).

Algorithm track: footprint, connection sparsity, activation sparsity, synaptic operations, correctness. System track: execution
rate, latency, power and energy, which only a board measures.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..network import INPUT, SpikingNetwork
from ..results import Run
from ..scores import Score


def neurobench(network: SpikingNetwork, result: Run, score: Score | None = None) -> dict[str, Any]:
    """NeuroBench's metrics by name; None for those that this run did not measure.

    Parameters
    ----------
    network : SpikingNetwork
    result : Run
        Counts cover the windows only, without blank steps.
    score : Score or None
        Against labels.

    Returns
    -------
    dict
        "footprint" : bytes of weights, thresholds, biases and potentials. "connection_sparsity" : share of zero weights.
        "activation_sparsity" : share of neuron updates without a spike. "synaptic_operations" : per sample; dense, and effective
        ones as accumulates (spikes) or multiply-accumulates (graded input). "model_execution_rate_hz", "latency_s", "power_w",
        "energy_per_inference_j" : measured on a board. "measured" : whether these four are present.
    """
    weights = [synapse.weight for layer in network for synapse in layer.synapses]
    zero = sum(int(weight.size - np.count_nonzero(weight)) for weight in weights)
    return {
        "correctness": None if score is None else score.figures,
        "footprint": footprint(network),
        "connection_sparsity": zero / sum(weight.size for weight in weights),
        "activation_sparsity": _activation_sparsity(network, result),
        "synaptic_operations": _operations(network, result),
        **_measured(result),
    }


def footprint(network: SpikingNetwork) -> int:
    """Bytes of weights (1 each), thresholds and biases (2 each), and membrane potentials (3 each); a float takes 4."""
    weight, other, state = (1, 2, 3) if network.is_integer else (4, 4, 4)
    biases = sum(layer.neurons.bias.size for layer in network if layer.neurons.bias is not None)
    return network.parameter_count * weight + (len(network.layers) + biases) * other + network.neuron_count * state


def _activation_sparsity(network: SpikingNetwork, result: Run) -> float | None:
    """Over all spiking layers; None if one of them was not recorded."""
    spiking = [layer for layer in network if layer.neurons.reset != "none"]
    if not spiking or any(layer.name not in result.spike_counts for layer in spiking):
        return None
    updates = sum(result.neuron_updates[layer.name] for layer in spiking)
    return 1 - sum(result.spike_counts[layer.name] for layer in spiking) / updates


def _operations(network: SpikingNetwork, result: Run) -> dict[str, float | None]:
    """Per sample. A layer that reads graded messages needs multiply-accumulates; all others accumulates."""
    complete = ((s.replace(weight=np.ones_like(s.weight)), s.source) for layer in network for s in layer.synapses)
    connections = sum(int(synapse.fan_out(network.source_shape(source)).sum()) for synapse, source in complete)
    dense = float(connections * result.schedule.steps)
    if any(layer.name not in result.synaptic_operations for layer in network):
        return {"dense": dense, "effective_macs": None, "effective_acs": None}
    graded = network.input.neurons is None and network.input.levels != 1
    multiplies = {layer.name for layer in network if graded and any(s.source == INPUT for s in layer.synapses)}
    effective = result.operations_per_sample
    return {
        "dense": dense,
        "effective_macs": sum(count for name, count in effective.items() if name in multiplies),
        "effective_acs": sum(count for name, count in effective.items() if name not in multiplies),
    }


def _measured(result: Run) -> dict[str, Any]:
    found = result.measurement
    if found is None:
        names = ("model_execution_rate_hz", "latency_s", "power_w", "energy_per_inference_j")
        return dict.fromkeys(names) | {"measured": False}
    watts, _ = found.watts("total")
    return {
        "model_execution_rate_hz": 1 / found.seconds_per_sample,
        "latency_s": found.time["avg_time_per_step"] * 1e-6 * result.schedule.latency,
        "power_w": watts,
        "energy_per_inference_j": watts * found.seconds_per_sample,
        "measured": True,
    }
