"""Plugins in files, by name, each in an isolate of its own that is not trusted.

    python examples/plugin_host.py

The folder `plugins` holds some that work, and some that crash, raise, hang or send back something evil.  No plugin is
imported into the host, none can keep it waiting, and of what they return only plain data gets in (``trust="data"``).
"""

from __future__ import annotations

import logging
from pathlib import Path

import pykka

import piactors
from piactors import IsolateCrashed, IsolateRef, IsolationOptions, UntrustedReply

PLUGINS = Path(__file__).resolve().parent / "plugins"
TEXT = "the host goes on"
SECONDS = 2.0


def main() -> None:
    """Start all plugins, call each, and show what comes of it."""
    logging.getLogger("piactors").setLevel(logging.CRITICAL)  # its warnings of crashes: `outcome` shows them here
    plugins = {path.stem: start(path) for path in sorted(PLUGINS.glob("*.py"))}
    for name, plugin in plugins.items():
        print(f"{name:9} {outcome(plugin)}")
    alive = [name for name, plugin in plugins.items() if plugin.is_alive()]
    print(f"The host goes on, and so do {', '.join(alive)}.")
    for plugin in plugins.values():
        plugin.stop()


def start(path: Path) -> IsolateRef:
    """Start the plugin of a file: its function `run`."""
    return piactors.spawn(f"{path}:run", options=IsolationOptions(name=path.stem, trust="data"))


def outcome(plugin: IsolateRef) -> str:
    """Call a plugin and say what came of it, in one line."""
    try:
        return f"returned {plugin.proxy().call(TEXT).get(timeout=SECONDS)!r}"
    except pykka.Timeout:
        reason = plugin.terminate()
        return f"hung, and was ended after {SECONDS:g} s: {reason.summary if reason else 'not yet gone'}"
    except IsolateCrashed as error:
        return f"crashed: {error.reason.summary}"
    except UntrustedReply as error:
        return f"was refused: {str(error).partition(';')[0]}"
    except Exception as error:
        frames = [line.strip() for line in str(error.__cause__).splitlines() if line.lstrip().startswith("File")]
        return f"raised {error!r} in {frames[-1]}"


if __name__ == "__main__":
    main()
