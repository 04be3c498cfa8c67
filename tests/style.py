"""The figures of the house, each with the bound that CI holds it to: ``python -m tests.style``.

Read from the sources with `ast`; nothing is imported.  What `tests/test_layers.py` checks rule by rule is only counted
here.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent.parent / "piactors"
MOST_LINES = 400
MOST_COMPLEXITY = 12
_BRANCHES = (ast.If, ast.For, ast.While, ast.AsyncFor, ast.ExceptHandler, ast.comprehension, ast.match_case)


class Figure(NamedTuple):
    """One figure, what it may be at most, and what makes it up."""

    name: str
    value: int
    bound: int
    found: list[str]


def files() -> list[Path]:
    """Return the sources of the package."""
    return sorted(path for path in PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """Return where a file is within the package."""
    return str(path.relative_to(PACKAGE))


@functools.cache
def trees() -> dict[Path, ast.Module]:
    """Return all sources, parsed."""
    return {path: ast.parse(path.read_text()) for path in files()}


def flat_files() -> list[str]:
    """Return the files right below the package: each is one that users name."""
    return sorted(path.name for path in PACKAGE.glob("*.py"))


def long_files() -> list[str]:
    """Return the files above the bound, with their lines."""
    counted = {path: len(path.read_text().splitlines()) for path in files()}
    return [f"{name_of(path)}: {lines}" for path, lines in counted.items() if lines > MOST_LINES]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return all functions and methods of a module."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def complexity(function: ast.AST) -> int:
    """Return McCabe's number."""
    return 1 + sum(isinstance(node, _BRANCHES) for node in _within(function))


def _within(function: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield child
            yield from _within(child)


def complex_functions() -> list[str]:
    """Return the functions above the bound."""
    return [
        f"{name_of(path)}:{function.lineno} {function.name}: {complexity(function)}"
        for path, tree in trees().items()
        for function in functions(tree)
        if complexity(function) > MOST_COMPLEXITY
    ]


def doubled_classes() -> list[str]:
    """Return the class names that stand for two things; a protocol and what it describes count as one each."""
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name_of(path))
    return [f"{name}: {', '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1]


OF_OTHERS = {
    "record": "logging.LogRecord",
    "actor": "pykka.Actor",
    "own": "pykka.ActorRef",
    "action.error": "BaseException",
    "made": "BaseException",
    "pickler": "what `within_module` makes, in the same file",
    "logging.getLogger('piactors')": "logging.Logger",
    "root": "logging.Logger",
    "context": "click.Context",
    "ctypes.c_uint64.from_buffer(made)": "ctypes.c_uint64",
    "ctypes.c_uint64.from_buffer(found)": "ctypes.c_uint64",
    "threading.current_thread()": "threading.Thread",
    "_mine": "threading.local",
    "_expected": "threading.local",
}
"""Objects of other packages that have attributes of the same names as some of ours."""

ON_THE_PATH_OF_A_CALL = {
    ("_io/caller_turns.py", "looks"),
    ("_io/writer.py", "last"),
    ("_io/writer.py", "attempt"),
}
"""What is assigned there stands where one step more would be one more for each call."""


@functools.cache
def foreign_writes() -> list[str]:
    """Return the assignments to attributes of objects of the package whose class another file defines.

    A file owns the attributes that its classes assign to ``self``, or declare.  The files of one pure room share its
    records: a machine whose inputs stand in two files changes what both decide by, and decoders move one cursor.
    """
    parsed = trees()
    owners: dict[str, set[Path]] = defaultdict(set)
    for path, tree in parsed.items():
        for name in {target.attr for target in _assigned(tree) if _is_self(target)} | set(_declared(tree)):
            owners[name].add(path)
    return [
        f"{name_of(path)}:{target.lineno} {ast.unparse(target)}"
        for path, tree in parsed.items()
        for target in _assigned(tree)
        if not _is_self(target) and _is_foreign(path, owners[target.attr]) and not _is_of_a_module(target, tree)
        if ast.unparse(target.value) not in OF_OTHERS and (name_of(path), target.attr) not in ON_THE_PATH_OF_A_CALL
    ]


def _is_foreign(path: Path, owners: set[Path]) -> bool:
    """Whether an attribute is one of the package's own classes, and of none that this file may write to."""
    pure = name_of(path).startswith(("_rules/", "pihost/plain"))
    return bool(owners) and path not in owners and not any(pure and path.parent == owner.parent for owner in owners)


def _assigned(tree: ast.AST) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        targets: Iterable[ast.expr] = ()
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            yield from (part for part in parts if isinstance(part, ast.Attribute))


def _is_self(target: ast.Attribute) -> bool:
    return isinstance(target.value, ast.Name) and target.value.id in ("self", "cls")


def _declared(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    yield part.target.id
                elif isinstance(part, ast.Assign):
                    yield from (target.id for target in part.targets if isinstance(target, ast.Name))


def _is_of_a_module(target: ast.Attribute, tree: ast.AST) -> bool:
    """Whether what is assigned to is an attribute of a module or of a standard class, as `signal.raise_signal` is."""
    names = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    root: ast.expr = target
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and root.id in names


def lock_sites() -> list[str]:
    """Return where the lock of an isolate is taken."""
    found = []
    for path in sorted((PACKAGE / "_isolate").rglob("*.py")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            text = line.strip()
            if text.startswith("with ") and text.split("#")[0].rstrip(": ").endswith((".lock", "delivery.lock")):
                found.append(f"{name_of(path)}:{number}")
    return found


def forwarded_docstrings() -> list[str]:
    """Return the docstrings that begin with "See `X`" instead of saying what is done."""
    found = []
    for path, tree in trees().items():
        for node in ast.walk(tree):
            documented = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if documented and (ast.get_docstring(node) or "").startswith("See `"):
                found.append(f"{name_of(path)}:{node.lineno}")
    return found


def pragmas() -> list[str]:
    """Return the lines that the formatter is told to leave as they are."""
    marks = ("fmt: " + "skip", "fmt: " + "off")
    return [
        f"{name_of(path)}:{number}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(mark in line for mark in marks)
    ]


def figures() -> list[Figure]:
    """Return all of them."""
    counted = [
        ("files right below the package", flat_files(), 23),
        (f"files above {MOST_LINES} lines", long_files(), 0),
        (f"functions above complexity {MOST_COMPLEXITY}", complex_functions(), 0),
        ("class names that stand for two things", doubled_classes(), 0),
        ("assignments to another file's attributes", foreign_writes(), 0),
        ("places where an isolate's lock is taken", lock_sites(), 35),
        ("formatter pragmas", pragmas(), 0),
        ("docstrings that only refer to another one", forwarded_docstrings(), 0),
    ]
    return [Figure(name, len(found), bound, found) for name, found, bound in counted]


def main() -> int:
    """Print the figures; 1 if one is above its bound."""
    all_figures = figures()
    for figure in all_figures:
        mark = "" if figure.value <= figure.bound else "  <-- too many"
        print(f"{figure.value:5} of at most {figure.bound:3}  {figure.name}{mark}")
        if mark or "-v" in sys.argv:
            print("".join(f"        {line}\n" for line in figure.found), end="")
    lines = Counter({name_of(path): len(path.read_text().splitlines()) for path in files()})
    print(f"{sum(lines.values())} lines in {len(lines)} files; the longest: {lines.most_common(1)[0]}")
    return int(any(figure.value > figure.bound for figure in all_figures))


if __name__ == "__main__":
    sys.exit(main())
