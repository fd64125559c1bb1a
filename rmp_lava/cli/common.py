"""Options that several commands share, and output of their results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from ..choices import Pooling, SearchFor, ThresholdForm
from ..errors import UsageError
from ..files import check_writable

if TYPE_CHECKING:
    from rich.console import Console

EXPORTS = Path("exports")


def _check_json(path: Path | None) -> Path | None:
    if path is not None and str(path) != "-":
        check_writable(path, UsageError)
    return path


Json = Annotated[
    Path | None,
    typer.Option("--json", help="Also write the result as JSON; '-' is standard output.", callback=_check_json),
]
DATA_NAMES = "digits, fashion-mnist, cifar10, cifar100 or imagenet"
DataDirectory = Annotated[
    Path | None, typer.Option(help="Folder or .zip file of the data set; required unless it is in a default location.")
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
SpikeSeed = Annotated[
    int, typer.Option("--seed", help="Seed of Poisson spikes; it does not affect which images are drawn.")
]
TARGETS = (
    "A trained network: a checkpoint, a .pt2 file of torch.export.save, or package.module:function that returns it"
)
TargetArgument = Annotated[
    str,
    typer.Argument(
        help=f"{TARGETS}; or a .net file whose trained network is lost: an approximate one is restored from its integers."
    ),
]
Weights = Annotated[
    Path | None, typer.Option(help="State dict for package.module:function; all names and shapes must match.")
]
Shape = Annotated[
    str | None,
    typer.Option(help="Shape of one input, such as 3,32,32; required unless the network or the images determine it."),
]
Data = Annotated[str | None, typer.Option(help=f"{DATA_NAMES}; the checkpoint's own if omitted.")]
IMAGES = "(samples, channels, height, width) in [0, 1]"
TrainingImages = Annotated[
    Path | None, typer.Option("--images", help=f"A .npy file of training images, {IMAGES}, instead of a data set.")
]
TrainingLabels = Annotated[Path | None, typer.Option("--labels", help="A .npy file of labels for --images.")]
TestData = Annotated[str | None, typer.Option("--data", help=f"{DATA_NAMES}; the network's own if omitted.")]
TestImages = Annotated[Path | None, typer.Option("--images", help=f"A .npy file of {IMAGES}, instead of a data set.")]
TestLabels = Annotated[Path | None, typer.Option("--labels", help="A .npy file of labels for --images.")]
SAMPLES = "Number of test images, a fixed random selection (with --images: the first ones)"
Samples = Annotated[int | None, typer.Option(help=f"{SAMPLES}; all if omitted.")]
Steps = Annotated[int | None, typer.Option(help="T, time steps; the network's own if omitted.")]
SearchOption = Annotated[
    SearchFor | None,
    typer.Option(
        "--search",
        help="After balancing, vary each layer's alpha and initial potential on the calibration images: for accuracy (requires "
        "labels), or for outputs close to the trained network's.",
        show_default="no search",
    ),
]
Calibration = Annotated[
    int | None,
    typer.Option(help="Number of training images for thresholds and biases, drawn at random.", show_default="512"),
]
Validation = Annotated[
    int | None,
    typer.Option(
        help="Number of held-out training images to measure accuracy on, drawn at random.", show_default="1000"
    ),
]
PoolingOption = Annotated[
    Pooling,
    typer.Option(help="Average pooling: fold it into the next layer's weights, or convert it to a layer of its own."),
]
ThresholdFormOption = Annotated[
    ThresholdForm,
    typer.Option(
        help="stock: representable as one 8-bit weight with an exponent; dense_rec: even, at most 254, for lava-dl's loader; "
        "free: any."
    ),
]
Profile = Annotated[str, typer.Option(help="Hardware profile: a name or a .toml file.")]
ForLavaDl = Annotated[
    bool,
    typer.Option(
        "--for-lava-dl", help="Fail unless the file runs in lava-dl's unmodified loader with the same spikes."
    ),
]
ForBoard = Annotated[
    bool,
    typer.Option(
        "--for-board", help="Choose scales so that membrane potentials do not overflow in the board's LIF neurons."
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="Fail if a membrane potential saturates (native neurons) or overflows (stock neurons)."
    ),
]


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write a result as JSON to a file or standard output; nothing for None."""
    if path is None:
        return
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        print(text, end="")
        return
    from ..files import write_atomically

    write_atomically(path, text.encode("utf-8"), UsageError)


class _Epoch(Protocol):
    """What `train` and `tune` record of an epoch."""

    @property
    def epoch(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def train_accuracy(self) -> float: ...
    @property
    def validation_accuracy(self) -> float | None: ...


def epoch_reporter(console: Console, epochs: int) -> Callable[[_Epoch], None]:
    """A function that prints the record of each epoch of a training."""
    from ..report.words import percent

    def report(record: _Epoch) -> None:
        accuracies = (
            f"training {percent(record.train_accuracy, 2)}, validation {percent(record.validation_accuracy, 2)}"
        )
        console.print(f"Epoch {record.epoch} of {epochs}: loss {record.loss:.4f}, {accuracies}")

    return report


def console_for(json_path: Path | None) -> Console:
    """The console for tables: standard error if JSON goes to standard output."""
    from ..report.tables import console

    return console(stderr=str(json_path) == "-")
