"""Imports run one way: search_spaces → trainers → nas → launch.py; and two rooms alone may know Ray."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ["search_spaces", "trainers", "nas", "launch"]
SOURCES = [p for floor in FLOORS for p in (*ROOT.glob(f"{floor}/**/*.py"), *ROOT.glob(f"{floor}.py"))]

MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts) for p in SOURCES}


def imported(path: Path) -> set[str]:
    """Absolute dotted names of all modules that a file imports, wherever in the file."""
    package = path.relative_to(ROOT).parent.parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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
    functions = [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)]
    inside = [n for f in functions for n in ast.walk(f) if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert inside == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_two_rooms_know_ray(path: Path) -> None:
    """Searches by Tune, trainings by Train."""
    if path.parent not in (ROOT / "nas" / "tune", ROOT / "trainers" / "cluster"):
        assert [name for name in imported(path) if name.split(".")[0] == "ray"] == []


@pytest.mark.parametrize("path", [p for p in SOURCES if p.is_relative_to(ROOT / "nas")], ids=lambda p: str(p.name))
def test_no_function_has_more_than_seven_parameters(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            a = node.args
            names = [p.arg for p in (*a.posonlyargs, *a.args, *a.kwonlyargs) if p.arg not in ("self", "cls")]
            assert len(names) + bool(a.vararg) + bool(a.kwarg) <= 7, f"{node.name}({', '.join(names)})"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_text_files_are_opened_as_utf_8(path: Path) -> None:
    """Whatever the locale: YAMLs and ledgers have α and × in them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            reads = node.func.attr in ("read_text", "write_text")
            modes = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            opens = node.func.attr == "open" and any(set(mode) <= set("rwax+") and mode for mode in modes)
            if reads or opens:
                assert "encoding" in [k.arg for k in node.keywords], f"line {node.lineno}"


def rooms_of(path: Path) -> str:
    """``nas/run/files.py`` → ``nas.run``; a file that is alone → itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1]) if len(parts) > 2 else ".".join(parts).removesuffix(".__init__")


def test_no_circles_between_rooms() -> None:
    """A folder is one room: what is in it may know each other, but no room knows one that knows it."""
    graph: dict[str, set[str]] = {}
    for path in SOURCES:
        for name in imported(path):
            target = ROOT.joinpath(*name.split("."))
            file = target.with_suffix(".py") if target.with_suffix(".py").exists() else target / "__init__.py"
            if file.exists() and rooms_of(file) != rooms_of(path) and path != ROOT / "nas" / "__init__.py":
                graph.setdefault(rooms_of(path), set()).add(rooms_of(file))
    assert list(graphlib.TopologicalSorter(graph).static_order())


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
        "import nas.front, nas.run"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
