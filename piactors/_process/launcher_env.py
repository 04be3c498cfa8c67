"""The environment that a launcher is started with: what its forks find in /proc/self/environ, whatever they change.

Isolates that may have the host's whole environment share a launcher that has it.  Others get a launcher that was
started with what they may have, so that nothing else was ever in its memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

MARKER_PREFIX = "PIACTORS_"
"""How the variables begin by which processes are known as those of a launcher, or of a host."""
_TO_RUN = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONHASHSEED")
"""Without these some interpreters do not even start, or order sets otherwise than the host.

The isolates' own environment does not have them.
"""

EnvClass = frozenset[str] | None
"""The names of the variables that a launcher has, or None for all of the host's."""


def env_class(env: Mapping[str, str], whole: bool) -> EnvClass:
    """Return which launcher an isolate with this environment, which may be the host's `whole` one, is forked from."""
    if whole:
        return None
    from piactors.options import inherited_env  # of which the first launcher of most programs has no need

    return frozenset(name for name, value in inherited_env(None, env).items() if os.environ.get(name) == value)


def has_all(env: Mapping[str, str]) -> bool:
    """Whether an isolate with this environment was given the host's; what would break other interpreters aside."""
    return all(name in env or name.startswith("PYTHON") for name in os.environ)


def launcher_env(names: EnvClass, marker: str) -> dict[str, str]:
    """Return the environment of a launcher of this class, with its mark, and those of launchers around this host."""
    host = os.environ
    if names is None:
        return {**host, marker: "1"}
    kept = {name: host[name] for name in host if name in names or name in _TO_RUN or name.startswith(MARKER_PREFIX)}
    return {**kept, marker: "1"}
