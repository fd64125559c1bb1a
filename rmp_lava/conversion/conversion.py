"""What the pipeline returns: a network in each of its forms, and what each form reaches, measured on demand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import run
from ..encoding import event_counts, mean_frames, shaped
from ..findings import Finding
from ..network import Layer, SpikingNetwork
from ..scores import check_truth
from ..tables import Table, Tabular, table
from ..training.loop import EpochRecord
from .analog import AnalogNetwork
from .diagnosis import NOTICEABLE, Diagnosis, Request, diagnose_rates
from .fidelity import clipped, measure_layers
from .layer_fidelity import LayerFidelity, first_loss
from .outputs import analog_outputs
from .replace import Replacement
from .sigma_delta import with_8_bits
from .stages import Stage, Stages, cost_of
from .tracing.reading import Model
from .truth import truth_of

FIDELITY_IMAGES = 256
"""Images on which `Conversion.measure` compares layers; stages use all of them."""


@dataclass(frozen=True)
class Measurement:
    """What a conversion reaches on some images.

    Parameters
    ----------
    stages : Stages
        What each form of the network reaches, against the labels, or the trained network's outputs where there are none.
    layer_fidelity : tuple of LayerFidelity
        In the order of the layers.
    diagnoses : tuple of Diagnosis
        Of the spikes and of the rounding, where the stages show that they lose accuracy.
    diagnosed : bool
        Whether the cause of a loss was looked for.
    """

    stages: Stages
    layer_fidelity: tuple[LayerFidelity, ...]
    diagnoses: tuple[Diagnosis, ...] = ()
    diagnosed: bool = True

    @property
    def loss(self) -> str:
        """Sentences that name the layer where accuracy is lost, the cause, and an option that was tried and helps."""
        if not self.layer_fidelity:
            return "Messages are graded, so that no rates are compared."
        if self.diagnoses:
            return " ".join(f"{str(each)[0].upper()}{str(each)[1:]}." for each in self.diagnoses)
        named = first_loss(self.layer_fidelity)
        known = [
            (each.image_correlation, each.layer) for each in self.layer_fidelity if each.image_correlation is not None
        ]
        if not known:
            return "No layer's activations vary on these images, so the fidelity of its rates is unknown."
        lowest, layer = min(known, key=lambda each: each[0])
        where = f"the lowest correlation over images is {lowest:.4f}, of layer {layer!r}"
        if self.stages:
            lost = self.stages[0].score.lost_to(self.stages[-1].score)
            if lost > NOTICEABLE and not self.diagnosed:
                return f"{100 * lost:.1f} points are lost on these images: {where}; the cause was not looked for."
            if lost > NOTICEABLE:
                found = f"{named} " if named else ""
                return (
                    f"{found}{100 * lost:.1f} points are lost on these images, but not on the calibration images: {where}; "
                    "calibrate with more images, or tune the network."
                )
            if lost > 0:
                return f"{100 * lost:.1f} points are lost on these images; no layer is examined for less than 1 point: {where}."
            return f"No accuracy is lost: {where}."
        return named or f"No layer loses accuracy: {where}."

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "stages": [stage.summary() for stage in self.stages],
            "layer_fidelity": [vars(layer) for layer in self.layer_fidelity],
            "first_loss": first_loss(self.layer_fidelity),
            "loss": self.loss,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Conversion(Tabular):
    """A converted network in each of its forms.

    Parameters
    ----------
    analog : SpikingNetwork
        The trained network in analog form, as `trace` returns it; after a tuning, with the tuned weights.
    floating : SpikingNetwork
        Balanced, with real numbers. Of a sigma-delta conversion the analog network: there is nothing to balance.
    integer : SpikingNetwork
        Quantised: the network to save and to run.
    steps : int
        T, the time steps it was converted for.
    model : torch.nn.Module or torch.export.ExportedProgram
        The trained network that it was made from.
    seed : int
        Of everything random, measurements included.
    tuning : tuple of EpochRecord
        One record per epoch; empty without a tuning.
    diagnosis : Diagnosis or None
        Where rounding to integers loses accuracy on calibration images, and what helps; None if it does not.
    request : Request or None
        What `convert` was asked for; `request.again(...)` converts with other parameters.
    findings : tuple of Finding
        What was chosen because of the network's structure, such as another encoding of the input than the method's.
    replacement : Replacement or None
        What was replaced in a copy of the trained network before the tuning, and the accuracies on the way.
    """

    analog: SpikingNetwork
    floating: SpikingNetwork
    integer: SpikingNetwork
    steps: int
    model: Model
    seed: int = 0
    tuning: tuple[EpochRecord, ...] = ()
    diagnosis: Diagnosis | None = None
    request: Request | None = None
    findings: tuple[Finding, ...] = ()
    replacement: Replacement | None = None

    def table(self) -> Table:
        """Layers with their thresholds in float and in integers, what rounding changed in their weights, and silent units.

        These are the channels, or neurons of dense layers, that never spike on the calibration images.
        """
        rows = [
            (
                layer.name,
                "x".join(map(str, layer.shape)),
                *(
                    "-" if each.neurons.reset == "none" else f"{each.neurons.threshold:g}"
                    for each in (self.floating[layer.name], layer)
                ),
                *_errors(layer),
                f"{self.floating[layer.name].record.get('silent_units', 0)}",
            )
            for layer in self.integer
        ]
        tuned = f", tuned over {len(self.tuning)} epochs" if self.tuning else ""
        title = (
            f"Conversion of {self.integer.name!r} for T = {self.steps}{tuned}: {self.integer.neuron_count:,} neurons"
            + "".join(f"; {finding.where} {finding.found}" for finding in self.findings)
        )
        columns = ("layer", "shape", "threshold", "as integer", "weight error", "worst row", "rounded to 0", "silent")
        return table(title, columns, rows, text_columns=2)

    @property
    def silent_units(self) -> str:
        """A sentence on the units that never spike on the calibration images, by layer; empty if all do."""
        found = [(self.floating[layer.name].record.get("silent_units", 0), layer) for layer in self.integer]
        listed = ", ".join(
            f"{count} of {layer.shape[0]} {'channels' if len(layer.shape) == 3 else 'neurons'} of {layer.name!r}"
            for count, layer in found
            if count
        )
        return listed and f"Silent on the calibration images, so that their weights decide no scale: {listed}."

    def stages(
        self, images: np.ndarray, labels: np.ndarray | None = None, *, strict: bool = False, progress: bool = False
    ) -> Stages:
        """What the trained, folded, clipped, float and integer network reach on the same images, see `rmp_lava.scores`.

        A tuned network has no folded stage, as its activations are clipped already. Without labels, each form is compared with
        the trained network's outputs.

        Parameters
        ----------
        images : numpy.ndarray
            As `convert` takes them; events (N, T, *input shape) for encoding "spikes", of which the trained
            network takes the mean over time.
        labels : numpy.ndarray, optional
            Integers (N,) or (N, height, width): the class of each image or pixel. Floats of the outputs' shape: targets of a
            regression.
        strict : bool
            Raise `RangeOverflowError` for a membrane potential that saturates.

        Raises
        ------
        DataError
            If the labels do not fit the outputs.
        """
        shape, tuned = self.analog.output.shape, ", tuned" if self.tuning else ""
        if labels is not None:  # before anything runs
            labels = np.asarray(labels)
            check_truth(labels, shape, f"network {self.analog.name!r}")
        images = self.taken(images)
        frames = mean_frames(images) if self.integer.input.encoding == "spikes" else images
        truth = truth_of(self.model, None if self.tuning else self.analog, frames, labels, shape)
        restored = isinstance(self.model, AnalogNetwork)
        scores = [("restored ANN" if restored else "trained ANN", truth.trained_score)]
        if truth.folded is not None:
            scores.append(("folded", truth.score(truth.folded)))
        if self.integer.is_sigma_delta:
            scores.append(("8-bit ANN", truth.score(analog_outputs(with_8_bits(self.analog), frames))))
            forms = [("sigma-delta", self.integer)]
        else:
            limited = analog_outputs(clipped(self.analog, self.floating), frames)
            scores.append((f"clipped{tuned}", truth.score(limited)))
            forms = [("float SNN", self.floating), ("integer SNN", self.integer)]
        stages = [Stage(name, len(images), found) for name, found in scores]
        for form, network in forms:
            # Graded spikes take one step for all that the network waited for.
            steps = network.wait if self.integer.is_graded and network.wait else self.steps
            result = run(network, images, steps, seed=self.seed, strict=strict, progress=progress)
            reached = truth.score_of_run(result, network)
            stages.append(Stage(f"{form}{tuned}", len(images), reached, result.limits_reached(), cost_of(result)))
        return Stages(stages)

    def layer_fidelity(self, images: np.ndarray, *, progress: bool = False) -> tuple[LayerFidelity, ...]:
        """How closely the firing rates of each integer layer match the trained activations; no labels are needed.

        Parameters
        ----------
        images, progress
            As `stages` and `rmp_lava.run` take them.
        """
        if self.integer.is_sigma_delta or self.integer.is_graded:
            return ()  # its messages are changes or several spikes, not rates
        images = self.taken(images)
        return measure_layers(
            self.analog, self.floating, self.integer, images, self.steps, seed=self.seed, progress=progress
        )

    def taken(self, images: np.ndarray) -> np.ndarray:
        """Images, or events as int8, in the input's shape; raises `DataError` if they do not fit."""
        images = shaped(np.asarray(images), self.integer.input)
        return event_counts(images) if self.integer.input.encoding == "spikes" else images

    def measure(
        self,
        images: np.ndarray,
        labels: np.ndarray | None = None,
        *,
        strict: bool = False,
        diagnose: bool = True,
        progress: bool = False,
    ) -> Measurement:
        """Stages on all images, and layer fidelity on the first `FIDELITY_IMAGES`.

        Parameters
        ----------
        images, labels, strict, progress
            As `stages` takes them.
        diagnose : bool
            If accuracy is lost, find out where it is and try what helps, which converts several times.
        """
        stages = self.stages(images, labels, strict=strict, progress=progress)
        lost = len(stages) > 1 and stages[0].score.lost_to(stages[-1].score) > NOTICEABLE
        found = []
        if lost and diagnose and self.request is not None:
            found = [diagnose_rates(self, self.request), self.diagnosis]
        diagnoses = tuple(each for each in found if each is not None)
        return Measurement(
            stages, self.layer_fidelity(images[:FIDELITY_IMAGES], progress=progress), diagnoses, diagnose
        )

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "steps": self.steps,
            "tuning": [vars(record) for record in self.tuning],
            "replacement": None if self.replacement is None else self.replacement.summary(),
            "findings": [vars(finding) for finding in self.findings],
            "layers": {layer.name: dict(layer.record) for layer in self.integer},
        }


def _errors(layer: Layer) -> tuple[str, ...]:
    """Of a layer's weights: the error, that of the worst row, and the share that became 0."""
    error = layer.weight_error
    values = (None, None, None) if error is None else (error.rms, error.worst_row, error.zeroed)
    return tuple("-" if value is None else f"{value:.2%}" for value in values)


def with_measurement(network: SpikingNetwork, measurement: Measurement) -> SpikingNetwork:
    """The network with a measurement in its provenance, where `rmp-lava info` and `report` show it."""
    summary = measurement.summary()
    kept = {key: summary[key] for key in ("stages", "layer_fidelity")}
    return network.replace(provenance=dict(network.provenance) | kept)
