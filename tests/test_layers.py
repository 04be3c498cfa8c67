"""Which module may import which: the table of rooms below, and a checker that reads every import of the package.

An import goes to a lower floor or stays within its room, also one that only a type checker follows, and what it names
must exist.  What is imported by a text at run time is not seen here.  What each room is for stands in its `__init__`.
"""

from __future__ import annotations

import ast
import graphlib
import importlib.util
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import attrs
import pytest

import piactors
from tests import style

PACKAGE = Path(piactors.__file__).parent


@attrs.frozen(kw_only=True)
class Room:
    """One row of the table.

    Attributes:
        floor: where it stands: above all that it imports; rooms of one floor do not import each other.
        modules: the modules and folders right below the package; `__init__` is the package itself.
        packages: what it may import besides the standard library.
        not_stdlib: what it may not import of the standard library.
    """

    floor: int
    modules: tuple[str, ...]
    packages: tuple[str, ...] = ()
    not_stdlib: tuple[str, ...] = ()


CLOCKS_AND_IO = (
    "asyncio",
    "concurrent",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "select",
    "selectors",
    "socket",
    "subprocess",
    "threading",
    "time",
)

_PURE = ("attrs",)
_HOST = ("attrs", "pykka")

ROOMS: dict[str, Room] = {
    "the isolate's side": Room(floor=0, modules=("pihost",)),
    "text": Room(floor=1, modules=("_text",)),
    "words": Room(
        floor=2,
        modules=(
            *("errors", "exit_reason", "events", "limits", "options", "option_fields", "environment_spec"),
            "_validation",
        ),
        packages=_HOST,
    ),
    "rules": Room(floor=3, modules=("_rules",), packages=_PURE, not_stdlib=CLOCKS_AND_IO),
    "platform": Room(floor=3, modules=("_platform",), packages=("attrs", "psutil")),
    "moving bytes": Room(floor=4, modules=("_io",), packages=_PURE),
    "values to bytes": Room(floor=5, modules=("_codec",), packages=("attrs", "cloudpickle", "multiprocess")),
    "one process": Room(floor=6, modules=("_process",), packages=_PURE),
    "once per host": Room(floor=7, modules=("_host",), packages=_PURE),
    "futures": Room(floor=8, modules=("future", "_future"), packages=_HOST),
    "names of actors": Room(floor=8, modules=("names",), packages=_HOST),
    "environments": Room(floor=9, modules=("environments",), packages=(*_HOST, "packaging", "uv")),
    "handles": Room(floor=9, modules=("_values",), packages=_HOST),
    "proxies": Room(floor=10, modules=("proxy",), packages=_HOST),
    "one isolate": Room(floor=11, modules=("_isolate",), packages=(*_HOST, "psutil")),
    "usage": Room(floor=12, modules=("usage",), packages=(*_HOST, "psutil")),
    "refs": Room(floor=13, modules=("ref", "_refs"), packages=_HOST),
    "starting": Room(floor=14, modules=("_spawn",), packages=_HOST),
    "actors": Room(floor=15, modules=("actor",), packages=_HOST),
    "hosting": Room(floor=16, modules=("spawning", "child_spec"), packages=_HOST),
    "isolators": Room(floor=17, modules=("isolator", "watching"), packages=_HOST),
    "trees": Room(floor=18, modules=("_tree",), packages=(*_HOST, "rich")),
    "supervisors' refs": Room(floor=19, modules=("supervisor_ref",), packages=_HOST),
    "supervisors": Room(floor=20, modules=("supervisor",), packages=_HOST),
    "programs": Room(floor=21, modules=("program", "testing"), packages=_HOST),
    "plugins": Room(floor=21, modules=("plugins",), packages=(*_HOST, "pluggy", "packaging", "psutil", "watchfiles")),
    "names": Room(floor=22, modules=("__init__",)),
    "command line": Room(floor=23, modules=("cli", "__main__"), packages=(*_HOST, "psutil", "click", "rich")),
}

