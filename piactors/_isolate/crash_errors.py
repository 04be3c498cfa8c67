"""The texts and errors of unwanted ends, and `die_on_crash`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

from piactors._host import runtime
from piactors._text import shown
from piactors._text.logs import logger
from piactors.errors import (
    CallTimeout,
    InvalidTarget,
    IsolateCrashed,
    LimitExceeded,
    PoisonMessage,
    ProtocolError,
    StartError,
)
from piactors.exit_reason import ExitReason

if TYPE_CHECKING:
    from piactors._codec.decode import Decoder
    from piactors._isolate.spec import IsolateSpec


_OF_CALLS = (
    "ended while the call ran in it",
    "The call may have been executed in part and is not tried again; mark its method with "
    "@piactors.idempotent(retries=1), or ask with retries=1, if trying again is safe.",
)
_OF_STREAMS = ("ended while it yielded a stream", "The next process does not go on with it; call the method again.")


def crashed(name: str, pid: int | None, generation: int, reason: ExitReason) -> IsolateCrashed:
    """Return the error of a call that had begun when its process ended."""
    return _crashed(name, pid, generation, reason, _OF_CALLS)


def broken_off(name: str, pid: int | None, generation: int, reason: ExitReason) -> IsolateCrashed:
    """Return the error of a stream whose process has ended."""
    return _crashed(name, pid, generation, reason, _OF_STREAMS)


def _crashed(name: str, pid: int | None, generation: int, reason: ExitReason, texts: tuple[str, str]) -> IsolateCrashed:
    what, advice = texts
    who = f"isolate {shown.line(name)} (pid {pid}, generation {generation})"
    text = f"{who} {what}: {reason.report()}\n{advice}"
    fields: dict[str, Any] = {"name": name, "pid": pid, "generation": generation, "reason": reason}
    breach = reason.breach
    if breach is None:
        return IsolateCrashed(text, **fields)
    return LimitExceeded(
        text,
        **fields,
        limit=breach.limit,
        allowed=breach.allowed,
        observed=breach.observed,
        culprit_pid=breach.culprit_pid,
        culprit=breach.culprit,
    )


def timed_out(name: str, pid: int | None, generation: int, reason: ExitReason, stack: str) -> CallTimeout:
    """Return the error of a call that ran too long, so that its process was ended."""
    text = (
        f"isolate {shown.line(name)} (pid {pid}, generation {generation}): {shown.line(reason.detail or '')}; "
        f"its process was ended.\nWhere it was:\n{shown.below(stack)}"
    )
    return CallTimeout(text, name=name, pid=pid, generation=generation, reason=reason, stack=stack)


def poisoned(name: str, pid: int | None, generation: int, reason: ExitReason, attempts: int) -> PoisonMessage:
    """Return the error of a call that ended every generation that it was tried in."""
    text = (
        f"isolate {shown.line(name)}: the call has ended {attempts} generations and is not tried again; the last one "
        f"(pid {pid}, generation {generation}): {reason.report()}"
    )
    return PoisonMessage(text, name=name, pid=pid, generation=generation, reason=reason, attempts=attempts)


def raise_start_error(spec: IsolateSpec, decoder: Decoder, reason: ExitReason, start_failure: bytes | None) -> NoReturn:
    """Raise what a failed start means to its caller."""
    made = "forked from the launcher" if not spec.order.fresh else " ".join(spec.order.argv)
    who = f"isolate {shown.line(spec.name)} did not start"
    if start_failure is None and reason.detail is not None and reason.exitcode is None and reason.signal is None:
        raise StartError(f"{who}: {shown.block(reason.detail)}{_where(reason)}", reason)  # there was no process
    if start_failure is None:
        raise StartError(f"{who} ({made}): {reason.report()}", reason)
    error = decoder.error(start_failure)
    if isinstance(error, (ProtocolError, InvalidTarget)):
        raise error
    text = shown.block(_one_line(error))
    stderr = f"\nlast lines of stderr:\n{shown.below(reason.stderr_tail)}" if reason.stderr_tail else ""
    raise StartError(f"{who} ({made}): {text}{stderr}", reason) from error


def _where(reason: ExitReason) -> str:
    return f"\nwhere it was:\n{shown.below(reason.stack)}" if reason.stack else ""


def _one_line(error: BaseException) -> str:
    """Return class and text of an exception; its text may not be available."""
    try:
        text = str(error)
    except Exception:
        text = "(its text is not available)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def die(reason: ExitReason) -> None:
    """Stop what runs and exit with the code of a crash: what `die_on_crash` asks for."""
    code = 128 + reason.signal if reason.signal else reason.exitcode if reason.exitcode is not None else 1
    runtime.end_by(threading.Thread(target=_die, args=(code, reason), name="piactors-die", daemon=True))


def _die(code: int, reason: ExitReason) -> None:
    logger.critical("the host exits with code %d, as die_on_crash says: %s", code, reason.summary)
    try:
        runtime.end_current()
    finally:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                continue
        os._exit(code)
