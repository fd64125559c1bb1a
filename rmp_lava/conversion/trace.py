"""Trace any feed-forward PyTorch network into a `SpikingNetwork` in analog form: same weights, thresholds of 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from ..errors import ConversionError, UsageError
from ..findings import Finding
from ..network import INPUT, Input, Layer, Readout, SpikingNetwork
from .analog import AnalogNetwork
from .tracing.analysis import Analysis, analyse
from .tracing.findings import CheckReport
from .tracing.reading import Model, Reading, read, unsuitable_example
from .tracing.verify import verify


def trace(
    model: Model,
    source: Input,
    example: np.ndarray | torch.Tensor | None = None,
    *,
    pooling: str = "fold",
    readout: Readout = "potential",
) -> SpikingNetwork:
    """The spiking network of a PyTorch network in analog form: trained weights and biases, thresholds not set.

    Every ReLU makes a population; everything linear between populations becomes their synapses and biases. The result
    is compared with the network's own output on the example before it is returned.

    Parameters
    ----------
    model : torch.nn.Module or torch.export.ExportedProgram
        On any device and in any floating-point precision; not changed. An `AnalogNetwork` is in analog form already.
    source : Input
        Whose shape is an image's.
    example : array, optional
        (N, *source.shape) in [0, 1]; the first two are run. Random images if omitted.
    pooling : {"fold", "layer"}
        Fold average pooling into the next layer's weights where that is exact, or keep it as a layer of RMP neurons,
        as in the paper.
    readout : {"potential", "count"}
        Whether the last layer only integrates, or spikes.

    Returns
    -------
    SpikingNetwork
        In analog form. Layers have the clip of a clipped ReLU, in the units of the activation; their records name the module
        and what was folded ("pooling").

    Raises
    ------
    ConversionError
        With every obstacle, if the network cannot be converted; if the images or the traced network differ from it.
    """
    if pooling not in ("fold", "layer"):
        raise UsageError(f"pooling is {pooling!r}; choose 'fold' or 'layer'")
    if isinstance(model, AnalogNetwork):
        return _as_it_is(model.to_network(), source, pooling, readout)
    if example is None:
        example = np.random.default_rng(0).random((2, *source.shape), dtype=np.float32)
    reading, analysis = examine(model, as_array(example), pooling)
    CheckReport(analysis.findings).raise_if_blocked()
    assert reading is not None and analysis.logits is not None  # as there is no obstacle
    if reading.images.shape[1:] != source.shape:
        raise ConversionError(
            f"the example has images of shape {reading.images.shape[1:]}, but the input is of shape {source.shape}; "
            "they must agree"
        )
    layers = list(analysis.layers)
    if readout == "potential":
        layers[-1] = layers[-1].replace(neurons=layers[-1].neurons.replace(reset="none"))
    network = SpikingNetwork("network", source, tuple(layers), "analog", readout)
    # A spiking read-out rectifies, the original does not: compare with one that only integrates.
    plain = layers[-1].replace(neurons=layers[-1].neurons.replace(reset="none"))
    compared = network.replace(layers=(*layers[:-1], plain), readout="potential")
    verify(compared, reading.images, analysis.logits, reading.precision)
    return network


def _as_it_is(network: SpikingNetwork, source: Input, pooling: str, readout: Readout) -> SpikingNetwork:
    """A network that is in analog form already, with the given input and read-out."""
    if pooling == "layer":
        raise UsageError(
            f"network {network.name!r} is in analog form, so pooling 'layer' would have no effect; omit it, or convert the "
            "original model"
        )
    if network.input.shape != source.shape:
        raise ConversionError(f"images are of shape {source.shape}, but the network takes {network.input.shape}")
    *hidden, last = network.layers
    reset = "none" if readout == "potential" else "soft"
    last = last.replace(neurons=last.neurons.replace(reset=reset))
    return network.replace(input=source, layers=(*hidden, last), readout=readout)


def examine(model: Model, example: np.ndarray, pooling: str) -> tuple[Reading | None, Analysis]:
    """Run a network and analyse its calls; the analysis has all findings, including those about the example."""
    findings = tuple(unsuitable_example(example))
    if example.dtype.kind not in "fiub" or example.ndim < 2 or not example.size:
        return None, Analysis((), findings, None)
    reading = read(model, example)
    findings += reading.findings
    if reading.calls is None:
        return reading, Analysis((), findings, None)
    analysis = analyse(reading.calls, pooling=pooling)
    findings = tuple(dict.fromkeys(findings + analysis.findings)) + tuple(_mixed_sources(analysis.layers))
    if not reading.agrees and not any(f.severity == "obstacle" for f in findings):
        found = "does not compute what its layers compute"
        remedy = "remove forward hooks, randomness, and state that is kept between calls"
        findings += (Finding("obstacle", "model", found, remedy),)
    return reading, Analysis(analysis.layers, findings, analysis.logits)


def _mixed_sources(layers: tuple[Layer, ...]) -> Iterator[Finding]:
    """Layers that cannot be quantised with current encoding; whether that matters depends on the encoding."""
    for layer in layers:
        sources = {synapse.source for synapse in layer.synapses}
        if INPUT in sources and len(sources) > 1:
            yield Finding(
                "information",
                layer.record.get("module", layer.name),
                "receives both the image and spikes",
                "kept, but graded pixels and spikes have no common integer scale: convert with encoding 'rate' or "
                "'poisson', not 'current', or put a layer with ReLU between the image and it",
            )


def as_array(example: np.ndarray | torch.Tensor) -> np.ndarray:
    """An example as a numpy array; half precision becomes float32."""
    if isinstance(example, torch.Tensor):
        example = example.detach().cpu()
        return (example.float() if example.is_floating_point() else example).numpy()
    example = np.asarray(example)
    return example.astype(np.float32) if example.dtype.kind == "f" else example
