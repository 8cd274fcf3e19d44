"""The house stands: imports run down only, outside things have one home, files are small, shelves are full."""

import ast
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(p for folder in ("study", "models", "data") for p in (ROOT / folder).rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "common", "helpers", "misc", "engine", "manager", "core"}
HOMES = {  # an outside thing, and the only places that may import it
    "ray": ("study/cluster/",),
    "optuna": ("study/cluster/",),
    "pyarrow": ("study/table.py", "study/merged.py"),
    "yaml": ("study/document.py",),
    "torch.distributed": ("models/parallel.py",),
}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=name)
def test_wings_do_not_know_the_house(path: Path) -> None:
    top = name(path).split("/")[0]
    allowed = {"models": {"models"}, "data": {"data"}, "study": {"study", "models", "data"}}[top]
    wrong = {i for i in imports(path) if i.split(".")[0] in {"study", "models", "data"} - allowed}
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=name)
def test_outside_things_have_one_home(path: Path) -> None:
    for thing, homes in HOMES.items():
        uses = {i for i in imports(path) if i == thing or i.startswith(thing + ".")}
        assert not uses or name(path).startswith(homes), f"{name(path)} imports {uses}"


def test_analyses_read_tables_only() -> None:
    for path in (ROOT / "study" / "analyses").glob("*.py"):
        assert not {i for i in imports(path) if i.split(".")[0] in {"torch", "models", "data", "ray"}}, path


@pytest.mark.parametrize("path", FILES, ids=name)
def test_rooms_are_small_and_named(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    assert path.stem not in FORBIDDEN_NAMES
    assert ast.get_docstring(ast.parse(text)), "a module opens with a sentence that says what it is"


def test_shelves_are_complete() -> None:
    """A file on a shelf that no registry names is dead."""
    from models.methods import METHODS
    from study.analyses import ANALYSES
    from study.evaluations import EVALUATIONS

    methods = {type_.__module__.split(".")[-1] for type_ in METHODS.values()}
    assert methods == {p.stem for p in (ROOT / "models" / "methods").glob("*.py")} - {"__init__"}
    for key, type_ in METHODS.items():
        assert type_.Spec.model_fields["name"].default == key
    for key, evaluation in EVALUATIONS.items():
        assert evaluation.model_fields["name"].default == key
    assert {"question", "claims"} <= set(ANALYSES)


def test_the_readme_names_its_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "pip install -e . && python -m study.run searchspaces/lewel_groups.yaml" in text
    assert 'pip install -e ".[test]" && pytest' in text


def test_the_map_is_true() -> None:
    """HOUSE.md has one line a file: its path and its own first sentence. UPDATE_HOUSE=1 writes it anew."""
    head = "# The house, room by room\n\nOne line a file; imports run down only (`tests/test_house.py` keeps it).\n\n"
    rows = ["| room | what it is |", "|---|---|"]
    for path in FILES:
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0]
        rows.append(f"| `{name(path)}` | {' '.join(first.split())} |")
    wanted = head + "\n".join(rows) + "\n"
    house = ROOT / "HOUSE.md"
    if os.environ.get("UPDATE_HOUSE"):
        house.write_text(wanted)
    assert house.read_text() == wanted, "run UPDATE_HOUSE=1 pytest tests/test_house.py"
