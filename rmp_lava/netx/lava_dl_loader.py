"""Whether lava-dl's unmodified loader, `lava.lib.dl.netx.hdf5.Network`, runs a network with identical spikes.

The loader ignores keys that it does not know. So a network is written in the loader's terms only if the loader computes identical
spikes; every other network gets neuron types that the loader does not know, so that it stops instead of running another network.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import StrPath
from ..network import SDNN_EXPONENT, Conv, Dense, Input, Layer, SigmaDelta, SpikingNetwork, histories
from .lava_dl_weights import effective_weights
from .untrusted import opened

STOCK_BIAS_EXPONENT = 6
"""The loader sets this exponent for every bias (netx/hdf5.py, get_neuron_params)."""


def lava_dl_obstacles(network: SpikingNetwork) -> list[str]:
    """Why the unmodified loader cannot run this network with identical spikes; empty if it can.

    There the membrane potential of soft-reset neurons is in a register that wraps at +-2^17 weight units. Whether that happens
    depends on the input; backend reference with implementation 'stock' counts it.
    """
    obstacles = []
    if not network.is_integer:
        obstacles.append("weights are not integers; quantise the network first")
    if not network.is_chain:
        obstacles.append("layers do not form a chain; the loader connects each layer to the one before it")
    obstacles += _sigma_delta_obstacles(network) if network.is_sigma_delta else _input_obstacles(network.input)
    if network.wait:
        obstacles.append(
            f"its neurons wait for {network.wait} steps, and the loader's spike at once; convert without waiting"
        )
    by_reason: dict[str, list[str]] = {}
    for layer in network:
        for reason in _layer_obstacles(layer):
            by_reason.setdefault(reason, []).append(repr(layer.name))
    for reason, names in by_reason.items():
        obstacles.append(f"layer{'s' if len(names) > 1 else ''} {', '.join(names)}: {reason}")
    return obstacles


@dataclass(frozen=True)
class LoaderCall:
    """How lava-dl's loader runs a file with identical spikes.

    arguments : Of `lava.lib.dl.netx.hdf5.Network`, besides the file.
    notes : What else belongs to it, one sentence each.
    """

    arguments: dict[str, object]
    notes: tuple[str, ...]

    def code(self, path: StrPath) -> str:
        """The call as Python."""
        given = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f"lava.lib.dl.netx.hdf5.Network(net_config={str(path)!r}{given})"


def file_obstacles(path: StrPath, network: SpikingNetwork) -> list[str]:
    """Why the unmodified loader cannot run a file with the spikes of the network that was read from it; empty if it can."""
    with opened(Path(path)) as root:
        groups = root.child("layer")
        layers = [groups.child(str(i)) for i in range(len(groups))]
        kinds = [layer.text("type") if "type" in layer else "" for layer in layers]
        ours = root.attribute("rmp_lava_format") is not None
        known = [layer.child("neuron").text("type") for layer in layers if "neuron" in layer]
    # What is read of lava-dl's files is what its loader makes of them.
    obstacles = lava_dl_obstacles(network) if ours else []
    unknown = sorted(set(known) & set(UNKNOWN_NEURONS))
    if ours and unknown and not obstacles:
        obstacles.append(
            f"the file has {', '.join(unknown)} neurons; rmp-lava upgrade --for-lava-dl writes what the loader knows"
        )
    flattens = [i for i in range(1, len(kinds)) if kinds[i - 1] == "conv" and kinds[i].startswith("dense")]
    if flattens and not ours:
        obstacles.append(
            f"layer {flattens[0]} follows a convolution without a flatten layer; rmp-lava upgrade --for-lava-dl adds it"
        )
    return obstacles


UNKNOWN_NEURONS = ("RMP", "IF", "INTEGRATOR", "SIGMADELTA")
"""Types of neurons in our files that stop the loader."""


def lava_dl_call(network: SpikingNetwork, steps: int | None = None) -> LoaderCall:
    """How the loader runs a network without obstacles, for T steps per sample (None: those it was balanced for, or 16)."""
    source, first = network.input, network.layers[0]
    steps = steps or network.balanced_steps or 16
    arguments: dict[str, object] = {}
    notes = []
    driven = source.neurons is not None
    if isinstance(first.synapses[0], Conv) and not driven:
        arguments["input_shape"] = source.shape[::-1]
    if not driven and source.levels not in (None, 1):
        arguments["input_message_bits"] = int(source.levels or 1).bit_length()
    notes.append(_input_note(source, isinstance(first.synapses[0], Conv)))
    if isinstance(source.neurons, SigmaDelta):
        if source.neurons.spike_exponent != SDNN_EXPONENT:
            arguments["spike_exp"] = source.neurons.spike_exponent
        notes.append("nothing resets sigma-delta neurons: build the network anew for each sequence")
        return LoaderCall(arguments, tuple(notes))
    late = max(histories(network).values())
    soft = any(layer.neurons.reset == "soft" for layer in network)
    blank = max(late, int(soft))
    offset = 0 if driven else 1
    arguments |= {"reset_interval": steps + blank, "reset_offset": offset}
    notes.append(
        f"T = {steps}: send sample i in steps i * {steps + blank} + 1 .. i * {steps + blank} + {steps}; block k's window begins "
        f"{1 + offset} + k steps after i * {steps + blank}"
    )
    if blank:
        what = "self-synapses" if soft else "delays and recurrent synapses"
        notes.append(
            f"{blank} blank step{'s' if blank > 1 else ''} at least between samples, and more until no neuron spikes: messages "
            f"through {what} outlive the reset"
        )
    if source.encoding == "poisson":
        notes.append("Poisson spikes are drawn here; send those that a run records")
    return LoaderCall(arguments, tuple(notes))


def _input_note(source: Input, convolves: bool) -> str:
    shape = ", ".join(map(str, source.shape[::-1]))
    if source.encoding == "current" and source.levels:
        values = f"round(pixel * {source.levels}) in each step"
    else:
        values = "frames" if source.encoding == "frames" else "messages"
    if source.neurons is not None:
        return f"connect {values} ({shape}) to net.in_layer.neuron.a_in, as the loader leaves net.inp of an input layer open"
    if convolves or len(source.shape) == 1:
        return f"connect {values} ({shape}) to net.inp" + (
            ", in the order (width, height, channels)" if convolves else ""
        )
    return f"connect {values} to net.inp, flat in the order (channels, height, width)"


def _input_obstacles(source: Input) -> list[str]:
    obstacles = []
    if source.neurons is not None and source.neurons.reset != "hard":
        obstacles.append("the input is rate-coded by RMP neurons, which the loader lacks; use another encoding")
    if source.neurons is not None and source.neurons.v_init != 0:
        obstacles.append("the input's neurons have a v_init that is not 0; the loader starts every neuron at 0")
    if source.neurons is not None and source.neurons.bias is not None:
        obstacles.append("the input's neurons have a bias, which the loader would use to scale images")
    return obstacles


def _sigma_delta_obstacles(network: SpikingNetwork) -> list[str]:
    neurons = [
        each for each in (network.input.neurons, *(layer.neurons for layer in network)) if isinstance(each, SigmaDelta)
    ]
    obstacles = []
    if any(each.state_exponent != SDNN_EXPONENT for each in neurons):
        obstacles.append(f"state exponents other than {SDNN_EXPONENT}, which the loader sets everywhere")
    if len({each.spike_exponent for each in neurons}) > 1:
        obstacles.append("spike exponents differ; the loader takes one for all layers")
    return obstacles


def _layer_obstacles(layer: Layer) -> list[str]:
    neurons, synapse = layer.neurons, layer.synapses[0]
    obstacles = []
    exponent = max(each.exponent for each in layer.synapses)
    if exponent:
        obstacles.append(
            f"weight exponent {exponent}, which the loader ignores; quantise without exponents, with "
            "threshold_form='dense_rec'"
        )
    if neurons.bias is not None and len(layer.shape) == 3 and neurons.bias.ndim == 3:
        obstacles.append("has a bias per neuron; the loader takes one per channel")
    if isinstance(neurons, SigmaDelta):
        if isinstance(synapse, Dense) and not _dense_survives(synapse.weight):
            obstacles.append("the loader would round or clip its weights")
        return obstacles
    if neurons.largest_spike > 1:
        obstacles.append("sends graded spikes, which the loader's neurons do not; convert without spike_bits")
    if neurons.v_init != 0:
        obstacles.append("v_init is not 0; the loader starts every neuron at 0, so convert with --v-init zero")
    if neurons.bias is not None and neurons.reset == "soft":
        obstacles.append(
            "has a bias, which the loader would not integrate in this neuron; convert with --calibrate none"
        )
    if neurons.bias is not None and neurons.bias_exponent != STOCK_BIAS_EXPONENT:
        obstacles.append(f"bias exponent is {neurons.bias_exponent}; the loader uses {STOCK_BIAS_EXPONENT}")
    values = (neurons.threshold, neurons.current_decay, neurons.voltage_decay)
    if len(layer.shape) == 3 and any(np.ndim(each) == 3 for each in values):
        obstacles.append("has thresholds or decays per neuron; the loader takes one per channel")
    if neurons.reset == "soft":
        if layer.recurrent or synapse.longest_delay:
            obstacles.append("has a soft reset and recurrent synapses or delays; the loader has no synapses for both")
        obstacles += _soft_reset_obstacles(layer)
    elif layer.recurrent:
        obstacles += _recurrent_obstacles(layer)
    elif isinstance(synapse, Dense) and not _dense_survives(synapse.weight):
        obstacles.append("the loader would round or clip its weights")
    return obstacles


def _recurrent_obstacles(layer: Layer) -> list[str]:
    synapses = (*layer.forward, *layer.recurrent)
    dense = [synapse for synapse in synapses if isinstance(synapse, Dense)]
    if len(dense) != 2 or len(synapses) != 2:
        return ["has recurrent synapses, which the loader runs only as one dense matrix in addition to another"]
    delays = [np.broadcast_to(0 if each.delay is None else each.delay, each.weight.shape) for each in dense]
    if any(each.any() for each in delays) and not np.array_equal(delays[0], delays[1]):
        return ["has other delays in its recurrent synapses; the loader takes the same"]
    if not _dense_survives(*(each.weight for each in dense), scaled=not delays[0].any()):
        return ["the loader would round, clip or scale its weights"]
    return []


def _soft_reset_obstacles(layer: Layer) -> list[str]:
    synapse, threshold = layer.synapses[0], int(layer.neurons.threshold)
    if isinstance(synapse, Conv):
        return [
            "a convolution with soft reset, for which the loader has no recurrent synapses; convert with --reset hard"
        ]
    if threshold % 2 or threshold > 254:
        return [
            f"threshold {threshold} is not a self-synapse weight; quantise with threshold_form='dense_rec' (even, <= 254)"
        ]
    # The distinct values of `self_synapse`, without an (n, n) array.
    if not _dense_survives(synapse.weight, np.array([-threshold] if layer.size == 1 else [-threshold, 0])):
        return ["the loader would round or clip its weights"]
    return []


def self_synapse(layer: Layer) -> np.ndarray:
    """The recurrent weights (n, n) that subtract the threshold one step after a spike."""
    return -int(layer.neurons.threshold) * np.eye(layer.size, dtype=np.int16)


def _dense_survives(*parts: np.ndarray, scaled: bool = True) -> bool:
    """Whether Lava's Dense, as the loader sets it up, computes with exactly these weights, and a layer's recurrent ones."""
    if not any(part.any() for part in parts):
        return False  # the loader divides by the largest weight
    try:
        held = effective_weights(parts, scaled=scaled)
    except ValueError:
        return False
    return all(np.array_equal(a, b) for a, b in zip(parts, held, strict=True))
