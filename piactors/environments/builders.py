"""What resolves and installs: uv, or the interpreter's own venv and pip.  Both make the same of the same lock."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import attrs

from piactors.environment_spec import EnvironmentSpec
from piactors.environments import choosing, config_vars, facts, interpreters, sources
from piactors.environments.errors import BuildFailed
from piactors.environments.facts import InterpreterFacts
from piactors.environments.lock import EnvironmentLock, LockedPackage
from piactors.environments.tools import ToolEnd, ToolRunner, environment, python_command

_PIP_KEEPS = (
    *(
        "INDEX_URL",
        "EXTRA_INDEX_URL",
        "FIND_LINKS",
        "NO_INDEX",
        "CERT",
        "CLIENT_CERT",
        "PROXY",
        "TRUSTED_HOST",
        "TIMEOUT",
    ),
    *("DEFAULT_TIMEOUT", "RETRIES", "KEYRING_PROVIDER", "CONFIG_FILE", "DISABLE_PIP_VERSION_CHECK"),
)
_UV_KEEPS = (
    *("DEFAULT_INDEX", "INDEX", "INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NATIVE_TLS", "SYSTEM_CERTS"),
    *("KEYRING_PROVIDER", "HTTP_TIMEOUT", "INSECURE_HOST", "CONCURRENT_DOWNLOADS", "CONCURRENT_INSTALLS"),
)
"""What a tool is set to by variables of its own: where distributions are, and how to get there; not what it makes."""
_OF_PLACES = ("INDEX", "FIND_LINKS", "CONFIG_FILE")
_FAULTY = (
    re.compile(r"no version of ([A-Za-z0-9._-]+?)[=<>!~\[ ]"),
    re.compile(r"[Bb]ecause (?:only|all versions of) ([A-Za-z0-9._-]+?)[=<>!~\[ ]"),
    re.compile(r"[Bb]ecause ([A-Za-z0-9._-]+)(?:==\S+)? (?:was not found|has no|is not|and)"),
    re.compile(r"(?:No matching distribution found for|satisfies the requirement) ([A-Za-z0-9._-]+)"),
    re.compile(r"Failed to (?:build|download|fetch|prepare|install)[^`]*`([A-Za-z0-9._-]+)"),
    re.compile(r"[Hh]ash mismatch for `?([A-Za-z0-9._-]+)"),
    re.compile(r"^\s*([A-Za-z0-9._-]+)[=@ ].* from http.*:$"),
)

_DRAWN = " \u2502\u2570\u2500\u25b6\u00d7\u251c"
"""What uv draws around its words."""


@attrs.frozen(kw_only=True)
class ToResolve:
    """What a builder is asked to resolve.

    Attributes:
        folder: what it may write its files to.
        pins: versions that are kept, as requirements with ``==``.
    """

    spec: EnvironmentSpec
    wanted: sources.Wanted
    facts: InterpreterFacts
    folder: Path
    pins: tuple[str, ...] = ()


class Builder(Protocol):
    """A way to make environments."""

    def resolve(self, asked: ToResolve, tools: ToolRunner) -> list[LockedPackage]:
        """Return what an environment will be made of.

        Raises:
            BuildFailed: if there is no answer.
        """

    def create(self, lock: EnvironmentLock, place: Path, tools: ToolRunner) -> None:
        """Make a virtual environment with nothing in it.

        Raises:
            BuildFailed: if that fails.
        """

    def install(self, lock: EnvironmentLock, spec: EnvironmentSpec, place: Path, tools: ToolRunner) -> None:
        """Put the packages of a lock into it.

        Raises:
            BuildFailed: if that fails.
        """


def find(kind: str, cache: Path, *, copies: bool) -> Builder:
    """Return the builder that is asked for: "uv", "pip", or with "auto" uv if it is there.

    Args:
        cache: the folder of the tools' caches.
        copies: whether environments have files of their own.

    Raises:
        BuildFailed: if uv is asked for, and is not there.
    """
    uv = _uv() if kind != "pip" else None
    if uv is not None:
        return Uv(uv, cache / "uv", copies)
    if kind == "uv":
        raise BuildFailed("there is no uv on this machine; install piactors[uv], or use builder='pip'")
    return Pip(cache / "pip")


def _uv() -> str | None:
    try:
        from uv import find_uv_bin

        config_vars.fill()
        return str(find_uv_bin())
    except (ImportError, OSError):
        return shutil.which("uv")


def python_of(place: Path) -> Path:
    """Return the path of the interpreter of an environment."""
    return place / "bin" / "python"


@attrs.frozen
class Uv:
    """uv: quick.

    Args:
        path: of its program.
        cache: its cache, which has to be on the file system of the environments for files to be shared.
        copies: whether environments have copies of files instead of hard links to those of the cache.
    """

    _path: str
    _cache: Path
    _copies: bool

    def _command(self, *arguments: str) -> list[str]:
        usual = ["--no-config", "--no-progress", "--color", "never", "--cache-dir", str(self._cache)]
        return [self._path, *arguments, *usual]

    def resolve(self, asked: ToResolve, tools: ToolRunner) -> list[LockedPackage]:
        """Return what uv finds for it, with ``uv pip compile``."""
        found = asked.folder / "pylock.toml"
        command = self._command("pip", "compile", _listed(asked), "--python", asked.facts.base)
        command += ["--output-file", str(found)]
        command += [*_uv_places(asked.spec), "--format", "pylock.toml", "--no-header", "--no-annotate", "-q"]
        command += ["--no-deps"] if asked.wanted.pinned else []
        command += ["--constraints", str(_constraints(asked))] if asked.pins or asked.spec.constraints else []
        _check(tools.run(command, _uv_env(asked.spec)), "resolved", asked.wanted.label)
        return packages_of(found.read_text(encoding="utf-8"), asked, by_address=False)

    def create(self, lock: EnvironmentLock, place: Path, tools: ToolRunner) -> None:
        """Make it with ``uv venv``."""
        command = self._command("venv", "--python", lock.interpreter.base, "--no-project", "-q", str(place))
        _check(tools.run(command, _uv_env(EnvironmentSpec())), "created", str(lock.interpreter))

    def install(self, lock: EnvironmentLock, spec: EnvironmentSpec, place: Path, tools: ToolRunner) -> None:
        """Put the packages in with ``uv pip install``."""
        if not lock.packages:
            return
        command = self._command("pip", "install", "--python", str(python_of(place)), "--no-deps", "--require-hashes")
        command += ["--link-mode", "copy" if self._copies else "hardlink"]
        with _requirements(lock, place) as listed:
            _check(tools.run([*command, *_uv_places(spec), "-r", listed], _uv_env(spec)), "installed", _label(lock))


def _uv_env(spec: EnvironmentSpec) -> dict[str, str]:
    return _settings("UV_", _UV_KEEPS, spec)


def _settings(prefix: str, keeps: tuple[str, ...], spec: EnvironmentSpec) -> dict[str, str]:
    """Return the environment of a tool: if the spec says where distributions are, nothing else does."""
    found = environment(f"{prefix}*")
    for name in keeps:
        value = os.environ.get(prefix + name)
        if value is not None and not (spec.index_urls and any(word in name for word in _OF_PLACES)):
            found[prefix + name] = value
    return found


def _uv_places(spec: EnvironmentSpec) -> list[str]:
    found = [f"--find-links={place}" for place in sources.find_links(spec)]
    if spec.index_urls:
        first, *others = spec.index_urls
        found += [*(f"--index={url}" for url in others), f"--default-index={first}"]
    found += ["--offline"] if spec.offline else []
    return [*found, "--only-binary", ":all:"] if spec.only_binary else found


@attrs.frozen
class Pip:
    """The interpreter's own venv, and its pip.

    Args:
        cache: pip's.
    """

    _cache: Path

    def resolve(self, asked: ToResolve, tools: ToolRunner) -> list[LockedPackage]:
        """Return what pip finds for it, with ``pip install --dry-run``."""
        if not asked.wanted.requirements:
            return []
        report = asked.folder / "report.json"
        command = [*_pip(asked.facts, asked.facts.base), "install", "--dry-run", "--ignore-installed"]
        command += ["--report", str(report), *self._places(asked.spec), "-r", _listed(asked)]
        command += ["--no-deps"] if asked.wanted.pinned else []
        command += ["-c", str(_constraints(asked))] if asked.pins or asked.spec.constraints else []
        _check(tools.run(command, _pip_env(asked.spec)), "resolved", asked.wanted.label)
        return [_reported(one) for one in json.loads(report.read_bytes())["install"]]

    def create(self, lock: EnvironmentLock, place: Path, tools: ToolRunner) -> None:
        """Make it with the interpreter's ``venv``; it has no pip of its own."""
        command = [*python_command(lock.interpreter.base), "-m", "venv", "--without-pip", str(place)]
        _check(tools.run(command, environment()), "created", str(lock.interpreter))

    def install(self, lock: EnvironmentLock, spec: EnvironmentSpec, place: Path, tools: ToolRunner) -> None:
        """Put the packages in with ``pip install``."""
        if not lock.packages:
            return
        command = [*_pip(lock.interpreter, str(python_of(place))), "install", "--no-deps", "--require-hashes"]
        command += ["--no-compile", "--no-warn-script-location", *self._places(spec)]
        with _requirements(lock, place) as listed:
            _check(tools.run([*command, "-r", listed], _pip_env(spec)), "installed", _label(lock))

    def _places(self, spec: EnvironmentSpec) -> list[str]:
        found = ["--no-input", "--no-color", "--progress-bar", "off", "--disable-pip-version-check"]
        found += ["--cache-dir", str(self._cache)]
        for place in sources.find_links(spec):
            found += ["--find-links", place]
        if spec.offline:
            found += ["--no-index"]
        elif spec.index_urls:
            first, *others = spec.index_urls
            found += ["--index-url", first, *(part for url in others for part in ("--extra-index-url", url))]
        return [*found, "--only-binary", ":all:"] if spec.only_binary else found


