"""Text that would forge lines of a log or command a terminal, and how to find it where it must not be."""

from __future__ import annotations

import re

EVIL = (
    [chr(code) for code in range(32)]
    + [chr(code) for code in range(0x7F, 0xA0)]
    + list("\u2028\u2029\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    + [chr(0xD800), chr(0xDFFF)]
)
FORGED = "[exit] forged code=0"
SEQUENCE = f"\x1b]0;title\x07\x1b[2J\x9b31m\u202e\u2028\r\n{FORGED}\r{FORGED}\u0085{FORGED}"
"""An attack on a terminal and on a log, with a line that would be an event of the command line."""
_HARMFUL = re.compile("[" + "".join(re.escape(char) for char in EVIL if char != "\n") + "]")


def assert_harmless(text: str) -> None:
    """Fail where a text, as it was written to a log or a terminal, holds any of it, or a forged line."""
    found = _HARMFUL.search(text)
    assert found is None, f"{found[0]!r} in {text[max(0, found.start() - 80) : found.end() + 40]!r}"
    assert not [line for line in text.split("\n") if line.startswith(FORGED)]
