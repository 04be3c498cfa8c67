"""The reference has every public name, and no other one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import piactors
from piactors import environments, events, option_fields, plugins, testing, usage

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
PAGES = sorted(REFERENCE.glob("*.md"))


def named_in_the_pages() -> list[str]:
    return [name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)]


def public() -> set[str]:
    """Return all public names by their homes, which are where mkdocstrings finds them: the package loads them late."""
    names = {name for name in piactors.__all__ if not isinstance(getattr(piactors, name), ModuleType)}
    of_package = {
        f"piactors.{piactors._HOME_OF[name]}.{name}" if name in piactors._HOME_OF else f"piactors.{name}"
        for name in names
    }
    of_modules = {f"{module.__name__}.{name}" for module in (option_fields, testing, usage) for name in module.__all__}
    of_events = {
        name for name, found in vars(events).items() if isinstance(found, type) and issubclass(found, events.Event)
    }
    of_extras = {
        f"{getattr(module, name).__module__}.{name}" for module in (environments, plugins) for name in module.__all__
    }
    of_events |= {"EventBus.subscribe", "Executor", "CallInfo", "Instrument", "instrument"}
    return of_package | of_modules | of_extras | {f"piactors.events.{name}" for name in of_events}


def test_the_reference_has_every_public_name_once() -> None:
    assert Counter(named_in_the_pages()) == Counter(public())


def test_the_first_page_says_where_each_name_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\]\((\w+\.md)#([\w.]+)\)", (REFERENCE / "index.md").read_text(), re.MULTILINE)
    places = {anchor: page for _, page, anchor in rows}
    assert len(places) == len(rows)
    assert set(places) == public()
    for name, page, anchor in rows:
        assert anchor.rpartition(".")[2] == name
        assert f"::: {anchor}\n" in (REFERENCE / page).read_text()
