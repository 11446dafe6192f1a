"""Imports run one way: search_spaces → trainers → nas → launch.py; and only some rooms may know Ray."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ["search_spaces", "trainers", "nas", "launch"]
KNOW_RAY = {f"nas/{name}.py" for name in ("searching", "tune/cluster", "tune/proposer", "tune/trial", "tune/watch")}
SOURCES = [p for floor in FLOORS for p in (*ROOT.glob(f"{floor}/**/*.py"), *ROOT.glob(f"{floor}.py"))]

MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in SOURCES}


def imported(path: Path) -> set[str]:
    """Absolute dotted names of all modules that a file imports, wherever in the file."""
    package = path.relative_to(ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            start = ".".join([*base, *([node.module] if node.module else [])])
            modules = {f"{start}.{alias.name}" for alias in node.names} & MODULES
            names |= modules or {start}
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_imports_from_a_higher_floor(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    higher = FLOORS[FLOORS.index(own) + 1 :]
    assert [name for name in imported(path) if name.split(".")[0] in higher] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_import_inside_a_function(path: Path) -> None:
    functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
    inside = [n for f in functions for n in ast.walk(f) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert inside == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_some_rooms_know_ray(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in KNOW_RAY:
        assert [name for name in imported(path) if name.split(".")[0] == "ray"] == []


def test_no_circles() -> None:
    graph = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): imported(p) for p in SOURCES
    }
    visiting, done = [], set()

    def visit(name: str) -> None:
        assert name not in visiting, f"circle: {' → '.join([*visiting[visiting.index(name) :], name])}"
        if name in done or name not in graph:
            return
        visiting.append(name)
        for other in graph[name]:
            if other != name:
                visit(other)
        visiting.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_operators_training_and_costs_import_without_ray_and_optuna() -> None:
    code = (
        "import sys; sys.modules['ray'] = sys.modules['optuna'] = None; "
        "import search_spaces, trainers.proxy, trainers.data, nas.cost.table, nas.feasible; "
        "import nas.result.front, nas.run.ledger"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
