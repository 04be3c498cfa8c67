"""What a supervisor hears at a child's end for good, also if piactors has failed: what it waits for, and once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from piactors._isolate.news import News
from piactors._rules.bodies import ProcessEnding
from piactors.exit_reason import ExitReason

REASON = ExitReason(kind="killed", detail="piactors has failed")


class Link:
    """Notes what it hears; with `failures`, so many of its reports fail."""

    quarantine = False

    def __init__(self, failures: int = 0) -> None:
        self.heard: list[str] = []
        self._failures = failures

    def _hear(self, what: str) -> None:
        if self._failures:
            self._failures -= 1
            raise MemoryError
        self.heard.append(what)

    def started(self) -> None:
        self._hear("started")

    def start_failed(self, reason: ExitReason, error: Any) -> None:
        self._hear("start_failed")

    def exited(self, exit: Any) -> None:
        self._hear("exited")

    def terminated(self) -> None:
        self._hear("terminated")


class Body:
    """A process."""

    def __init__(self, *, is_ready: bool) -> None:
        self.is_ready = is_ready
        self.announced = False

    def note_announced(self) -> None:
        self.announced = True


def news_of(link: Link) -> News:
    anything: Any = SimpleNamespace()
    return News(anything, SimpleNamespace(_ends=SimpleNamespace(tell=print)), cast(Any, link), *[anything] * 3)


def end(news: News, body: Body | None, *, started: bool) -> None:
    """Take the step that tells the supervisor, as often as it fails."""
    ending = ProcessEnding(REASON, started=started)
    tell = news.steps_of_end(cast(Any, body), 1, ending, wanted=False)[0]
    for _ in range(10):
        try:
            tell()
        except MemoryError:
            continue
        return


def test_a_child_that_runs_is_told_to_have_ended_whatever_is_known_of_its_process() -> None:
    for started in (False, True):
        link, body = Link(), Body(is_ready=True)
        news = news_of(link)
        news.announce(cast(Any, body))
        end(news, body, started=started)
        assert link.heard == ["started", "exited"]


def test_a_start_that_its_supervisor_waits_for_is_told_to_have_failed() -> None:
    """Also if the process before it, of which it knows, had been ready."""
    link, body = Link(), Body(is_ready=True)
    news = news_of(link)
    news.announce(cast(Any, body))
    news.expect_start()
    end(news, body, started=True)
    assert link.heard == ["started", "start_failed"]


@pytest.mark.parametrize("body", [None, Body(is_ready=False)])
def test_a_first_start_is_told_to_have_failed(body: Body | None) -> None:
    link = Link()
    end(news_of(link), body, started=False)
    assert link.heard == ["start_failed"]


def test_a_process_that_was_ready_and_not_told_of_has_started_and_ended() -> None:
    link = Link()
    end(news_of(link), Body(is_ready=True), started=True)
    assert link.heard == ["started", "exited"]


@pytest.mark.parametrize("failures", [1, 2])
def test_a_report_that_fails_is_made_once_more(failures: int) -> None:
    link = Link(failures)
    end(news_of(link), None, started=False)
    assert link.heard == ["start_failed"]


def test_it_is_told_once() -> None:
    link = Link()
    news = news_of(link)
    end(news, None, started=False)
    end(news, None, started=False)
    assert link.heard == ["start_failed"]
