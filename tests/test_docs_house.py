"""The pages on the inside tell of what is there: the rooms, what each imports, and the files that they name."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import piactors

PACKAGE = Path(piactors.__file__).parent
DOCS = PACKAGE.parent / "docs"
ROW = re.compile(r"^\| `(\w+)` \| .+\. \| (.*)\|$", re.MULTILINE)


NOT_THERE = {"spawn.py", "watch.py"}
"""What the house says that there must not be."""


def rooms() -> set[str]:
    return {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def imported_by(room: str) -> set[str]:
    """Return the other rooms that one imports at run time."""
    found: set[str] = set()
    for path in (PACKAGE / room).rglob("*.py"):
        for node in ast.walk(without_typing(ast.parse(path.read_text()))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{name}" for name in names] if not node.level else []
            found |= {name.split(".")[1] for name in names if name.startswith("piactors.")}
    return (found & rooms()) - {room}


def without_typing(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = [ast.Pass()]
    return tree


def test_the_table_has_every_room_and_what_it_imports() -> None:
    told = {
        room: set(re.findall(r"`(\w+)`", imports)) for room, imports in ROW.findall((DOCS / "house.md").read_text())
    }
    assert told == {room: imported_by(room) for room in rooms()}


@pytest.mark.parametrize("page", ["house.md", "architecture.md"])
def test_the_files_that_a_page_names_exist(page: str) -> None:
    text = (DOCS / page).read_text()
    named = set(re.findall(r"(?<![\w/])[\w/]+\.py\b", text))
    assert len(named) > 15
    for name in named - NOT_THERE:
        places = [PACKAGE / name, PACKAGE.parent / name]
        assert any(place.is_file() for place in places) or ("/" not in name and any(PACKAGE.rglob(name))), name
    for folder in set(re.findall(r"`(_\w+(?:/\w+)*/?)`", text)):
        assert "/" not in folder or (PACKAGE / folder).is_dir(), folder
