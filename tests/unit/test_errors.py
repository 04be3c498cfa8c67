"""Rules of `piactors.errors`: one tree, and every error keeps all it says when it is pickled."""

from __future__ import annotations

import copy
import inspect
import pickle
import traceback
from typing import Any

import pytest

from piactors import errors
from piactors.errors import (
    CallTimeout,
    IsolateCrashed,
    LimitExceeded,
    PiactorsError,
    PoisonMessage,
    RemoteError,
    RemoteTraceback,
    StartError,
)
from piactors.exit_reason import ExitReason, Rusage

REASON = ExitReason(kind="limit", signal=9, limit="memory", stderr_tail="tail", usage=Rusage(1, 2, 3))
WHERE: dict[str, Any] = {"name": "worker", "pid": 12, "generation": 3, "reason": REASON}
SPECIAL: list[PiactorsError] = [
    StartError("it did not start", REASON),
    StartError("it did not start"),
    IsolateCrashed("ended", **WHERE),
    IsolateCrashed("ended", **{**WHERE, "pid": None}),
    LimitExceeded("too much", **WHERE, limit="memory", allowed=1.0, observed=2.5),
    CallTimeout("too long", **WHERE, stack="File ..."),
    PoisonMessage("poison", **WHERE, attempts=4),
    RemoteError("shop.Sold", "no more", "Traceback ..."),
    RemoteError("shop.Sold", "", ""),
    RemoteTraceback("Traceback ..."),
]
CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if issubclass(cls, PiactorsError) and not cls.__name__.startswith("_")
]
PLAIN = [cls("a text") for cls in CLASSES if cls not in {type(error) for error in SPECIAL}]
ALL = [*SPECIAL, *PLAIN]


def fields(error: BaseException) -> dict[str, Any]:
    return dict(vars(error))


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_a_piactors_error_with_a_text_of_its_own(cls: type) -> None:
    """Who catches the base catches all."""
    assert issubclass(cls, PiactorsError)
    assert issubclass(cls, Exception)
    assert cls.__doc__
    assert cls.__doc__ != PiactorsError.__doc__ or cls is PiactorsError


def test_every_end_of_a_process_under_a_call_is_an_isolate_crashed() -> None:
    """Who catches that catches all of them; a start that failed is none."""
    assert {cls for cls in CLASSES if issubclass(cls, IsolateCrashed)} == {
        IsolateCrashed,
        LimitExceeded,
        CallTimeout,
        PoisonMessage,
    }
    assert not issubclass(StartError, IsolateCrashed)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_every_error_pickles_with_its_fields(error: PiactorsError, protocol: int) -> None:
    """Class, text, arguments and every field, in every protocol."""
    found = pickle.loads(pickle.dumps(error, protocol))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert found.args == error.args
    assert fields(found) == fields(error)


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_that_was_pickled_twice_is_still_the_same(error: PiactorsError) -> None:
    """Nothing is added each time."""
    found = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error))))
    assert (str(found), found.args, fields(found)) == (str(error), error.args, fields(error))


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_every_error_can_be_copied(error: PiactorsError) -> None:
    """`copy` goes the way of pickles."""
    for found in (copy.copy(error), copy.deepcopy(error)):
        assert (type(found), str(found), fields(found)) == (type(error), str(error), fields(error))


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_notes_survive_a_pickle(error: PiactorsError) -> None:
    """As they do with every exception of Python itself."""
    noted = copy.deepcopy(error)
    noted.add_note("first")
    noted.add_note("second")
    assert pickle.loads(pickle.dumps(noted)).__notes__ == ["first", "second"]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_pickles_after_it_was_raised(error: PiactorsError) -> None:
    """With a traceback and a cause, which pickles never hold."""
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise copy.deepcopy(error) from cause
    except PiactorsError as raised:
        assert str(pickle.loads(pickle.dumps(raised))) == str(error)


def test_the_fields_of_an_end_are_attributes() -> None:
    """Those of the class, and those of its base."""
    error = LimitExceeded("too much", **WHERE, limit="memory", allowed=1.0, observed=2.5)
    assert (error.name, error.pid, error.generation, error.reason) == ("worker", 12, 3, REASON)
    assert (error.limit, error.allowed, error.observed) == ("memory", 1.0, 2.5)
    assert str(error) == "too much"


def test_a_start_error_has_a_reason_or_none() -> None:
    """None where no process was made."""
    assert StartError("x", REASON).reason is REASON
    assert StartError("x").reason is None


def test_a_remote_error_reads_as_the_exception_it_stands_for() -> None:
    """The class, and the text where there is one."""
    assert str(RemoteError("shop.Sold", "no more", "")) == "shop.Sold: no more"
    assert str(RemoteError("shop.Sold", "", "")) == "shop.Sold"


def test_a_remote_traceback_shows_below_the_line_that_says_it_is_the_cause() -> None:
    """The cause of an exception that arrives in the host is its traceback there, as text."""
    error = ValueError("bad")
    error.__cause__ = RemoteTraceback("Traceback (most recent call last):\n  in the isolate\nValueError: bad")
    shown = "".join(traceback.format_exception(error))
    assert "\n    in the isolate\n" in shown
    assert shown.index("in the isolate") < shown.index("direct cause")
    assert str(RemoteTraceback("")) == ""
    assert RemoteTraceback("text").text == "text"
