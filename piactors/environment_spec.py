"""What an environment is made of: `EnvironmentSpec`.

Pure data, as options are: nothing here looks at the file system or loads what builds environments.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from piactors._text.record import ByAttributes
from piactors._validation import fields as rule
from piactors._validation.fields import NONE

__all__ = ["EnvironmentSpec", "PreparedEnvironment"]

_REQUIREMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\s*(?:$|[\[(<>=!~;@\s].*)")
_SOURCES = ("requirements", "project", "script", "lock")


def _is_requirement(text: str) -> bool:
    return text.isprintable() and _REQUIREMENT.fullmatch(text.strip()) is not None


def _is_address(text: str) -> bool:
    return text.isprintable() and "://" in text and not text.startswith("-") and " " not in text


def _requirements() -> Any:
    return rule.each("requirements such as 'numpy>=1.26,<2', one each and no options", (str,), _is_requirement)


def _one_source(spec: Any, _: Any, __: Any) -> None:
    given = [name for name in _SOURCES if getattr(spec, name)]
    if len(given) > 1:
        raise ValueError(f"EnvironmentSpec: {' and '.join(given)} exclude each other; use one of {', '.join(_SOURCES)}")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class EnvironmentSpec(ByAttributes):
    """What an environment is made of.  Compared by value; an instance never changes.

    Packages come from one of `requirements`, `project`, `script` and `lock`; with none of them the environment is an
    interpreter with no packages.

    Attributes:
        requirements: Requirements as of PEP 508, such as ``"numpy>=1.26,<2"``; each may have ``--hash=sha256:...``.
        project: A ``pyproject.toml``, or the folder of one: what that project depends on, without the project itself.
        script: A Python file with a block of inline metadata (PEP 723): what it depends on.
        lock: A ``pylock.toml`` (PEP 751), or a file of requirements with hashes: just that is installed.
        python: The interpreter: a version ``"3.12"``, versions ``">=3.10"``, ``"pypy3.10"``, or a path.  Default None:
            what the source asks for, else the host's own.
        constraints: Requirements that bound versions, but install nothing by themselves.
        find_links: Folders or addresses of pages with distributions, besides the index.
        index_urls: Addresses of package indexes, the first the most important; default: what the tool is set to use.
        offline: Whether the network is left alone: what is not in `find_links` or a cache is missing.
        require_hashes: Whether each requirement has to come with a hash: nothing else is installed.
        only_binary: Whether wheels alone are installed, so that no foreign code runs in a build; default True.
    """

    requirements: tuple[str, ...] = attrs.field(default=(), converter=rule.to_strings, validator=_requirements())
    project: str | None = attrs.field(default=None, converter=rule.to_path, validator=rule.path(also=NONE))
    script: str | None = attrs.field(default=None, converter=rule.to_path, validator=rule.path(also=NONE))
    lock: str | None = attrs.field(default=None, converter=rule.to_path, validator=[rule.path(also=NONE), _one_source])
    python: str | None = attrs.field(default=None, converter=rule.to_path, validator=rule.path(also=NONE))
    constraints: tuple[str, ...] = attrs.field(default=(), converter=rule.to_strings, validator=_requirements())
    find_links: tuple[str, ...] = attrs.field(default=(), converter=rule.to_paths, validator=rule.paths())
    index_urls: tuple[str, ...] = attrs.field(
        default=(),
        converter=rule.to_strings,
        validator=rule.each("addresses such as 'https://example.org/simple'", (str,), _is_address),
    )
    offline: bool = attrs.field(default=False, validator=rule.flag())
    require_hashes: bool = attrs.field(default=False, validator=rule.flag())
    only_binary: bool = attrs.field(default=True, validator=rule.flag())


class PreparedEnvironment:
    """What a spec has become: an environment that is complete; see `piactors.environments.Environment`.

    Attributes:
        python: the path of its interpreter.
    """

    __slots__ = ()
    python: str
