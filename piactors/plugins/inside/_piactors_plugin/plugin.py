"""Finds the hooks of a plugin in its isolate, and runs them."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .loading import loaded

_OPTS = ("wrapper", "hookwrapper", "optionalhook", "tryfirst", "trylast")
STALE = "piactors: these are not the hooks of this process"
_LONGEST_DOC = 2000
_SIMPLE = (type(None), bool, int, float, str, bytes)


class Plugin:
    """One plugin.

    Args:
        target: ``"module:attribute"`` or ``"module"``, with a file's path in place of the module; or the plugin itself.
        project: whose markers its hooks have.
        specs: the parameters of each hook of the application.  A plugin without markers has those of its functions
            that are called as hooks are.
        tests: whether its function ``self_test``, if it has one, is called.
    """

    def __init__(self, target: Any, project: str, specs: dict[str, list[str]], tests: bool) -> None:
        if isinstance(target, str) and ".py" in target:
            sys.dont_write_bytecode = True  # a file may change twice within a second, which is all that bytecode knows
        found = loaded(target) if isinstance(target, str) else target
        self._plugin = found() if isinstance(found, type) else found
        self._hooks = _hooks(self._plugin, project + "_impl", list(specs))
        for name, (function, opts, _) in self._hooks.items():
            _check(opts["specname"] or name, function, opts, specs)
        self._described = [_described(name, function, opts) for name, (function, opts, _) in self._hooks.items()]
        self._fingerprint = hashlib.sha1(repr(self._described).encode()).hexdigest()
        if tests and hasattr(self._plugin, "self_test"):
            self._plugin.self_test()

    def describe(self) -> dict[str, Any]:
        """Return what its hooks are, as plain data, and what stands for that in calls."""
        return {"hooks": self._described, "fingerprint": self._fingerprint}

    def call(self, name: str, arguments: dict[str, Any], fingerprint: str) -> Any:
        """Run a hook."""
        return self._run(name, arguments, fingerprint)

    async def acall(self, name: str, arguments: dict[str, Any], fingerprint: str) -> Any:
        """Run a hook that is a coroutine function."""
        return await self._run(name, arguments, fingerprint)

    def _run(self, name: str, arguments: dict[str, Any], fingerprint: str) -> Any:
        if fingerprint != self._fingerprint:
            raise LookupError(STALE)
        function, _, positional = self._hooks[name]
        if not positional:
            return function(**arguments)
        given = dict(arguments)
        return function(*[given.pop(one) for one in positional if one in given], **given)

    def wrap(
        self, name: str, arguments: dict[str, Any], fingerprint: str, inner: Callable[[], tuple[bool, Any]]
    ) -> tuple[str, Any]:
        """Run a wrapper around what `inner` runs.

        Returns:
            ``"made"`` and its result; or ``"same"`` if that is what `inner` has come to.
        """
        wrapper = self._run(name, arguments, fingerprint)
        try:
            next(wrapper)
        except StopIteration:
            raise _misuse(wrapper, "did not yield") from None
        try:
            succeeded, value = inner()
        except Exception as error:  # what it came to cannot be sent here
            wrapper.close()
            return "unsendable", str(error)
        if self._hooks[name][1]["hookwrapper"]:
            return _left_old(wrapper, succeeded, value)
        return _left(wrapper, succeeded, value)


def _left(wrapper: Any, succeeded: bool, value: Any) -> tuple[str, Any]:
    before = _form(value)
    try:
        if succeeded:
            wrapper.send(value)
        else:
            wrapper.throw(value)
    except StopIteration as end:
        return _made(end.value, value, before) if succeeded else ("made", end.value)
    except BaseException as error:
        # A StopIteration that a generator lets through comes out as the cause of a RuntimeError.
        if error is value or (isinstance(value, StopIteration) and error.__cause__ is value):
            return "same", None
        raise
    wrapper.close()
    raise _misuse(wrapper, "has second yield")


def _left_old(wrapper: Any, succeeded: bool, value: Any) -> tuple[str, Any]:
    outcome, before = _outcome(value if succeeded else None, None if succeeded else value), _form(value)
    try:
        wrapper.send(outcome)
    except StopIteration:
        pass
    else:
        wrapper.close()
        raise _misuse(wrapper, "has second yield")
    try:
        result = outcome.get_result()
    except BaseException as error:
        if error is value:
            return "same", None
        raise
    return _made(result, value, before) if succeeded else ("made", result)


def _made(result: Any, value: Any, before: bytes | None) -> tuple[str, Any]:
    """Return a result, or that it is what was given: the same object, and not changed."""
    same = result is value and before is not None and _form(value) == before
    return ("same", None) if same else ("made", result)


def _form(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value, 4)
    except Exception:
        return None


def _misuse(wrapper: Any, what: str) -> RuntimeError:
    code = wrapper.gi_code
    place = "{!r} {}:{}".format(code.co_name, code.co_filename, code.co_firstlineno)
    return RuntimeError("wrap_controller at {} {}".format(place, what))


class _Outcome:
    """What a wrapper of the old style gets, if there is no pluggy to make it."""

    def __init__(self, result: Any, exception: BaseException | None) -> None:
        self._result = result
        self.exception = exception

    @property
    def excinfo(self) -> Any:
        error = self.exception
        return None if error is None else (type(error), error, error.__traceback__)

    def get_result(self) -> Any:
        if self.exception is not None:
            raise self.exception
        return self._result

    def force_result(self, result: Any) -> None:
        self._result, self.exception = result, None

    def force_exception(self, exception: BaseException) -> None:
        self._result, self.exception = None, exception


def _outcome(result: Any, exception: BaseException | None) -> Any:
    pluggy = sys.modules.get("pluggy")
    return _Outcome(result, exception) if pluggy is None else pluggy.Result(result, exception)


def _hooks(plugin: Any, marker: str, names: Sequence[str]) -> dict[str, tuple[Any, dict[str, Any], tuple[str, ...]]]:
    """Return function and options by name: those that are marked; if none is, those that have the names of hooks."""
    found = {}
    for name in dir(plugin):
        static = inspect.getattr_static(plugin, name)
        function = getattr(static, "__func__", static)  # a marker may be on a class method, or on what it is of
        opts = getattr(static, marker, None) or getattr(function, marker, None)
        if inspect.isroutine(function) and isinstance(opts, dict):
            found[name] = (getattr(plugin, name), _opts(opts))
    if not found:
        functions = {name: getattr(plugin, name, None) for name in names}
        found = {name: (function, _opts({})) for name, function in functions.items() if inspect.isroutine(function)}
    return {name: (function, opts, _only_positional(function)) for name, (function, opts) in found.items()}


def _check(hook: str, function: Any, opts: dict[str, Any], specs: dict[str, list[str]]) -> None:
    """See that a hook wants nothing that its callers do not give, and that a wrapper can be one."""
    if (opts["wrapper"] or opts["hookwrapper"]) and not inspect.isgeneratorfunction(function):
        raise TypeError("hook {} is a wrapper, and not a generator function".format(hook))
    if opts["wrapper"] and opts["hookwrapper"]:
        raise TypeError("hook {} is a wrapper and a hookwrapper; it can be one of them".format(hook))
    parameters = [one for one in _positional(function) if one.default is one.empty]
    unknown = [one.name for one in parameters if one.name not in specs.get(hook, ())]
    if hook in specs and unknown:
        text = "hook {} has the parameters {}, and there are {}"
        raise TypeError(text.format(hook, ", ".join(unknown), ", ".join(specs[hook]) or "none"))


def _positional(function: Any) -> list[inspect.Parameter]:
    """Return the parameters that pluggy looks at."""
    found = inspect.signature(function).parameters.values()
    return [one for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def _only_positional(function: Any) -> tuple[str, ...]:
    return tuple(one.name for one in _positional(function) if one.kind is one.POSITIONAL_ONLY)


def _opts(given: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: bool(given.get(name)) for name in _OPTS}
    specname = given.get("specname")
    return {**found, "specname": specname if isinstance(specname, str) else None}


def _described(name: str, function: Any, opts: dict[str, Any]) -> dict[str, Any]:
    parameters = []
    for parameter in _positional(function):
        default = parameter.default
        has_default = default is not parameter.empty
        parameters.append([parameter.name, has_default, default if isinstance(default, _SIMPLE) else None])
    return {
        "name": name,
        "parameters": parameters,
        "opts": opts,
        "is_coroutine": inspect.iscoroutinefunction(function),
        "is_generator": inspect.isgeneratorfunction(function),
        "doc": (inspect.getdoc(function) or "")[:_LONGEST_DOC],
    }
