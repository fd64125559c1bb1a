"""The package's floors: modules import downwards only, and never in a circle. Imports inside functions count."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "rmp_lava"

# From the ground up, as docs/architecture.md explains. A module may import from its own floor and from those below.
FLOORS = [
    {"choices", "errors", "findings", "files", "machine", "progress", "registers", "tables", "threads"},
    {"network"},
    {
        "neuron",
        "sigma_delta",
        "schedule",
        "encoding",
        "readout",
        "stock_weights",
        "results",
        "scores",
        "measurement",
        "words",
    },
    {"netx", "hardware", "training"},
    {"backends", "processes"},
    {"conversion"},
    {"nir", "sources"},
    {"zoo"},
    {"study"},
    {"selftest"},
    {"plot"},
    {"report"},
    {"cli", "doctor", "__main__"},
]


def modules(root: Path = ROOT / PACKAGE) -> dict[str, Path]:
    """Each module's dotted name, with the file that holds it."""
    names = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs: what is for type checkers only is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from statements(node)


def imports(name: str, known: dict[str, Path]) -> set[str]:
    """The modules among `known` that a module imports, at the top or inside a function."""
    path, found = known[name], set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            # `from .a import b` reads module a.b where there is one, else a name of a.
            found |= {f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names}
    return (found & known.keys()) - {name}


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(name, known) for name in known}


def test_no_import_circle(graph):
    found = circle(graph)
    assert not found, "an import circle: " + " <- ".join(found)


def test_packages_import_downwards_only(graph):
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    rooms = {name: name.split(".")[1] for name in graph if "." in name}
    assert set(rooms.values()) == set(floor), "FLOORS names each module and package directly in rmp_lava, and no other"
    upwards = [
        f"{name} imports {other}"
        for name, room in sorted(rooms.items())
        for other in sorted(graph[name])
        if other in rooms and floor[rooms[other]] > floor[room]
    ]
    assert not upwards, "\n".join(upwards)


def test_circles_and_lazy_imports_are_found(tmp_path):
    root = tmp_path / "package"
    (root / "b").mkdir(parents=True)
    (root / "__init__.py").write_text("")
    (root / "a.py").write_text("def f():\n    from .b import c\n")
    (root / "b" / "__init__.py").write_text("")
    (root / "b" / "c.py").write_text("if TYPE_CHECKING:\n    from ..a import f\n")
    known = modules(root)
    assert set(known) == {"package", "package.a", "package.b", "package.b.c"}
    assert imports("package.a", known) == {"package.b.c"} and not imports("package.b.c", known)
    (root / "b" / "c.py").write_text("def g():\n    import package.a\n")
    assert set(circle({name: imports(name, known) for name in known})) == {"package.a", "package.b.c"}
