"""What the command prints besides the program's own output: events, log records and errors, all on stderr.

For a terminal they are aligned and coloured; anything else gets stable lines, one per event.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TextIO

from rich.console import Console
from rich.text import Text

from piactors import events, pihost
from piactors._text import shown
from piactors.cli.notes import Note, exited_with_0, note_of, notes_of_limits
from piactors.exit_reason import Breach
from piactors.limits import Enforcement, IsolationLimits

_LEVEL_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_DEFAULT_LEVEL = logging.WARNING
_OWN_LINES = ("[", "piactors:")
"""How lines of this command begin; those of a traceback that begin like that are made to look different."""
_PIHOST = os.path.dirname(pihost.__file__)


class Screen:
    """Shows one run.  Any thread may call; nobody listening (a broken pipe) is not an error."""

    def __init__(self, stream: TextIO, name: str, *, quiet: bool, level: int | None) -> None:
        self._stream = stream
        self._name = name
        self._quiet = quiet
        self._level = level
        self._lock = threading.Lock()  # lines come from the dispatcher, the end from the main thread
        self._shown_report = ""
        self._over = False

    def take_logging(self) -> None:
        """Have log records shown here from now on."""
        root = logging.getLogger()
        root.addHandler(_Records(self))
        root.setLevel(_DEFAULT_LEVEL if self._level is None else self._level)

    def event(self, event: events.Event) -> None:
        """Show an event."""
        if isinstance(event, events.IsolateExited | events.IsolateStartFailed):
            self._shown_report = event.reason.report()
        if not self._over:
            self._note(note_of(event))
        # A program that has exited with 0 is not started again, though its supervisor has begun to.
        self._over = self._over or (isinstance(event, events.IsolateExited) and exited_with_0(event.reason))

    def timed_out(self, seconds: float) -> None:
        """Show that the time has run out."""
        facts: dict[str, object] = {"seconds": f"{seconds:g}"}
        self._note(Note(label="timeout", facts=facts, title="timed out", text=f"after {seconds:g} s", style="bold red"))

    def exit(self, code: int) -> None:
        """Show the exit code: the last line."""
        style = "green" if code == 0 else "bold red"
        self._note(Note(label="exit", facts={"code": code}, title="exit code", text=str(code), style=style))

    def limits(self, limits: IsolationLimits, enforcement: list[Enforcement]) -> None:
        """Show what the limits were, and what has enforced each."""
        for note in notes_of_limits(limits, enforcement):
            self._note(note)

    def not_enforced(self, found: Enforcement) -> None:
        """Warn of a limit that nothing enforces, even if no events are shown."""
        self._print(f"piactors: WARNING: {found}", "yellow")

    def error(self, text: str) -> None:
        """Show an error of this command."""
        self._print(shown.block(f"piactors: {text}"), "red")

    def traceback(self, text: str) -> None:
        """Show the traceback of an exception of the program."""
        lines = [f"  {line}" if line.startswith(_OWN_LINES) else line for line in _lines(text)]
        self._print("\n".join(lines), "")

    def record(self, record: logging.LogRecord) -> None:
        """Show a log record."""
        of_program = hasattr(record, "isolate")
        text: str = getattr(record, "raw_message", None) or record.getMessage()  # here each line has a head of its own
        if not of_program and self._is_known(text, record):
            return
        for part in (record.exc_text or _exception_text(record), record.stack_info):
            text += f"\n{part}" if part else ""
        self._log(
            shown.line(self._name) if of_program else "-",
            record.levelname,
            shown.line(record.name),
            _lines(text) or [""],
        )

    def _is_known(self, text: str, record: logging.LogRecord) -> bool:
        """Whether a record of piactors itself repeats what is shown in another way, or was not asked for."""
        repeats = bool(self._shown_report) and text.endswith(shown.block(self._shown_report))
        told = isinstance(record.args, tuple) and any(isinstance(arg, Breach | Enforcement) for arg in record.args)
        return (record.levelno == logging.WARNING and (repeats or told)) or (
            self._quiet and record.levelno < logging.ERROR
        )

    def _note(self, note: Note | None) -> None:
        if note is not None and not self._quiet:
            self._show(note)

    def _show(self, note: Note) -> None:
        raise NotImplementedError

    def _log(self, name: str, level: str, logger: str, lines: list[str]) -> None:
        raise NotImplementedError

    def _print(self, text: str, style: str) -> None:
        raise NotImplementedError


class PlainScreen(Screen):
    """Stable lines, for files and programs; `piactors run --help` describes them."""

    def _show(self, note: Note) -> None:
        facts = "".join(f" {key}={shown.line(str(value))}" for key, value in note.facts.items())
        lines = [f"[{note.label}] {shown.line(self._name)}{facts}"]
        lines += [f"[{note.more_label}] {shown.line(self._name)} {line}" for line in _lines(note.more)]
        self._write("\n".join(lines))

    def _log(self, name: str, level: str, logger: str, lines: list[str]) -> None:
        head = f"[log] {name} {level} {logger}: "
        self._write("\n".join(head + line for line in lines))

    def _print(self, text: str, style: str) -> None:
        self._write(text)

    def _write(self, text: str) -> None:
        with self._lock:
            try:
                self._stream.write(f"{text}\n")
                self._stream.flush()
            except (OSError, ValueError):
                return


class StyledScreen(Screen):
    """Aligned and coloured, for people; what only repeats the obvious is left out."""

    def __init__(self, stream: TextIO, name: str, *, quiet: bool, level: int | None) -> None:
        super().__init__(stream, name, quiet=quiet, level=level)
        self._console = Console(file=stream, force_terminal=True, highlight=False, soft_wrap=True)

    def _show(self, note: Note) -> None:
        if note.title is None:
            return
        name = shown.line(self._name)
        text = Text.assemble((f"{note.title:<11}", note.style), (name, "cyan"), f"  {shown.line(note.text)}")
        for line in _own_part(note.more) if note.more_label == "fault" else _lines(note.more):
            text.append(f"\n{'':11}{shown.words(line)}", "dim")
        self._write(text)

    def _log(self, name: str, level: str, logger: str, lines: list[str]) -> None:
        style = _LEVEL_STYLES.get(level, "dim")
        head, *rest = lines
        text = Text.assemble((f"{level.lower():<11}", style), (logger, "cyan"), "  ", head)
        for line in rest:
            text.append(f"\n{'':11}{line}", "dim")
        self._write(text)

    def _print(self, text: str, style: str) -> None:
        self._write(Text(text, style))

    def _write(self, text: Text) -> None:
        with self._lock:
            try:
                self._console.print(text)
            except (OSError, ValueError):
                return


class _Records(logging.Handler):
    """Brings log records to a screen."""

    def __init__(self, screen: Screen) -> None:
        super().__init__()
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Show one record."""
        self._screen.record(record)


def screen_for(stream: TextIO, name: str, *, quiet: bool, level: int | None) -> Screen:
    """Return the screen that suits a stream."""
    kind = StyledScreen if stream.isatty() else PlainScreen
    return kind(stream, name, quiet=quiet, level=level)


def _own_part(fault: str) -> list[str]:
    """Return of a crash's stacks what leads a reader to the cause: the thread that crashed, down to its own code."""
    head, marker, stack = fault.partition("\nCurrent thread ")
    lines = [*head.splitlines()[:1], *f"{marker}{stack}".strip().splitlines()]
    return [line for line in lines if line and _PIHOST not in line and not line.startswith("Extension modules:")]


def _exception_text(record: logging.LogRecord) -> str:
    return logging.Formatter().formatException(record.exc_info) if record.exc_info else ""


def _lines(text: str) -> list[str]:
    """Return the lines of a text, each fit to be shown."""
    return [shown.words(line) for line in text.rstrip().split("\n")] if text.strip() else []
