"""Make `vgg16-cifar.net` or `resnet20-cifar.net`, tuned by levels, from the trained network in `NAME-trained.net`.

python exports/reference/make_cifar.py vgg16-cifar cifar10_jpeg.zip

Or `NAME-trained.net` itself, from a checkpoint: its weights, per layer in 8 bits, with thresholds at the largest activations.

python exports/reference/make_cifar.py vgg16-cifar cifar10_jpeg.zip exports/vgg16-cifar.pt
"""

import sys
from pathlib import Path

import numpy as np

import rmp_lava
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.restore import restore
from rmp_lava.training.checkpoint import load_model
from rmp_lava.training.data import Dataset, load, split_validation

FOLDER = Path(__file__).parent
HELD_OUT = 0.02
"""Share of the training images that tuning does not use: 1,000 of the 5,000 that training did not use either."""
STEPS = 4
EPOCHS = 2
POOLING = {"vgg16-cifar": "layer", "resnet20-cifar": "fold"}


def keep(name: str, cifar: Dataset, checkpoint: str) -> None:
    """Trained weights in 8 bits."""
    model, metadata = load_model(checkpoint)
    images = split_validation(cifar).train_images
    some = images[np.random.default_rng(0).permutation(len(images))[:512]]
    options = {
        "thresholds": "activation",
        "v_init": "half",
        "channelwise": False,
        "calibrate": "none",
        "pooling": "fold",
    }
    kept = {key: metadata[key] for key in ("model", "options", "epochs", "learning_rate", "validation_accuracy")}
    made = rmp_lava.convert(
        model,
        some,
        steps=STEPS,
        name=f"{name}-trained",
        class_names=cifar.class_names,
        dataset=cifar.name,
        validation_fraction=metadata["validation_fraction"],
        provenance={"training": kept},
        **options,
    )
    rmp_lava.save(made.integer, FOLDER / f"{name}-trained.net")


def tune(name: str, cifar: Dataset) -> None:
    """Levels of T steps, with the trained network as teacher."""
    split = split_validation(cifar, HELD_OUT)
    tuned = rmp_lava.tune(
        AnalogNetwork(restore(rmp_lava.load(FOLDER / f"{name}-trained.net"))),
        split.train_images,
        split.train_labels,
        steps=STEPS,
        wait=STEPS,
        epochs=EPOCHS,
        learning_rate=3e-4,
        batch_size=128,
        augmentation="crop-flip",
        precision="bfloat16",
        validation=(split.validation_images, split.validation_labels),
        pooling=POOLING[name],
        name=name,
        class_names=cifar.class_names,
        dataset=cifar.name,
        validation_fraction=HELD_OUT,
        checkpoint_path=FOLDER / f"{name}.tune.pt",
        resume=(FOLDER / f"{name}.tune.pt").exists(),
        on_epoch=print,
    )
    rmp_lava.save(tuned.integer, FOLDER / f"{name}.net")


if __name__ == "__main__":
    data = load("cifar10", sys.argv[2])
    if len(sys.argv) > 3:
        keep(sys.argv[1], data, sys.argv[3])
    else:
        tune(sys.argv[1], data)
