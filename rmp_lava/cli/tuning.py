"""The command that trains a network further, for few steps: `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import (
    Augmentation,
    Calibration,
    Data,
    DataDirectory,
    ForBoard,
    ForLavaDl,
    Json,
    Pooling,
    PoolingOption,
    Precision,
    Profile,
    SearchOption,
    Seed,
    Shape,
    Strict,
    TargetArgument,
    ThresholdForm,
    ThresholdFormOption,
    TrainingImages,
    TrainingLabels,
    Validation,
    Weights,
    console_for,
    epoch_reporter,
    plain,
)
from .finish import bring, finish, measuring, place, quantising


def tune(
    target: TargetArgument,
    output: Annotated[
        Path | None, typer.Option(help="The .net file; NAME-tuned.net beside the target's file if omitted.")
    ] = None,
    weights: Weights = None,
    shape: Shape = None,
    data: Data = None,
    images: TrainingImages = None,
    labels: TrainingLabels = None,
    data_dir: DataDirectory = None,
    steps: Annotated[int, typer.Option(help="T, time steps that the network is tuned for.")] = 8,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = 2,
    learning_rate: Annotated[float, typer.Option(help="Of the first step; it falls to zero.")] = 1e-4,
    batch_size: Annotated[int, typer.Option(help="Images per step.")] = 64,
    distill: Annotated[
        bool, typer.Option("--distill/--no-distill", help="Learn the trained network's outputs beside the labels.")
    ] = True,
    augmentation: Annotated[Augmentation, typer.Option(help="Of the training images.")] = Augmentation.none,
    precision: Annotated[Precision, typer.Option(help="Of the layers' sums in training.")] = Precision.float32,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    search: SearchOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from NAME.tune.pt beside the output.")] = False,
    pooling: PoolingOption = Pooling.fold,
    threshold_form: ThresholdFormOption = ThresholdForm.stock,
    profile: Profile = "loihi2",
    calibration: Calibration = None,
    validation: Validation = None,
    for_lava_dl: ForLavaDl = False,
    for_board: ForBoard = False,
    strict: Strict = False,
    seed: Seed = 0,
    json_path: Json = None,
) -> None:
    """Fine-tune a trained network for few steps and 8-bit weights, and write a .net file.

    Trains through the spikes on the training images; NAME.tune.pt beside the output is written after each epoch.
    """
    from ..conversion.pipeline import tune_model

    network, material = bring(target, weights, shape, data, data_dir, images, labels)
    path = place(output, network, "-tuned")
    conversion = tune_model(
        network.model,
        material,
        steps=steps,
        name=network.name,
        pooling=pooling.value,
        provenance=network.provenance,
        quantising=quantising(profile, threshold_form, strict, for_board),
        measuring=measuring(calibration, validation, seed),
        checkpoint_path=path.with_suffix(".tune.pt"),
        on_epoch=epoch_reporter(console_for(json_path), epochs),
        epochs=epochs,
        learning_rate=learning_rate,
        distill=distill,
        search=plain(search),
        batch_size=batch_size,
        augmentation=augmentation.value,
        precision=precision.value,
        device=device,
        resume=resume,
    )
    finish(conversion, network, material, path, for_lava_dl, json_path)