def _pip_env(spec: EnvironmentSpec) -> dict[str, str]:
    found = _settings("PIP_", _PIP_KEEPS, spec)
    return {**found, "PIP_CONFIG_FILE": os.devnull} if spec.index_urls else found


def _pip(found: InterpreterFacts, python: str) -> list[str]:
    """Return the command of a pip that works in an environment which has none."""
    if found.pip and _numbers(found.pip) >= (22, 3):
        return [*python_command(found.base), "-m", "pip", "--python", python]
    if found.bundled and _numbers(os.path.basename(found.bundled)) >= (22, 3):
        return [*python_command(python), f"{found.bundled}/pip"]
    raise BuildFailed(f"{found} at {found.base} has no pip of version 22.3 or newer; install uv, or give it one")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)[:2]))


def _reported(one: dict[str, Any]) -> LockedPackage:
    """Return a package of pip's report."""
    about, where = one["metadata"], one["download_info"]
    archive = where.get("archive_info", {})
    old = str(archive.get("hash", ""))  # as of pip before 23.1
    sha256 = archive.get("hashes", {}).get("sha256") or old.removeprefix("sha256=" if "sha256=" in old else old)
    if not sha256:
        raise BuildFailed(f"{about['name']} is not one file, so there is no hash of it", about["name"])
    return LockedPackage(
        name=about["name"],
        version=about["version"],
        file=os.path.basename(unquote(urlsplit(where["url"]).path)),
        sha256=sha256,
        url=where["url"] if one["is_direct"] else "",
    )