ONLY_IN: dict[str, tuple[str, ...]] = {
    "click": ("cli",),
    "rich": ("cli", "_tree"),
    "packaging": ("environments", "plugins"),
    "pluggy": ("plugins",),
    "uv": ("environments",),
}
"""Packages that come with an extra: the rest must do without them."""

IN_FUNCTIONS_ONLY: frozenset[tuple[str, str]] = frozenset(
    {("pihost.pickles.copies", "cloudpickle"), ("pihost.serve.isolate", "debugpy"), ("pihost.pickles.arrays", "numpy")}
)
"""Packages that a module imports where it needs them, and does without where they are not installed."""

PIHOST_ROOMS: dict[str, int] = {
    "memory": 0,
    "plain": 0,
    "process": 0,
    "wire": 1,
    "pickles": 1,
    "values": 2,
    "serve": 3,
    "fork": 4,
}
"""The rank of each room of pihost: an import, for type checkers too, stays in its room or goes to a lower rank."""

REPLACEABLE: dict[str, tuple[str, ...]] = {
    "pihost.wire.wire": (),
    "pihost.wire.page": (),
    "_rules.mailbox": ("_rules.message", "_rules.numbers"),
    "_rules.numbers": ("_rules.message",),
    "_rules.message": (),
    "_rules.read_turns": (),
}
"""The leaves of the data path, which a compiled twin may take the place of, and what of the package each may import."""

FROM_OS: dict[str, tuple[str, ...]] = {
    "_rules.verdict": ("WIFSIGNALED", "WTERMSIG", "WIFEXITED", "WEXITSTATUS", "waitstatus_to_exitcode")
}
"""Rules that may import `os` after all, and what of it: functions that only read a number."""

Where = Literal["module", "function", "typing"]


@attrs.frozen
class Import:
    """One import: `importer` and `module` by full name, `name` what is taken from the module (None: itself)."""

    importer: str
    module: str
    name: str | None
    where: Where
    line: int


# Reading


class _Reader(ast.NodeVisitor):
    """Collects the imports of one module."""

    def __init__(self, importer: str, package: str) -> None:
        self.found: list[Import] = []
        self._importer = importer
        self._package = package
        self._where: Where = "module"

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_as(node.body, "function")

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._visit_as(node.body, "function")

    def visit_If(self, node: ast.If) -> None:
        self._visit_as(node.body, "typing" if _is_type_checking(node.test) else self._where)
        self._visit_as(node.orelse, self._where)

    def _visit_as(self, nodes: Iterable[ast.stmt], where: Where) -> None:
        before = self._where
        self._where = before if before == "typing" else where
        for node in nodes:
            self.visit(node)
        self._where = before

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self.found.append(Import(self._importer, alias.name, None, self._where, node.lineno))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level:
            module = importlib.util.resolve_name("." * node.level + module, self._package)
        for alias in node.names:
            self.found.append(Import(self._importer, module, alias.name, self._where, node.lineno))


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


