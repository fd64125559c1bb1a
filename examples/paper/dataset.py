"""The trained networks, calibration images and test images of the experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import rmp_lava
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.restore import restore
from rmp_lava.errors import UsageError
from rmp_lava.files import sha256_of
from rmp_lava.training.checkpoint import load_model
from rmp_lava.training.data import Dataset, as_float, load, split_validation
from rmp_lava.training.loop import evaluate

from .store import Store, checksum

_OF_TRAINING = (
    "model",
    "options",
    "epochs",
    "start",
    "optimizer",
    "learning_rate",
    "batch_size",
    "augmentation",
    "mixing",
    "precision",
    "seed",
    "train_accuracy",
    "validation_accuracy",
    "seconds",
    "torch_version",
    "restored_from",
)


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network: its name in tables, the metadata of its file, and its identity in settings."""

    name: str
    model: nn.Module
    metadata: dict[str, Any]
    identity: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one data set.

    calibration : float32 (N, C, H, W), training images, never test images.
    test, labels : float32 (M, C, H, W) and int64 (M,), a random selection unless all are used.
    identity : JSON values that identify them in settings.
    """

    source: str
    calibration: np.ndarray
    test: np.ndarray
    labels: np.ndarray
    identity: dict[str, Any]

    @property
    def calibrated(self) -> dict[str, Any]:
        """Identity of the calibration images; a conversion does not depend on the test images."""
        return {key: value for key, value in self.identity.items() if key != "images"}

    def first(self, images: int | None) -> Images:
        """The same with the first `images` test images, which are a random selection; None or too many: all."""
        count = len(self.test[:images])
        return replace(
            self, test=self.test[:count], labels=self.labels[:count], identity=self.identity | {"images": count}
        )


def load_network(name: str, path: Path) -> Trained:
    """A finished checkpoint of `rmp-lava train`, or the float network restored from a `.net` file."""
    if path.suffix == ".net":
        network = rmp_lava.load(path)
        if network.dataset is None:
            raise UsageError(f"{path} does not record its data set, so images cannot be loaded; give a checkpoint")
        metadata = {"dataset": network.dataset, "restored_from": path.name}
        return Trained(name, AnalogNetwork(restore(network)), metadata, {"net": sha256_of(path)})
    model, metadata = load_model(path)
    done, epochs = metadata.get("epochs_done"), metadata.get("epochs")
    if done != epochs:
        raise UsageError(
            f"{path} holds {done} of {epochs} epochs; finish its training with `rmp-lava train ... --resume`"
        )
    return Trained(name, model, metadata, {"checkpoint": sha256_of(path)})


def load_images(networks: Sequence[Trained], data_dir: Path | None, images: int | None, calibration: int) -> Images:
    """Images of the data set that the networks were trained on; `images` None: all test images."""
    names = {network.metadata["dataset"] for network in networks}
    if len(names) != 1:
        raise UsageError(f"the networks were trained on {', '.join(sorted(names))}; give networks of one data set")
    dataset: Dataset = load(names.pop(), data_dir)
    split = split_validation(dataset)
    # Some data sets are sorted by class.
    chosen = np.random.default_rng(0).permutation(len(split.train_images))[:calibration]
    shown = np.random.default_rng(1).permutation(len(dataset.test_images))[:images]
    return Images(
        dataset.source,
        as_float(split.train_images[chosen]),
        as_float(dataset.test_images[shown]),
        dataset.test_labels[shown],
        {"data": dataset.fingerprint, "calibration": len(chosen), "images": len(shown)},
    )


def trained_accuracy(store: Store, network: Trained, data: Images) -> dict[str, Any]:
    """Accuracy of the network before conversion on the test images, and the training settings of its checkpoint."""
    measured = store.once(
        f"{network.name}/trained-{len(data.test)}",
        network.identity | data.identity | {"test": checksum(data.test, data.labels)},
        lambda: {"accuracy": evaluate(network.model, data.test, data.labels)},
    )
    training = {name: network.metadata.get(name) for name in _OF_TRAINING}
    return {"accuracy": measured["accuracy"], "source": data.source, "training": training}
