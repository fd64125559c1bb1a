"""Hyperparameters of a training, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from ..choices import Augmentation, Mixing, Optimizer, Precision
from .resume import check_settings


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training; for the learning rate over time see `rmp_lava.training.loop.learning_rate`.

    Attributes
    ----------
    epochs : int
        Passes over the training images.
    batch_size : int
        Images per step.
    learning_rate : float
        The largest learning rate: that of the first step, or of the end of the warm-up.
    optimizer : str
        'adam' (Kingma, Ba, ICLR 2015), 'sgd' with Nesterov's momentum of 0.9 (Sutskever et al., ICML 2013), or 'muon' for
        networks whose convolutions are normalised, see `rmp_lava.training.muon`; its learning rate is a relative change.
    weight_decay : float
        Of the weights of convolutions and dense layers; weights of normalisation, and biases, do not decay.
    augmentation : str
        'none', or 'crop-flip': each image is padded by 4 zeros, cropped at random to its size, and flipped or not; or
        'crop-flip-cutout', which sets a random square of it to zero as well. See `rmp_lava.training.data.augment`.
    mixing : str
        'none', or 'cutmix': every second image gets a rectangle of another one and that fraction of its label. See
        `rmp_lava.training.data.augment.cut_mix`.
    label_smoothing : float
        Fraction of each label that is spread over all classes (Szegedy et al., CVPR 2016), 0 to less than 1.
    warmup : float
        Fraction of all steps in which the learning rate rises, 0 to less than 1.
    precision : str
        'float32', or 'bfloat16': layers compute in bfloat16 where PyTorch's autocast does so; weights stay float32.
        Accuracies are measured in float32 in both cases. Slow on processors without bfloat16 instructions.
    channels_last : bool
        Memory order of images and weights: channels last is faster for large convolutions.

    Raises
    ------
    UsageError
        If a value is out of range.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    # Checkpoints of format version 1 do not store these; they were trained with the defaults.
    optimizer: Optimizer = "adam"
    weight_decay: float = 0.0
    augmentation: Augmentation = "none"
    mixing: Mixing = "none"
    label_smoothing: float = 0.0
    warmup: float = 0.0
    precision: Precision = "float32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        check_settings(**vars(self))
