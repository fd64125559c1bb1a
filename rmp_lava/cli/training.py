"""Commands that train: `demo` and `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..choices import Augmentation, Mixing, ModelName, Precision, listed
from ..errors import UsageError
from . import options
from .output import console_for, epoch_reporter, write_json


def demo(
    steps: Annotated[int, typer.Option(help="T, the number of time steps.")] = 64,
    samples: Annotated[int, typer.Option(help="Number of test images for the Lava simulator.")] = 50,
    seed: options.Seed = 0,
    output: Annotated[Path, typer.Option(help="Folder for the checkpoint and the .net files.")] = options.EXPORTS,
    json_path: options.Json = None,
) -> None:
    """Run the whole pipeline on 8x8 digits, in about a minute.

    Trains, converts, quantises, exports, loads, runs on Lava (if installed), and compares every spike.
    """
    from .demo import run_demo, show_demo

    console = console_for(json_path)
    console.print("The demo takes about a minute on two idle cores.")
    result = run_demo(steps=steps, lava_samples=samples, seed=seed, folder=output, report=console.print)
    show_demo(result, console)
    write_json(json_path, result.summary())


def train(
    model: Annotated[
        str,
        typer.Argument(help=f"One of {listed(ModelName)}.", metavar="MODEL", callback=options.check_model),
    ],
    output: Annotated[
        Path | None, typer.Option(help="The checkpoint.", show_default="exports/MODEL.pt", callback=options.claim)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help=f"{options.DATA_NAMES}; the model's own if omitted. It determines the number of outputs.",
            metavar="NAME",
            callback=options.check_data,
        ),
    ] = None,
    data_dir: options.DataDirectory = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training images.", show_default="the recipe's")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images per optimizer step.", show_default="the recipe's")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Initial learning rate.", show_default="the recipe's")
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="Factor on the number of channels, up to 4.", show_default="1")
    ] = None,
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm", help="Use batch normalisation; the paper's networks have none.")
    ] = False,
    scale_norm: Annotated[
        bool,
        typer.Option(
            "--scale-norm",
            help="Normalise by scale only, during training; the trained network has neither normalisation nor bias.",
        ),
    ] = False,
    levels: Annotated[
        int | None,
        typer.Option(
            help="Round activations to this many levels, for conversion to few time steps; requires a normalisation.",
            show_default="not rounded",
        ),
    ] = None,
    augmentation: Annotated[
        Augmentation | None, typer.Option(help="Augmentation of the training images.", show_default="the recipe's")
    ] = None,
    mixing: Annotated[
        Mixing | None, typer.Option(help="Mixing of training images and labels.", show_default="the recipe's")
    ] = None,
    precision: Annotated[
        Precision | None, typer.Option(help="Precision of the layers' arithmetic.", show_default="the recipe's")
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(help="Checkpoint to take initial weights from, for example to continue with other --levels."),
    ] = None,
    seed: options.Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")] = False,
    device: options.Device = "cpu",
    json_path: options.Json = None,
) -> None:
    """Train a network.

    By default under the paper's constraints, without normalisation and bias. On several GPUs:

    torchrun --nproc-per-node N -m rmp_lava train ... --device cuda

    Recipes: epochs, images per step and learning rate; with normalisation in brackets.

    \b
    digits-cnn        80   32  0.005
    fashion-cnn       15  128  0.002
    nmnist-cnn        15  128  0.002
    vgg16-cifar       60  128  0.0005  (50  250  0.03)
    resnet20-cifar    60  128  0.0005  (50  250  0.03)
    vgg16-imagenet    90  256  0.0003  (90  256  0.1)
    resnet34-imagenet 90  256  0.0003  (90  256  0.1)
    """
    from ..tables import table
    from ..training.data import load
    from ..training.distributed import is_leader
    from ..training.models import model_spec
    from ..training.train import train as run_training
    from ..words import percent

    spec = model_spec(model)
    name = data or spec.dataset
    if name is None:
        raise UsageError(f"model {model!r} has no data set of its own; name one with --data")
    given = {"width": width, "batch_norm": batch_norm or None, "scale_norm": scale_norm or None, "levels": levels}
    given = {option: value for option, value in given.items() if value is not None}
    spec.settle(given)  # before data are read, which may take long
    path = output or options.EXPORTS / f"{model}.pt"
    dataset = load(name, data_dir)
    if "classes" in spec.options:
        given["classes"] = len(dataset.class_names)
    settled = spec.settle(given)
    console = console_for(json_path)
    planned = spec.recipe_for(settled).epochs if epochs is None else epochs
    result = run_training(
        model,
        dataset,
        options=settled,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        augmentation=augmentation,
        mixing=mixing,
        precision=precision,
        seed=seed,
        checkpoint_path=path,
        start_from=start_from,
        resume=resume,
        device=device,
        on_epoch=epoch_reporter(console, planned),
    )
    if not is_leader():
        return
    rows = [
        ("training", percent(result.train_accuracy, 2)),
        ("validation", percent(result.validation_accuracy, 2)),
        ("test", percent(result.test_accuracy, 2)),
    ]
    console.print(table(f"Trained {model} on {dataset.name} in {result.seconds:.0f} s", ("images", "accuracy"), rows))
    console.print(f"Checkpoint: {path}")
    write_json(
        json_path,
        {
            "model": model,
            "options": settled,
            "dataset": dataset.name,
            "checkpoint": str(path),
            "epochs": len(result.history),
            "train_accuracy": result.train_accuracy,
            "validation_accuracy": result.validation_accuracy,
            "test_accuracy": result.test_accuracy,
            "seconds": result.seconds,
        },
    )
