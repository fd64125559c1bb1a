"""Arguments and options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from .. import choices
from ..errors import NetFileError, UsageError
from ..files import check_writable

if TYPE_CHECKING:
    from ..backends.board import Board
    from ..network import SpikingNetwork

EXPORTS = Path("exports")
_CLAIMED = "rmp_lava.cli: path -> the option that writes it"


class Preparation(TypedDict, total=False):
    """What images go through before a network, as `convert` takes it."""

    input_range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def loaded(net: Path, input_shape: str | None, input_message_bits: int, num_layers: int | None) -> SpikingNetwork:
    """The network of a file, read as lava-dl's arguments say."""
    from .. import netx

    shape = None
    if input_shape is not None:
        sizes = input_shape.replace("x", ",").split(",")
        if not all(size.strip().isdecimal() for size in sizes):
            raise UsageError(f"--input-shape is {input_shape!r}; pass WIDTH,HEIGHT,CHANNELS, such as 28,28,1")
        shape = tuple(int(size) for size in sizes)
    return netx.load(net, input_shape=shape, input_message_bits=input_message_bits, num_layers=num_layers)


_Written = Callable[[typer.Context, typer.CallbackParam, Path | None], Path | None]


def claim(context: typer.Context, parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    """Refuse two options that write the same file, as the callback of one that writes, or an argument; '-' is no file."""
    if path is not None and str(path) != "-":
        option, claimed = parameter.opts[0], context.meta.setdefault(_CLAIMED, {})
        option = option if option.startswith("-") else option.upper()
        other = claimed.setdefault(os.path.realpath(path), option)
        if other != option:
            raise UsageError(f"{other} and {option} would both write {path}; choose another path for one of them")
    return path


def _check_json(context: typer.Context, parameter: typer.CallbackParam, path: Path | None) -> Path | None:
    if path is not None and str(path) != "-":
        check_result(path, ".json")
    return claim(context, parameter, path)


def check_result(path: Path, suffix: str) -> None:
    """Check before long work that a result can be written, and does not replace a file of another kind."""
    if path.suffix != suffix and path.is_file() and not (suffix == ".json" and _begins_as_json(path)):
        raise UsageError(
            f"{path} exists and is not named as a {suffix} file, so it is not replaced; choose another path"
        )
    check_writable(path, UsageError)


def result(suffix: str) -> _Written:
    """`check_result` and `claim` as the callback of an option that may be missing."""

    def check(context: typer.Context, parameter: typer.CallbackParam, path: Path | None) -> Path | None:
        if path is not None:
            check_result(path, suffix)
        return claim(context, parameter, path)

    return check


Json = Annotated[
    Path | None,
    typer.Option("--json", help="Also write the result as JSON; '-' is standard output.", callback=_check_json),
]


def _check_file(path: Path | None) -> Path | None:
    """Refuse a missing file before anything heavy is imported."""
    if path is not None and not path.is_file():
        raise UsageError(f"{path} does not exist or is not a file; correct the path")
    return path


def _begins_as_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(1) in (b"", b"{")


def check_data(name: str | None) -> str | None:
    """Refuse an unknown data set before anything heavy is imported."""
    if name is not None and name not in choices.options(choices.DatasetName):
        raise UsageError(f"data set {name!r} is unknown; choose one of {choices.listed(choices.DatasetName)}")
    return name


def check_cluster(place: str | None) -> str | None:
    """Refuse a place without workers, likewise."""
    if place is not None:
        from ..study.cluster import Cluster, expected_workers

        expected_workers(place, Cluster())
    return place


def check_model(name: str) -> str:
    """Refuse an unknown network of `train`, likewise."""
    if name not in choices.options(choices.ModelName):
        raise UsageError(f"model {name!r} is unknown; choose one of {choices.listed(choices.ModelName)}")
    return name


def _check_nets(paths: list[Path] | None) -> list[Path] | None:
    for path in paths or ():
        _check_net(path)
    return paths


def to_compare(net: Path, others: list[Path] | None) -> list[SpikingNetwork]:
    """A network, and those to compare it with if there are any: then under the names of their files, or paths if names are alike.

    Their own names do not tell forms of a network apart.
    """
    from .. import netx

    if not others:
        return [netx.load(net)]
    paths = [net, *others]
    stems = [path.stem for path in paths]
    names = [stem if stems.count(stem) == 1 else str(path) for path, stem in zip(paths, stems, strict=True)]
    return [netx.load(path).replace(name=name) for path, name in zip(paths, names, strict=True)]


def _check_net(path: Path) -> Path:
    """Refuse a missing .net file, likewise."""
    if not path.is_file():
        raise NetFileError(f"{path} does not exist or is not a file; pass the path of a .net file")
    return path


Net = Annotated[Path, typer.Argument(help="A .net file, of rmp-lava or of lava-dl.", callback=_check_net)]
InputShape = Annotated[
    str | None,
    typer.Option(
        help="As lava-dl's input_shape, WIDTH,HEIGHT,CHANNELS: of a lava-dl file whose first layer is a convolution.",
        show_default="the smallest image that fits",
    ),
]
InputMessageBits = Annotated[
    int,
    typer.Option(
        help="As lava-dl's input_message_bits: a lava-dl file without input neurons takes integers of so many bits."
    ),
]
NumLayers = Annotated[
    int | None,
    typer.Option(help="As lava-dl's num_layers: read only so many entries of a lava-dl file.", show_default="all"),
]
DATA_NAMES = "digits, fashion-mnist, cifar10, cifar100, imagenet, or events: nmnist, dvs-gesture, shd"
DataDirectory = Annotated[
    Path | None, typer.Option(help="Folder or .zip file of the data set; required unless it is in a default location.")
]
Seed = Annotated[int, typer.Option(help="Seed of all random numbers.")]
SpikeSeed = Annotated[
    int, typer.Option("--seed", help="Seed of Poisson spikes; it does not affect which images are drawn.")
]
TARGETS = (
    "A trained network: a checkpoint, an ONNX file, a .pt2 file of torch.export.save, or package.module:function that "
    "returns it"
)
Target = Annotated[
    str,
    typer.Argument(
        help=f"{TARGETS}; or a .net file whose trained network is lost: an approximate one is restored from its integers."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="State dict (.pt, .safetensors) for package.module:function; all names and shapes must match.",
        callback=_check_file,
    ),
]
Shape = Annotated[
    str | None,
    typer.Option(help="Shape of one input, such as 3,32,32; required unless the network or the images determine it."),
]
Data = Annotated[
    str | None,
    typer.Option(help=f"{DATA_NAMES}; the checkpoint's own if omitted.", metavar="NAME", callback=check_data),
]
IMAGES = "(samples, channels, height, width) in [0, 1] or uint8, or (samples, channels, length), or (samples, values)"
TrainingImages = Annotated[
    Path | None,
    typer.Option(
        "--images", help=f"A .npy file of training images, {IMAGES}, instead of a data set.", callback=_check_file
    ),
]
Labels = Annotated[
    Path | None, typer.Option("--labels", help="A .npy file of labels for --images.", callback=_check_file)
]
TestData = Annotated[
    str | None,
    typer.Option("--data", help=f"{DATA_NAMES}; the network's own if omitted.", metavar="NAME", callback=check_data),
]
TestImages = Annotated[
    Path | None, typer.Option("--images", help=f"A .npy file of {IMAGES}, instead of a data set.", callback=_check_file)
]
SAMPLES = "Number of test images, a fixed random selection (with --images: the first ones)"
Samples = Annotated[int | None, typer.Option(help=f"{SAMPLES}; all if omitted.")]
Steps = Annotated[int | None, typer.Option(help="T, time steps; the network's own if omitted.")]
CLUSTERS = (
    "local or local:N (processes of this machine), tcp://HOST:PORT (a Dask scheduler), or slurm, pbs, lsf, sge, htcondor, oar, "
    "moab, by your Dask configuration"
)
Search = Annotated[
    choices.SearchFor | None,
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
TracedPooling = Annotated[
    choices.TracedPooling,
    typer.Option(help="Average pooling: fold it into the next layer's weights, or convert it to a layer of its own."),
]
Pooling = Annotated[
    choices.Pooling,
    typer.Option(
        help="Average pooling: fold it into the next layer's weights, convert it to a layer of its own, or fold it as far as "
        "that leaves the weights their 8 bits (auto)."
    ),
]
InputRange = Annotated[
    str | None,
    typer.Option(
        help="What the network was trained to take for a pixel of 0 and of 1, such as -1,1; becomes part of the first layer.",
        show_default="0,1",
        metavar="LOW,HIGH",
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="Mean that was subtracted from pixels in training: a number, or one per channel, such as 0.485,0.456,0.406.",
        show_default="0",
    ),
]
Std = Annotated[
    str | None,
    typer.Option(help="Standard deviation that the difference was divided by, like --mean.", show_default="1"),
]
ThresholdForm = Annotated[
    choices.ThresholdForm,
    typer.Option(
        help="stock: representable as one 8-bit weight with an exponent; dense_rec: even, at most 254, for lava-dl's loader; "
        "free: any."
    ),
]
WeightBits = Annotated[
    list[str] | None,
    typer.Option(
        help="Bits of each weight, 2 to 8: of all layers, or LAYER=BITS for one; may be given several times.",
        show_default="8",
        metavar="BITS",
    ),
]
Profile = Annotated[str, typer.Option(help="Hardware profile: a .toml file, or a name listed by `rmp-lava profiles`.")]
OtherNets = Annotated[
    list[Path] | None,
    typer.Argument(help="Other .net files to compare with it.", metavar="other", callback=_check_nets),
]
Compare = Annotated[
    list[Path] | None,
    typer.Option(
        help="Another .net file, such as one of sigma-delta neurons, to compare with; may be repeated.",
        callback=_check_nets,
    ),
]
Compiler = Annotated[
    choices.Compiler | None,
    typer.Option(help="Compiler whose rules place the network.", show_default="the profile's"),
]
SparseDense = Annotated[
    bool,
    typer.Option(
        "--sparse", help="Store the non-zero weights of dense layers only, as lava-dl's sparse_fc_layer does."
    ),
]
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
Implementation = Annotated[
    choices.Implementation, typer.Option(help="Neurons: native RMP, or Lava's stock LIF with a self-synapse.")
]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Partition = Annotated[
    str | None, typer.Option(help="SLURM partition to allocate a Loihi 2 board from (backend loihi2).")
]
Node = Annotated[str | None, typer.Option(help="SLURM node, for one particular board (backend loihi2).")]
Host = Annotated[str | None, typer.Option(help="Host name of a board to use without SLURM (backend loihi2).")]
Generation = Annotated[str | None, typer.Option(help="Chip generation: N3B2, N3B3, N3C1 or N3D1.", show_default="N3B3")]
Leak = Annotated[
    int | None, typer.Option(help="1 if the smallest decay of the board is du = 0.", min=0, max=1, show_default="0")
]
NeuronProgram = Annotated[
    str | None,
    typer.Option(
        help="Your own ProcessModel of the RMP neuron, package.module:class (backends lava, loihi2). Importing it runs its code."
    ),
]
Measure = Annotated[
    choices.MeasuredInput | None,
    typer.Option(help="Also measure the first sample on the board, with input held by the chip or sent by the host."),
]


def chosen_board(
    partition: str | None, node: str | None, host: str | None, generation: str | None, leak: int | None
) -> Board | None:
    """The board that the options choose, completed from the environment; None without options."""
    from ..backends.board import Board

    if all(each is None for each in (partition, node, host, generation, leak)):
        return None
    return Board.from_environment(partition=partition, node=node, host=host, generation=generation, leak=leak)


def check_profile(name: str) -> None:
    """Refuse an unknown hardware profile before anything heavy is imported."""
    from ..hardware import load_profile

    load_profile(name)


def preparation(input_range: str | None, mean: str | None, std: str | None) -> Preparation:
    """What images go through before the network; raises `UsageError` for what are no numbers."""
    found: Preparation = {}
    if input_range is not None:
        low, *high = _numbers("--input-range", input_range)
        if len(high) != 1:
            raise UsageError(f"--input-range is {input_range!r}; give two numbers, such as -1,1")
        found["input_range"] = (low, high[0])
    if mean is not None:
        found["mean"] = _numbers("--mean", mean)
    if std is not None:
        found["std"] = _numbers("--std", std)
    return found


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} is {text!r}; write numbers with commas between them, such as 0.5,0.4,0.3") from None


def weight_bits(given: list[str] | None) -> int | dict[str, int] | None:
    """What --weight-bits asks for; raises `UsageError` if it is not a number or LAYER=BITS."""
    if not given:
        return None
    if len(given) == 1 and given[0].isdecimal():
        return int(given[0])
    pairs = [entry.rpartition("=") for entry in given]
    for entry, (name, _, bits) in zip(given, pairs, strict=True):
        if not name or not bits.isdecimal():
            raise UsageError(
                f"--weight-bits is {entry!r}; give a number for all layers once, or LAYER=BITS for each of some"
            )
    return {name: int(bits) for name, _, bits in pairs}
