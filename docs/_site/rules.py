"""A hook of mkdocs: each rule has an address (``semantics/#rule-85``), and what names a rule leads there."""

from __future__ import annotations

import re
from typing import Any

_LIST = re.compile(r'<ol(?: start="(\d+)")?>(.*?)</ol>', re.DOTALL)
_NAMED = re.compile(r"\b[Rr]ules? \d+(?:(?:, | and | to )\d+)*")


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Return the page with its addresses and links."""
    if page.file.src_uri == "semantics.md":
        return _NAMED.sub(_linked, _LIST.sub(_addressed, html))
    if page.file.src_uri == "semantics_tests.md":
        return re.sub(r"<td>(\d+)</td>", r'<td><a href="../semantics/#rule-\1">\1</a></td>', html)
    return html


def _addressed(found: re.Match[str]) -> str:
    first = int(found[1] or 1)
    parts = found[2].split("<li>")
    items = [f'<li id="rule-{number}">{part}' for number, part in enumerate(parts[1:], first)]
    return f'<ol start="{first}">{parts[0]}{"".join(items)}</ol>'


def _linked(found: re.Match[str]) -> str:
    return re.sub(r"\d+", r'<a href="#rule-\g<0>">\g<0></a>', found[0])
