"""What becomes of an isolate if piactors itself fails on it: only that isolate is affected.

A callback of the I/O thread that raises, for lack of memory or by a defect, may have left things half done.  So the
process is ended, and its end is handled as any other; if that fails too, or if there is no process, the isolate ends
for good, everybody who waits is told, and a supervisor may start it again.  All of it runs on the I/O thread.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from piactors._io.dispatcher import Dispatcher, log
from piactors._isolate.delivery import Delivery
from piactors._isolate.life import Life
from piactors._isolate.news import News
from piactors._isolate.reply_ports import fail_all
from piactors.errors import PiactorsError
from piactors.exit_reason import ExitReason


class Containment:
    """Ends one isolate on which piactors has failed."""

    def __init__(
        self,
        name: str,
        dispatcher: Dispatcher,
        delivery: Delivery,
        life: Life,
        news: News,
        takes_nothing: Callable[[], BaseException],
    ) -> None:
        self._name, self._dispatcher, self._takes_nothing = name, dispatcher, takes_nothing
        self._delivery, self._life, self._news = delivery, life, news

    def has_failed(self, error: BaseException) -> None:
        """Something on the I/O thread that belongs to this isolate has raised: end its process, or the isolate."""
        with contextlib.suppress(BaseException):
            self._dispatcher.submit(_log_failure, self._name, error)
        try:
            if self._news.ended.is_set() or self._life.end_process(f"piactors has failed on it: {error!r}"):
                self._life.work_off()  # what failed may have been the first of several things to be done
                return
        except BaseException as second:
            error = second
        self._give_up(_cause(f"piactors has failed on isolate {self._name}: {error!r}", error))

    def io_failed(self, error: BaseException) -> None:
        """The I/O thread is gone: nobody may be left waiting."""
        self._give_up(_cause(f"the I/O thread of piactors has failed: {error!r}", error))

    def _give_up(self, cause: PiactorsError) -> None:
        """End the isolate for good, whatever has been done already: each step is taken, even if others fail."""
        mailbox = self._delivery.mailbox
        self._news.started.fail(cause)
        left = [*mailbox.leaving, *mailbox.unanswered(), *self._delivery.direct.lost(None)]
        for message in [*left, *self._delivery.close(self._takes_nothing)]:
            _guarded(lambda message=message: fail_all([message], lambda: cause))  # type: ignore[misc]
        for step in self._life.give_up(ExitReason(kind="killed", detail=str(cause))):
            _guarded(step)


def _guarded(step: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        step()


def _cause(text: str, error: BaseException) -> PiactorsError:
    cause = PiactorsError(text)
    cause.__cause__ = error
    return cause


def _log_failure(name: str, error: BaseException) -> None:
    log(logging.ERROR, "piactors has failed on isolate %s, which ends", name, exc_info=error)
