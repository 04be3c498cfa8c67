"""For the API reference: what Markdown and griffe do not know of our docstrings is put into a form that they know.

Literal blocks (``::`` and an indented block) become fenced blocks of Python, and one entry of several arguments
(``args, kwargs: ...``) becomes an entry for each, so that griffe can check that the function has them.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_BLOCK = re.compile(r"(?m)^(?P<indent> *)(?P<text>.*)::\n\n(?P<code>(?:(?P=indent)    .*\n|\n)+)")
_SEVERAL = re.compile(r"(?m)^    (?P<names>\*{0,2}\w+(?:, \w+)+): (?P<text>.*\n(?:        .*\n)*)")
_ARGS = re.compile(r"(?m)^Args:\n(?:    .*\n|\n)+")


def fenced(text: str) -> str:
    """Return a docstring with its literal blocks as fenced blocks."""

    def block(found: re.Match[str]) -> str:
        indent, lead = found["indent"], found["text"]
        lines = [line.removeprefix("    ") if line.strip() else "" for line in found["code"].rstrip("\n").split("\n")]
        head = f"{indent}{lead}:\n\n" if lead else ""
        return f"{head}{indent}```python\n" + "\n".join(lines) + f"\n{indent}```\n\n"

    return _BLOCK.sub(block, text.rstrip("\n") + "\n").rstrip("\n")


def one_by_one(text: str) -> str:
    """Return a docstring with an entry of its own for each argument."""

    def entries(found: re.Match[str]) -> str:
        return "".join(f"    {name}: {found['text']}" for name in found["names"].split(", "))

    return _ARGS.sub(lambda section: _SEVERAL.sub(entries, section[0]), text + "\n").rstrip("\n")


class Docstrings(griffe.Extension):
    """Rewrites the docstring of each object as it is read."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = one_by_one(fenced(obj.docstring.value))
