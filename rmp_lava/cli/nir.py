"""The command `nir`, which exchanges networks with other libraries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..choices import SpikingReset, TrainedEncoding
from ..errors import UsageError
from . import options
from .output import console_for, write_json


def nir(
    source: Annotated[Path, typer.Argument(help="A .nir file, or a .net file.")],
    target: Annotated[Path, typer.Argument(help="The file to write, of the other kind.", callback=options.claim)],
    reset: Annotated[
        SpikingReset | None,
        typer.Option(
            help="What spikes do in a .nir file: hard resets to 0, as NIR defines it; soft subtracts the threshold, as networks "
            "of sinabs and snnTorch do, whose files cannot say so.",
            show_default="hard, unless the file is ours",
        ),
    ] = None,
    dt: Annotated[
        float | None,
        typer.Option(
            "--dt",
            help="Time step in the .nir file's unit of time.",
            show_default="the one in which inputs add up as they are",
        ),
    ] = None,
    encoding: Annotated[
        TrainedEncoding | None,
        typer.Option(help="Of the input of a .nir file.", show_default="spikes, unless the file is ours"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Also make Loihi's integers of a .nir file, for this number of time steps.")
    ] = None,
    profile: options.Profile = "loihi2",
    json_path: options.Json = None,
) -> None:
    """Exchange networks with other libraries by NIR files.

    From .nir to .net, or from .net to .nir. Takes feed-forward networks of integrate-and-fire neurons, whose spikes stay the
    same, and of leaky ones, whose numbers are rounded to Loihi's integers.
    """
    from .. import netx
    from ..conversion.quantize import quantize
    from ..nir import load_nir, save_nir
    from ..report.tables import network_table

    kinds = (source.suffix, target.suffix)
    if kinds == (".net", ".nir"):
        given = {"--reset": reset, "--dt": dt, "--encoding": encoding, "--steps": steps}
        unused = [name for name, value in given.items() if value is not None]
        if unused:
            raise UsageError(f"{unused[0]} is for reading .nir files; {source} says itself what it is, so leave it out")
        network = netx.load(source)
        save_nir(network, target)
    elif kinds == (".nir", ".net"):
        network = load_nir(source, reset=reset, dt=dt, encoding=encoding)
        if steps is not None and not network.is_integer:
            network = quantize(network, profile, steps=steps)
        netx.save(network, target)
    else:
        raise UsageError(f"the files are {source} and {target}; name a .nir file and a .net file, in either order")
    console = console_for(json_path)
    console.print(network_table(network))
    console.print(f"Network: {target}")
    write_json(json_path, {"written": str(target), "stage": network.stage, "layers": [layer.name for layer in network]})
