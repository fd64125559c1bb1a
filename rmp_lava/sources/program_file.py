"""Read `.pt2` files of `torch.export.save`, which PyTorch itself trusts completely.

Its loader unpickles, loads compiled libraries, evaluates the expressions that stand for sizes, and calls whatever function a
node names. All of these could run code. So a file may hold only the members that a plain network needs, expressions may name
sizes only, nodes may call PyTorch's operators only, and tensors are read without their pickles being trusted.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from ..conversion.tracing import export_front
from ..errors import CheckpointError, first_line
from ..training.torch_file import MAX_BYTES, check_archive

_SIZE_NAMES = re.compile(r"[su]\d+|zuf\d+|Symbol|Integer|Max|Min|Mod|FloorDiv|positive|integer|nonnegative|True|False")
_OPERATORS = re.compile(r"torch\.ops\.(aten|prims|higher_order)\.\w+(\.\w+)?|_operator\.\w+|torch\.sym_\w+")
_PAYLOADS = re.compile(r"(weight|tensor)_\d+")
_MEMBERS = re.compile(
    r"""([^/]+/)?(
        data/weights/(weight_\d+|[\w.-]+_weights_config\.json)
        | data/constants/(tensor_\d+|[\w.-]+_constants_config\.json)
        | data/sample_inputs/[\w.-]+\.pt
        | models/[\w.-]+\.json
        | archive_format | archive_version | byteorder | \.data/\w+ | \.format_version
    )
    | serialized_\w+\.(json|pt) | version""",
    re.VERBOSE,
)
_FORCE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
_LONGEST_REASON = 120


def read_program(path: Path) -> ExportedProgram:
    """An exported program from its file.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, too large, of another kind or of another version of PyTorch, or holds what could
        run code.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is not a file; pass one that torch.export.save has written")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(f"{path} has {size:,} bytes; at most {MAX_BYTES:,} are allowed")
        with zipfile.ZipFile(path) as archive:
            _check(path, archive, size)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise CheckpointError(f"{path} is no exported program ({error}); write one with torch.export.save") from None
    try:
        with _without_pickles():
            program = torch.export.load(path)
    except Exception as error:  # errors of many kinds, of all that a file may lack
        raise CheckpointError(
            f"{path} cannot be read by PyTorch {torch.__version__} ({first_line(error)[:_LONGEST_REASON]}); export it "
            "again with this version and strict=False"
        ) from None
    if not program.graph_signature.user_inputs:
        raise CheckpointError(f"{path} has no input; export a network that takes an image")
    return program


def _check(path: Path, archive: zipfile.ZipFile, size: int) -> None:
    check_archive(str(path), archive, size, "export the network again")
    names = archive.namelist()
    strange = [name for name in names if not _MEMBERS.fullmatch(name) or names.count(name) > 1]
    members = [name for name in names if name.endswith(".json")]
    if strange and members:
        raise CheckpointError(
            f"{path} holds {strange[0]!r}, which no plain network needs and could run code, so it was not loaded; export the "
            "network without custom objects and compiled code"
        )
    if not members:
        raise CheckpointError(f"{path} is no exported program; write one with torch.export.save")
    for name in members:
        for what, text in _risky(json.loads(archive.read(name))):
            raise CheckpointError(
                f"{path} has {text[:40]!r} as {what}, which could run code, so it was not loaded; export the network again"
            )


def _risky(content: Any) -> Iterator[tuple[str, str]]:
    """All strings, at any depth, that PyTorch would evaluate, call or unpickle, and that a plain network does not have."""
    pending = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, list):
            pending.extend(value)
        if not isinstance(value, dict):
            continue
        pending.extend(value.values())
        sizes = [value["expr_str"]] if "expr_str" in value else []
        for key in ("range_constraints", "symbol_values"):
            sizes += list(value[key]) if isinstance(value.get(key), dict) else []
        yield from (("a size", str(size)) for size in sizes if not _names_only_sizes(str(size)))
        if "target" in value and "inputs" in value and not _OPERATORS.fullmatch(str(value["target"])):
            yield "an operator", str(value["target"])
        if "path_name" in value and not _PAYLOADS.fullmatch(str(value["path_name"])):
            yield "the place of a tensor", str(value["path_name"])


def _names_only_sizes(expression: str) -> bool:
    plain = re.fullmatch(r"[\w\s+\-*/%(),=<>'\"]*", expression, re.ASCII) is not None
    return plain and all(_SIZE_NAMES.fullmatch(word) for word in re.findall(r"[A-Za-z_]\w*", expression))


@contextmanager
def _without_pickles() -> Iterator[None]:
    before = os.environ.get(_FORCE)
    os.environ[_FORCE] = "1"
    try:
        with export_front.quiet():  # PyTorch logs whole tracebacks of what it then raises
            yield
    finally:
        if before is None:
            del os.environ[_FORCE]
        else:
            os.environ[_FORCE] = before
