"""What the documentation site shows and docs/ does not hold: notebooks with outputs, commands, the API, the changelog.

Links are written for the repository, such as `../exports/README.md` or `tutorials/events.py`, and become those of the site.
"""

from __future__ import annotations

import base64
import html
import importlib
import inspect
import logging
import posixpath
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
import notebooks  # noqa: E402  (found by the path above)

from rmp_lava.threads import usable_cores  # noqa: E402

_figures: list[tuple[str, str, list[str]]] = []
"""Name, title and pictures of each tutorial."""
_log = logging.getLogger("mkdocs.site_hooks")
PROJECT = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "exports/README.md": "project/reference-networks.md",
}
"""Documents that lie outside docs/, and their pages."""
PACKAGES = (
    "network",
    "neuron",
    "schedule",
    "encoding",
    "training.data",
    "training.train",
    "training.models",
    "hardware",
    "plot",
    "netx",
    "zoo",
    "study.study",
    "study.sweep",
    "errors",
)
"""Modules of rmp_lava that have a page in the reference, besides the names of rmp_lava itself."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    _figures.clear()
    for path, page in PROJECT.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    files.append(File.generated(config, "reference/commands.md", content=commands()))
    for module in ("rmp_lava", *(f"rmp_lava.{name}" for name in PACKAGES)):
        files.append(File.generated(config, f"reference/{module}.md", content=names(module)))
    sources = notebooks.sources()
    with ThreadPoolExecutor(usable_cores()) as threads:  # each waits for a kernel, a process of its own
        executed = list(threads.map(notebooks.execute, sources))
    for source, notebook in zip(sources, executed, strict=True):
        name = source.stem
        files.remove(files.get_file_from_path(f"tutorials/{name}.py"))
        page, pictures = notebooks.to_markdown(notebook, name)
        note = f"[Download this page as a notebook]({name}.ipynb){{ .download }}\n\n"
        title, rest = page.split("\n", 1)
        files.append(File.generated(config, f"tutorials/{name}.md", content=f"{title}\n\n{note}{rest}"))
        files.append(File.generated(config, f"tutorials/{name}.ipynb", content=nbformat.writes(notebook)))
        _figures.append((name, title.removeprefix("# "), list(pictures)))
        for picture, content in pictures.items():
            files.append(File.generated(config, f"tutorials/{picture}", content=base64.b64decode(content)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links into the repository into links into the site; what the site does not have becomes plain text."""
    markdown = markdown.replace("<!-- figures of the tutorials -->", gallery())
    pages = {page: path for path, page in PROJECT.items()}
    source = pages.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def link(match: re.Match) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path.startswith("docs/"):
            place = path.removeprefix("docs/")
            if place.startswith("tutorials/") and place.endswith(".py"):
                place = place[:-3] + ".md"
        elif path in PROJECT:
            place = PROJECT[path]
        elif (ROOT / path).exists():
            return text if text.startswith("`") else f"{text} (`{path}`)"
        else:
            return match[0]  # MkDocs reports it
        return f"[{text}]({posixpath.relpath(place, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return re.sub(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)([^)#]+)(#[^)]*)?\)", link, markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warn, and so fail, where a page would load something from the network."""
    for reference in outside(output):
        _log.warning("%s loads %s from outside the site", page.file.src_uri, reference)
    return output


def outside(page: str) -> list[str]:
    """What a browser would load from elsewhere: addresses of scripts, styles, pictures and frames. Links are not loaded."""
    loaded = re.findall(
        r"<(?:script|img|link|iframe|source|video|object)\b[^>]*?\b(?:src|href|srcset|data)=[\"']?([^\"'\s>]+)", page
    )
    styles = re.findall(r"(?:@import\s+[\"']|url\([\"']?)([^\"')]+)", page)
    return [address for address in loaded + styles if re.match(r"(?:[a-z]+:)?//", address)]


def gallery() -> str:
    """The figures of the tutorials, each with its page."""
    return "\n\n".join(
        f"### [{title}](tutorials/{name}.py)\n\n"
        + "\n\n".join(f"![{title}](tutorials/{picture}){{ .figure }}" for picture in pictures)
        for name, title, pictures in _figures
        if pictures
    )


def commands() -> str:
    """The reference of the command line, as `--help` has it."""
    from typer.main import get_command

    from rmp_lava.cli import app

    parts = [
        "# Commands\n",
        "Made from `rmp-lava COMMAND --help`. Errors of the user are one sentence on standard error, and exit code 2.\n",
    ]
    for name, command in get_command(app).commands.items():
        parts += [f"## {name}\n", _paragraphs(command.help or ""), ""]
        context = command.context_class(command, info_name=f"rmp-lava {name}")
        usage = command.get_usage(context).removeprefix("Usage: ")
        parts += [f"```sh\n{' '.join(usage.split())}\n```\n", "| option | meaning |", "|---|---|"]
        for parameter in command.params:
            record = parameter.get_help_record(context)
            if record:
                left, meaning = (" ".join(part.split()).replace("|", "\\|") for part in record)
                parts.append(f"| `{left}` | {html.escape(meaning).replace('*', '&#42;')} |")
        parts.append("")
    return "\n".join(parts)


def _paragraphs(text: str) -> str:
    """Help as Markdown; a paragraph that Click does not wrap, which begins with a backspace, is a block."""
    return "\n\n".join(
        f"```text\n{part[1:].strip(chr(10))}\n```" if part.startswith("\b") else part
        for part in inspect.cleandoc(text).split("\n\n")
    )


def names(name: str) -> str:
    """The reference of a module's public names: those of `__all__`, or all that it defines."""
    module = importlib.import_module(name)
    listed = [key for key in getattr(module, "__all__", ()) if not inspect.ismodule(getattr(module, key))]
    public = listed or [key for key, value in vars(module).items() if _defined_in(value, name)]
    public = sorted((key for key in public if not key.startswith("_")), key=lambda key: (key[0].isupper(), key))
    entries = "".join(f"::: {name}.{key}\n\n" for key in public)
    return f"# {name}\n\n{inspect.cleandoc(module.__doc__ or '')}\n\n{entries}"


def _defined_in(value: object, module: str) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module
