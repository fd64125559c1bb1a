"""An entry of the model registry, and the options that a model can be built with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ...errors import UsageError
from ..recipe import Recipe
from ..resume import is_number

MAX_WIDTH = 4.0
MAX_CLASSES = 100_000
MAX_LEVELS = 256
"""With more levels rounding is finer than bfloat16, in which layers may be trained."""

Option = bool | int | float


@dataclass(frozen=True)
class ModelSpec:
    """An entry of `MODELS`.

    Attributes
    ----------
    name : str
        Its key in `MODELS`.
    builder : callable
        Takes all options as keywords; returns a freshly initialised network from images (N, C, H, W) to logits (N, K).
    recipe, normalised_recipe : Recipe
        Hyperparameters without and with normalisation, unless the caller gives others; None if there is no such form.
    input_shape : tuple of int
        Shape (C, H, W) of one image, float32 in [0, 1].
    classes : int
        Number K of logits, unless the option `classes` is given.
    dataset : str or None
        Name of the network's data set for `rmp_lava.training.data.load`; None if this package cannot load it.
    options : mapping of str to bool, int or float
        The network's options with their defaults: `width` (factor on the channels of every layer but the last), `batch_norm`
        (modern form, instead of the paper's without batch normalisation and bias), `scale_norm` (normalised during training,
        but without normalisation and bias after folding, see `layers.ScaleNorm`), `classes`, `dropout` (probability),
        `levels` (0 for ReLU; otherwise see `layers.RoundedReLU`; with normalisation only).
    """

    name: str
    builder: Callable[..., nn.Module]
    recipe: Recipe
    normalised_recipe: Recipe | None
    input_shape: tuple[int, int, int]
    classes: int
    dataset: str | None
    options: Mapping[str, Option] = field(default_factory=dict)

    def settle(self, options: Mapping[str, Any] | None = None) -> dict[str, Option]:
        """All options of the network, those not given at their defaults.

        Raises
        ------
        UsageError
            If an option is unknown or out of range, or needs another one.
        """
        given = dict(options or {})
        for name, value in given.items():
            if name not in self.options:
                allowed = f"its options are {', '.join(self.options)}" if self.options else "it takes no options"
                raise UsageError(f"model {self.name!r} has no option {name!r}; {allowed}, so leave it out")
            wanted = _wanted(name, value)
            if wanted is not None:
                raise UsageError(f"option {name} of model {self.name!r} is {value!r}; give {wanted}")
        settled = {name: type(default)(given.get(name, default)) for name, default in self.options.items()}
        if settled.get("batch_norm") and settled.get("scale_norm"):
            raise UsageError(f"model {self.name!r} is given both batch_norm and scale_norm; choose one normalisation")
        if settled.get("levels") and not self._is_normalised(settled):
            raise UsageError(
                f"option levels of model {self.name!r} needs normalisation, which keeps activations in the range of the levels; "
                "give batch_norm=True (--batch-norm) or scale_norm=True (--scale-norm) too, or leave levels out"
            )
        return settled

    def build(self, **options: Option) -> nn.Module:
        """A freshly initialised network; draws from PyTorch's random state. Raises `UsageError` as `settle` does."""
        return self.builder(**self.settle(options))

    def outputs(self, options: Mapping[str, Option]) -> int:
        """Number K of logits of the network with these options."""
        return int(self.settle(options).get("classes", self.classes))

    def recipe_for(self, options: Mapping[str, Option]) -> Recipe:
        """Hyperparameters for the network with these options."""
        if self._is_normalised(self.settle(options)) and self.normalised_recipe is not None:
            return self.normalised_recipe
        return self.recipe

    @staticmethod
    def _is_normalised(settled: Mapping[str, Option]) -> bool:
        return bool(settled.get("batch_norm") or settled.get("scale_norm"))


def _wanted(name: str, value: Any) -> str | None:
    """What is allowed for an option; None if the value is."""
    if name in ("batch_norm", "scale_norm"):
        return None if isinstance(value, bool) else "True or False"
    if name in ("classes", "levels"):
        low, high = (2, MAX_CLASSES) if name == "classes" else (0, MAX_LEVELS)
        return None if type(value) is int and low <= value <= high else f"an integer from {low} to {high:,}"
    if name == "width":
        fits = is_number(value) and 0 < value <= MAX_WIDTH
        return None if fits else f"a number above 0 and at most {MAX_WIDTH:g}"
    return None if is_number(value) and 0 <= value < 1 else "a number from 0 to less than 1"
