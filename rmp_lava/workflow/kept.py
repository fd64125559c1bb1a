"""What a `.net` says is kept beside it, and whether it still is; `keep` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import sha256_of

UNCHANGED = "is there, unchanged"


def describe_kept(net: Path, provenance: Mapping[str, Any]) -> dict[str, str]:
    """Of what a `.net` says is kept beside it, by its name in the provenance: a sentence whether it is there."""
    titles = {"ann": "Trained network", "onnx": "As ONNX"}
    return {
        key: f"{titles[key]}: {file} beside it {state} (SHA-256 {provenance[key].get('sha256')})"
        for key, (file, state) in kept_states(net, provenance).items()
    }


def kept_states(net: Path, provenance: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Key of the provenance, "ann" or "onnx" -> (file name, what became of it: `UNCHANGED` or words for something else)."""
    states = {}
    for key in ("ann", "onnx"):
        entry = provenance.get(key)
        if not isinstance(entry, Mapping) or not isinstance(entry.get("file"), str):
            continue
        name = entry["file"]
        # The name comes from a file that anyone may have written.
        if "\0" in name or Path(name).name != name or not (net.parent / name).is_file():
            states[key] = (name, "is not there")
        elif sha256_of(net.parent / name) != entry.get("sha256"):
            states[key] = (name, "is another file than the one that was kept")
        else:
            states[key] = (name, UNCHANGED)
    return states