def packages_of(pylock: str, asked: ToResolve, *, by_address: bool, folder: str | None = None) -> list[LockedPackage]:
    """Return what a ``pylock.toml`` has installed.

    Raises:
        BuildFailed: if it has nothing for this interpreter.
    """
    fit = list(facts.tags(asked.facts, interpreters.platforms(asked.facts)))
    try:
        return choosing.chosen(
            pylock,
            folder=folder or str(asked.folder),
            environment=facts.markers(asked.facts, interpreters.machine()),
            tags=fit,
            only_binary=asked.spec.only_binary,
            by_address=by_address,
        )
    except ValueError as error:
        raise BuildFailed(f"{asked.wanted.label} could not be resolved for {asked.facts}: {error}") from None


def _listed(asked: ToResolve) -> str:
    """Write what is asked for, and return the path of that; hashes are compared afterwards (see `sources.check`)."""
    path = asked.folder / "requirements.txt"
    lines = [re.sub(r"\s--hash[= ]\S+", "", one) for one in asked.wanted.requirements]
    path.write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    return str(path)


@contextmanager
def _requirements(lock: EnvironmentLock, place: Path) -> Iterator[str]:
    """Write what is to be installed beside an environment, for as long as it is."""
    path = place.parent / "requirements.txt"
    path.write_text(lock.requirements, encoding="utf-8")
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def _constraints(asked: ToResolve) -> Path:
    path = asked.folder / "constraints.txt"
    path.write_text("".join(f"{one}\n" for one in [*asked.spec.constraints, *asked.pins]), encoding="utf-8")
    return path


def _label(lock: EnvironmentLock) -> str:
    names = [f"{one.name} {one.version}" for one in lock.packages[:3]]
    more = len(lock.packages) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _check(ended: ToolEnd, done: str, what: str) -> None:
    """Go on if a tool has done its work.

    Raises:
        BuildFailed: if not.
    """
    if ended.code == 0:
        return
    told = [line for line in ended.lines if not line.startswith("WARNING: ")] or list(ended.lines)
    why = "\n  ".join(told) or f"the tool has ended with code {ended.code} and said nothing"
    raise BuildFailed(f"{what} could not be {done}:\n  {why}", _package_in(told), tuple(told))


def _package_in(lines: Sequence[str]) -> str | None:
    text = " ".join(line.strip(_DRAWN) for line in lines)
    for pattern in _FAULTY:
        found = pattern.search(text)
        if found:
            return found[1]
    return None
