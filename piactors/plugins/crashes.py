"""How often the plugins of one host have crashed, and which of them are left out for that."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from piactors._rules.quarantine import QuarantineRule, Quarantines, Subject
from piactors._text.logs import plain as logger
from piactors.exit_reason import ExitReason
from piactors.plugins import events
from piactors.plugins.kept import KeptState
from piactors.plugins.specs import Quarantine

_OF_THE_HOST = frozenset({"normal", "shutdown", "killed", "host_stopped"})
"""Ends that are no crash: somebody wanted them."""
_MOST_BLAMED = 1_000
Process = tuple[str, int, int | None]
"""A plugin, and the generation and pid of one of its processes."""


class Crashes:
    """The crashes of the plugins of one host.

    Args:
        state: what quarantines are kept in.
        clock: tells the seconds of a monotonic clock.
        forgives: called with the name of a plugin that is to be left out; returns whether something else is done.
    """

    def __init__(
        self,
        state: KeptState,
        clock: Callable[[], float] = time.monotonic,
        forgives: Callable[[str], bool] = lambda plugin: False,
    ) -> None:
        self._state, self._clock, self._forgives = state, clock, forgives
        self._lock = threading.Lock()
        self._of: dict[str, Quarantines] = {}
        self._per_hook: dict[str, bool] = {}
        self._keys: dict[str, str] = {}
        self._blamed: OrderedDict[Process, Subject] = OrderedDict()
        self._count: Counter[str] = Counter()
        self._last: dict[str, ExitReason] = {}
        self.are_some_closed = False
        """Whether anything may be left out; read without the lock."""

    def begin(self, plugin: str, rule: Quarantine | None, key: str) -> None:
        """A plugin takes part.

        Args:
            key: its version and environment: a quarantine is one of those.
        """
        with self._lock:
            if rule is None:
                self._of.pop(plugin, None)
            elif self._keys.get(plugin) != key or plugin not in self._of:
                made = Quarantines(QuarantineRule(rule.crashes, rule.within, rule.retry_after))
                for hook in self._state.hooks(plugin, key):
                    made.close((plugin, hook), self._clock())
                self._of[plugin], self._per_hook[plugin] = made, rule.per_hook
            self._keys[plugin] = key
            self._note()

    def why_not(self, plugin: str, hook: str) -> str | None:
        """Return why a hook is not called now; None if it is."""
        with self._lock:
            quarantines = self._of.get(plugin)
            subjects = [(plugin, ""), (plugin, hook)]
            if quarantines is None or quarantines.admits(subjects, self._clock()) != "closed":
                return None
            whole = (plugin, "") in quarantines.closed()
        return f"{'the plugin' if whole else f'its hook {hook}'} is in quarantine: it has crashed too often"

    def crashed(self, process: Process, hook: str, reason: ExitReason) -> None:
        """A process has ended; both its call and its supervisor may say so, in whichever order.

        Args:
            hook: what it ran; "" if that is not known.
        """
        if reason.kind in _OF_THE_HOST:
            return
        plugin = process[0]
        with self._lock:
            subject = (plugin, hook if self._per_hook.get(plugin) else "")
            before = self._blamed.get(process)
            self._blamed[process] = subject if before is None or not before[1] else before
            while len(self._blamed) > _MOST_BLAMED:
                self._blamed.popitem(last=False)
            if before is None:
                self._count[plugin] += 1
                self._last[plugin] = reason
            closed = self._counted(subject, before, process)
        if before is None:
            events.publish(events.PluginCrashed, plugin, hook=hook, reason=reason)
        if closed and self._forgives(plugin):
            self.release(plugin)
        elif closed:
            what = f"hook {hook} of plugin {plugin}" if subject[1] else f"plugin {plugin}"
            logger.warning("%s is left out from now on: it has crashed too often; last: %s", what, reason.summary)
            events.publish(events.PluginQuarantined, plugin, hook=subject[1])

    def _counted(self, subject: Subject, before: Subject | None, process: Process) -> bool:
        quarantines = self._of.get(subject[0])
        if quarantines is None or (before is not None and (before[1] or not subject[1])):
            return False  # it is known what that process ran, or nothing new is said of it
        closed_before, now = quarantines.closed(), self._clock()
        if before is None:
            closed = quarantines.crashed(subject, now, process)
        else:
            closed = quarantines.moved(before, subject, now, process)
        if quarantines.closed() != closed_before:
            self._changed(subject[0])
        return closed

    def answered(self, plugin: str, hook: str) -> None:
        """A hook has returned, or raised something."""
        with self._lock:
            quarantines = self._of.get(plugin)
            subjects = [(plugin, ""), (plugin, hook)] if quarantines is not None else []
            opened = [one for one in subjects if quarantines is not None and quarantines.succeeded(one)]
            if opened:
                self._changed(plugin)
        if opened:
            events.publish(events.PluginReleased, plugin)

    def undecided(self, plugin: str, hook: str) -> None:
        """There was no answer of a hook, and no crash."""
        with self._lock:
            quarantines = self._of.get(plugin)
            if quarantines is not None:
                quarantines.undecided((plugin, ""))
                quarantines.undecided((plugin, hook))

    def release(self, plugin: str) -> None:
        """Let a plugin take part again, and forget its crashes."""
        with self._lock:
            quarantines = self._of.get(plugin)
            was_closed = quarantines is not None and quarantines.release(plugin)
            if was_closed:
                self._changed(plugin)
        if was_closed:
            events.publish(events.PluginReleased, plugin)

    def of(self, plugin: str) -> tuple[int, ExitReason | None, tuple[str, ...]]:
        """Return how often a plugin has crashed, why it ended last, and which of its hooks are left out."""
        with self._lock:
            quarantines = self._of.get(plugin)
            hooks = () if quarantines is None else tuple(hook for _, hook in quarantines.closed())
            return self._count[plugin], self._last.get(plugin), hooks

    def _changed(self, plugin: str) -> None:
        self._note()
        self._state.keep(plugin, self._keys[plugin], [hook for _, hook in self._of[plugin].closed()])

    def _note(self) -> None:
        self.are_some_closed = any(one.closed() for one in self._of.values())
