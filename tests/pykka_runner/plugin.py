"""A pytest plugin that has pykka's tests run with piactors, without a change to their files.

Load it with ``-p pykka_runner.plugin``.  The conftest of pykka's tests has its runtimes fixed in the
parameters of its fixture `runtime`; the plugin puts its own `runtime` there before pytest looks.
"""

from __future__ import annotations

import functools
import time
from types import ModuleType
from typing import Any

import pytest

import piactors
from piactors._host import runtime as piactors_runtime

from .crossevent import CrossProcessEvent

_DRAIN_SECONDS = 10.0


@pytest.hookimpl(tryfirst=True)
def pytest_plugin_registered(plugin: object) -> None:
    """Replace the runtimes of pykka's conftest as soon as it is imported."""
    if isinstance(plugin, ModuleType) and hasattr(plugin, "RUNTIMES"):
        runtimes = {"process": pytest.param(_runtime(plugin), id="process")}
        vars(plugin).update(RUNTIMES=runtimes, runtime=_fixture(list(runtimes.values())))
        handler = plugin.PykkaTestLogHandler
        handler.wait_for_message = _and_all_that_has_come(handler.wait_for_message)


def _and_all_that_has_come(wait: Any) -> Any:
    """Records of an isolate are handled on another thread: wait, and then for those that are there already."""

    @functools.wraps(wait)
    def wait_for_all(*args: Any, **kwargs: Any) -> None:
        wait(*args, **kwargs)
        assert piactors_runtime.current().dispatcher.drain(_DRAIN_SECONDS)

    return wait_for_all


def _runtime(conftest: Any) -> Any:
    return conftest.Runtime(
        name="process",
        actor_class=piactors.ProcessActor,
        event_class=CrossProcessEvent,
        future_class=piactors.Future,
        sleep_func=time.sleep,
    )


def _fixture(params: list[Any]) -> Any:
    @pytest.fixture(scope="session", params=params)
    def runtime(request: pytest.FixtureRequest) -> Any:
        """Return the runtime of processes."""
        return request.param

    return runtime
