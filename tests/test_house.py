"""The floors of the house: imports go to the same package or to a lower floor, and never in a circle."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "medvfm"
FLOORS = {
    "core": 0,
    "io": 1,
    "nn": 1,
    "metrics": 1,
    "statistics": 1,
    "models": 2,
    "adapters": 3,
    "tasks": 3,
    "engine": 4,
    "report": 5,
    "lookup": 6,
    "pipeline": 6,
    "cli": 7,
}
FLOORS_OF_IO = {
    "formats": 0,
    "rendering": 0,
    "single files": 0,
    "dicom": 1,
    "read": 2,
    "deidentify": 3,
    "index": 3,
    "writers": 3,
    "virtual_brain": 4,
    "dataset": 5,
}
SINGLE_FILES_OF_IO_MOST = 10
TOP = "medvfm"


def modules(root: Path) -> dict[str, Path]:
    """Dotted name to file, below a package's folder."""
    names = {}
    for file in root.rglob("*.py"):
        parts = (TOP, *file.relative_to(root).with_suffix("").parts)
        names[".".join(parts).removesuffix(".__init__")] = file
    return names


def imports(name: str, file: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the house that a file imports: at the top or in a function, absolute or relative, or by importlib."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
        elif isinstance(node, ast.Call) and _is_importlib(node.func) and node.args:
            found |= _called(node.args[0], known)
    return {f for f in found if f in known and f != name}


def _is_importlib(function: ast.expr) -> bool:
    called = ast.unparse(function)
    return called.endswith("import_module") or called == "__import__"


def _called(argument: ast.expr, known: dict[str, Path]) -> set[str]:
    """What a call of import_module may import: a constant, or everything that an f-string's first part begins."""
    if isinstance(argument, ast.Constant):
        return {str(argument.value)}
    if isinstance(argument, ast.JoinedStr) and isinstance(argument.values[0], ast.Constant):
        rooms = [str(v.value) for v in argument.values if isinstance(v, ast.Constant)]
        return {name for name in known if name.startswith(rooms[0]) and name.count(".") > 1}
    return set()


def room(name: str) -> str | None:
    return name.split(".")[1] if "." in name else None


def family(name: str) -> str | None:
    """Of a module of io: its folder, or `read`, or the other files that stand alone; None elsewhere."""
    parts = name.split(".")
    if parts[1:2] != ["io"] or len(parts) < 3:
        return None
    return parts[2] if parts[2] == "read" or parts[2] in FLOORS_OF_IO else "single files"


def faults_of_io(graph: dict[str, set[str]]) -> list[str]:
    """Imports within io that go up, or to another family of the same floor."""
    found = []
    for name, targets in graph.items():
        for target in targets:
            own, other = family(name), family(target)
            if own and other and own != other and FLOORS_OF_IO[other] >= FLOORS_OF_IO[own]:
                floors = f"{own}, floor {FLOORS_OF_IO[own]} of io) imports {target} ({other}, {FLOORS_OF_IO[other]}"
                found.append(f"{name} ({floors})")
    return found


def faults(root: Path) -> list[str]:
    """Every import that breaks a rule of the house, in words."""
    known = modules(root)
    graph = {name: imports(name, file, known) for name, file in known.items()}
    found = [f"{n}: a room without a floor" for n in known if room(n) not in {None, "__main__", *FLOORS}]
    for name, targets in graph.items():
        own = room(name)
        if own is None:
            continue  # the public list resolves names of every floor, lazily
        for target in targets:
            other = room(target)
            if other is None:
                found.append(f"{name} imports the top package")
            elif own in FLOORS and other in FLOORS and own != other:
                neighbours = {own, other} == {"lookup", "pipeline"}  # single files of one floor, not packages
                if FLOORS[other] > FLOORS[own] or (FLOORS[other] == FLOORS[own] and not neighbours):
                    found.append(f"{name} (floor {FLOORS[own]}) imports {target} (floor {FLOORS[other]})")
    single = [n for n in graph if family(n) in {"single files", "read"} and n.count(".") == 2]
    single += [n for n in graph if n == f"{TOP}.io"]
    if len(single) > SINGLE_FILES_OF_IO_MOST:
        found.append(f"io has {len(single)} files outside its families: {', '.join(sorted(single))}")
    return found + faults_of_io(graph) + [f"a circle: {' -> '.join(c)}" for c in _circles(graph)]


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    found, state = [], dict.fromkeys(graph, 0)

    def visit(node: str, path: list[str]) -> None:
        state[node] = 1
        for target in sorted(graph[node]):
            if room(node) is None:
                continue
            if state[target] == 1:
                found.append([*path[path.index(target) :], target] if target in path else [node, target])
            elif state[target] == 0:
                visit(target, [*path, target])
        state[node] = 2

    for node in sorted(graph):
        if state[node] == 0:
            visit(node, [node])
    return found


def test_the_house_stands():
    assert faults(ROOT) == []


@pytest.mark.parametrize(
    ("file", "code", "said"),
    [
        ("core/a.py", "from medvfm.engine import train", "floor 0"),
        ("core/a.py", "def f():\n    import medvfm.engine.train", "floor 0"),
        ("core/a.py", "from ..engine import train", "floor 0"),
        ("core/a.py", "import importlib\nimportlib.import_module('medvfm.engine.train')", "floor 0"),
        ("core/a.py", "from importlib import import_module as i\nimport importlib\nx='t'\n"
         "importlib.import_module(f'medvfm.engine.{x}')", "floor 0"),
        ("io/a.py", "from medvfm.nn import heads", "floor 1"),
        ("adapters/a.py", "from medvfm.tasks import t", "floor 3"),
        ("core/a.py", "import medvfm", "top package"),
        ("core/a.py", "from medvfm.core import b", "circle"),
        ("utils.py", "", "without a floor"),
        ("io/formats/a.py", "from medvfm.io.dicom import read", "floor 0 of io"),
        ("io/index/a.py", "def f():\n    from medvfm.io.writers import w", "floor 3 of io"),
        ("io/a.py", "from ..io.dicom import read", "floor 0 of io"),
    ],
)  # fmt: skip
def test_the_rule_bites(tmp_path, file, code, said):
    there = ("core/b.py", "engine/train.py", "nn/heads.py", "tasks/t.py", "core/__init__.py", "__init__.py")
    for name in (*there, "io/dicom/read.py", "io/writers/w.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("from medvfm.core import a\n" if name == "core/b.py" and "b" in code else "")
    (tmp_path / file).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / file).write_text(code)
    assert any(said in fault for fault in faults(tmp_path)), faults(tmp_path)


def test_core_and_the_front_door_import_no_torch():
    code = (
        "import sys, medvfm, medvfm.cli, medvfm.core.recipe, medvfm.core.data_card, medvfm.lookup;"
        "print([m for m in ('torch', 'transformers', 'pandas', 'monai') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_help_answers_at_once():
    """CPU time, measured by the kernel over the whole process; the best of three, since machines are noisy."""
    import resource

    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "medvfm.cli", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5
