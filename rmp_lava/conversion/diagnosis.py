"""Where a conversion loses accuracy, why, and an option that was tried and gets it back.

Networks are compared by their predictions on calibration images: how often they are the trained network's. No labels are
needed. Networks with a single output are compared by its error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..choices import ThresholdForm
from ..errors import RmpLavaError
from ..network import Layer, SpikingNetwork
from ..registers import MAX_BIAS, MAX_BIAS_EXPONENT
from .divergence import TrainedOutputs
from .fidelity import measure_layers
from .layer_fidelity import begins_at
from .quantization import Quantization

if TYPE_CHECKING:
    from .conversion import Conversion

_LAYER_IMAGES = 64
NOTICEABLE = 0.01
"""A loss of agreement or accuracy that is worth a warning: one point."""
_SHARE = 0.5
"""A loss begins at the first layer to which rounding adds so much of the largest error that it adds to any."""
_WELL_USED = 128
_FEW_STEPS = 64
_MOST_STEPS = 1024


class Request(Protocol):
    """What `rmp_lava.convert` was asked for."""

    @property
    def quantization(self) -> Quantization: ...

    @property
    def has_real_targets(self) -> bool:
        """Whether outputs are real values rather than scores of classes, as far as labels tell."""

    def again(self, **changed: Any) -> Conversion:
        """The conversion with other parameters of `rmp_lava.convert`."""

    def some_images(self) -> np.ndarray:
        """(N, *input shape) calibration images to compare networks on."""


@dataclass(frozen=True)
class Remedy:
    """Options of `convert` that were tried, and the agreement that they reach."""

    options: str
    agreement: float


@dataclass(frozen=True)
class Diagnosis:
    """Why one form of a network agrees less often with the trained network than the form before it.

    Parameters
    ----------
    step : str
        What was done between the two forms.
    images : int
        Number of calibration images.
    before, after : float
        Share of them on which the prediction is the trained network's, 0..1.
    layer : str
        The layer where the loss begins.
    cause : str
        What happens there.
    remedy : Remedy or None
        The best of the options that were tried, if it regains at least half of the loss.
    tried : tuple of Remedy
        All of them.
    """

    step: str
    images: int
    before: float
    after: float
    layer: str
    cause: str
    remedy: Remedy | None
    tried: tuple[Remedy, ...]

    def __str__(self) -> str:
        before = "" if self.before == 1 else f", before to {self.before:.1%}"
        return (
            f"{self.step} costs accuracy: predictions agree with the trained network's to {self.after:.1%} on {self.images} "
            f"calibration images{before}; it begins at layer {self.layer!r}, {self.cause}; {self._advice()}"
        )

    def _advice(self) -> str:
        if self.remedy is not None:
            return f"{self.remedy.options} reaches {self.remedy.agreement:.1%}"
        tried = ", ".join(f"{each.options} ({each.agreement:.1%})" for each in self.tried)
        return f"no option helps{f' (tried: {tried})' if tried else ''}, so tune the network (rmp_lava.tune), or longer"


def _noticeable(images: np.ndarray) -> float:
    """The smallest loss that is worth a word; a few images may change by chance."""
    return max(NOTICEABLE, 2.5 / len(images))


def diagnose_rounding(conversion: Conversion, request: Request) -> Diagnosis | None:
    """What rounding to integers loses, or None if it loses less than `NOTICEABLE`."""
    trained = TrainedOutputs(conversion.analog, request.some_images(), real=request.has_real_targets)
    before, after = (
        trained.agreement(each, conversion.steps, seed=conversion.seed)
        for each in (conversion.floating, conversion.integer)
    )
    if before - after <= _noticeable(trained.images):
        return None
    layer, cause = _worst_layer(conversion, trained.images[:_LAYER_IMAGES])
    return _diagnosed(
        "rounding to integers", trained, before, after, layer, cause, _options(conversion, request), request
    )


def diagnose_rates(conversion: Conversion, request: Request) -> Diagnosis | None:
    """What spikes over T time steps lose, before any rounding, or None if they lose less than `NOTICEABLE`."""
    trained = TrainedOutputs(conversion.analog, request.some_images(), real=request.has_real_targets)
    steps, seed = conversion.steps, conversion.seed
    after = trained.agreement(conversion.floating, steps, seed=seed)
    if 1 - after <= _noticeable(trained.images):
        return None
    layers = measure_layers(
        conversion.analog, conversion.floating, conversion.floating, trained.images[:_LAYER_IMAGES], steps, seed=seed
    )
    layer = begins_at(layers) or min(
        layers, key=lambda each: 1.0 if each.image_correlation is None else each.image_correlation
    )
    cause = "whose rates vary with no image"
    if layer.image_correlation is not None:
        cause = f"whose rates and activations correlate by {layer.image_correlation:.2f} over images"
    longer: list[tuple[str, dict[str, Any]]] = [
        (f"steps={factor * steps}", {"steps": factor * steps}) for factor in (2, 4) if factor * steps <= _MOST_STEPS
    ]
    if conversion.integer.input.encoding == "spikes":  # events come in their own time steps, often many at once
        longer = [(f"wait={wait}", {"wait": wait}) for wait in (steps // 2, steps) if wait > conversion.integer.wait]
    return _diagnosed(f"spiking for T = {steps} steps", trained, 1.0, after, layer.layer, cause, longer, request)


def _diagnosed(
    step: str,
    trained: TrainedOutputs,
    before: float,
    after: float,
    layer: str,
    cause: str,
    options: Iterable[tuple[str, dict[str, Any]]],
    request: Request,
) -> Diagnosis:
    """The diagnosis with the options that were tried, until one regains nearly all."""
    tried = []
    for text, changed in options:
        try:
            other = request.again(**changed)
            reached = trained.agreement(other.integer, other.steps, seed=other.seed)
        except RmpLavaError:  # a network, another option, or events of T steps that do not allow it
            continue
        tried.append(Remedy(text, reached))
        if tried[-1].agreement >= before - _noticeable(trained.images) / 2:
            break
    best = max(tried, key=lambda each: each.agreement, default=None)
    helps = best is not None and best.agreement - after >= 0.5 * (before - after)
    return Diagnosis(step, len(trained.images), before, after, layer, cause, best if helps else None, tuple(tried))


def _worst_layer(conversion: Conversion, images: np.ndarray) -> tuple[str, str]:
    """The first layer where rounding adds much to the error of rates, and what it does there."""
    layers = measure_layers(
        conversion.analog, conversion.floating, conversion.integer, images, conversion.steps, seed=conversion.seed
    )
    added = [(layer.error or 0.0) * np.sqrt(layer.rounding_error) for layer in layers]
    first = next(i for i, each in enumerate(added) if each >= _SHARE * max(added))
    return layers[first].layer, _cause(conversion.integer, conversion.integer[layers[first].layer])


def _cause(network: SpikingNetwork, layer: Layer) -> str:
    largest = max(int(np.abs(s.weight.astype(np.int64)).max()) for s in layer.synapses)
    if largest >= _WELL_USED:
        return "whose weights differ too much in size for 8 bits"
    neurons = layer.neurons
    used = f"whose weights reach {largest} of 256 only, because"
    bias = 0 if neurons.bias is None else int(np.abs(neurons.bias.astype(np.int64)).max()) << neurons.bias_exponent
    if bias - network.output_offset * (layer is network.output) >= 0.9 * (MAX_BIAS << MAX_BIAS_EXPONENT):
        return f"{used} its biases fill their register"
    if neurons.reset == "none" or (layer is network.output and network.integrates):
        return f"{used} the sums of its outputs fill their register"
    return f"{used} its threshold of {neurons.threshold:,} is as large as its form allows"


def _options(conversion: Conversion, request: Request) -> Iterator[tuple[str, dict[str, Any]]]:
    """Options that may help, as text and as parameters of `convert`; cheap ones first."""
    integer, quantization = conversion.integer, request.quantization
    if quantization.threshold_form != "free":
        form: ThresholdForm = "stock" if quantization.threshold_form == "dense_rec" else "free"
        yield f"threshold_form={form!r}", {"quantization": replace(quantization, threshold_form=form)}
    if quantization.for_board:
        yield "for_board=False", {"quantization": replace(quantization, for_board=False)}
    if any(s.pool is not None for layer in integer for s in layer.synapses):
        yield "pooling='layer'", {"pooling": "layer"}
    if integer.readout != "count" and integer.output.size > 1:
        yield "readout='count'", {"readout": "count"}
    if integer.input.encoding == "current":
        yield "encoding='rate'", {"encoding": "rate"}
    if conversion.steps <= _FEW_STEPS:
        yield f"steps={4 * conversion.steps}", {"steps": 4 * conversion.steps}
