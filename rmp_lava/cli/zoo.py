"""The command `zoo`: networks that come with rmp-lava, and data sets to run them on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import NetFileError, UsageError
from . import options
from .output import console_for, write_json


def zoo(
    name: Annotated[str | None, typer.Argument(help="Network to show or write; lists all if omitted.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write the network's .net file here.", callback=options.result(".net"))
    ] = None,
    trained: Annotated[
        bool, typer.Option("--trained", help="Write its trained weights instead, a .net file for convert and tune.")
    ] = False,
    download: Annotated[
        str | None,
        typer.Option(
            help="Data set to fetch through torchvision into --data-dir: fashion-mnist, cifar10 or cifar100.",
            metavar="DATA",
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for --download.", show_default="the variable RMP_LAVA_DATA")
    ] = None,
    json_path: options.Json = None,
) -> None:
    """List the networks that come with rmp-lava: trained, converted and measured.

    With a name, shows that network, and how it was made; with --output, writes it. With --download, fetches a data set.
    """
    from .. import zoo as networks
    from ..files import write_atomically

    if download is None and data_dir is not None:
        raise UsageError("--data-dir is the folder for --download; pass --download DATA too, or leave it out")
    if download is not None and (name is not None or output is not None or trained):
        raise UsageError("--download fetches a data set and nothing else; call rmp-lava zoo twice")
    if name is None and (output is not None or trained):
        raise UsageError("--output and --trained need a network; pass its name, as rmp-lava zoo lists it")
    if trained and output is None:
        raise UsageError("--trained chooses the file to write; pass --output too")
    console = console_for(json_path)
    if download is not None:
        from ..training.data import download as fetch

        found = fetch(download, data_dir)
        console.print(found)
        console.print(f"Use it with --data-dir {found.place}", soft_wrap=True)
        write_json(json_path, {"dataset": download, "data_dir": str(found.place), "source": found.source})
        return
    if name is None:
        console.print(networks.zoo_table())
        console.print(
            "Accuracy on test images; energy is estimated. More of a network, with the commands that made it: "
        )
        console.print("rmp-lava zoo NAME; its .net file: rmp-lava zoo NAME --output FILE")
        write_json(json_path, {"networks": [vars(each) for each in networks.entries()]})
        return
    entry = networks.entry(name)
    if output is not None:
        write_atomically(output, networks.path(name, trained=trained).read_bytes(), NetFileError)
        console.print(
            f"{output}: {'trained weights of ' if trained else ''}{entry.name}, {entry.about}", soft_wrap=True
        )
    else:
        console.print(entry)
    write_json(json_path, vars(entry))
