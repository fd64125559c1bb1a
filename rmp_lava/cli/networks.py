"""The commands `info`, `run`, `upgrade` and `doctor`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..choices import Backend, ConvModel, Implementation, Kernel
from ..errors import UsageError
from . import options
from .output import console_for, write_json

if TYPE_CHECKING:
    import numpy as np

    from ..backends import BackendOptions
    from ..network import SpikingNetwork

_STAGES = {"integer": "Loihi's integers", "balanced": "real numbers, balanced", "analog": "real numbers, not balanced"}


def _plain(value: float | np.ndarray | None) -> float | list[float] | None:
    return value if value is None or isinstance(value, int | float) else value.tolist()


def _messages(levels: int | None) -> str:
    if levels is None:
        return "real-valued messages"
    return "single spikes" if levels == 1 else f"integer messages up to {levels}"


def info(
    net: options.Net,
    input_shape: options.InputShape = None,
    input_message_bits: options.InputMessageBits = 0,
    num_layers: options.NumLayers = None,
    json_path: options.Json = None,
) -> None:
    """Show the content of a .net file.

    Also shows how lava-dl's loader runs it with identical spikes, or why it cannot.
    """
    from .. import netx
    from ..report.provenance import describe_companions, provenance_tables
    from ..report.tables import network_table

    network = options.loaded(net, input_shape, input_message_bits, num_layers)
    obstacles = netx.file_obstacles(net, network)
    call = None if obstacles else netx.lava_dl_call(network)
    console = console_for(json_path)
    console.print(network_table(network))
    source = network.input
    console.print(f"Input: {'x'.join(map(str, source.shape))}, {source.encoding}, {_messages(source.levels)}")
    console.print(
        f"Read-out: {network.readout} of {network.output.name!r}; {_STAGES[network.stage]}; depth {network.depth}"
    )
    if network.wait:
        console.print(f"Neurons wait: they integrate for {network.wait} time steps before they may spike")
    console.print(f"{network.neuron_count:,} neurons, {network.parameter_count:,} weights")
    if obstacles:
        console.print("lava-dl's unmodified loader cannot run it with identical spikes:")
        for obstacle in obstacles:
            console.print(f"  - {obstacle}")
    if call is not None:
        if num_layers is not None:
            call.arguments["num_layers"] = num_layers
        console.print("lava-dl's unmodified loader runs it with identical spikes:", soft_wrap=True)
        console.print(f"  {call.code(net.name)}", soft_wrap=True)
        for note in call.notes:
            console.print(f"  - {note}")
    for made in provenance_tables(network.provenance, network.balanced_steps):
        console.print(made)
    for sentence in describe_companions(net, network.companions):
        console.print(sentence)
    about_loader = {
        "lava_dl_obstacles": obstacles,
        "lava_dl_call": None if call is None else {"arguments": call.arguments, "notes": call.notes},
    }
    write_json(json_path, _summary(network) | about_loader | {"provenance": dict(network.provenance)})


def _summary(network: SpikingNetwork) -> dict[str, Any]:
    """Plain values for JSON."""
    source = network.input
    return {
        "name": network.name,
        "stage": network.stage,
        "output_scale": network.output_scale,
        "balanced_steps": network.balanced_steps,
        "wait": network.wait,
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
                "threshold": _plain(layer.neurons.threshold),
                "v_init": layer.neurons.v_init,
                "activation_scale": _plain(layer.activation_scale),
                "clip": _plain(layer.clip),
                "weight_error": None if layer.weight_error is None else vars(layer.weight_error),
                "record": dict(layer.record),
            }
            for layer in network
        ],
    }


def run(
    net: options.Net,
    data: options.TestData = None,
    images: options.TestImages = None,
    labels: options.Labels = None,
    data_dir: options.DataDirectory = None,
    samples: options.Samples = None,
    steps: options.Steps = None,
    backend: Annotated[
        Backend,
        typer.Option(help="Where to run. If it is not available, the command fails; no other backend is substituted."),
    ] = "fast",
    implementation: Annotated[
        Implementation | None,
        typer.Option(
            help="Native RMP neurons, or Lava's stock LIF with a self-synapse.", show_default="native; stock on loihi2"
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare every spike and final potential with the reference.")
    ] = False,
    blank: Annotated[
        int | None,
        typer.Option(help="Blank (unobserved) steps between samples.", show_default="0, for stock neurons 1"),
    ] = None,
    power_of_two: Annotated[
        bool, typer.Option("--power-of-two", help="Lengthen the period to a power of two; loihi2 always does.")
    ] = False,
    time_limit: Annotated[
        float | None, typer.Option(help="Time limit for Lava in seconds (backends lava, loihi2).")
    ] = None,
    partition: options.Partition = None,
    node: options.Node = None,
    host: options.Host = None,
    generation: options.Generation = None,
    leak: options.Leak = None,
    neuron_program: options.NeuronProgram = None,
    measure: options.Measure = None,
    conv_model: Annotated[
        ConvModel | None,
        typer.Option(
            help="Convolutions: matrix products (blas, the default), or Lava's own slower model (backend lava)."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="PyTorch device (backend fast).", show_default="cpu")] = None,
    kernel: Annotated[
        Kernel | None,
        typer.Option(help="Arithmetic of the weighted sums; all are exact (backend fast).", show_default="auto"),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(
            min=1, help="Working memory in MiB, in addition to network and images (backend fast).", show_default="1024"
        ),
    ] = None,
    confidence: Annotated[
        float | None,
        typer.Option(help="Stop a sample once its prediction has this probability, 0 to 1 (backend fast)."),
    ] = None,
    strict: options.Strict = False,
    seed: options.SpikeSeed = 0,
    input_shape: options.InputShape = None,
    input_message_bits: options.InputMessageBits = 0,
    num_layers: options.NumLayers = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Also write outputs, every spike and final potentials of each layer to this .npz file.",
            callback=options.result(".npz"),
        ),
    ] = None,
    json_path: options.Json = None,
) -> None:
    """Run a .net file on images.

    Shows accuracy, spikes and synaptic operations.
    """
    from ..backends import run as run_network
    from ..readout import output_unit
    from ..report.neurobench import neurobench
    from ..report.runs import compare_with_reference, describe_run, steps_for
    from ..report.tables import activity_table
    from ..sources.images import images_for

    if compare and backend == "reference":
        raise UsageError(
            "--compare compares a run with backend reference; choose another --backend, such as fast or lava"
        )
    if compare and confidence is not None:
        raise UsageError(
            "--compare needs every step of every sample, but --confidence stops samples early; omit one of them"
        )
    chosen = backend_options(
        backend,
        implementation=implementation,
        device=device,
        kernel=kernel,
        memory=None if memory is None else memory * 2**20,
        confidence=confidence,
        conv_model=conv_model,
        time_limit=time_limit,
        neuron_program=neuron_program,
        measure=measure,
        board=options.chosen_board(partition, node, host, generation, leak),
    )
    network = options.loaded(net, input_shape, input_message_bits, num_layers)
    values, truth, what = images_for(network, data, data_dir, images, labels, samples, steps)
    steps = steps_for(network, steps)
    if truth is not None and truth.dtype.kind == "f":
        output_unit(network)  # refuses a network without output scale, before it runs
    result = run_network(
        network,
        values,
        steps,
        chosen,
        seed=seed,
        blank=blank,
        power_of_two=power_of_two or backend == "loihi2",
        record=("spikes", "potentials") if compare or output is not None else (),
        strict=strict,
        progress=True,
    )
    console = console_for(json_path)
    console.print(activity_table(network, result))
    summary = result.summary(network) | {"data": what}
    score = None if truth is None else result.score(network, truth)
    if score is not None:
        summary |= score.figures
    summary["neurobench"] = neurobench(network, result, score)
    for line in describe_run(result, what, score):
        console.print(line)
    if score is None:
        console.print("The images have no labels; pass --labels for the accuracy.")
    if result.measurement is not None:
        from ..report.board import figures_table

        console.print(figures_table(result.measurement))
    if compare:
        differences = compare_with_reference(network, values, result, seed)
        summary["differences_from_reference"] = differences
        console.print(
            "Every spike and final potential equals the reference." if not differences else "; ".join(differences)
        )
    if output is not None:
        from ..report.runs import write_arrays

        write_arrays(output, result)
        console.print(f"Outputs, spikes and potentials are in {output}")
    write_json(json_path, summary)
    if compare and differences:
        raise typer.Exit(1)


def upgrade(
    net: options.Net,
    new: Annotated[
        Path,
        typer.Argument(
            help="The file to write; an older one of that name is replaced.", callback=options.result(".net")
        ),
    ],
    for_lava_dl: Annotated[
        bool,
        typer.Option(
            "--for-lava-dl", help="Require a file that lava-dl's unmodified loader runs with identical spikes."
        ),
    ] = False,
    input_shape: options.InputShape = None,
    input_message_bits: options.InputMessageBits = 0,
    num_layers: options.NumLayers = None,
    json_path: options.Json = None,
) -> None:
    """Write a .net file in the present format.

    Takes files of lava-dl and of earlier versions.
    """
    from .. import netx

    network = options.loaded(net, input_shape, input_message_bits, num_layers)
    path = netx.save(network, new, for_lava_dl=for_lava_dl)
    obstacles = netx.file_obstacles(path, network)
    loader = "cannot run it with identical spikes" if obstacles else "runs it with identical spikes"
    console_for(json_path).print(f"{path}: {network.name!r}; lava-dl's unmodified loader {loader}, see rmp-lava info")
    write_json(json_path, {"file": str(path), "name": network.name, "lava_dl_obstacles": obstacles})


def backend_options(backend: Backend, **given: Any) -> BackendOptions:
    """The options of a backend from the command line's arguments; None means not given.

    Raises
    ------
    UsageError
        If an option is not one of this backend's.
    """
    from ..backends.options import KINDS

    chosen = {name: value for name, value in given.items() if value is not None}
    names = {kind: {field.name for field in fields(of)} for kind, of in KINDS.items()}
    for name, value in chosen.items():
        if name not in names[backend] and value != getattr(KINDS[backend], name, None):
            owners = " or ".join(repr(kind) for kind in KINDS if name in names[kind])
            what = "a board" if name == "board" else f"--{name.replace('_', '-')} {value}"
            raise UsageError(f"{what} is for backend {owners}; backend {backend!r} does not accept it")
    if backend == "loihi2" and "neuron_program" in chosen:
        chosen.setdefault("implementation", "native")
    return KINDS[backend](**{name: value for name, value in chosen.items() if name in names[backend]})


def doctor(json_path: options.Json = None) -> None:
    """Check which parts of rmp-lava work on this machine.

    For each part that does not, shows why and what to do.
    """
    from ..doctor import diagnose
    from ..findings import findings_table

    findings = diagnose()
    console_for(json_path).print(findings_table(findings, "Parts of rmp-lava on this machine", "part"))
    console_for(json_path).print(
        "An obstacle disables its own part only. Data sets, GPU, Lava and Loihi 2 are optional."
    )
    parts = [{"part": f.where, "works": f.severity == "ok", "found": f.found, "remedy": f.remedy} for f in findings]
    write_json(json_path, {"parts": parts})
