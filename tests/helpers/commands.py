"""The command line, called in this process."""

from __future__ import annotations

import sys

import pytest

from rmp_lava import cli


def run_main(*arguments: object) -> int:
    """Call `rmp-lava` with these arguments; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["rmp-lava", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return ended.value.code or 0
