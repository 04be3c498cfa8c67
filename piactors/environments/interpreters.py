"""Which interpreters there are, and what is known of each: asked once, and remembered as long as its file stays."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from piactors._platform import own_python, pythons
from piactors.environments import config_vars, disk
from piactors.environments.errors import NoInterpreter
from piactors.environments.facts import InterpreterFacts, matches
from piactors.pihost.process import lacks

_SECONDS = 20.0
_NAME = re.compile(r"(python|pypy)3?(?:\.(\d+)t?)?")
_ASK = """
import json, os, platform, sys, sysconfig
def facts():
    it, full = sys.implementation, sys.implementation.version
    base = getattr(sys, "_base_executable", None) or sys.executable
    try:
        from importlib.metadata import version
        pip = version("pip")
    except Exception:
        pip = ""
    try:
        import ensurepip
        folder = os.path.join(os.path.dirname(ensurepip.__file__), "_bundled")
        bundled = [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.startswith("pip-")][-1]
    except Exception:
        bundled = ""
    return {
        "implementation": it.name,
        "version": platform.python_version(),
        "implementation_version": "%d.%d.%d" % tuple(full[:3]),
        "platform": sysconfig.get_platform(),
        "build": " ".join((*platform.python_build(), platform.python_compiler())),
        "base": os.path.realpath(base),
        "soabi": sysconfig.get_config_var("SOABI") or "",
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "debug": hasattr(sys, "gettotalrefcount"),
        "pip": pip,
        "bundled": bundled,
    }
print(json.dumps(facts()))
"""


@attrs.define
class Interpreters:
    """The interpreters of this machine.

    Args:
        folder: where what is known of them is kept.
    """

    _folder: Path
    _known: dict[str, InterpreterFacts] = attrs.field(factory=dict, init=False)
    _useless: dict[str, str] = attrs.field(factory=dict, init=False)
    """What does not answer as an interpreter does, and why, so that it is not asked again."""

    def find(self, wanted: str | None) -> InterpreterFacts:
        """Return the interpreter for a spec: the host's own if it will do, else the newest that does.

        Raises:
            NoInterpreter: if there is none, with those that there are.
            ValueError: if `wanted` is not something that could be one.
        """
        if wanted is None:
            return self.at(_own())
        if os.sep in wanted or os.path.isfile(wanted):
            return self.at(os.path.abspath(os.path.expanduser(wanted)))
        seen: list[InterpreterFacts] = []
        for facts in self._all(wanted):
            seen.append(facts)
            if facts.base == os.path.realpath(_own()) and matches(facts, wanted):
                return facts
        fitting = [facts for facts in seen if matches(facts, wanted)]
        if not fitting:
            there = ", ".join(sorted({str(facts) for facts in self._all(None)})) or "none"
            raise NoInterpreter(f"there is no interpreter {wanted!r} on this machine; there are: {there}")
        return max(fitting, key=lambda facts: [int(number) for number in re.findall(r"\d+", facts.version)[:3]])

    def _all(self, wanted: str | None) -> Iterator[InterpreterFacts]:
        for path in paths():
            if wanted is None or _may_match(path, wanted):
                try:
                    yield self.at(path)
                except NoInterpreter:
                    continue

    def at(self, path: str) -> InterpreterFacts:
        """Return what is known of the interpreter at a path.

        Raises:
            NoInterpreter: if there is none, or it does not answer.
        """
        stamp = _stamp(path)
        found = self._known.get(stamp) or self._remembered(stamp)
        if found is None and stamp in self._useless:
            raise NoInterpreter(self._useless[stamp])
        if found is None:
            try:
                found = _asked(path)
            except NoInterpreter as error:
                self._useless[stamp] = str(error)
                raise
            self._remember(stamp, found)
        self._known[stamp] = found
        return found

    def _remembered(self, stamp: str) -> InterpreterFacts | None:
        try:
            found: dict[str, Any] = json.loads((self._folder / _file_name(stamp)).read_bytes())
            return InterpreterFacts(**found)
        except (OSError, ValueError, TypeError):
            return None

    def _remember(self, stamp: str, facts: InterpreterFacts) -> None:
        with contextlib.suppress(OSError):  # of a store that cannot be written it is asked again
            disk.write(self._folder / _file_name(stamp), json.dumps(attrs.asdict(facts)).encode())


def _own() -> str:
    found = own_python.find()
    if found is None:
        raise NoInterpreter(f"{own_python.why_none()}")
    return os.path.abspath(getattr(sys, "_base_executable", None) or found)


def _stamp(path: str) -> str:
    """Return what an interpreter is known by: its path, and what changes if its file or its environment does."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise NoInterpreter(f"there is no interpreter at {path}: {error.strerror}") from None
    return f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


def _file_name(stamp: str) -> str:
    return f"{hashlib.sha256(stamp.encode()).hexdigest()[:32]}.json"


def _asked(path: str) -> InterpreterFacts:
    try:
        said = subprocess.run(
            [path, "-I", "-B", "-c", _ASK],
            capture_output=True,
            text=True,
            check=True,
            timeout=_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        return InterpreterFacts(**json.loads(said.stdout))
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise NoInterpreter(f"{path} is not a Python that environments can be made for: {last}") from None
    except (ValueError, TypeError, subprocess.TimeoutExpired):
        raise NoInterpreter(f"{path} is not a Python that environments can be made for: it does not answer") from None
    except OSError as error:
        if lacks.is_lack(error):  # of this process or machine, and not of the interpreter
            raise
        raise NoInterpreter(f"{path} cannot be run: {error}") from None


def paths() -> list[str]:
    """Return the interpreters of this machine, each once: our own first, then those of PATH, pyenv and uv."""
    by_file: dict[str, str] = {}
    own = [_own()] if own_python.find() else []
    pyenv = Path(_pyenv_root())
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.expanduser("~/.local/share/uv/python"))
    for path in (*own, *pythons.on_path(pyenv), *pythons.kept_in(pyenv / "versions"), *pythons.kept_in(uv)):
        by_file.setdefault(os.path.realpath(path), path)
    return list(by_file.values())


def _pyenv_root() -> str:
    return os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")


def _may_match(path: str, wanted: str) -> bool:
    """Whether an interpreter may be one that is wanted, as far as its name tells: the others are not asked."""
    found = re.fullmatch(r"(?:cpython|pypy)?-?(\d+\.\d+).*", wanted)
    named = _NAME.fullmatch(os.path.basename(os.path.realpath(path)))
    if found is None or named is None or named[2] is None or named[1] == "pypy":
        return True
    return found[1] == f"3.{named[2]}"


@functools.cache
def machine() -> dict[str, str]:
    """Return what markers say of this machine."""
    import platform

    return {
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "sys_platform": sys.platform,
    }


def platforms(facts: InterpreterFacts) -> list[str]:
    """Return the platforms whose wheels an interpreter takes, the best first."""
    import sysconfig

    from packaging import tags

    config_vars.fill()
    if facts.platform == sysconfig.get_platform():
        return list(tags.platform_tags())
    return [facts.platform.replace("-", "_").replace(".", "_")]
