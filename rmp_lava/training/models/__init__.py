"""Networks that convert to RMP-SNNs: those of the RMP-SNN paper at any width, and two small ones.

By default they keep the constraints under which Han, Srinivasan and Roy (RMP-SNN, CVPR 2020, arXiv:2003.01811) train
the networks that they convert: no batch normalisation and no bias, ReLU as the only activation, dropout as the
regulariser, average instead of maximum pooling. With the option `batch_norm` the paper's networks have their modern form,
which trains faster and to higher accuracy; conversion folds the normalisation. With `scale_norm` only weights remain after
folding, as the constraints require. Inputs are in [0, 1], because they become firing rates.
"""

from __future__ import annotations

from functools import partial

from ...errors import UsageError
from ..recipe import Recipe
from .resnet import resnet
from .small import digits_cnn, fashion_cnn, nmnist_cnn
from .spec import ModelSpec, Option
from .vgg import vgg16

__all__ = ["MODELS", "ModelSpec", "Option", "digits_cnn", "fashion_cnn", "model_spec", "nmnist_cnn"]

_large = partial(Recipe, warmup=0.05, precision="bfloat16", channels_last=True)
_CIFAR = (
    _large(60, 128, 5e-4, augmentation="crop-flip"),
    _large(
        epochs=50,
        batch_size=250,
        learning_rate=0.03,
        optimizer="muon",
        weight_decay=5e-4,
        augmentation="crop-flip-cutout",
        label_smoothing=0.1,
        warmup=0.1,
    ),
)
# Nothing of ImageNet's size was trained with these; they follow He et al. (CVPR 2016, section 3.4).
_IMAGENET = (_large(90, 256, 3e-4), _large(90, 256, 0.1, optimizer="sgd", weight_decay=1e-4))


def _options(classes: int, dropout: float) -> dict[str, Option]:
    return {"width": 1.0, "batch_norm": False, "scale_norm": False, "classes": classes, "dropout": dropout, "levels": 0}


_cifar = partial(ModelSpec, input_shape=(3, 32, 32), classes=10, dataset="cifar10", options=_options(10, 0.1))
_imagenet = partial(ModelSpec, input_shape=(3, 224, 224), classes=1000, dataset="imagenet", options=_options(1000, 0.2))

MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec("digits-cnn", digits_cnn, Recipe(80, 32, 5e-3), None, (1, 8, 8), 10, "digits"),
        ModelSpec("fashion-cnn", fashion_cnn, Recipe(15, 128, 2e-3), None, (1, 28, 28), 10, "fashion-mnist"),
        ModelSpec("nmnist-cnn", nmnist_cnn, Recipe(15, 128, 2e-3), None, (2, 34, 34), 10, "nmnist"),
        # 15.2, 11.3, 138 and 21.8 million weights at width 1
        _cifar("vgg16-cifar", partial(vgg16, 512, 1), *_CIFAR),
        _cifar("resnet20-cifar", partial(resnet, (2, 2, 2, 2), 1, 0, 2 * 2), *_CIFAR),
        _imagenet("vgg16-imagenet", partial(vgg16, 4096, 7 * 7), *_IMAGENET),
        _imagenet("resnet34-imagenet", partial(resnet, (3, 4, 6, 3), 2, 7, 1), *_IMAGENET),
    )
}


def model_spec(name: str) -> ModelSpec:
    """The entry of `MODELS` with this name; raises `UsageError` if there is none."""
    if name not in MODELS:
        raise UsageError(f"model {name!r} is unknown; choose one of {', '.join(MODELS)}")
    return MODELS[name]
