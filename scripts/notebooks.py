"""The tutorials as notebooks: sources in py:percent form (jupytext), executed (nbclient), and as Markdown with their outputs."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import jupytext
import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
EXECUTED = ROOT / "build" / "notebooks"
SECONDS = 1800
"""Of each cell, before it is interrupted: they take a few, but other processes may want the cores."""
_SETUP = "get_ipython().run_line_magic('config', \"InlineBackend.figure_formats = ['png2x']\")"


def sources() -> list[Path]:
    """The tutorials, by name."""
    return sorted(TUTORIALS.glob("*.py"))


def execute(source: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs. What was executed before with the same sources and versions is taken from `build/`.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        A cell failed.
    """
    kept, key = EXECUTED / f"{source.stem}.ipynb", _key(source)
    if kept.exists():
        notebook = nbformat.read(kept, as_version=4)
        if notebook.metadata.get("key") == key:
            return notebook
    notebook = jupytext.read(source)
    notebook.metadata = {
        "key": key,
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
    }
    notebook.cells.insert(0, nbformat.v4.new_code_cell(_SETUP))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            startup_timeout=SECONDS,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            # Sockets in the folder instead of open ports.
            config=Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}}),
        )
        client.execute(env=environment)
    del notebook.cells[0]
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        cell.metadata = {}
    EXECUTED.mkdir(parents=True, exist_ok=True)
    partial = kept.with_suffix(f".{os.getpid()}")
    nbformat.write(notebook, partial)
    partial.replace(kept)
    return notebook


def _key(source: Path) -> str:
    """Of all that decides the outputs: how it is executed, the tutorial, the package and the versions around it."""
    import torch

    files = [source, *sorted((ROOT / "rmp_lava").rglob("*.py")), *sorted((ROOT / "hw_profiles").glob("*.toml"))]
    sums = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    return hashlib.sha256(
        "\n".join([sys.version, torch.__version__, inspect.getsource(execute), *sums]).encode()
    ).hexdigest()


def to_markdown(notebook: nbformat.NotebookNode, name: str) -> tuple[str, dict[str, str]]:
    """The page, and its pictures: name of the file -> PNG in base64."""
    parts, pictures = [], {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        printed = "".join(output.text for output in cell.outputs if output.output_type == "stream")
        if printed:
            parts.append(_text(printed))
        for output in cell.outputs:
            if output.output_type == "stream":
                continue
            if "image/png" in output.data:
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = output.data["image/png"]
                width = output.metadata.get("image/png", {}).get("width", 600)
                parts.append(f'![Figure {len(pictures)}]({file}){{ .figure width="{width}" }}')
            elif "text/html" in output.data:
                # An element of blank lines would end the block of HTML.
                shown = output.data["text/html"].replace("<table>", '<table class="numbers">')
                lines = [line for line in shown.splitlines() if line.strip()]
                parts.append('<div class="output">\n' + "\n".join(lines) + "\n</div>")
            else:
                parts.append(_text(output.data["text/plain"]))
    return "\n\n".join(parts) + "\n", pictures


def _text(text: str) -> str:
    return f"``` {{ .text .output .no-copy }}\n{text.rstrip()}\n```"
