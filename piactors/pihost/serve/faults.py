"""What an exception says, as text of bounded length, whatever its class does when it is asked.

An exception of isolated code may raise, recurse or exit when somebody looks at it, may have a text of a gigabyte, and
may be linked to a million others.  Nothing here raises, and nothing takes long.
"""

from __future__ import annotations

import traceback
from typing import Any, Callable, List, Set, Tuple, TypeVar

T = TypeVar("T")

MOST_LINKED = 100
"""How many exceptions are shown with the one that was raised: its causes, and the members of groups."""
_MOST_SHOWN = 10
"""How many of them are named if there are more than that."""
_MOST_FRAMES = 500
_MOST_NOTES = 50
_MOST_NAME = 500
_OURS = (__package__.partition(".")[0], "piactors")
"""Packages whose frames are not the user's: an actor's isolate has piactors too, with its own copy of some modules."""


def attempt(look: Callable[[], T], otherwise: T) -> T:
    """Return what `look` returns, or something else if it raises: user code may run in it, and raise anything."""
    try:
        return look()
    except BaseException:
        return otherwise


def shortened(text: str, most: int) -> str:
    """Return a text of at most `most` characters, which says in its middle how many were left out."""
    text = str.__str__(text)  # a class of the user's may slice as it likes
    if len(text) <= most:
        return text
    mark = " [... {:,} characters left out ...] ".format(len(text) - most)
    if most < 4 * len(mark):
        return text[:most]
    kept = most - len(mark)
    return text[: kept - kept // 2] + mark + text[len(text) - kept // 2 :]


def class_of(error: BaseException) -> Tuple[str, str]:
    """Return the module and the qualified name of an exception's class."""
    cls = type(error)
    module = attempt(lambda: type.__getattribute__(cls, "__module__"), "?")
    return _name(module), class_name(cls)


def class_name(cls: type) -> str:
    """Return the qualified name of a class, whatever its metaclass does."""
    return _name(attempt(lambda: type.__getattribute__(cls, "__qualname__"), "?"))


def _name(value: Any) -> str:
    return shortened(value, _MOST_NAME) if issubclass(type(value), str) else "?"


def title(error: BaseException) -> str:
    """Return the name of an exception's class, with its module if that is of interest."""
    module, name = class_of(error)
    return name if module in ("builtins", "__main__") else "{}.{}".format(module, name)


def text_of(error: BaseException, most: int) -> str:
    """Return the text of an exception."""
    lost = "<the text of this {} is not available>".format(class_of(error)[1])
    return attempt(lambda: shortened(str(error), most), lost)


def notes_of(error: BaseException, most: int) -> List[str]:
    """Return the notes of an exception, at most `most` characters of each."""
    notes = attempt(lambda: getattr(error, "__notes__", None), None)
    if type(notes) is not list:
        return []
    texts = [shortened(note, most) for note in notes[:_MOST_NOTES] if issubclass(type(note), str)]
    return texts + (["({:,} more notes are left out)".format(len(notes) - _MOST_NOTES)] if notes[_MOST_NOTES:] else [])


def traceback_of(error: BaseException, most: int) -> str:
    """Return the traceback of an exception, with those that are linked to it."""
    lines: List[str] = []
    if attempt(lambda: _linked(error) <= MOST_LINKED, False):
        lines = attempt(lambda: _formatted(error), lines)
    return shortened("".join(lines or _plainly(error)), most)


def _formatted(error: BaseException) -> List[str]:
    return traceback.format_exception(type(error), error, _own_frames(error), limit=-_MOST_FRAMES)


def _linked(error: BaseException) -> int:
    """Return how many exceptions are linked to this one, or some number above the bound."""
    seen: Set[int] = set()
    todo: List[Any] = [error]
    while todo and len(seen) <= MOST_LINKED:
        found = todo.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        members = getattr(found, "exceptions", ())
        if type(members) in (tuple, list):
            if len(members) > MOST_LINKED:
                return len(members)
            todo += [member for member in members if issubclass(type(member), BaseException)]
        todo += [found.__cause__, found.__context__]
    return len(seen)


def _plainly(error: BaseException) -> List[str]:
    """Return the lines of an exception without the help of what may take forever, or fail."""
    none: List[str] = []
    lines = attempt(lambda: traceback.format_tb(_own_frames(error), -_MOST_FRAMES), none)
    lines = ["Traceback (most recent call last):\n", *lines] if lines else []
    lines.append(_line(error))
    causes = _causes(error)
    lines += ["  from " + _line(cause) for cause in causes]
    members: Any = attempt(lambda: getattr(error, "exceptions", None), None)
    if type(members) in (tuple, list):
        lines += ["  with " + _line(member) for member in members[:_MOST_SHOWN]]
    lines.append("(what else is linked to it is left out: it is too much, or cannot be shown)\n")
    return lines


def _line(error: BaseException) -> str:
    text = text_of(error, _MOST_NAME)
    return "{}: {}\n".format(title(error), text) if text else "{}\n".format(title(error))


def _causes(error: BaseException) -> List[BaseException]:
    found: List[BaseException] = []
    now: Any = error
    while len(found) < _MOST_SHOWN:
        now = attempt(lambda now=now: now.__cause__ or now.__context__, None)  # type: ignore[misc]
        if not issubclass(type(now), BaseException) or any(now is known for known in (error, *found)):
            break
        found.append(now)
    return found


def _own_frames(error: BaseException) -> Any:
    """Leave out the frames of this folder at the outer end: the reader's own code is what matters."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        package = frame.tb_frame.f_globals.get("__package__")
        if type(package) is not str or package.partition(".")[0] not in _OURS:
            break
        frame = frame.tb_next
    return frame
