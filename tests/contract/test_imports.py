"""The order of the rooms: none imports from a higher one, and no two modules import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

# From the ground up. What stands in one line is of one height and may not import each other; a
# module of the package itself is named, a package stands for all that is in it.
ROOMS = """
facekit.errors facekit.closing facekit.parallel
facekit.files
facekit.outputs
facekit.data facekit.text facekit.limits facekit.contract
facekit.command facekit.progress facekit.detection facekit.landmarks facekit.engines
facekit.faces facekit.photos facekit.shared_pages
facekit.backends facekit.adapters facekit.selection
facekit.client facekit.labels
facekit.draw facekit.serving facekit.pipelines facekit.annotations facekit.report
facekit.gateway
facekit.runs facekit.datasets facekit.evaluation facekit.store facekit.chips facekit.sheet
facekit.annotate facekit.video
facekit.privacy
facekit.cli
conversion training benchmarks examples
"""


def modules() -> dict[str, Path]:
    """Return the files of the product by the names of their modules."""
    found = {}
    for package in ("facekit", "conversion", "training", "benchmarks", "examples"):
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


FILES = modules()


def imports(name: str, *, at_once: bool) -> set[str]:
    """Return the modules of the product that one imports.

    Args:
        name: The module's name.
        at_once: Leave out imports inside functions and for type checkers.
    """
    path = FILES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    targets = set()
    for node in _nodes(ast.parse(path.read_bytes()), at_once):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                start = ".".join(
                    filter(None, [*package.split(".")[: 1 - node.level or None], start])
                )
            # What is imported may be a module or a name in one.
            targets |= {start, *(f"{start}.{alias.name}" for alias in node.names)}
    return {target for target in targets if target in FILES and target != name}


def _nodes(tree: ast.AST, at_once: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        lazy = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if not (at_once and lazy):
            yield node
            yield from _nodes(node, at_once)


def room(name: str) -> str | None:
    """Return the room of a module; the package ``facekit`` itself has none."""
    first = name.split(".")
    return (
        ".".join(first[:2])
        if first[0] == "facekit" and len(first) > 1
        else (None if first[0] == "facekit" else first[0])
    )


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of nodes of which each leads to each other one (Tarjan)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in number:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], number[target])
        if low[node] == number[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in number:
            visit(node)
    return found


def test_no_modules_import_each_other() -> None:
    # A package's __init__ runs before its modules, and is left out of its own package's graph.
    graph = {name: imports(name, at_once=False) for name in FILES}
    for name, targets in graph.items():
        targets -= {target for target in targets if name.startswith(f"{target}.")}
    assert circles(graph) == []


def test_no_room_imports_from_a_higher_one() -> None:
    height = {name: k for k, line in enumerate(ROOMS.strip().splitlines()) for name in line.split()}
    rooms = {name: room(name) for name in FILES}
    missing = {each for each in rooms.values() if each is not None} - set(height)
    assert missing == set(), "say in ROOMS where they stand"
    wrong = [
        f"{name} -> {target}"
        for name in sorted(FILES)
        for target in sorted(imports(name, at_once=False))
        if (mine := rooms[name]) is not None
        and (other := rooms[target]) is not None
        and mine != other
        and height[other] >= height[mine]
    ]
    assert wrong == []
