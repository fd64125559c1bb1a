"""Whether the files that are kept next to a `.net` are still the ones that were written with it."""

from __future__ import annotations

from pathlib import Path

from ..files import sha256_of
from ..network import Companion

UNCHANGED = "is there, unchanged"


def state_of(net: Path, companion: Companion) -> str:
    """What became of a companion of the `.net`: `UNCHANGED`, or what else in words."""
    name = companion.file
    try:
        # The name comes from a file that anyone may have written.
        if "\0" in name or Path(name).name != name or not (net.parent / name).is_file():
            return "is not there"
        return (
            UNCHANGED
            if sha256_of(net.parent / name) == companion.sha256
            else "is another file than the one that was kept"
        )
    except OSError as error:  # a name that no file can have, or a file that nobody may read
        return f"cannot be read ({error.strerror})"
