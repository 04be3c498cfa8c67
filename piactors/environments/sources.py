"""What a spec asks for, read from where it says: requirements, a project, a script, a lock."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from piactors.environment_spec import EnvironmentSpec
from piactors.environments.errors import BuildFailed
from piactors.environments.lock import LockedPackage, canonical

_SCRIPT = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
"""The block of PEP 723, with its own expression."""
_HASH = re.compile(r"\s--hash[= ]\S+")
_SHA256 = re.compile(r"\s--hash[= ]sha256:([0-9a-fA-F]{64})\b")
_ARCHIVE = re.compile(r"\.(tar\.\w+|tgz|zip|whl)$")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")


@attrs.frozen(kw_only=True)
class Wanted:
    """What is to be resolved.

    Attributes:
        requirements: one each, with their hashes.
        pinned: whether they are all there is to install: a lock.
        pylock: the text of a ``pylock.toml`` in place of requirements; "" otherwise.
        python: which interpreter is asked for; None: the host's own.
        digest: the SHA-256 of all that decides on the outcome, in hexadecimal.
        label: what messages call it.
    """

    requirements: tuple[str, ...]
    pinned: bool
    pylock: str
    python: str | None
    digest: str
    label: str


def read(spec: EnvironmentSpec) -> Wanted:
    """Return what a spec asks for.

    Raises:
        OSError: if a file that it names cannot be read.
        ValueError: if one does not have what it should have.
    """
    requirements, python, pylock = spec.requirements, None, ""
    if spec.project is not None:
        requirements, python = _project(spec.project)
    elif spec.script is not None:
        requirements, python = _script(spec.script)
    elif spec.lock is not None and os.path.basename(spec.lock).startswith("pylock"):
        pylock = Path(spec.lock).read_text(encoding="utf-8")
    elif spec.lock is not None:
        requirements = _locked(spec.lock)
    if spec.require_hashes and not pylock:
        _check_hashes(requirements)
    for line in (*requirements, *spec.constraints):
        _check_line(line, spec)
    about: list[Any] = [sorted(requirements), pylock, sorted(spec.constraints), spec.lock is not None]
    about += [spec.require_hashes, os.path.dirname(os.path.abspath(spec.lock)) if spec.lock and pylock else ""]
    about += [list(map(_absolute, spec.find_links)), spec.index_urls, spec.only_binary]
    return Wanted(
        requirements=tuple(requirements),
        pinned=spec.lock is not None,
        pylock=pylock,
        python=spec.python or python,
        digest=hashlib.sha256(json.dumps(about).encode()).hexdigest(),
        label=spec.project or spec.script or spec.lock or ", ".join(requirements) or "no packages",
    )


def _check_line(line: str, spec: EnvironmentSpec) -> None:
    """Refuse a requirement that is more than that, or would have something built that is not to be.

    Raises:
        ValueError: if it is.
    """
    for option in re.findall(r"\s(--?[A-Za-z][A-Za-z-]*)", line):
        if option != "--hash":
            raise ValueError(f"{line!r}: the option {option} is not allowed; --hash=sha256:... is")
    for algorithm in re.findall(r"--hash[= ](\w+):", line):
        if algorithm != "sha256":
            raise ValueError(f"{line!r}: a hash of {algorithm} is not looked at; use --hash=sha256:...")
    plain, _, url = line.partition("@")
    address = url.split(" --hash")[0].split(";")[0].strip().partition("#")[0]
    if spec.only_binary and (_ARCHIVE.search(plain.split()[0]) or (address and not address.endswith(".whl"))):
        raise ValueError(f"{line!r} is not a wheel, and only_binary=True builds nothing")
    if spec.offline and "://" in address and not address.startswith("file://"):
        raise ValueError(f"{line!r} needs the network, and offline=True leaves that alone")


def check(wanted: Wanted, found: Iterable[LockedPackage], *, all_listed: bool, only_binary: bool) -> None:
    """See that what was found has the hashes that were asked for.

    Args:
        all_listed: whether nothing may be there that was not asked for with a hash.
        only_binary: whether it has to be wheels alone.

    Raises:
        BuildFailed: if it has others.
    """
    allowed: dict[str, set[str]] = {}
    for line in wanted.requirements:
        hashes = {one.lower() for one in _SHA256.findall(line)}
        name = _NAME.match(line)
        if hashes and name is not None:  # a line for each of several markers may name the same package
            allowed.setdefault(canonical(name[0]), set()).update(hashes)
    for one in found:
        if only_binary and not one.is_wheel:
            raise BuildFailed(f"{one.name} has no wheel, and only_binary=True builds nothing", one.name)
        if one.name not in allowed and all_listed:
            raise BuildFailed(
                f"{wanted.label}: {one.name} {one.version} is a dependency, and no hash was given for it", one.name
            )
        if one.sha256 not in allowed.get(one.name, {one.sha256}):
            raise BuildFailed(
                f"{one.file} has the hash sha256:{one.sha256}, which is not one that is allowed", one.name
            )


def _absolute(place: str) -> str:
    return place if "://" in place else os.path.abspath(os.path.expanduser(place))


def find_links(spec: EnvironmentSpec) -> list[str]:
    """Return the places of `find_links`, as the tools take them from any folder."""
    return list(map(_absolute, spec.find_links))


def _project(path: str) -> tuple[tuple[str, ...], str | None]:
    file = Path(path) / "pyproject.toml" if os.path.isdir(path) else Path(path)
    project = _toml(file.read_text(encoding="utf-8"), str(file)).get("project")
    if not isinstance(project, dict):
        raise ValueError(f"{file} has no table [project]; name what is needed as requirements")
    dynamic = project.get("dynamic", [])
    if isinstance(dynamic, list) and "dependencies" in dynamic:
        raise ValueError(f"{file} declares its dependencies as dynamic; list them, or name them as requirements")
    return _texts(project.get("dependencies", []), f"{file}: dependencies"), _python(project, str(file))


def _script(path: str) -> tuple[tuple[str, ...], str | None]:
    blocks = list(_SCRIPT.finditer(Path(path).read_text(encoding="utf-8").replace("\r\n", "\n")))
    if len(blocks) != 1:
        many = "no block" if not blocks else f"{len(blocks)} blocks"
        raise ValueError(f"{path} has {many} '# /// script' (PEP 723); it needs one")
    lines = blocks[0]["content"].splitlines()
    data = _toml("\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines), path)
    return _texts(data.get("dependencies", []), f"{path}: dependencies"), _python(data, path)


def _locked(path: str) -> tuple[str, ...]:
    """Return the requirements of a file: each has to have an exact version and hashes."""
    text = Path(path).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.splitlines()]
    found = tuple(" ".join(line.split()) for line in lines if line)
    for line in found:
        if line.startswith("-") or not ("==" in line or "@" in line):
            raise ValueError(f"{path}: {line!r} is not a locked requirement; use 'name==version --hash=sha256:...'")
    _check_hashes(found, path)
    return found


def _check_hashes(requirements: tuple[str, ...], path: str = "require_hashes") -> None:
    for line in requirements:
        if _HASH.search(line) is None:
            raise ValueError(f"{path}: {line!r} has no hash; add --hash=sha256:..., or use a lock")


def _toml(text: str, path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not TOML that can be read: {error}") from None


def _texts(value: Any, what: str) -> tuple[str, ...]:
    try:
        return EnvironmentSpec(requirements=value if isinstance(value, list) else [value]).requirements
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {str(error).partition(': ')[2]}") from None


def _python(data: dict[str, Any], path: str) -> str | None:
    found = data.get("requires-python")
    if found is not None and not isinstance(found, str):
        raise ValueError(f"{path}: requires-python is not a text")
    return found
