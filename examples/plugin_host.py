"""Plugins in files, by name, each in an isolate of its own that is not trusted.

    python examples/plugin_host.py

The folder `plugins` holds some that work, and some that crash, raise, hang or send back something evil.  No plugin is
imported into the host, none can keep it waiting, and of what they return only plain data gets in.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pluggy

from piactors import IsolateCrashed
from piactors.plugins import HookOutcome, Listed, PluginHost, PluginPolicy, PluginSpec

PLUGINS = Path(__file__).resolve().parent / "plugins"
TEXT = "the host goes on"
SECONDS = 2.0


class Specs:
    """What plugins of this program may have."""

    @pluggy.HookspecMarker("example")
    def run(self, text: str) -> str:
        """Return the text, changed."""
        raise NotImplementedError


def main() -> None:
    """Start all plugins, call each, and show what comes of it."""
    logging.getLogger("piactors").setLevel(logging.CRITICAL)  # its warnings of crashes: `said` shows them here
    specs = [PluginSpec(name=path.stem, target=str(path)) for path in sorted(PLUGINS.glob("*.py"))]
    policy = PluginPolicy(hook_timeout=SECONDS)
    with PluginHost.start(Specs, project="example", sources=[Listed(specs)], policy=policy) as host:
        for plugin in host.plugins():
            print(f"{plugin.name:9} {said(host, plugin.name)}")
        print("Those that work, at once:", host.hook.run.call(text=TEXT, only={"shouts", "wraps"}).results)
        crashed = [name for name, health in host.health().items() if health.crashes]
        print(f"The host goes on, and so do all plugins; {', '.join(crashed)} were restarted.")


def said(host: PluginHost, name: str) -> str:
    """Call a plugin and say what came of it, in one line."""
    try:
        return shown(name, host.hook.run.call(text=TEXT, only={name}))
    except Exception as error:
        frames = [line.strip() for line in str(error.__cause__).splitlines() if line.lstrip().startswith("File")]
        return f"raised {error!r} in {frames[-1]}"


def shown(name: str, outcome: HookOutcome) -> str:
    """Return what came of a call, in one line."""
    error = outcome.errors.get(name)
    if error is None:
        return f"returned {outcome.by_plugin[name]!r}"
    if isinstance(error, IsolateCrashed):
        return f"crashed: {error.reason.summary}"
    return f"was refused: {str(error).partition(';')[0]}"


if __name__ == "__main__":
    main()
