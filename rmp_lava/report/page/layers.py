"""The page's sections that go layer by layer: rates against activations, activity, quantisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...network import INPUT, Layer, SpikingNetwork
from ...registers import MAX_STATE, REGISTER_LIMIT, STATE_SHIFT
from ..provenance import kept_gates
from ..tables import is_number
from .measure import Measured
from .parts import Section, Sheet
from .plots import activity_bars, rate_clouds
from .style import Palette, picture
from .words import count, digits, percent, plural


def rates_section(measured: Measured, palette: Palette) -> Section:
    """Whether rates say activations."""
    rates, title = measured.rates, "Rates against activations"
    if rates.missing:
        missing = f"Rates are not drawn against activations: {rates.missing.rstrip('.')}."
        return Section("rates", title, sheets=_gates(measured.network, palette), missing=missing)
    spiking = [each for each in rates.layers if each.layer.neurons.reset != "none"]
    caption = (
        f"Spikes per step against the activation that they stand for, in units of one spike per step, of up to {rates.neurons:,} "
        f"neurons per layer on {plural(rates.images, 'image')}. Stronger cells hold more pairs, on a logarithmic scale; "
        "activations above 1, which no rate can say, are at the right edge. The number is the correlation over all neurons. "
    )
    if len(spiking) < len(rates.layers):
        caption += "The read-out is in units of the trained network’s outputs."
    drawn = picture("rates", title, caption.strip(), lambda wide: rate_clouds(rates, palette, wide))
    gates = [vars(each.gate) for each in rates.layers]
    sheet = _gate_sheet(gates, f"{plural(rates.images, 'image')} of the report.", palette)
    return Section("rates", title, (rates.remark,) if rates.remark else (), (drawn,), (sheet,))


def _gates(network: SpikingNetwork, palette: Palette) -> tuple[Sheet, ...]:
    """What was measured at the conversion, if the file says it."""
    known = [vars(gate) for gate in kept_gates(network.provenance)]
    return (
        (_gate_sheet(known, "Validation images, measured when the network was converted.", palette),) if known else ()
    )


def _gate_sheet(gates: Sequence[Mapping[str, Any]], what: str, palette: Palette) -> Sheet:
    rows = [
        (
            gate["layer"],
            *("–" if gate.get(key) is None else f"{gate[key]:.4f}" for key in ("correlation", "image_correlation")),
            *(percent(gate.get(key)) for key in ("error", "silent", "saturated")),
        )
        for gate in gates
    ]
    caption = (
        "Correlation over all pairs of neuron and image, and over the images alone (each neuron’s deviations from its mean); "
        "root mean square error over that of the activations; neurons that never spike although they should; pairs of neuron "
        f"and image with a spike in every step. {what}"
    )
    columns = ("layer", "correlation", "over images", "error", "silent", "always on")
    return Sheet(caption, columns, rows, colours=palette.marks([gate["layer"] for gate in gates]))


def activity_section(measured: Measured, palette: Palette) -> Section:
    """Spikes and operations, layer by layer."""
    network, result = measured.network, measured.result
    spikes, operations = result.spikes_per_neuron(network), result.operations_per_sample
    samples = plural(result.samples, "sample")
    caption = (
        f"Spikes per neuron, and synaptic operations that the layer receives, per inference of T = {measured.steps} steps; "
        f"mean of {samples}."
    )
    drawn = picture(
        "activity",
        "Activity per layer",
        caption,
        lambda wide: activity_bars(network, spikes, operations, palette, wide),
    )
    total = sum(result.spike_counts[layer.name] for layer in network) / result.samples
    every = sum(operations.values())
    rows = [
        (
            layer.name,
            f"{layer.size:,}",
            count(result.spike_counts[layer.name] / result.samples),
            digits(spikes[layer.name]),
            digits(spikes[layer.name] / measured.steps),
            count(operations[layer.name]),
            percent(operations[layer.name] / every if every else 0.0),
        )
        for layer in network
    ]
    all_neurons = network.neuron_count
    rows.append(
        (
            "all",
            f"{all_neurons:,}",
            count(total),
            digits(total / all_neurons),
            digits(total / all_neurons / measured.steps),
            count(every),
            percent(1.0),
        )
    )
    columns = ("layer", "neurons", "spikes", "per neuron", "per neuron and step", "synaptic operations", "share")
    table = (
        "Per inference. A synaptic operation is an incoming message times a non-zero weight that it meets, exact at the borders "
        f"of convolutions. The input sends {count(result.spike_counts[INPUT] / result.samples)} messages. Mean of {samples}."
    )
    colours = (*palette.marks([layer.name for layer in network]), "")
    return Section("activity", "Activity per layer", (), (drawn,), (Sheet(table, columns, rows, 1, True, colours),))


def quantisation_section(measured: Measured, palette: Palette) -> Section:
    """Integers and what they lost."""
    network, result, title = measured.network, measured.result, "Quantisation"
    if not network.is_integer:
        return Section("quantisation", title, missing="The network holds real numbers; nothing of it is quantised.")
    rows = []
    for layer in network:
        record, neurons = layer.record, layer.neurons
        low, high = (f([f(s.weight) for s in layer.synapses]) for f in (np.min, np.max))
        reached = result.potential_ranges.get(layer.name)
        rows.append(
            (
                layer.name,
                _recorded(record.get("scale")),
                f"{low} … {high}".replace("-", "−"),
                _recorded_share(record.get("weight_error")),
                _zeroed(layer),
                "–" if neurons.reset == "none" else f"{neurons.threshold:,}",
                f"{neurons.v_init:,}".replace("-", "−"),
                "–" if reached is None else f"{max(abs(n) for n in reached) / MAX_STATE:.1%}".replace("%", " %"),
                f"{result.saturations[layer.name]:,}" if layer.name in result.saturations else "not counted",
            )
        )
    columns = (
        "layer",
        "scale",
        "weights",
        "rounding error",
        "rounded to 0",
        "threshold",
        "starts at",
        "register used",
        "saturations",
    )
    limits = [f"{name}: {n:,}" for name, n in result.large_inputs.items() if n]
    what = f"Neuron updates whose input reached ±{REGISTER_LIMIT:,}"
    text = [f"{what}, in {plural(result.samples, 'sample')}: {', '.join(limits)}."] if limits else []
    caption = (
        "Scale: weight units per real unit. Rounding error: root mean square over that of the weights. Threshold and initial "
        f"potential in weight units (1/{1 << STATE_SHIFT} of which is a step of the 24-bit register). Register used: largest "
        "potential that was compared with the threshold, or its negative. Saturations: neuron updates that hit the register’s "
        f"ends, of all in {plural(result.samples, 'sample')}."
    )
    colours = palette.marks([layer.name for layer in network])
    return Section("quantisation", title, tuple(text), (), (Sheet(caption, columns, rows, colours=colours),))


def _zeroed(layer: Layer) -> str:
    number = layer.record.get("zero_weights")
    if not is_number(number):
        return "–"
    return percent(number / sum(s.weight.size for s in layer.synapses), 2)


def _recorded(value: object) -> str:
    return digits(float(value)) if is_number(value) else "–"


def _recorded_share(value: object) -> str:
    return percent(float(value), 2) if is_number(value) else "–"
