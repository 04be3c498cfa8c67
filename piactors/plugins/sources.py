"""Where plugins come from: entry points, folders with manifests, lists.  Nothing of a plugin is imported to find it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import attrs

from piactors.environment_spec import EnvironmentSpec
from piactors.plugins.specs import PluginSpec

MANIFEST = "plugin.toml"
_KNOWN = frozenset({"name", "version", "target", "api", "environment", "sys_path"})
_ENVIRONMENT = frozenset(attrs.fields_dict(EnvironmentSpec))
_LARGEST = 1 << 20
_MOST = 10_000


@attrs.frozen
class RefusedPlugin:
    """Something that is not a plugin, though it is where plugins are; `why` says it in words."""

    name: str
    why: str


class PluginSource(Protocol):
    """A place that plugins come from."""

    def find(self) -> Iterator[PluginSpec | RefusedPlugin]:
        """Yield what is there; nothing of it is imported."""


def _to_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


def target_of(value: str) -> str:
    """Return the target of an entry point: its module and attribute, without extras and spaces."""
    module, colon, path = value.split("[")[0].partition(":")
    return f"{module.strip()}{colon}{path.strip()}"


def _of_entry_point(point: metadata.EntryPoint, version: str) -> PluginSpec | RefusedPlugin:
    try:
        return PluginSpec(name=point.name, target=target_of(point.value), version=version)
    except (TypeError, ValueError) as error:
        return RefusedPlugin(str(point.name), str(error))


def _to_folder(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


@attrs.frozen
class EntryPoints:
    """The entry points of a group, of the packages that the host has.

    Args:
        group: the name of the group.
        names: which of them; default None: all.
    """

    group: str
    names: tuple[str, ...] | None = attrs.field(default=None, converter=attrs.converters.optional(_to_names))

    def find(self) -> Iterator[PluginSpec | RefusedPlugin]:
        """Yield a plugin for each entry point, with the version of its package."""
        seen: set[str] = set()
        for distribution in metadata.distributions():
            try:
                name, version = str(distribution.metadata["Name"]), distribution.version
                points = [] if name in seen else [one for one in distribution.entry_points if one.group == self.group]
            except Exception as error:  # foreign metadata may be anything
                yield RefusedPlugin(str(getattr(distribution, "_path", "a package")), f"its metadata: {error}")
                continue
            seen.add(name)  # of one that is there twice, the first one counts, as for imports
            for point in points[:_MOST]:
                if self.names is None or point.name in self.names:
                    yield _of_entry_point(point, version)


@attrs.frozen
class Folder:
    """The folders in a folder that have a manifest, ``plugin.toml``.

    Args:
        path: of the folder; it need not exist.
    """

    path: str = attrs.field(converter=_to_folder)

    def find(self) -> Iterator[PluginSpec | RefusedPlugin]:
        """Yield a plugin for each, by their names."""
        try:
            entries = sorted(os.scandir(self.path), key=lambda entry: entry.name)[:_MOST]
        except OSError:
            return
        for entry in entries:
            manifest = Path(entry.path) / MANIFEST
            try:
                is_there = entry.is_dir() and manifest.is_file()
            except OSError as error:
                yield RefusedPlugin(entry.name, f"{manifest}: {error.strerror}")
                continue
            if is_there:
                yield read_manifest(manifest)


def _to_specs(specs: Iterable[PluginSpec]) -> tuple[PluginSpec, ...]:
    return tuple(specs)


@attrs.frozen
class Listed:
    """Plugins that the program names itself."""

    specs: tuple[PluginSpec, ...] = attrs.field(converter=_to_specs)

    def find(self) -> Iterator[PluginSpec | RefusedPlugin]:
        """Yield them."""
        yield from self.specs


def read_manifest(path: Path) -> PluginSpec | RefusedPlugin:
    """Return the plugin of a manifest, or why there is none."""
    name = path.parent.name
    try:
        if path.resolve().parent != path.parent.resolve():
            raise ValueError("the manifest is a link to another folder")
        if path.stat().st_size > _LARGEST:
            raise ValueError("the manifest is larger than 1 MiB")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        name = str(data.get("name", name))[:200]
        return spec_of(data, path.parent)
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # tables that are too deep, links in a circle
        return RefusedPlugin(name, f"{path}: {error}")


def spec_of(data: Mapping[str, Any], folder: Path) -> PluginSpec:
    """Return the plugin that a manifest describes.

    Args:
        data: the manifest's content.
        folder: what the files that it names lie in.

    Raises:
        TypeError, ValueError: if something in it is wrong.
    """
    unknown = data.keys() - _KNOWN
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: there is no such entry; there are {', '.join(sorted(_KNOWN))}")
    target = data.get("target")
    if not isinstance(target, str):
        raise ValueError("target: a text such as 'module:attribute' or 'file.py:attribute' is needed")
    place = target.split(":")[0]
    if place.endswith(".py"):
        target = str(_inside(folder, place, "target")) + target[len(place) :]
    return PluginSpec(
        name=data.get("name", folder.name),
        target=target,
        version=data.get("version"),
        environment=_environment(data.get("environment"), folder),
        sys_path=[str(folder), *(str(_inside(folder, one, "sys_path")) for one in data.get("sys_path", []))],
        api=data.get("api", "*"),
    )


def _inside(folder: Path, place: Any, entry: str) -> Path:
    """Return a path in a plugin's folder.

    Raises:
        ValueError: if it leads out of it.
    """
    found = (folder / str(place)).resolve()
    if folder.resolve() not in (found, *found.parents):
        raise ValueError(f"{entry}: {place} is not in the plugin's folder")
    return found


def _environment(data: Any, folder: Path) -> EnvironmentSpec | None:
    if data is None:
        return None
    if not isinstance(data, dict) or data.keys() - _ENVIRONMENT:
        raise ValueError(f"environment: a table with some of {', '.join(sorted(_ENVIRONMENT))} belongs here")
    for name in ("project", "script", "lock"):
        if isinstance(data.get(name), str):
            data = {**data, name: str(_inside(folder, data[name], f"environment.{name}"))}
    return EnvironmentSpec(**data)


def found_in(sources: Iterable[PluginSource]) -> tuple[list[PluginSpec], list[RefusedPlugin]]:
    """Return the plugins of all sources, and what was refused; of equal names the first one counts."""
    specs: dict[str, PluginSpec] = {}
    refused: list[RefusedPlugin] = []
    for one in _all_of(sources):
        if isinstance(one, RefusedPlugin):
            refused.append(one)
        elif one.name in specs:
            refused.append(RefusedPlugin(one.name, "another plugin of that name comes first"))
        else:
            specs[one.name] = one
    return list(specs.values()), refused


def _all_of(sources: Iterable[PluginSource]) -> Iterator[PluginSpec | RefusedPlugin]:
    """Yield what is in all sources; one that fails is refused."""
    for source in sources:
        try:
            for one in source.find():
                if not isinstance(one, PluginSpec | RefusedPlugin):
                    raise TypeError(f"it yields {one!r}, which is not a PluginSpec")
                yield one
        except Exception as error:
            yield RefusedPlugin(repr(source)[:200], f"the source has failed: {error}")
