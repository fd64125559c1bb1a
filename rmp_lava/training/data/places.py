"""Where data sets are looked for."""

from __future__ import annotations

import os
from pathlib import Path

DATA_VARIABLE = "RMP_LAVA_DATA"


def named_place(directory: str | os.PathLike | None) -> Path | None:
    """The folder or file that the user names, by argument or else by the environment variable; None if by neither."""
    named = os.environ.get(DATA_VARIABLE) if directory is None else directory
    return Path(named) if named else None
