"""What a machine needs to run networks on a board, what it has of that, and how to get the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...errors import UsageError
from ..board import Board
from .contract import problems

LAVA, LAVA_LOIHI = "0.10.0", "0.7.0"
"""Releases that belong together, and that the contract was read from."""
API = "API of lava-loihi"
_INRC = "INRC members get it from Intel: write to inrc_interest@intel.com"


@dataclass(frozen=True)
class Requirement:
    """One thing that is needed.

    Parameters
    ----------
    name : str
    state : {"found", "missing", "mismatch"}
        "mismatch": there, but another version, or another API than in the contract.
    found, remedy : str
        In words.
    """

    name: str
    state: Literal["found", "missing", "mismatch"]
    found: str
    remedy: str = ""


def requirements(environment: Mapping[str, str] = os.environ) -> list[Requirement]:
    """Each requirement in the order in which they can be met; nothing is raised, no board is asked."""
    found = [_python(), _package("lava-nc", "lava.magma", LAVA, "pip install '.[lava]' in the checkout")]
    extension = _package("lava-loihi", "lava.utils.loihi2_profiler", LAVA_LOIHI, _INRC)
    found += [extension, _driver()]
    if extension.state == "missing":
        found.append(Requirement(API, "missing", "not compared: lava-loihi is not there", _INRC))
    else:
        found.append(_api())
    return [*found, _board(environment)]


def availability() -> str | None:
    """Why this machine's software cannot run networks on Loihi 2, or None if it can; a board is another matter."""
    for each in requirements():
        # Another version that keeps to the contract is no reason; the driver is lava-loihi's business.
        blocks = each.name in ("Python 3.10", API) or each.name.startswith("lava-") and each.state == "missing"
        if blocks and each.state != "found":
            return f"{each.name}: {each.found} ({each.remedy})"
    return None


def unreachable(board: Board, path: str | None = None) -> str | None:
    """Why this machine cannot ask for a board at all, or None; whether it is there and free shows when it is taken."""
    tool, meaning = ("sinfo", "SLURM") if board.uses_slurm else ("ping", "the network")
    if shutil.which(tool, path=path) is None:
        return f"there is no {tool} here, so {meaning} cannot be asked for {board.describe()}"
    return None


def _python() -> Requirement:
    version = platform.python_version()
    if sys.version_info[:2] == (3, 10):
        return Requirement("Python 3.10", "found", version)
    return Requirement(
        "Python 3.10", "mismatch", f"this is {version}", "make a Python 3.10 environment: make demo does"
    )


def _package(name: str, module: str, version: str, remedy: str) -> Requirement:
    wanted = f"{name} {version}"
    if not _is_there(module):
        return Requirement(wanted, "missing", "not installed", remedy)
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Requirement(wanted, "mismatch", "its modules are there without a version", remedy)
    return Requirement(wanted, "found" if installed == version else "mismatch", installed, remedy)


def _driver() -> Requirement:
    if _is_there("nxcore"):
        return Requirement("nxcore", "found", "installed")
    return Requirement("nxcore", "missing", "the driver that lava-loihi calls is not installed", _INRC)


def _api() -> Requirement:
    found = problems()
    if not found:
        return Requirement(API, "found", "as in the contract (rmp_lava/backends/loihi2/contract.py)")
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return Requirement(API, "mismatch", found[0] + more, f"install lava-loihi {LAVA_LOIHI}")


def _board(environment: Mapping[str, str]) -> Requirement:
    try:
        board = Board.from_environment(environment)
    except UsageError as problem:
        return Requirement("board", "mismatch", str(problem), "set LOIHI_GEN, and PARTITION, BOARD or NXSDKHOST")
    reason = unreachable(board, environment.get("PATH"))
    if reason:
        remedy = (
            "log in to an INRC machine, or set NXSDKHOST for a board of your own" if board.uses_slurm else "install it"
        )
        return Requirement("board", "missing", reason, remedy)
    return Requirement("board", "found", f"{board.describe()}; not asked whether it is free")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # without its parent package
        return False
