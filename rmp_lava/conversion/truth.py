"""What the forms of a network are compared with: labels of the images, or the trained network's own outputs.

A spiking network's outputs are those before a function that the trained network ends in and that conversion leaves out, such
as a sigmoid. Which one it is shows in the outputs themselves. Real outputs are compared after it, classes before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..network import SpikingNetwork
from ..results import Run
from ..scores import Score, agreement, score
from .outputs import analog_outputs, trained_outputs
from .tracing.reading import Model

_ENDINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "none": lambda outputs: outputs,
    "softmax": lambda outputs: outputs.softmax(dim=1),
    "log_softmax": lambda outputs: outputs.log_softmax(dim=1),
    "normalize": functional.normalize,
    "sigmoid": torch.sigmoid,
    "log_sigmoid": functional.logsigmoid,
    "tanh": torch.tanh,
    "softsign": functional.softsign,
    "softplus": functional.softplus,
    "exp": torch.exp,
}
"""What `tracing.endings` leaves out, but for decisions."""
_LARGEST_ERROR = 0.5
"""Of outputs that are the trained network's, which may round activations; another ending is several times as far off."""


@dataclass(frozen=True, eq=False)
class Truth:
    """Labels and the trained network's outputs on some images; made by `truth_of`.

    Parameters
    ----------
    shape : tuple of int
        Of one image's outputs.
    labels : numpy.ndarray or None
        As `rmp_lava.scores.check_truth` takes them; without them outputs are compared with the trained ones.
    trained : numpy.ndarray
        (N, outputs) as the trained network returns them; if it returns classes, 1 for each class and 0 for the others.
    folded : numpy.ndarray or None
        (N, outputs) of its analog form, before an ending that is left out; None if that was tuned since.
    ending : str
        The function that is left out, a key of `_ENDINGS`; "unknown" if it is none of them.
    """

    shape: tuple[int, ...]
    labels: np.ndarray | None
    trained: np.ndarray
    folded: np.ndarray | None
    ending: str

    @property
    def trained_score(self) -> Score:
        """Of the trained network itself."""
        if self.labels is None:
            return agreement(self.trained, self.shape, self.trained, same_unit=self._same_unit)
        if self._is_real or self.folded is None or self.shape[0] > 1 or self.ending == "none":
            return score(self.trained, self.shape, self.labels)
        return score(self.folded, self.shape, self.labels)  # a probability has no sign that tells two classes apart

    def score(self, outputs: np.ndarray) -> Score:
        """Of (N, outputs) in the trained network's units, before an ending that is left out."""
        if self.labels is not None and not self._is_real:
            return score(outputs, self.shape, self.labels)
        outputs = _after(self.ending, outputs, self.shape)
        if self.labels is not None:
            return score(outputs, self.shape, self.labels)
        return agreement(outputs, self.shape, self.trained, same_unit=self._same_unit)

    def score_of_run(self, result: Run, network: SpikingNetwork) -> Score:
        """Of a spiking network that ran on the images."""
        if self.labels is not None and not self._is_real:
            return result.score(network, self.labels)
        if self.labels is None and network.output_scale is None:
            return agreement(result.output, self.shape, self.trained, same_unit=False)
        return self.score(result.in_trained_units(network))

    @property
    def _is_real(self) -> bool:
        return self.labels is not None and self.labels.dtype.kind == "f"

    @property
    def _same_unit(self) -> bool:
        return self.ending != "unknown"


def truth_of(
    model: Model, analog: SpikingNetwork | None, images: np.ndarray, labels: np.ndarray | None, shape: tuple[int, ...]
) -> Truth:
    """Run a trained network and its analog form, None if that was tuned since, on images.

    Parameters
    ----------
    labels : numpy.ndarray or None
        As `rmp_lava.scores.check_truth` takes them.
    shape : tuple of int
        Of one image's outputs.
    """
    trained = trained_outputs(model, images)
    folded = None if analog is None else analog_outputs(analog, images)
    if trained.shape[1] * shape[0] == int(np.prod(shape)) and shape[0] > 1:
        decided = trained[:, None] == np.arange(shape[0])[:, None]  # (N, classes, pixels)
        return Truth(shape, labels, decided.reshape(len(trained), -1), folded, "unknown")
    return Truth(shape, labels, trained, folded, "unknown" if folded is None else _ending(folded, trained, shape))


def _ending(folded: np.ndarray, trained: np.ndarray, shape: tuple[int, ...]) -> str:
    """The function that makes the trained network's outputs of those of its analog form."""
    errors = {name: agreement(_after(name, folded, shape), shape, trained).error for name in _ENDINGS}
    known = {name: error for name, error in errors.items() if error is not None and np.isfinite(error)}
    if not known:
        return "none"
    best = min(known, key=lambda name: known[name])
    return best if known[best] < _LARGEST_ERROR else "unknown"


def _after(name: str, outputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Outputs with an ending applied, (N, outputs); unchanged if it is unknown."""
    if name in ("none", "unknown"):
        return outputs
    values = torch.from_numpy(outputs.reshape(len(outputs), *shape).astype(np.float64))
    return _ENDINGS[name](values).reshape(len(outputs), -1).numpy()
