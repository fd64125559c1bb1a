"""The page's section on where the network and the page come from: versions, seeds, hashes, commands."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from ... import __version__
from ...files import sha256_of
from ...tables import table
from ..provenance import flattened, kept_epochs
from ..tables import epochs_table
from .measure import Measured
from .parts import Section, Sheet

_LONGEST, _MOST_ROWS = 240, 80


def provenance_section(measured: Measured, nets: Sequence[Path], command: str) -> Section:
    """What made the page, epochs of tuning, and what else the file records.

    Parameters
    ----------
    nets : sequence of Path
        The `.net` files of the network and of those it is compared with.
    command : str
        The command that made the page; may be empty.
    """
    result = measured.result
    made = [
        ("made", f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"),
        ("command", command or "none; from Python"),
        *(("network file", f"{net.name}, SHA-256 {sha256_of(net)}") for net in nets),
        ("images", measured.what),
        ("seed", str(measured.seed)),
        ("backend", f"{result.backend}: {result.execution}; {result.seconds:.1f} s"),
        (
            "versions",
            f"rmp-lava {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}",
        ),
        ("hardware", "never run on hardware: spikes are simulated, cores and energy estimated"),
    ]
    network = measured.network
    tunings, rest = kept_epochs(network.provenance)
    if network.output_scale is not None:
        rest["output_scale"] = network.output_scale
    rest |= {each.kind: {"file": each.file, "sha256": each.sha256} for each in network.companions}
    entries = [(path[:_LONGEST], _cut(text)) for path, text in flattened(rest)]
    text = ""
    if len(entries) > _MOST_ROWS:
        text = f"The file has {len(entries):,} entries; the first {_MOST_ROWS} are shown here, all of them by rmp-lava info."
    sheets = [Sheet("This page.", table("", ("", ""), made, text_columns=2))]
    for title, history in tunings:
        caption = f"{title}: mean loss of each epoch, and accuracy on training and validation images."
        sheets.append(Sheet(caption, epochs_table(title, history[:_MOST_ROWS])))
    if entries:
        shown = table("", ("", ""), entries[:_MOST_ROWS], text_columns=2)
        sheets.append(Sheet("What the file records about how it was made.", shown))
    missing = "" if entries or tunings else "The file does not record where it comes from."
    return Section("provenance", "Provenance", (text,) if text else (), (), tuple(sheets), missing)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
