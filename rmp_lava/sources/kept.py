"""What a `.net` says is kept beside it, and whether it still is; `keep` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import sha256_of

UNCHANGED = "is there, unchanged"


def kept_states(net: Path, provenance: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Key of the provenance, "ann" or "onnx" -> (file name, what became of it: `UNCHANGED` or words for something else)."""
    states = {}
    for key in ("ann", "onnx"):
        entry = provenance.get(key)
        if not isinstance(entry, Mapping) or not isinstance(entry.get("file"), str):
            continue
        name = entry["file"]
        states[key] = (name, _state(net.parent, name, entry.get("sha256")))
    return states


def _state(folder: Path, name: str, sha256: Any) -> str:
    try:
        # The name comes from a file that anyone may have written.
        if "\0" in name or Path(name).name != name or not (folder / name).is_file():
            return "is not there"
        return UNCHANGED if sha256_of(folder / name) == sha256 else "is another file than the one that was kept"
    except OSError as error:  # a name that no file can have, or a file that nobody may read
        return f"cannot be read ({error.strerror})"
