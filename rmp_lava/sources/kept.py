"""Whether the files that are kept next to a `.net` are still the ones that were written with it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..files import sha256_of
from ..network import Companion

UNCHANGED = "is there, unchanged"
_TITLES = {"ann": "Trained network", "onnx": "As ONNX"}


def describe_companions(net: Path, companions: Iterable[Companion]) -> list[str]:
    """A sentence for each companion of the `.net`: which file it is, and whether it is still there."""
    return [
        f"{_TITLES.get(each.kind, each.kind)}: {each.file} next to it {state_of(net, each)} (SHA-256 {each.sha256})"
        for each in companions
    ]


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
