"""The environment that an isolate is started in: options that name one, with the interpreter that they come to."""

from __future__ import annotations

import functools
import threading
import weakref

import attrs

from piactors.environment_spec import EnvironmentSpec
from piactors.environments.environment import Environment
from piactors.environments.store import EnvironmentStore
from piactors.options import IsolationOptions

_lock = threading.Lock()
_used: weakref.WeakValueDictionary[str, Environment] = weakref.WeakValueDictionary()
"""By path, so that a thousand isolates in one environment keep it by one descriptor."""


def resolved(options: IsolationOptions) -> IsolationOptions:
    """Return options whose environment is complete; waits for its build if it is not there.

    Raises:
        BuildFailed: if it cannot be made.
        NoInterpreter: if there is no interpreter for it.
    """
    found = options.environment
    if isinstance(found, EnvironmentSpec):
        future = _usual_store().prepare(found)
        try:
            found = _shared(future.get())
        except BaseException:  # an interrupt: nobody waits for it any more
            future.cancel()
            raise
    return _inside(options, found)


async def resolved_async(options: IsolationOptions) -> IsolationOptions:
    """Return options as `resolved` does, and let the event loop run meanwhile."""
    found = options.environment
    if isinstance(found, EnvironmentSpec):
        found = _shared(await _usual_store().prepare(found))
    return _inside(options, found)


def _inside(options: IsolationOptions, found: object) -> IsolationOptions:
    assert isinstance(found, Environment)
    found = _shared(found.again())  # one of the isolates' own, so that the caller's can be removed only after them
    return attrs.evolve(options, environment=found, python=found.python)


def _shared(found: Environment) -> Environment:
    with _lock:
        there = _used.get(found.path)
        if there is not None and there.is_in_use:
            return there
        _used[found.path] = found
        return found


@functools.cache
def _store_at(root: str) -> EnvironmentStore:
    return EnvironmentStore(root)


def _usual_store() -> EnvironmentStore:
    return _store_at(str(EnvironmentStore().root))
