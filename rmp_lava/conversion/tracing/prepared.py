"""What images go through before the network that was trained on them: another shape, and a normalisation.

Both become part of the first layer: the reading of a network starts from them (`builder`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from ...errors import UsageError
from ...network.values import per_row
from . import export_front
from .undisturbed import tensor_like, undisturbed, unwrapped

Values = float | Sequence[float] | np.ndarray
"""One number, or one for each channel."""


class Prepared(nn.Module):
    """A trained network that takes images as a spiking network does: pixels in [0, 1], in any shape of as many elements.

    Parameters
    ----------
    trained : torch.nn.Module or torch.export.ExportedProgram
    shape : tuple of int
        Of one image as the network takes it.
    scale, shift : numpy.ndarray or None
        The network takes `scale * pixels + shift`; both broadcast to the shape. None: the pixels themselves.
    """

    def __init__(
        self,
        trained: nn.Module | ExportedProgram,
        shape: tuple[int, ...],
        scale: np.ndarray | None = None,
        shift: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        # Not registered as a module, as a program is none; `inner` is what runs.
        self._trained = [trained]
        self.inner: nn.Module = trained.module() if isinstance(trained, ExportedProgram) else trained
        self.shape, self.scale, self.shift = shape, scale, shift

    @property
    def trained(self) -> nn.Module | ExportedProgram:
        """The network as it was given."""
        return self._trained[0]

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Images as the network takes them."""
        images = images.reshape(len(images), *self.shape)
        if self.scale is None or self.shift is None:
            return images
        return (images * self.scale + self.shift).astype(np.float32)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """The network's outputs for pixels in [0, 1]."""
        images = pixels.reshape(len(pixels), *self.shape)
        if self.scale is not None and self.shift is not None:
            scale, shift = (torch.from_numpy(each).to(images) for each in (self.scale, self.shift))
            images = images * scale + shift
        outputs: torch.Tensor = self.inner(images)
        return outputs


def prepared(
    model: nn.Module | ExportedProgram,
    images: np.ndarray,
    *,
    input_range: tuple[float, float] | None = None,
    mean: Values | None = None,
    std: Values | None = None,
) -> nn.Module | ExportedProgram:
    """The network itself where it takes the images as they are, else with what they have to go through.

    Parameters
    ----------
    images : numpy.ndarray
        (N, ...) of which a few are run, to see whether the network takes their shape, or one with an axis of size 1 more or less.
    input_range : (float, float) or None
        What the network takes for a pixel of 0 and of 1; None: these themselves.
    mean, std
        What is subtracted from these values, and what the difference is divided by.

    Raises
    ------
    UsageError
        If the range or the statistics are invalid, or not as many as there are channels.
    """
    if isinstance(model, Prepared):
        return model
    model = unwrapped(model)
    shape = _fitting(model, images) or images.shape[1:]
    scale, shift = _normalisation(shape, input_range, mean, std)
    if scale is None and shape == images.shape[1:] and len(shape) in (1, 3):
        return model
    return Prepared(model, shape, scale, shift)


def _normalisation(
    shape: tuple[int, ...], input_range: tuple[float, float] | None, mean: Values | None, std: Values | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    if input_range is None and mean is None and std is None:
        return None, None
    limits = _numbers("input_range", (0.0, 1.0) if input_range is None else input_range)
    if limits.shape != (2,) or not np.isfinite(limits).all() or not limits[0] < limits[1]:
        raise UsageError(f"input_range is {input_range!r}; give two finite numbers, the smaller one first")
    low, high = limits.tolist()
    subtracted, divisor = (
        _by_channel(name, values, shape) for name, values in (("mean", 0.0 if mean is None else mean), ("std", std))
    )
    if (divisor <= 0).any():
        raise UsageError(f"std has the value {divisor.min():g}; standard deviations are positive")
    return np.asarray((high - low) / divisor), np.asarray((low - subtracted) / divisor)


def _by_channel(name: str, given: Values | None, shape: tuple[int, ...]) -> np.ndarray:
    """float64 () or (channels, 1, ...)."""
    values = _numbers(name, 1.0 if given is None else given)
    if values.ndim > 1 or values.size not in (1, shape[0]) or not np.isfinite(values).all():
        raise UsageError(
            f"{name} has {values.size} values, but the images have {shape[0]} channels; give one finite number, or one for each"
        )
    return values.reshape(()) if values.size == 1 else per_row(values, len(shape))


def _numbers(name: str, given: Values) -> np.ndarray:
    try:
        return np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name} is {given!r}; give numbers") from None


def takes_events(model: nn.Module | ExportedProgram, images: np.ndarray) -> bool:
    """Whether images (N, T, ...) are events over time, whose means a network takes, and no means (N, ...) themselves.

    Where it takes neither, three or five axes are events: those of features, and of images.
    """
    if images.ndim not in (3, 4) or not images.size:
        return images.ndim == 5
    model = unwrapped(model)
    means = images.mean(axis=1, dtype=np.float32)
    if _fits(model, means):
        return True
    return images.ndim == 3 and not _fits(model, images)


def _fits(model: nn.Module | ExportedProgram, images: np.ndarray) -> bool:
    return _fitting(model, images, sure=True) is not None


def _others(own: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Shapes with an axis of size 1 more or less."""
    if len(own) == 3:
        return [own[:axis] + own[axis + 1 :] for axis in (1, 0) if own[axis] == 1]
    return [(1, *own), (own[0], 1, *own[1:])][: len(own)] if len(own) in (1, 2) else []


def _fitting(model: nn.Module | ExportedProgram, images: np.ndarray, *, sure: bool = False) -> tuple[int, ...] | None:
    """The shape of one image that the network takes: its own, or another one of `_others`.

    Where the network takes none of them, its own; None if the network has to be `sure` to take it.
    """
    own = images.shape[1:]
    unfit = None if sure else own
    if isinstance(model, ExportedProgram):
        wanted = export_front.shape_of(model)
        fits = wanted is not None and [n for n in wanted if n != 1] == [n for n in own if n != 1]
        return wanted if fits else unfit
    others = _others(own)
    if not (others or sure) or images.dtype.kind not in "fiub" or not images.size:
        return own
    tensors = [*model.parameters(), *model.buffers()]
    scripted = any(isinstance(module, torch.jit.ScriptModule) for module in model.modules())
    if scripted or any(is_lazy(tensor) or tensor.is_meta for tensor in tensors):
        return own  # which `reading` refuses
    with undisturbed(model):
        found = next((shape for shape in (own, *others) if _takes(model, images, shape, tensor_like(model))), None)
    return unfit if found is None else found


def _takes(model: nn.Module, images: np.ndarray, shape: tuple[int, ...], like: torch.Tensor) -> bool:
    """Whether a network has one output for each of two and of three images: convolutions take one without a batch, too."""
    for count in (2, 3):
        some = torch.from_numpy(np.resize(images[:count], (count, *shape)))
        try:
            found = model(some.to(like.device, like.dtype))
        except Exception:  # any error of the network's own code
            return False
        if not isinstance(found, torch.Tensor) or found.shape[:1] != (count,):
            return False
    return True