class Tree:
    """A package as source: its modules, their imports, and the names at their top level."""

    def __init__(self, root: Path) -> None:
        self.package = root.name
        self.parsed: dict[str, ast.Module] = {}
        self.imports: list[Import] = []
        for path in sorted(root.rglob("*.py")):
            parts = [root.name, *path.relative_to(root).with_suffix("").parts]
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            self.parsed[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
            reader = _Reader(name, name if is_package else name.rpartition(".")[0])
            reader.visit(self.parsed[name])
            self.imports += reader.found

    def is_inside(self, module: str) -> bool:
        """Whether a module is of this package."""
        return module.partition(".")[0] == self.package

    def target(self, found: Import) -> str:
        """Return the module that an import needs: ``from package import module`` needs that module."""
        inner = f"{found.module}.{found.name}"
        return inner if inner in self.parsed else found.module

    def exists(self, found: Import) -> bool:
        """Whether an import of this package names something that is there."""
        if self.target(found) not in self.parsed:
            return False
        is_module = found.name is None or self.target(found) != found.module
        return is_module or found.name in set(_bound_names(self.parsed[found.module].body))


def _bound_names(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Yield the names that a module's top level binds."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
        else:
            yield from (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
            if isinstance(node, ast.If | ast.Try):
                yield from _bound_names(child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt))


# Judging


def complaints(tree: Tree) -> list[str]:
    """Return one line for each module that the table does not know, and for each import that it forbids."""
    unknown = [
        f"{module} is not in the table: give it a room in tests/test_layers.py"
        for module in tree.parsed
        if _room_of(_short(module)) is None
    ]
    return unknown + [
        f"{found.importer}:{found.line} imports {tree.target(found)}: {why}"
        for found in tree.imports
        for why in _faults(tree, found)
    ]


def _faults(tree: Tree, found: Import) -> Iterator[str]:
    importer = _short(found.importer)
    room = _room_of(importer)
    if room is None:
        return
    if tree.is_inside(found.module):
        yield from _faults_inside(tree, found, importer, room)
    elif found.where == "typing":
        if not _is_installed(found.module):
            yield "there is no such module"
    elif found.module.partition(".")[0] in sys.stdlib_module_names:
        yield from _faults_of_stdlib(found, importer, room)
    else:
        yield from _faults_of_packages(found, importer, room)


def _faults_inside(tree: Tree, found: Import, importer: str, room: str) -> Iterator[str]:
    if not tree.exists(found):
        yield f"there is no {found.module}:{found.name}"
        return
    target = _room_of(_short(tree.target(found)))
    if target is None or target == room:
        return
    if ROOMS[target].floor >= ROOMS[room].floor:
        yield f"{room!r} (floor {ROOMS[room].floor}) is not above {target!r} (floor {ROOMS[target].floor})"


def _faults_of_stdlib(found: Import, importer: str, room: str) -> Iterator[str]:
    top = found.module.partition(".")[0]
    if top not in ROOMS[room].not_stdlib:
        return
    if top != "os" or importer not in FROM_OS:
        yield f"{room!r} is pure"
    elif found.name is not None and found.name not in FROM_OS[importer]:
        yield f"os.{found.name} is more than a rule needs"


def _faults_of_packages(found: Import, importer: str, room: str) -> Iterator[str]:
    top = found.module.partition(".")[0]
    if found.where == "function" and (importer, top) in IN_FUNCTIONS_ONLY:
        return
    if top not in ROOMS[room].packages:
        yield f"{room!r} does without {top}"
    elif importer.partition(".")[0] not in ONLY_IN.get(top, (importer.partition(".")[0],)):
        yield f"{top} comes with an extra"


def uses_of_os(tree: Tree) -> list[str]:
    """Return the uses of `os`, in rules that may import it, that the table does not list."""
    return [
        f"{module}:{node.lineno} uses os.{node.attr}"
        for module, parsed in tree.parsed.items()
        for node in ast.walk(parsed)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os"
        if node.attr not in FROM_OS.get(_short(module), (node.attr,))
    ]


def absolute_imports_of_pihost(tree: Tree) -> list[str]:
    """Return the imports that fail in an isolate, where these files are `_pihost` and there may be no piactors."""
    inside = f"{tree.package}.pihost"
    return [
        f"{module}:{node.lineno}"
        for module, parsed in tree.parsed.items()
        if module == inside or module.startswith(inside + ".")
        for node in ast.walk(parsed)
        if (isinstance(node, ast.ImportFrom) and not node.level and tree.is_inside(node.module or ""))
        or (isinstance(node, ast.Import) and any(tree.is_inside(alias.name) for alias in node.names))
    ]


def entangled(tree: Tree) -> list[str]:
    """Return what the leaves of the data path import and may not; a leaf that is not there is one that was moved."""
    found = [f"{leaf} is not there" for leaf in REPLACEABLE if f"{tree.package}.{leaf}" not in tree.parsed]
    for one in tree.imports:
        leaf, there = (name.removeprefix(f"{tree.package}.") for name in (one.importer, tree.target(one)))
        if leaf in REPLACEABLE and there != tree.target(one) and there not in REPLACEABLE[leaf]:
            found.append(f"{leaf}:{one.line} imports {there}")
    return found


def imports_out_of_rooms(tree: Tree) -> list[str]:
    """Return the imports within pihost that do not go downwards, and those that a room itself makes."""
    inside = f"{tree.package}.pihost."
    found = []
    for one in tree.imports:
        here, there = one.importer, tree.target(one)
        if not here.startswith(inside):
            continue
        if here.removeprefix(inside) in PIHOST_ROOMS:
            found.append(f"{here}:{one.line} imports {there}: each import of a room costs time at each start")
        elif there.startswith(inside):
            mine, theirs = (name.removeprefix(inside).partition(".")[0] for name in (here, there))
            if mine != theirs and PIHOST_ROOMS.get(theirs, 0) >= PIHOST_ROOMS.get(mine, -1):
                found.append(f"{here}:{one.line} imports {there}: {mine!r} is not above {theirs!r}")
    return found


def modules_without_a_room(tree: Tree) -> list[str]:
    """Return the modules of pihost that stand in no room that the table knows."""
    inside = f"{tree.package}.pihost."
    names = [module.removeprefix(inside) for module in tree.parsed if module.startswith(inside)]
    return [name for name in names if name != "__main__" and name.partition(".")[0] not in PIHOST_ROOMS]


def cycle(tree: Tree) -> list[str]:
    """Return the modules of one cycle of imports, or an empty list; those for type checkers and in functions count."""
    needs: dict[str, set[str]] = {module: set() for module in tree.parsed}
    for found in tree.imports:
        if tree.is_inside(found.module) and tree.target(found) != found.importer:
            needs[found.importer].add(tree.target(found))
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        return [str(module) for module in error.args[1]]
    return []


def _short(module: str) -> str:
    """Return a module's name without the package; the package itself is `__init__`."""
    return module.partition(".")[2] or "__init__"


def _room_of(short: str) -> str | None:
    top = short.partition(".")[0]
    return next((name for name, room in ROOMS.items() if top in room.modules), None)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


# The package


@pytest.fixture(scope="module")
def package() -> Tree:
    return Tree(PACKAGE)


def test_every_import_is_allowed(package: Tree) -> None:
    assert complaints(package) == []


def test_no_modules_import_each_other_in_a_circle(package: Tree) -> None:
    assert cycle(package) == []


def test_rules_use_os_only_to_read_numbers(package: Tree) -> None:
    assert uses_of_os(package) == []


def test_the_isolates_side_imports_itself_relatively(package: Tree) -> None:
    assert absolute_imports_of_pihost(package) == []


def test_the_rooms_of_the_isolates_side_import_downwards(package: Tree) -> None:
    assert imports_out_of_rooms(package) == []
    assert modules_without_a_room(package) == []


def test_no_module_stands_in_two_rooms() -> None:
    names = [name for room in ROOMS.values() for name in room.modules]
    assert len(names) == len(set(names))


def test_nothing_in_an_isolates_room_imports_what_joins_it(package: Tree) -> None:
    """`isolate.py` imports the others: what they need of it, they are given."""
    users = {found.importer for found in package.imports if package.target(found) == "piactors._isolate.isolate"}
    assert not [name for name in users if name.startswith("piactors._isolate.") and name != "piactors._isolate.calls"]


def test_the_leaves_of_the_data_path_import_nothing_else_of_the_package(package: Tree) -> None:
    """Not even for type checkers: what replaces one need not know the house."""
    assert entangled(package) == []


def test_each_file_owns_its_attributes() -> None:
    """Nobody else assigns them; see `tests.style` for what that means."""
    assert style.foreign_writes() == []


OTHER_LOCKS = {
    "capacity.py": "that one caller sleeps on until there is room; nobody else waits for it",
    "deathwatch.py": "of those who wait for an end",
    "news.py": "pykka's own, of its registry, in a forked copy of the host",
}


def test_the_figures_of_the_house_are_within_their_bounds() -> None:
    """Those that `python -m tests.style` prints."""
    assert [figure for figure in style.figures() if figure.value > figure.bound] == []


def test_the_data_path_alone_has_a_lock() -> None:
    """Of an isolate; the locks of others, and of who waits for an end, are not taken while it is held."""
    lock = re.compile(r"reentry\.lock\(\)|threading\.(R?Lock|Condition|Semaphore)\(")
    made = {path.name for path in (PACKAGE / "_isolate").rglob("*.py") if lock.search(path.read_text())}
    assert made == {"posting.py"} | OTHER_LOCKS.keys()


# The checker itself


def planted(folder: Path, modules: Mapping[str, str]) -> Tree:
    """Make a package of modules, given by dotted name, and return its tree."""
    root = folder / "planted"
    root.mkdir()
    for name, source in {"__init__": "", **modules}.items():
        path = root.joinpath(*name.split("."))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".py").write_text(textwrap.dedent(source), encoding="utf-8")
    return Tree(root)


FORBIDDEN: dict[str, tuple[str, str, str]] = {
    "upwards": ("errors", "from planted import ref", "is not above"),
    "upwards, relative": ("_io.loop", "from ..ref import here", "is not above"),
    "upwards, in a function": ("errors", "def f():\n    import planted.ref", "is not above"),
    "upwards, in a method": ("errors", "class A:\n  async def f(self):\n    import planted.ref", "is not above"),
    "upwards, in a branch": ("errors", "try:\n    import planted.ref\nexcept Exception: pass", "is not above"),
    "upwards, for who checks no types": (
        "errors",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING: pass\nelse:\n    import planted.ref",
        "is not above",
    ),
    "the package itself": ("ref", "from planted import top", "is not above"),
    "sideways": ("_values.futures", "from planted.proxy import side", "is not above"),
    "a package": ("errors", "import psutil", "does without psutil"),
    "a package, not in a function": ("pihost.pickles.copies", "import cloudpickle", "does without cloudpickle"),
    "a package of an extra": ("__main__", "import click", "comes with an extra"),
    "a clock": ("_rules.restart", "from time import monotonic", "is pure"),
    "a system call": ("_rules.mailbox", "import os", "is pure"),
    "a system call by name": ("_rules.verdict", "from os import kill", "more than a rule needs"),
    "no such name": ("ref", "from planted.errors import Nonsense", "there is no planted.errors:Nonsense"),
    "no such name, typing": (
        "errors",
        "import typing\nif typing.TYPE_CHECKING:\n    from planted.ref import Nonsense",
        "there is no",
    ),
    "no such package, typing": (
        "errors",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import no_such_package",
        "no such module",
    ),
    "a module without a room": ("novelty", "", "planted.novelty is not in the table"),
}


@pytest.mark.parametrize(("module", "source", "complaint"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_checker_finds(tmp_path: Path, module: str, source: str, complaint: str) -> None:
    others = {"errors": "", "ref": "here = 1", "proxy": "side = 1", "__init__": "top = 1"}
    found = complaints(planted(tmp_path, {**others, module: source}))
    assert len(found) == 1
    assert complaint in found[0]


ALLOWED = {
    "errors": """
        import time
        from typing import TYPE_CHECKING
        import attrs
        if TYPE_CHECKING:
            from planted._text.shown import line
            from pykka import Actor
    """,
    "ref": """
        import pykka
        from planted import errors
        from planted.errors import attrs
        here = 1
        def later():
            from planted import proxy
    """,
    "_text.shown": "line = 1",
    "proxy": "",
    "actor": "import planted.ref",
    "pihost.pickles.copies": "def later():\n    import cloudpickle",
    "cli.main": "import click\nimport planted.actor",
}


def test_checker_lets_be_what_is_allowed(tmp_path: Path) -> None:
    tree = planted(tmp_path, ALLOWED)
    assert complaints(tree) == []
    assert cycle(tree) == []


def test_checker_finds_a_use_of_os(tmp_path: Path) -> None:
    tree = planted(tmp_path, {"_rules.verdict": "import os\nx = os.WIFEXITED(0)\ny = os.kill"})
    assert uses_of_os(tree) == ["planted._rules.verdict:3 uses os.kill"]


@pytest.mark.parametrize(
    ("leaf", "source"),
    [
        ("_rules.mailbox", "from planted.errors import PiactorsError"),
        ("_rules.read_turns", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from planted import errors"),
        ("pihost.wire.wire", "def late():\n    from planted import errors"),
    ],
)
def test_checker_finds_an_entangled_leaf(tmp_path: Path, leaf: str, source: str) -> None:
    sources = {**dict.fromkeys(REPLACEABLE, ""), "errors": "PiactorsError = 1"}
    assert entangled(planted(tmp_path, sources)) == []
    path = tmp_path.joinpath("planted", *leaf.split(".")).with_suffix(".py")
    path.write_text(source)
    assert [line.partition(":")[0] for line in entangled(Tree(tmp_path / "planted"))] == [leaf]
    path.unlink()
    assert entangled(Tree(tmp_path / "planted")) == [f"{leaf} is not there"]


def test_checker_finds_an_absolute_import_of_pihost(tmp_path: Path) -> None:
    tree = planted(tmp_path, {"pihost.wire": "", "pihost.calls": "from planted.pihost import wire"})
    assert absolute_imports_of_pihost(tree) == ["planted.pihost.calls:1"]


ROOM_FAULTS: dict[str, tuple[str, str, str]] = {
    "upwards": ("pihost.wire.page", "from ..serve import calls", "'wire' is not above 'serve'"),
    "sideways": ("pihost.wire.page", "from ..pickles.store import store", "'wire' is not above 'pickles'"),
    "for type checkers": (
        "pihost.wire.page",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..fork import launcher",
        "'wire' is not above 'fork'",
    ),
    "in a room itself": ("pihost.wire.__init__", "import os", "costs time at each start"),
}


@pytest.mark.parametrize(("module", "source", "complaint"), ROOM_FAULTS.values(), ids=ROOM_FAULTS)
def test_checker_finds_an_import_out_of_a_room(tmp_path: Path, module: str, source: str, complaint: str) -> None:
    others = {"pihost.serve.calls": "", "pihost.pickles.store": "store = 1", "pihost.fork.launcher": ""}
    found = imports_out_of_rooms(planted(tmp_path, {**others, module: source}))
    assert len(found) == 1
    assert complaint in found[0]


def test_checker_lets_be_what_stays_in_its_room_or_goes_downwards(tmp_path: Path) -> None:
    modules = {
        "pihost.__init__": "PROTOCOL = 1",
        "pihost.wire.page": "",
        "pihost.wire.streams": "from . import page",
        "pihost.serve.calls": "import os\nfrom .. import PROTOCOL\nfrom ..wire.page import os",
    }
    assert imports_out_of_rooms(planted(tmp_path, modules)) == []


def test_checker_finds_a_module_without_a_room(tmp_path: Path) -> None:
    tree = planted(tmp_path, {"pihost.novelty": "", "pihost.wire.page": "", "pihost.cellar.wine": ""})
    assert modules_without_a_room(tree) == ["cellar.wine", "novelty"]


def test_checker_finds_a_cycle(tmp_path: Path) -> None:
    last = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from planted.proxy import x"
    circle = {"proxy": "from planted import usage", "usage": "from . import ref", "ref": last}
    tree = planted(tmp_path, circle)
    assert set(cycle(tree)) == {"planted.proxy", "planted.usage", "planted.ref"}
