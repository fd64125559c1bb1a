"""The command `rmp-lava`: parses, calls, prints. Everything heavy is imported inside the commands."""

from __future__ import annotations

import json
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import RmpLavaError, UsageError

app = typer.Typer(
    name="rmp-lava",
    help="From a PyTorch network to residual-membrane-potential (RMP) spikes on Lava and Loihi.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_EXPORTS = Path("exports")


class Backend(str, Enum):
    reference = "reference"
    fast = "fast"
    lava = "lava"
    loihi2 = "loihi2"


class Realisation(str, Enum):
    native = "native"
    stock = "stock"


class Kernel(str, Enum):
    auto = "auto"
    int8 = "int8"
    float32 = "float32"


class ConvModel(str, Enum):
    blas = "blas"
    lava = "lava"


class Encoding(str, Enum):
    poisson = "poisson"
    rate = "rate"
    current = "current"


class Reset(str, Enum):
    soft = "soft"
    hard = "hard"


class Readout(str, Enum):
    potential = "potential"
    count = "count"


class Pooling(str, Enum):
    fold = "fold"
    layer = "layer"


class InitialPotential(str, Enum):
    zero = "zero"
    half = "half"


class Precision(str, Enum):
    float32 = "float32"
    bfloat16 = "bfloat16"


class ThresholdForm(str, Enum):
    stock = "stock"
    free = "free"
    dense_rec = "dense_rec"


Json = Annotated[Path | None, typer.Option("--json", help="Also write the result as JSON; '-' is standard output.")]
DataDirectory = Annotated[
    Path | None, typer.Option(help="Folder or .zip file of the data set; needed where it is not found by itself.")
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.")]


def main() -> None:
    """Run the command line: an error of the user's is one sentence and exit code 2, never a traceback."""
    try:
        app()
    except RmpLavaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from . import __version__

        print(f"rmp-lava {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is None:
        return
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if str(path) == "-":
        print(text, end="")
        return
    from .files import write_atomically

    write_atomically(path, text.encode("utf-8"), UsageError)


def _console(json_path: Path | None):
    """Where tables go: to standard error if JSON takes standard output."""
    from .report.tables import console

    return console(stderr=str(json_path) == "-")


@app.command()
def demo(
    steps: Annotated[int, typer.Option(help="T, steps of input.")] = 64,
    samples: Annotated[int, typer.Option(help="Test images for the Lava simulator.")] = 50,
    seed: Seed = 0,
    output: Annotated[Path, typer.Option(help="Folder for the checkpoint and the .net files.")] = _EXPORTS,
    json_path: Json = None,
) -> None:
    """Go the whole way on real digits.

    Train, convert, quantise, export, load, run on Lava, compare every spike.
    """
    from .demo import run_demo, show_demo

    result = run_demo(steps=steps, lava_samples=samples, seed=seed, folder=output, report=_console(json_path).print)
    show_demo(result, _console(json_path))
    _write_json(json_path, result.summary())


@app.command()
def train(
    model: Annotated[
        str, typer.Argument(help="digits-cnn, fashion-cnn, vgg16-cifar, resnet20-cifar, vgg16-imagenet, ...")
    ],
    output: Annotated[Path | None, typer.Option(help="Checkpoint; exports/MODEL.pt if omitted.")] = None,
    data_dir: DataDirectory = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training images.")] = None,
    batch_size: Annotated[int | None, typer.Option()] = None,
    learning_rate: Annotated[float | None, typer.Option()] = None,
    width: Annotated[float | None, typer.Option(help="Factor on the channels, above 0 to 4.")] = None,
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm", help="With batch normalisation, instead of the paper's form without.")
    ] = False,
    precision: Annotated[
        Precision | None, typer.Option(help="Of the layers' sums; the model's recipe if omitted.")
    ] = None,
    seed: Seed = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json_path: Json = None,
) -> None:
    """Train a network, under the paper's constraints unless told otherwise."""
    from .ann.data import load
    from .ann.models import model_spec
    from .ann.train import train as run_training
    from .report.tables import percent, table

    spec = model_spec(model)
    if spec.dataset is None:
        raise UsageError(
            f"the data set of model {model!r} cannot be loaded here; train it with rmp_lava.ann.train.train"
        )
    given = {"width": width, "batch_norm": batch_norm or None}
    options = spec.settle({name: value for name, value in given.items() if value is not None})
    path = output or _EXPORTS / f"{model}.pt"
    dataset = load(spec.dataset, data_dir)
    result = run_training(
        model,
        dataset,
        options=options,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        precision=None if precision is None else precision.value,
        seed=seed,
        checkpoint_path=path,
        resume=resume,
        device=device,
    )
    rows = [
        ("training", percent(result.train_accuracy)),
        ("validation", percent(result.validation_accuracy)),
        ("test", percent(result.test_accuracy)),
    ]
    console = _console(json_path)
    console.print(table(f"Trained {model} on {dataset.name} in {result.seconds:.0f} s", ("images", "accuracy"), rows))
    console.print(f"Checkpoint: {path}")
    _write_json(
        json_path,
        {
            "model": model,
            "options": options,
            "dataset": dataset.name,
            "checkpoint": str(path),
            "epochs": len(result.history),
            "train_accuracy": result.train_accuracy,
            "validation_accuracy": result.validation_accuracy,
            "test_accuracy": result.test_accuracy,
            "seconds": result.seconds,
        },
    )


@app.command()
def check(
    model: Annotated[str, typer.Argument(help="A checkpoint, or package.module:function that returns a network.")],
    shape: Annotated[
        str | None, typer.Option(help="Shape of one input, such as 3,32,32; needed with package.module:function.")
    ] = None,
    json_path: Json = None,
) -> None:
    """List what keeps a network from converting.

    Everything at once; exit code 2 if there is anything.
    """
    from .conversion.check import check as run_check
    from .report.tables import findings_table
    from .workflow import load_network

    network, example = load_network(model, shape)
    report = run_check(network, example)
    console = _console(json_path)
    if report.findings:
        console.print(findings_table(report))
    count = len(report.obstacles)
    console.print("This network converts." if not count else f"{count} obstacle{'s' if count > 1 else ''} in the way.")
    findings = [
        {"severity": f.severity, "layer": f.layer, "found": f.found, "remedy": f.remedy} for f in report.findings
    ]
    _write_json(json_path, {"convertible": report.convertible, "findings": findings})
    if count:
        raise typer.Exit(2)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint written by rmp-lava train.")],
    output: Annotated[Path | None, typer.Option(help="The .net file; beside the checkpoint if omitted.")] = None,
    steps: Annotated[int, typer.Option(help="T, steps of input that the network is meant for.")] = 64,
    encoding: Annotated[Encoding, typer.Option(help="How pixels enter.")] = Encoding.poisson,
    reset: Annotated[Reset, typer.Option(help="soft is RMP, hard the baseline.")] = Reset.soft,
    percentile: Annotated[float, typer.Option(help="Of V_in, as the threshold; 100 is the paper's maximum.")] = 100.0,
    alpha: Annotated[float, typer.Option(help="Factor on every threshold; below 1 for less latency.")] = 1.0,
    v_init: Annotated[InitialPotential, typer.Option(help="Initial potential.")] = InitialPotential.zero,
    pooling: Annotated[
        Pooling, typer.Option(help="Average pooling: into the next weights, or neurons.")
    ] = Pooling.fold,
    readout: Annotated[Readout, typer.Option(help="What the prediction is taken from.")] = Readout.potential,
    threshold_form: Annotated[
        ThresholdForm, typer.Option(help="What a threshold must be, see the docs.")
    ] = ThresholdForm.stock,
    profile: Annotated[str, typer.Option(help="Hardware profile: a name or a .toml file.")] = "loihi2",
    calibration: Annotated[int, typer.Option(help="Training images for threshold balancing.")] = 256,
    for_lava_dl: Annotated[
        bool, typer.Option("--for-lava-dl", help="Insist on a file that lava-dl's unmodified loader runs.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Clipped values are an error.")] = False,
    data_dir: DataDirectory = None,
    seed: Seed = 0,
    json_path: Json = None,
) -> None:
    """Convert a checkpoint and write a .net file.

    Shows the accuracy of each stage: trained, float SNN, integer SNN.
    """
    from . import netx
    from .report.tables import network_table
    from .workflow import convert_checkpoint, stage_table

    conversion = convert_checkpoint(
        checkpoint,
        data_directory=data_dir,
        calibration=calibration,
        profile=profile,
        threshold_form=threshold_form.value,
        strict=strict,
        options={
            "steps": steps,
            "encoding": encoding.value,
            "reset": reset.value,
            "percentile": percentile,
            "alpha": alpha,
            "v_init": v_init.value,
            "pooling": pooling.value,
            "readout": readout.value,
            "seed": seed,
        },
    )
    path = netx.save(conversion.integer, output or checkpoint.with_suffix(".net"), for_lava_dl=for_lava_dl)
    console = _console(json_path)
    console.print(stage_table(conversion))
    console.print(network_table(conversion.integer))
    console.print(f"Network: {path}")
    _write_json(json_path, {"net": str(path)} | conversion.summary())


_NUMBERS = {"int": "Loihi's integers", "float": "real numbers"}


def _messages(levels: int | None) -> str:
    if levels is None:
        return "real-valued messages"
    return "single spikes" if levels == 1 else f"whole-numbered messages up to {levels}"


@app.command()
def info(net: Annotated[Path, typer.Argument(help="A .net file, ours or lava-dl's.")], json_path: Json = None) -> None:
    """Show what a .net file holds."""
    from . import netx
    from .report.tables import network_table

    network = netx.load(net)
    obstacles = netx.lava_dl_obstacles(network)
    console = _console(json_path)
    console.print(network_table(network))
    source = network.input
    console.print(f"Input: {'x'.join(map(str, source.shape))}, {source.encoding}, {_messages(source.levels)}")
    console.print(
        f"Read-out: {network.readout} of {network.output.name!r}; {_NUMBERS[network.number_format]}; depth {network.depth}"
    )
    console.print(f"{network.neuron_count:,} neurons, {network.parameter_count:,} weights")
    if obstacles:
        console.print("lava-dl's unmodified loader cannot run it with identical spikes:")
        for obstacle in obstacles:
            console.print(f"  - {obstacle}")
    else:
        console.print(
            "lava-dl's unmodified loader can run it with identical spikes (soft reset: if saved for lava-dl)."
        )
    for key, value in network.provenance.items():
        console.print(f"{key}: {json.dumps(value)}")
    _write_json(
        json_path,
        {
            "name": network.name,
            "number_format": network.number_format,
            "input": {"shape": source.shape, "encoding": source.encoding, "levels": source.levels},
            "readout": network.readout,
            "depth": network.depth,
            "neurons": network.neuron_count,
            "weights": network.parameter_count,
            "layers": [
                {
                    "name": layer.name,
                    "shape": layer.shape,
                    "sources": [s.source for s in layer.synapses],
                    "reset": layer.neurons.reset,
                    "threshold": layer.neurons.threshold,
                    "v_init": layer.neurons.v_init,
                    "record": dict(layer.record),
                }
                for layer in network
            ],
            "lava_dl_obstacles": obstacles,
            "provenance": dict(network.provenance),
        },
    )


@app.command()
def run(
    net: Annotated[Path, typer.Argument(help="A .net file.")],
    data: Annotated[str | None, typer.Option(help="digits or fashion-mnist; the network's own if omitted.")] = None,
    images: Annotated[Path | None, typer.Option(help="A .npy file of images instead of a data set.")] = None,
    labels: Annotated[Path | None, typer.Option(help="A .npy file of labels for --images.")] = None,
    data_dir: DataDirectory = None,
    samples: Annotated[int | None, typer.Option(help="First test images to run; all if omitted.")] = None,
    steps: Annotated[int | None, typer.Option(help="T, steps of input; the network's own if omitted.")] = None,
    backend: Annotated[Backend, typer.Option(help="Where to run; nothing else runs instead.")] = Backend.fast,
    realisation: Annotated[
        Realisation, typer.Option(help="Neurons: native RMP, or stock LIF with a self-synapse.")
    ] = Realisation.native,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare every spike and final potential with the reference.")
    ] = False,
    blank: Annotated[int, typer.Option(help="Steps without input after those that drain the network.")] = 0,
    power_of_two: Annotated[
        bool, typer.Option("--power-of-two", help="Lengthen the period to a power of two.")
    ] = False,
    time_limit: Annotated[float | None, typer.Option(help="Seconds after which Lava is ended.")] = None,
    conv_model: Annotated[
        ConvModel | None,
        typer.Option(help="Convolutions on Lava: matrix products (blas, the default), or Lava's own model, slowly."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="PyTorch device of backend fast.", show_default="cpu")] = None,
    kernel: Annotated[
        Kernel | None, typer.Option(help="Weighted sums of backend fast; all are exact.", show_default="auto")
    ] = None,
    memory: Annotated[
        int | None, typer.Option(help="MiB that backend fast may take besides network and images.", show_default="1024")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="Leave a sample when its prediction has this probability (backend fast).")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A saturated state is an error.")] = False,
    seed: Seed = 0,
    json_path: Json = None,
) -> None:
    """Run a .net file on images.

    Shows accuracy, spikes and synaptic operations.
    """
    from . import netx
    from .backends import run as run_network
    from .report.tables import activity_table
    from .workflow import compare_with_reference, describe_run, images_for, steps_for

    if compare and backend is Backend.reference:
        raise UsageError("--compare compares with the reference, which is the backend asked for; choose fast or lava")
    network = netx.load(net)
    values, truth, what = images_for(network, data, data_dir, images, labels, samples)
    steps = steps_for(network, steps)
    options = {"blank": blank, "power_of_two": power_of_two, "seed": seed}
    record = ("spikes", "potentials") if compare else ()
    result = run_network(
        network,
        values,
        steps,
        backend.value,
        realisation=realisation.value,
        record=record,
        strict=strict,
        device=device,
        kernel=None if kernel is None else kernel.value,
        memory=None if memory is None else memory * 2**20,
        confidence=confidence,
        time_limit=time_limit,
        conv_model=None if conv_model is None else conv_model.value,
        progress=True,
        **options,
    )
    console = _console(json_path)
    console.print(activity_table(network, result))
    summary = result.summary(network) | {"data": what}
    if truth is not None:
        summary["accuracy"] = result.accuracy(truth)
    for line in describe_run(result, what, summary.get("accuracy")):
        console.print(line)
    if compare:
        differences = compare_with_reference(network, values, result, options)
        summary["differences_from_reference"] = differences
        console.print(
            "Every spike and final potential equals the reference." if not differences else "; ".join(differences)
        )
    _write_json(json_path, summary)
    if compare and differences:
        raise typer.Exit(1)


@app.command()
def doctor(json_path: Json = None) -> None:
    """Say which parts work on this machine.

    For each that does not: why, and what to do.
    """
    from .doctor import diagnose
    from .report.tables import table

    findings = diagnose()
    rows = [("works" if f.works else "does not", f.part, f.found, f.remedy) for f in findings]
    _console(json_path).print(
        table("Parts of rmp-lava on this machine", ("", "part", "found", "what to do"), rows, text_columns=4)
    )
    _write_json(
        json_path,
        {"parts": [{"part": f.part, "works": f.works, "found": f.found, "remedy": f.remedy} for f in findings]},
    )
