"""Telling how far a build is: who has asked for it, subscribers of events, and other processes that wait for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import attrs

from piactors import events
from piactors._host import relay, runtime
from piactors._text.logs import logger
from piactors.environments.building import BuildJob
from piactors.environments.cancelling import CancelFlag
from piactors.environments.claims import Claim
from piactors.environments.events import BuildProgress, EnvironmentBuilt, EnvironmentProgress, Phase
from piactors.environments.foreign import IsolatedTools
from piactors.environments.lock import EnvironmentLock
from piactors.environments.tools import ToolRunner, Tools
from piactors.limits import IsolationLimits


@attrs.frozen
class BuildNews:
    """Tells of the making of one environment.

    Attributes:
        label: what is made.
        stop: ends it.
        apart: the phases whose tools may run code of packages, and so run in an isolate.
    """

    label: str
    stop: CancelFlag
    apart: tuple[Phase, ...]
    _limits: IsolationLimits | None
    _progress: Callable[[BuildProgress], object] | None

    def job(self, claim: Claim) -> BuildJob:
        """Return a job that this process does: those who wait for the lock hear of it too."""

        def say(progress: BuildProgress) -> None:
            claim.say(json.dumps([progress.phase, progress.line]).encode())
            self._tell(progress)

        def tools(phase: Phase, heard: Callable[[str], object]) -> ToolRunner:
            if phase in self.apart:
                return IsolatedTools(stop=self.stop, limits=self._limits, heard=heard)
            return Tools(stop=self.stop, keeps=[claim.fd], heard=heard)

        return BuildJob(label=self.label, stop=self.stop, tools=tools, say=say)

    def overheard(self, line: bytes) -> None:
        """Another process has said how far it is."""
        try:
            phase, text = json.loads(line)
        except ValueError:
            return
        if phase in get_args(Phase):
            self._tell(BuildProgress(label=self.label, phase=phase, line=str(text)))

    def waits(self) -> None:
        """Another process makes it."""
        self._tell(BuildProgress(label=self.label, phase="waiting"))

    def built(self, lock: EnvironmentLock, folder: Path, seconds: float) -> None:
        """This process has built it."""
        self._tell(BuildProgress(label=self.label, phase="complete"))
        about = {"key": lock.key, "path": str(folder), "seconds": seconds, "packages": len(lock.packages)}
        _publish(EnvironmentBuilt, self.label, **about)

    def _tell(self, progress: BuildProgress) -> None:
        _publish(EnvironmentProgress, self.label, progress=progress)
        if self._progress is not None:
            try:
                self._progress(progress)
            except Exception:
                logger.exception("what was to hear of the build of %s has failed", self.label)


def _publish(cls: type[events.Event], name: str, **fields: Any) -> None:
    if events.bus.is_wanted(cls):
        event = cls(name=name, pid=None, generation=0, time=time.time(), **fields)
        runtime.current().dispatcher.submit(relay.publish, event)
