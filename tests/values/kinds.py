"""What a row of the matrix of values is; the rows themselves stand in the modules of the same beginning.

A kind is written as source text, so that the same row can stand in a script, in a notebook, in a function
and in a module.  What its values look like is checked without piactors too (`test_matrix.py`).
"""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Mapping

import attrs

WAYS = ("argument", "result", "exception", "global", "default")
"""How a value gets to the other side: what is sent, what comes back (returned, or held by an exception that is raised),
and what isolated code refers to: a global (of a closure: a variable of the function around it), a default argument."""

PLACES = ("script", "notebook", "closure", "module")
"""Where the definitions stand."""

WORKS = "works"
REFUSED = "refused: NotSendable"
OTHER_VERSION = "refused: other version"
REMOTE = "as RemoteError"
"""An exception that cannot travel arrives with its type's name, text and traceback: nothing hides what was raised."""
NOT_TRIED = "–"


@attrs.frozen(kw_only=True)
class Kind:
    """One row.

    Attributes:
        group: the heading that it stands under.
        name: what readers call it.
        define: statements that come first; names are unique among all rows.
        make: an expression that makes the value.
        look: an expression of `v` that tells what a value is, as plain data; Python 3.8 if `plain`.
        sees: what `look` gives on the other side, as Python's `repr` of it.
        own: an expression of `v` that is true if its class or itself is the very one of that process.
        plain: whether it goes to an interpreter of any version, as all that it refers to is found there.
        codeless: whether a definition stands behind it, but no code: that goes to another version too.
        refused: whether it can neither be copied nor shared.
        ways: how it is sent; some make no sense in an isolate.
        places: where it is defined; some would start something when a module is imported.
        elsewhere: whether it is tried in other interpreters too.
    """

    group: str
    name: str
    make: str
    look: str
    sees: str
    define: str = attrs.field(default="", converter=lambda text: textwrap.dedent(text).strip())
    own: str = "True"
    plain: bool = False
    codeless: bool = False
    refused: bool = False
    ways: tuple[str, ...] = WAYS
    places: tuple[str, ...] = PLACES
    elsewhere: bool = True

    def expected(self, place: str, way: str) -> str:
        """Return what is to come out in an isolate of the host's own interpreter."""
        if way not in self.ways or place not in self.places:
            return NOT_TRIED
        if not self.refused:
            return WORKS
        if place == "module" and way in ("global", "default"):
            return WORKS  # the isolate imports the module, and makes one of its own
        return REMOTE if way == "exception" else REFUSED

    def expected_elsewhere(self, same_version: bool) -> str:
        """Return what is to come out as an argument of code of another interpreter, defined in a script."""
        if not self.elsewhere:
            return NOT_TRIED
        if self.refused:
            return REFUSED
        return WORKS if same_version or self.plain or self.codeless else OTHER_VERSION

    def cells(self) -> Mapping[tuple[str, str], str]:
        """Return all that is tried in isolates of the host's own interpreter, by place and way."""
        tried = {(place, way): self.expected(place, way) for place in PLACES for way in WAYS}
        return {cell: outcome for cell, outcome in tried.items() if outcome != NOT_TRIED}

    def names(self) -> frozenset[str]:
        """Return the names that its statements bind at their own level."""
        found: set[str] = set()
        for node in ast.parse(self.define).body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.Assign):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        return frozenset(found)
