"""Tools that run foreign code, since they build from source: in an isolate, with limits, of which nothing is left.

What an isolate has started ends with it, and with this process.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from piactors.environments import foreign_side
from piactors.environments.cancelling import CancelFlag
from piactors.environments.tools import ToolEnd
from piactors.errors import PiactorsError
from piactors.events import OutputReceived
from piactors.limits import IsolationLimits
from piactors.options import IsolationOptions


@attrs.frozen(kw_only=True)
class IsolatedTools:
    """Runs tools for one build, each in an isolate of its own.

    Attributes:
        stop: ends them.
        limits: what they may use.
        heard: called with each line that they write.
    """

    stop: CancelFlag
    limits: IsolationLimits | None
    heard: Callable[[str], object] = lambda line: None

    def run(self, command: Sequence[str], env: Mapping[str, str]) -> ToolEnd:
        """Run a tool to its end; see `Tools.run`.

        Raises:
            Cancelled: as there.
        """
        self.stop.check()
        isolators: Any = importlib.import_module("piactors.isolator")  # it stands above this
        options = IsolationOptions(name="build", limits=self.limits, output=self._wrote, inherit_env=True)
        with isolators.ProcessIsolator(options) as isolator, self.stop.calls(isolator.terminate):
            try:
                code, lines = isolator.invoke_method(f"{foreign_side.__file__}:run", list(command), dict(env)).get()
            except PiactorsError as error:  # it broke a limit, or was ended
                self.stop.check()
                return ToolEnd(-1, (str(error),))
        return ToolEnd(code, tuple(lines))

    def _wrote(self, event: OutputReceived) -> None:
        self.heard(event.line)
