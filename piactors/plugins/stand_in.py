"""What stands in the host for a plugin in an isolate: a module of functions with its signatures and markers."""

from __future__ import annotations

import keyword
import types
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import attrs

from piactors._text.record import ByAttributes


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RemoteHook(ByAttributes):
    """One hook of a plugin in an isolate, as the plugin has described it.

    Attributes:
        name: of the function.
        parameters: name, whether it has a default, and the default if that is a simple value.
        opts: what pluggy's marker says.
        is_coroutine, is_generator: whether it is a coroutine function, or a generator function.
    """

    name: str
    parameters: tuple[tuple[str, bool, Any], ...]
    opts: dict[str, Any]
    is_coroutine: bool
    is_generator: bool
    doc: str

    @property
    def hook(self) -> str:
        """The name of the hook that it implements."""
        found = self.opts.get("specname")
        return found if isinstance(found, str) and found else self.name

    @property
    def is_wrapper(self) -> bool:
        """Whether it goes around the others."""
        return bool(self.opts.get("wrapper") or self.opts.get("hookwrapper"))


_MOST = 10_000
_SIMPLE = (type(None), bool, int, float, str, bytes)


class BadDescription(ValueError):
    """What a plugin says of itself is not a description of hooks."""


@attrs.frozen
class PluginDescription:
    """What a plugin has said of itself: its hooks, and what stands for them in calls."""

    hooks: tuple[RemoteHook, ...]
    fingerprint: str


def described(said: Any) -> PluginDescription:
    """Return what a plugin has described; it is not trusted.

    Raises:
        BadDescription: if that is no description.
    """
    hooks = said.get("hooks") if isinstance(said, dict) else None
    fingerprint = said.get("fingerprint") if isinstance(said, dict) else None
    if not isinstance(hooks, list) or not isinstance(fingerprint, str) or len(hooks) > _MOST or len(fingerprint) > 100:
        raise BadDescription("it does not describe its hooks as a plugin does")
    return PluginDescription(tuple(_hook(one) for one in hooks), fingerprint)


def _hook(said: Any) -> RemoteHook:
    try:
        name, opts, doc = said["name"], said["opts"], said["doc"]
        parameters = tuple((str(one), bool(has), default) for one, has, default in said["parameters"])
        kinds = {"is_coroutine": bool(said["is_coroutine"]), "is_generator": bool(said["is_generator"])}
    except (TypeError, KeyError, ValueError):
        raise BadDescription("it describes a hook as no hook can be") from None
    if len(parameters) > _MOST or not isinstance(doc, str) or len(doc) > _MOST:
        raise BadDescription("the description of a hook is too long")
    if not all(isinstance(one[2], _SIMPLE) and len(repr(one[2])) <= _MOST for one in parameters):
        raise BadDescription("the default of a parameter is not a simple value")
    names = [name, *(one for one, _, _ in parameters)]
    if not all(isinstance(one, str) and one.isidentifier() and not keyword.iskeyword(one) for one in names):
        raise BadDescription(f"{names!r} are not all names")
    if len(set(names[1:])) != len(parameters) or not isinstance(opts, dict):
        raise BadDescription(f"the parameters or the options of {name} are not possible")
    return RemoteHook(name=name, parameters=parameters, opts=dict(opts), **kinds, doc=doc)


class Behind(Protocol):
    """What is behind a stand-in: a plugin in an isolate."""

    def called(self, hook: RemoteHook, arguments: dict[str, Any]) -> Any:
        """Somebody has called a function of the stand-in, and not by way of its host."""


def module_of(name: str, hooks: Iterable[RemoteHook], marker: str, plugin: Behind) -> types.ModuleType:
    """Return a module with a function for each hook of a plugin.

    Its name is not that of the plugin's module, which an application that imports plugins by name is not to import.

    Args:
        marker: the name of the attribute that pluggy looks at.
    """
    module = types.ModuleType(f"piactors_isolated_{name}", f"Stands for the plugin {name}, which runs in an isolate.")
    for hook in hooks:
        function = _function(hook, plugin)
        setattr(function, marker, hook.opts)
        function.__module__ = module.__name__
        setattr(module, hook.name, function)
    return module


def _function(hook: RemoteHook, plugin: Behind) -> Callable[..., Any]:
    """Return a function with the parameters of a hook: pluggy, and others, look at its code for them."""
    defaults = {f"_default_{number}": one[2] for number, one in enumerate(hook.parameters)}
    declared = [
        f"{name}=_default_{number}" if has_default else name
        for number, (name, has_default, _) in enumerate(hook.parameters)
    ]
    passed = ", ".join(f"{name!r}: {name}" for name, _, _ in hook.parameters)
    call = f"_plugin.called(_hook, {{{passed}}})"
    body = f"return (yield from {call})" if hook.is_generator and hook.is_wrapper else f"return {call}"
    source = f"def {hook.name}({', '.join(declared)}):\n    {body}\n"
    found: dict[str, Any] = {**defaults, "_plugin": plugin, "_hook": hook}
    exec(compile(source, f"<stand-in of {hook.name}>", "exec"), found)
    function: Callable[..., Any] = found[hook.name]
    function.__doc__ = hook.doc
    function._piactors_behind = plugin, hook  # type: ignore[attr-defined]
    return function


def behind(function: object) -> tuple[Any, RemoteHook] | None:
    """Return the plugin and the hook that a function stands for; None if it is not a stand-in."""
    return getattr(function, "_piactors_behind", None)
