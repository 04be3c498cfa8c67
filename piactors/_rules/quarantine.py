"""What crashes too often is left out: a plugin, or one hook of it, by its crashes within some seconds."""

from __future__ import annotations

from typing import Literal

import attrs

from piactors._text.record import ByAttributes

Subject = tuple[str, str]
"""A plugin, and one of its hooks; "" for the plugin itself."""
Admission = Literal["open", "trial", "closed"]


@attrs.frozen(eq=False, repr=False)
class QuarantineRule(ByAttributes):
    """After `crashes` crashes within `within` seconds; a trial after `retry_after` seconds, None: never."""

    crashes: int
    within: float
    retry_after: float | None


@attrs.define
class _Record:
    crashes: list[tuple[float, object]] = attrs.field(factory=list)
    """When, and which process: so that one can be taken back."""
    since: float | None = None
    """When it was closed; None while it is open."""
    on_trial: bool = False


@attrs.define
class Quarantines:
    """Who is in quarantine.  All times are those of one monotonic clock, in seconds."""

    rule: QuarantineRule
    _records: dict[Subject, _Record] = attrs.field(factory=dict)

    def crashed(self, subject: Subject, now: float, process: object = None) -> bool:
        """Count a crash; return whether the subject has just been closed by it."""
        record = self._records.setdefault(subject, _Record())
        if record.since is not None:
            if record.on_trial:
                record.since, record.on_trial = now, False
            return False
        record.crashes = [one for one in record.crashes if now - one[0] <= self.rule.within]
        record.crashes.append((now, process))
        if len(record.crashes) >= self.rule.crashes:
            record.since = now
            return True
        return False

    def moved(self, subject: Subject, to: Subject, now: float, process: object) -> bool:
        """The crash of a process was that of another subject; return whether that one has just been closed by it."""
        record = self._records.get(subject)
        if record is not None and any(one[1] == process for one in record.crashes):
            record.crashes = [one for one in record.crashes if one[1] != process]
            if record.since is not None and len(record.crashes) < self.rule.crashes:
                record.since, record.on_trial = None, False
        return self.crashed(to, now, process)

    def admits(self, subjects: list[Subject], now: float) -> Admission:
        """Return whether a call may be sent that concerns all of these; it is the trial of those that may have one."""
        closed = [
            record for record in map(self._records.get, subjects) if record is not None and record.since is not None
        ]
        if not closed:
            return "open"
        if not all(self._may_be_tried(record, now) for record in closed):
            return "closed"
        for record in closed:
            record.on_trial = True
        return "trial"

    def _may_be_tried(self, record: _Record, now: float) -> bool:
        after = self.rule.retry_after
        return not record.on_trial and after is not None and record.since is not None and now - record.since >= after

    def succeeded(self, subject: Subject) -> bool:
        """A call has been answered; return whether that has opened the subject."""
        record = self._records.get(subject)
        if record is None or not record.on_trial:
            return False
        del self._records[subject]
        return True

    def undecided(self, subject: Subject) -> None:
        """A trial has come to nothing: there was no answer, and no crash; the next call may be one."""
        record = self._records.get(subject)
        if record is not None:
            record.on_trial = False

    def close(self, subject: Subject, now: float) -> None:
        """It was in quarantine before this program began."""
        self._records[subject] = _Record(since=now)

    def release(self, plugin: str) -> bool:
        """Open a plugin and its hooks, and forget their crashes; return whether one of them was closed."""
        mine = [subject for subject in self._records if subject[0] == plugin]
        were_closed = any(self._records[subject].since is not None for subject in mine)
        for subject in mine:
            del self._records[subject]
        return were_closed

    def closed(self) -> list[Subject]:
        """Return who is in quarantine, in order."""
        return sorted(subject for subject, record in self._records.items() if record.since is not None)
