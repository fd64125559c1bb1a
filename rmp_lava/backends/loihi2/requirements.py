"""What a machine needs to run networks on a board, which of it is installed, and how to get the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Mapping

from ...errors import UsageError
from ...findings import Finding, of_severity
from ..board import Board
from .contract import problems

LAVA, LAVA_LOIHI = "0.10.0", "0.7.0"
"""Matching releases; the contract was derived from these."""
API = "API of lava-loihi"
_INRC = "INRC members get it from Intel: write to inrc_interest@intel.com"


def requirements(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Every requirement, in the order in which they can be met; nothing is raised, and no board is contacted.

    Severity "ok" means that it is met, "obstacle" that no network can run on Loihi 2 without it, "caution" that one might.
    `kind` is "found", "missing", or "mismatch" for another version, or another API than in the contract.
    """
    extension = _package("lava-loihi", "lava.utils.loihi2_profiler", LAVA_LOIHI, _INRC)
    missing = extension.kind == "missing"
    return [
        _python(),
        _package("lava-nc", "lava.magma", LAVA, "pip install '.[lava]' in the checkout"),
        extension,
        _driver(),
        Finding("obstacle", API, "not compared because lava-loihi is missing", _INRC, "missing") if missing else _api(),
        _board(environment),
    ]


def availability() -> str | None:
    """Why this machine's software cannot run networks on Loihi 2, or None if it can; boards are not considered."""
    first = next(iter(of_severity(requirements(), "obstacle")), None)
    return None if first is None else f"{first.where}: {first.found} ({first.remedy})"


def unreachable(board: Board, path: str | None = None) -> str | None:
    """Why this machine cannot request a board at all, or None; whether it exists and is free shows only when it is taken."""
    tool, service = ("sinfo", "SLURM") if board.uses_slurm else ("ping", "the network")
    if shutil.which(tool, path=path) is None:
        return f"{tool} is not installed here, so {service} cannot be asked for {board.describe()}"
    return None


def _met(name: str, found: str) -> Finding:
    return Finding("ok", name, found, kind="found")


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] == (3, 10):
        return _met("Python 3.10", version)
    remedy = "make a Python 3.10 environment: make demo does"
    return Finding("obstacle", "Python 3.10", f"this is {version}", remedy, "mismatch")


def _package(name: str, module: str, version: str, remedy: str) -> Finding:
    wanted = f"{name} {version}"
    if not _is_there(module):
        return Finding("obstacle", wanted, "not installed", remedy, "missing")
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding("caution", wanted, "its modules are present, but without a version", remedy, "mismatch")
    if installed == version:
        return _met(wanted, installed)
    # Another version may keep to the contract.
    return Finding("caution", wanted, installed, remedy, "mismatch")


def _driver() -> Finding:
    if _is_there("nxcore"):
        return _met("nxcore", "installed")
    # lava-loihi calls it, not this package.
    return Finding("caution", "nxcore", "the driver that lava-loihi calls is not installed", _INRC, "missing")


def _api() -> Finding:
    found = problems()
    if not found:
        return _met(API, "as in the contract (rmp_lava/backends/loihi2/contract.py)")
    more = f"; and {len(found) - 1} more" if len(found) > 1 else ""
    return Finding("obstacle", API, found[0] + more, f"install lava-loihi {LAVA_LOIHI}", "mismatch")


def _board(environment: Mapping[str, str]) -> Finding:
    try:
        board = Board.from_environment(environment)
    except UsageError as problem:
        remedy = "set LOIHI_GEN, and PARTITION, BOARD or NXSDKHOST"
        return Finding("caution", "board", str(problem), remedy, "mismatch")
    reason = unreachable(board, environment.get("PATH"))
    if reason:
        login = "log in to an INRC machine, or set NXSDKHOST for a board in your own network"
        return Finding("caution", "board", reason, login if board.uses_slurm else "install it", "missing")
    return _met("board", f"{board.describe()}; not checked whether it is free")


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # without its parent package
        return False
