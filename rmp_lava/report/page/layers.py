"""The page's sections that go layer by layer: firing rates against activations, activity, quantisation."""

from __future__ import annotations

from collections.abc import Sequence

from ... import plot
from ...conversion.layer_fidelity import LayerFidelity
from ...conversion.rates import NEURONS
from ...network import INPUT
from ...registers import REGISTER_LIMIT, STATE_SHIFT
from ...words import count, plural
from ..provenance import kept_layer_fidelity
from ..tables import activity_table, fidelity_table, quantisation_table
from .data import activity_data, rates_data
from .measure import Measured
from .parts import Section, Sheet, picture


def rates_section(measured: Measured) -> Section:
    """How closely firing rates match the trained activations."""
    rates, title = measured.rates, "Rates against activations"
    if rates.missing:
        known = kept_layer_fidelity(measured.network.provenance)
        sheet = _fidelity(known, "Validation images, measured when the network was converted.")
        missing = f"Rates are not drawn against activations: {rates.missing.rstrip('.')}."
        return Section("rates", title, sheets=(sheet,) if known else (), missing=missing)
    spiking = [each for each in rates.layers if not each.integrates]
    caption = (
        f"Spikes per step against the activation that they represent, in units of one spike per step, of up to {NEURONS:,} "
        f"neurons per layer on {plural(rates.images, 'image')}. Stronger cells hold more pairs, on a logarithmic scale; "
        "activations above 1, which no rate represents, are at the right edge. The number is the correlation over all neurons. "
    )
    if len(spiking) < len(rates.layers):
        caption += "The read-out is in units of the trained network’s outputs."
    drawn = picture("rates", title, caption.strip(), lambda width: plot.rates(rates, width=width), rates_data(rates))
    layers = [each.fidelity for each in rates.layers]
    sheet = _fidelity(layers, f"{plural(rates.images, 'image')} of the report.")
    return Section("rates", title, (rates.remark,) if rates.remark else (), (drawn,), (sheet,))


def _fidelity(layers: Sequence[LayerFidelity], what: str) -> Sheet:
    caption = (
        "Correlation over all pairs of neuron and image, and over the images alone (each neuron’s deviations from its mean); "
        "root mean square error over that of the activations; neurons that never spike although they should; pairs of neuron "
        f"and image with a spike in every step. {what}"
    )
    return Sheet(caption, fidelity_table(layers, weights=False), [layer.layer for layer in layers])


def activity_section(measured: Measured) -> Section:
    """Spikes and operations, layer by layer."""
    network, result, title = measured.network, measured.result, "Activity per layer"
    samples = plural(result.samples, "sample")
    caption = (
        f"Spikes per neuron, and synaptic operations that the layer receives, per inference of T = {measured.steps} steps; "
        f"mean of {samples}."
    )
    drawn = picture(
        "activity",
        title,
        caption,
        lambda width: plot.activity(network, result, width=width),
        activity_data(network, result),
    )
    sheet = Sheet(
        "Per inference. A synaptic operation is an incoming message times a non-zero weight that it meets, exact at the borders "
        f"of convolutions. The input sends {count(result.spike_counts[INPUT] / result.samples)} messages. Mean of {samples}.",
        activity_table(network, result, registers=False),
        [layer.name for layer in network],
    )
    return Section("activity", title, (), (drawn,), (sheet,))


def quantisation_section(measured: Measured) -> Section:
    """The integers, and what rounding to them lost."""
    network, result, title = measured.network, measured.result, "Quantisation"
    if not network.is_integer:
        return Section("quantisation", title, missing="The network is not quantised.")
    samples = plural(result.samples, "sample")
    limits = [f"{name}: {n:,}" for name, n in result.large_inputs.items() if n]
    what = f"Neuron updates whose input reached ±{REGISTER_LIMIT:,}"
    text = [f"{what}, in {samples}: {', '.join(limits)}."] if limits else []
    sheet = Sheet(
        "Scale: weight units per real unit. Rounding error: root mean square over that of the weights. Threshold and initial "
        f"potential in weight units (1/{1 << STATE_SHIFT} of which is a step of the 24-bit register). Register used: largest "
        "potential that was compared with the threshold, or its negative. Saturations: neuron updates that hit the "
        f"register’s limits, in {samples}.",
        quantisation_table(network, result),
        [layer.name for layer in network],
    )
    return Section("quantisation", title, tuple(text), (), (sheet,))
