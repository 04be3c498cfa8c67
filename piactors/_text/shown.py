"""Text of isolated code, as it may be shown: in a log, on a terminal, in the text of an error.

What an isolate writes can hold line ends, which would forge lines of a log, and sequences that a terminal obeys.
Values (a line given to a callable, an exception) stay as they are; this is for what piactors itself writes.
"""

from __future__ import annotations

import functools
import re

_UNSAFE = (
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1
    "\u2028\u2029"  # what else ends a line
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what changes the direction of a text
    "\ud800-\udfff]"  # surrogates, which no stream can write
)
_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


@functools.cache
def _unsafe() -> re.Pattern[str]:
    return re.compile(_UNSAFE)  # which takes milliseconds, and few programs need it


def line(text: str) -> str:
    """Return a text as one line: whatever is not a harmless character is escaped, line ends too."""
    return text if text.isprintable() else _unsafe().sub(_escaped, text)


def words(text: str) -> str:
    """Return a line of output as one line, as `line` does, with blanks in place of tabs."""
    return text if text.isprintable() else _unsafe().sub(_escaped, text.expandtabs())


def block(text: str, indent: str = "  ", first: str = "") -> str:
    """Return a text of several lines: each is escaped, and all but the first are indented, so that none is mistaken.

    Args:
        indent: what lines after the first begin with.
        first: what the first line begins with.
    """
    if text.isprintable():
        return first + text
    head, *rest = text.replace("\r\n", "\n").split("\n")
    return "\n".join([first + words(head), *((indent + words(one)).rstrip(" ") for one in rest)])


def below(text: str, indent: str = "  ") -> str:
    """Return a text of several lines that stands below another: all of it is indented."""
    return block(text.rstrip(), indent, indent)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    return _NAMES.get(char) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")
