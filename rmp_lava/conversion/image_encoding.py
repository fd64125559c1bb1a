"""The encoding of the input that a network can be quantised with."""

from __future__ import annotations

from collections.abc import Iterable

from ..choices import Method, TrainedEncoding, check_choice
from ..encoding import make_input
from ..errors import ConversionError
from ..findings import Finding
from ..network import INPUT, Layer, SpikingNetwork
from .balancing import ENCODINGS

NO_COMMON_SCALE = "graded pixels and spikes have no common integer scale"


def of_image_and_spikes(layers: Iterable[Layer]) -> tuple[Layer, ...]:
    """The layers that the image reaches next to the spikes of other layers, as in networks whose stem has no ReLU."""
    found = []
    for layer in layers:
        sources = {synapse.source for synapse in layer.synapses}
        if INPUT in sources and len(sources) > 1:
            found.append(layer)
    return tuple(found)


def with_encoding(
    network: SpikingNetwork, asked: TrainedEncoding | None, method: Method
) -> tuple[SpikingNetwork, tuple[Finding, ...]]:
    """An analog network with the encoding that was asked for, or the method's where it can be quantised, else "rate".

    Returns
    -------
    (SpikingNetwork, tuple of Finding)
        And a finding where it is not the method's.

    Raises
    ------
    ConversionError
        If the encoding that was asked for cannot be quantised.
    """
    encoding: TrainedEncoding = ENCODINGS[method] if asked is None else asked
    check_choice("encoding", encoding, TrainedEncoding)
    findings: tuple[Finding, ...] = ()
    mixed = of_image_and_spikes(network)
    if mixed and encoding == "current":
        if asked is not None:
            raise ConversionError(
                f"layer {mixed[0].name!r} receives both the image and spikes, but with encoding 'current' {NO_COMMON_SCALE}; "
                "convert with encoding 'rate' or 'poisson', or leave the encoding out"
            )
        encoding = "rate"
        found = f"is encoded as 'rate' instead of {ENCODINGS[method]!r}"
        where = ", ".join(layer.name for layer in mixed)
        remedy = f"image and spikes both reach {where}, and {NO_COMMON_SCALE}"
        findings = (Finding("information", "input", found, remedy, "encoding"),)
    return network.replace(input=make_input(encoding, network.input.shape)), findings
