"""Networks that convert to RMP-SNNs: those of the RMP-SNN paper at any width, and two small ones.

By default they keep the constraints under which Han, Srinivasan and Roy (RMP-SNN, CVPR 2020, arXiv:2003.01811) train
the networks that they convert: no batch normalisation and no bias, ReLU as the only activation, dropout as the
regulariser, average instead of maximum pooling. With the option `batch_norm` the paper's networks have their modern form,
which trains faster and to higher accuracy; conversion folds the normalisation. With `scale_norm` only weights remain after
folding, as the constraints require. Inputs are in [0, 1], because they become firing rates.
"""

from __future__ import annotations

from ...errors import UsageError
from ..recipe import Recipe
from .resnet import resnet20_cifar, resnet34_imagenet
from .small import digits_cnn, fashion_cnn
from .spec import ModelSpec, Option
from .vgg import vgg16_cifar, vgg16_imagenet

__all__ = ["MODELS", "ModelSpec", "Option", "digits_cnn", "fashion_cnn", "model_spec"]

_CIFAR_NORMALISED = Recipe(
    epochs=50,
    batch_size=250,
    learning_rate=0.03,
    optimizer="muon",
    weight_decay=5e-4,
    augmentation="crop-flip-cutout",
    label_smoothing=0.1,
    warmup=0.1,
    precision="bfloat16",
    channels_last=True,
)
_CIFAR_CONSTRAINED = Recipe(
    epochs=60,
    batch_size=128,
    learning_rate=5e-4,
    augmentation="crop-flip",
    warmup=0.05,
    precision="bfloat16",
    channels_last=True,
)
# Nothing of ImageNet's size was trained with these; they follow He et al. (CVPR 2016, section 3.4).
_IMAGENET_NORMALISED = Recipe(
    epochs=90,
    batch_size=256,
    learning_rate=0.1,
    optimizer="sgd",
    weight_decay=1e-4,
    warmup=0.05,
    precision="bfloat16",
    channels_last=True,
)
_IMAGENET_CONSTRAINED = Recipe(
    epochs=90, batch_size=256, learning_rate=3e-4, warmup=0.05, precision="bfloat16", channels_last=True
)


def _options(classes: int, dropout: float) -> dict[str, Option]:
    return {"width": 1.0, "batch_norm": False, "scale_norm": False, "classes": classes, "dropout": dropout, "levels": 0}


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec("digits-cnn", digits_cnn, (1, 8, 8), 10, "digits", Recipe(80, 32, 5e-3)),
        ModelSpec("fashion-cnn", fashion_cnn, (1, 28, 28), 10, "fashion-mnist", Recipe(15, 128, 2e-3)),
        ModelSpec(
            "vgg16-cifar",
            vgg16_cifar,
            (3, 32, 32),
            10,
            "cifar10",
            _CIFAR_CONSTRAINED,
            _CIFAR_NORMALISED,
            _options(10, 0.1),
        ),
        ModelSpec(
            "resnet20-cifar",
            resnet20_cifar,
            (3, 32, 32),
            10,
            "cifar10",
            _CIFAR_CONSTRAINED,
            _CIFAR_NORMALISED,
            _options(10, 0.1),
            constrained=False,
        ),
        ModelSpec(
            "vgg16-imagenet",
            vgg16_imagenet,
            (3, 224, 224),
            1000,
            "imagenet",
            _IMAGENET_CONSTRAINED,
            _IMAGENET_NORMALISED,
            _options(1000, 0.2),
        ),
        ModelSpec(
            "resnet34-imagenet",
            resnet34_imagenet,
            (3, 224, 224),
            1000,
            "imagenet",
            _IMAGENET_CONSTRAINED,
            _IMAGENET_NORMALISED,
            _options(1000, 0.2),
            constrained=False,
        ),
    )
}


def model_spec(name: str) -> ModelSpec:
    """The entry of `MODELS` with this name; raises `UsageError` if there is none."""
    if name not in MODELS:
        raise UsageError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}")
    return MODELS[name]
