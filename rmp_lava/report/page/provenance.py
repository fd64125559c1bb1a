"""Where the network and the page come from: versions, seeds, hashes, commands."""

from __future__ import annotations

import hashlib
import platform
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import torch

from ... import __version__
from ..provenance import flattened, kept_epochs
from .measure import Measured
from .parts import Section, Sheet
from .words import percent

_LONGEST, _MOST_ROWS = 240, 80


def provenance_section(measured: Measured, net: Path, command: str) -> Section:
    """What made the page, epochs of tuning, and what else the file says of itself.

    Parameters
    ----------
    net : Path
        The `.net` file.
    command : str
        That made the page, or empty.
    """
    result = measured.result
    made = [
        ("made", f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC"),
        ("command", command or "none; from Python"),
        ("network file", net.name),
        ("SHA-256", hashlib.sha256(net.read_bytes()).hexdigest()),
        ("images", measured.what),
        ("seed", str(measured.seed)),
        ("backend", f"{result.backend}: {result.execution}; {result.seconds:.1f} s"),
        (
            "versions",
            f"rmp-lava {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}, NumPy {np.__version__}",
        ),
        ("hardware", "never run on hardware: spikes are simulated, cores and energy estimated"),
    ]
    tunings, rest = kept_epochs(measured.network.provenance)
    said = [(path[:_LONGEST], _cut(text)) for path, text in flattened(rest)]
    text = ()
    if len(said) > _MOST_ROWS:
        text = (
            f"The file says {len(said):,} things of itself; the first {_MOST_ROWS} are shown, all by rmp-lava info.",
        )
    sheets = [Sheet("This page.", ("", ""), made, 2)]
    sheets += [_epochs(title, history[:_MOST_ROWS]) for title, history in tunings]
    if said:
        sheets.append(Sheet("What the file says of its making.", ("", ""), said[:_MOST_ROWS], 2))
    missing = "" if said or tunings else "The file does not say where it comes from."
    return Section("provenance", "Provenance", text, (), tuple(sheets), missing)


def _epochs(title: str, history: list[list[float]]) -> Sheet:
    rows = [
        (f"{epoch:g}", "–" if loss is None else f"{loss:.4f}", percent(training, 2), percent(validation, 2))
        for epoch, loss, training, validation in history
    ]
    caption = f"{title}: mean loss of each epoch, and accuracy on training and validation images."
    return Sheet(caption, ("epoch", "loss", "training", "validation"), rows)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
