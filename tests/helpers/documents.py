"""Code blocks of the Markdown documents."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
NOT_RUN = "*Not run by "
"""Begins the line above a block that no test runs, and gives the reader the reason."""


@dataclass(frozen=True)
class Block:
    """A code block: fenced, or indented by four spaces."""

    document: str
    language: str
    """What the fence names; "sh" for an indented block of our commands, else ""."""
    text: str
    run: bool

    def commands(self) -> Iterator[list[str]]:
        """Words of each command, without comments; an escaped end of line continues it."""
        for line in self.text.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def blocks(path: Path) -> list[Block]:
    """All code blocks of a document, in order."""
    found, before, lines = [], "", iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if fence := re.fullmatch(r"```(\w*)", line):
            body = list(iter(lambda: next(lines), "```"))
            found.append((fence[1], body, before))
        elif line.startswith("    ") and not before.startswith(("- ", "1. ")):
            body = [line]
            for line in lines:
                if line and not line.startswith("    "):
                    break
                body.append(line)
            body = [each[4:] for each in body]
            found.append(("sh" if re.match(r"(rmp-lava|python -m|make) ", body[0]) else "", body, before))
        before = line or before
    name = path.relative_to(ROOT).as_posix()
    return [Block(name, kind, "\n".join(body), not before.startswith(NOT_RUN)) for kind, body, before in found]
