"""Folders of plugins, and hosts that end with their test."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pluggy
import pytest

from piactors.options import Backoff
from piactors.plugins import Folder, PluginHost, PluginPolicy

SECONDS = 30
hookspec = pluggy.HookspecMarker("app")


class Specs:
    """The hooks of an application."""

    @hookspec
    def render(self, text: str) -> Any: ...

    @hookspec(firstresult=True)
    def choose(self, text: str) -> Any: ...

    @hookspec(historic=True)
    def begun(self, what: str) -> Any: ...


QUICK = Backoff(initial=0.01, jitter=0, maximum=0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "plugins"
    found.mkdir()
    return found


Write = Callable[..., Path]
Start = Callable[..., PluginHost]


@pytest.fixture
def write(folder: Path) -> Write:
    """Write a plugin: its code, and what its manifest says besides."""

    def make(name: str, code: str, manifest: str = "", target: str = "") -> Path:
        place = folder / name
        place.mkdir(exist_ok=True)
        (place / f"{name}.py").write_text(textwrap.dedent(code))
        text = f'name = "{name}"\ntarget = "{target or f"{name}.py"}"\n{textwrap.dedent(manifest)}'
        (place / "plugin.toml").write_text(text)
        return place

    return make


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Start hosts of the plugins of that folder."""
    hosts: list[PluginHost] = []

    def begin(**options: Any) -> PluginHost:
        fields = {"sources": [Folder(str(folder))], "policy": PluginPolicy(backoff=QUICK), **options}
        host = PluginHost.start(Specs, project="app", **fields)
        hosts.append(host)
        return host

    yield begin
    for host in hosts:
        host.stop()
