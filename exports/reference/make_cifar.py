"""Make `NAME-trained.net` from a checkpoint of `rmp-lava train`, or `NAME.net` from that; NAME is vgg16-cifar or resnet20-cifar.

python exports/reference/make_cifar.py trained vgg16-cifar cifar10_jpeg.zip exports/vgg16-4-levels.pt
python exports/reference/make_cifar.py tuned vgg16-cifar cifar10_jpeg.zip

trained: the weights, per layer in 8 bits, with thresholds at the largest activations. tuned: fine-tuned for T = 4 and neurons
that wait for 4 steps, with the trained networks of both names as teachers.
"""

import sys
from pathlib import Path

import numpy as np

import rmp_lava
from rmp_lava.conversion.distillation import MeanOutput, accuracy
from rmp_lava.training.checkpoint import load_model
from rmp_lava.training.data import Dataset, load, split_validation

FOLDER = Path(__file__).parent
HELD_OUT = 0.02
"""Share of the training images that tuning does not use: 1,000 of the 5,000 that training did not use either."""
STEPS = 4
EPOCHS = {"vgg16-cifar": 20, "resnet20-cifar": 8}
LEARNING_RATE = {"vgg16-cifar": 5e-4, "resnet20-cifar": 2e-4}
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
    """Levels of T steps, with the trained networks as teachers."""
    split = split_validation(cifar, HELD_OUT)
    trained = {each: rmp_lava.load_trained(str(FOLDER / f"{each}-trained.net")).model for each in EPOCHS}
    for each, teacher in {**trained, "both": MeanOutput(trained.values())}.items():
        right = accuracy(teacher, split.validation_images, split.validation_labels)
        print(f"teacher {each}: {right:.1%} of held-out images")
    tuned = rmp_lava.tune(
        trained[name],
        split.train_images,
        split.train_labels,
        steps=STEPS,
        wait=STEPS,
        epochs=EPOCHS[name],
        learning_rate=LEARNING_RATE[name],
        batch_size=128,
        augmentation="crop-flip-cutout",
        precision="bfloat16",
        teachers=list(trained.values()),
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
    kind, network, images, *checkpoint = sys.argv[1:]
    {"trained": keep, "tuned": tune}[kind](network, load("cifar10", images), *checkpoint)
