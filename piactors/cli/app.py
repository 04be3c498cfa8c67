"""What can be typed: the commands of ``piactors``, their options and their help."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from typing import Any, get_args

import click

import piactors
from piactors._isolate import hosting
from piactors.cli import limits
from piactors.cli import run as running
from piactors.cli.show import screen_for
from piactors.errors import InvalidTarget
from piactors.options import Backoff, IsolationOptions, StartMethod

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_FOR_EVER = sys.float_info.max
_RESTART_WAITS = Backoff(initial=0.1, reset_after=None)
_LATER = {"env": "piactors.cli.environments", "plugins": "piactors.cli.plugins"}
"""Commands with packages of their own, which come with an extra."""
_DIRECTORY = click.Path(exists=True, file_okay=False, resolve_path=True)


class _Commands(click.Group):
    """Loads what few need when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted([*super().list_commands(context), *_LATER])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return a command, None if there is none of that name."""
        if name not in _LATER:
            return super().get_command(context, name)
        try:
            found: click.Command = getattr(importlib.import_module(_LATER[name]), name)
        except ModuleNotFoundError as error:
            raise click.ClickException(str(error)) from None
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(piactors.__version__, prog_name="piactors")
def cli() -> None:
    """Run Python code in supervised, isolated processes."""


def _variables(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = [value.partition("=") for value in values]
    for value, (name, equals, _text) in zip(values, pairs, strict=True):
        if not name or not equals:
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE")
    return {name: text for name, _equals, text in pairs}


def _interpreter(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    found = None if value is None else shutil.which(value)
    if value is not None and found is None:
        raise click.BadParameter(f"{value!r} is not a program that can be run")
    return found


def _seconds(_: click.Context, __: click.Parameter, value: float | None) -> float | None:
    if value is not None and not 0 < value <= _FOR_EVER:
        raise click.BadParameter(f"{value!r} is not a number of seconds above 0")
    return value


@cli.command()
@click.argument("target")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--restart/--no-restart", default=False, help="After a crash, start again and call TARGET again.")
@click.option(
    "--max-restart-attempts",
    type=click.IntRange(min=0),
    default=3,
    metavar="N",
    show_default=True,
    help="With --restart: how many restarts before giving up.",
)
@click.option(
    "--die-on-crash",
    is_flag=True,
    help="When a crash is final, end by the option die_on_crash.  An exit in the target counts too, also with code 0.",
)
@click.option("--debug", is_flag=True, help="Wait for a debugger to attach (needs debugpy).")
@click.option(
    "--log-level",
    type=click.Choice(_LEVELS, case_sensitive=False),
    help="Show log records of this level and above.  [default: WARNING]",
)
@click.option(
    "--python",
    callback=_interpreter,
    metavar="PATH",
    help="The interpreter to use, of Python 3.8 or later; it needs nothing installed.  [default: this one]",
)
@click.option(
    "--timeout",
    type=float,
    callback=_seconds,
    metavar="SECONDS",
    help="End everything when the call, restarts included, takes longer.",
)
@click.option(
    "--start-method",
    type=click.Choice(get_args(StartMethod)),
    help="Fork from a warm launcher, or start a fresh interpreter.  [default: launcher; spawn with --python]",
)
@click.option("--name", help="The name in events.  [default: the function's name]")
@click.option(
    "--env", multiple=True, callback=_variables, metavar="KEY=VALUE", help="Set an environment variable. Repeatable."
)
@click.option("--cwd", type=_DIRECTORY, metavar="DIR", help="The working directory of TARGET.  [default: this one]")
@click.option(
    "--sys-path",
    multiple=True,
    type=click.Path(resolve_path=True),
    metavar="PATH",
    help="A further place to import from, before all others. Repeatable.",
)
@limits.limit_options
@click.option("--quiet", "-q", is_flag=True, help="Print no events, only what TARGET prints and logs, and errors.")
@click.pass_context
def run(
    context: click.Context, /, target: str, args: tuple[str, ...], quiet: bool, timeout: float | None, **given: Any
) -> None:
    """Run a function in a process of its own, and exit with the integer that it returns.

    TARGET is "package.module:function" or "path/to/file.py:function".  The function is called with one argument,
    the list of the strings ARGS, and may be async.  A module is also looked for in the current directory.

    TARGET's stdin, stdout and stderr are those of this command.  Of the environment it gets PATH, HOME, the language
    and the like, and what --env sets.

    \b
    Exit codes:
      N          the function returned N, modulo 256 as the system does; None is 0
      1          it raised (the traceback is on stderr), it returned something
                 else, or the process did not start
      2          wrong usage, or TARGET was not found
      122        the process was ended for breaking a limit
      123        it was ended because the call ran longer than --call-timeout
                 (with --die-on-crash, 137 in place of 122 and 123)
      124        --timeout expired
      130, 143   ended by Ctrl-C or SIGTERM; nothing is left running
      N          the process exited by itself with N, as by sys.exit(N)
      128+N      the process was ended by signal N (139: segmentation fault)

    A crash is an end by a signal, for a limit, for --call-timeout or with an exit code other than 0; an exception
    is not.  Only a crash makes --restart start again.  The function is then called again, though it may have done part
    of its work.

    Limits hold for the process and all that it starts, or if that is not possible, for each one: the [limit] lines at
    the end tell which.  A limit that this machine cannot enforce is a warning; `piactors doctor` says why.

    \b
    Events go to stderr: coloured on a terminal, and otherwise one line each:
      [started] NAME pid=PID generation=N
      [exited] NAME pid=PID generation=N kind=KIND exitcode=N (or signal=N)
      [fault] NAME TEXT             if the crash has left a stack; one line each
      [restarting] NAME attempt=N delay=SECONDS
      [restarts-exceeded] NAME max_restarts=N
      [start-failed] NAME pid=PID generation=N kind=start_failed ...
      [timeout] NAME seconds=SECONDS
      [breach] NAME pid=PID generation=N limit=LIMIT hard=yes allowed=X observed=Y culprit_pid=PID culprit=COMMAND
                                    (hard=no: the process lives on)
      [call-timeout] NAME pid=PID generation=N seconds=SECONDS
      [stack] NAME TEXT             where the call was; one line each
      [log] NAME LEVEL LOGGER: TEXT (NAME is "-" for records of piactors)
      [limit] NAME limit=LIMIT allowed=X mechanism=MECHANISM scope=tree (or process), at the end, for each limit
      [exit] NAME code=N            the last one
    """
    try:
        folder, found = hosting.resolved_name(target)
    except InvalidTarget as error:
        raise click.UsageError(str(error), context) from None
    options = _options(context, str(found), folder, given)
    screen = screen_for(sys.stderr, str(options.name), quiet=quiet, level=options.log_level)
    job = running.RunJob(target=str(found), args=list(args), options=options, timeout=timeout)
    context.exit(running.run(job, screen))


def _options(context: click.Context, target: str, folder: str | None, given: dict[str, Any]) -> IsolationOptions:
    """Turn what was typed into options.

    Raises:
        click.UsageError: if that is not possible.
    """
    attempts, restart = given.pop("max_restart_attempts"), given.pop("restart")
    limited = limits.taken(context, given)
    given["name"] = target.rpartition(":")[2] if given["name"] is None else given["name"]
    try:
        # A file's own folder, as for `python FILE`; for a module the current one, as for `python -m MODULE`.
        given["sys_path"] = [*given["sys_path"], os.getcwd() if folder is None else folder]
        return IsolationOptions(
            **given,
            restart="transient" if restart else "temporary",
            max_restarts=attempts,
            within=_FOR_EVER,
            backoff=_RESTART_WAITS,
            output="inherit",
            shutdown_timeout=None,
            limits=limited,
        )
    except (TypeError, ValueError, OSError) as error:
        raise click.UsageError(str(error), context) from None


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
@click.option(
    "--interpreters/--no-interpreters",
    default=True,
    show_default=True,
    help="Whether to try the Python interpreters that are found, which takes longest.",
)
@click.pass_context
def doctor(context: click.Context, /, as_json: bool, interpreters: bool) -> None:
    """Show what this machine can enforce, and what to do to get more.

    Everything is found by trying: groups are made and removed again, and processes are started.  It exits with 0 if
    each limit can be enforced by something and both start methods work, and otherwise with 1; with 130 or 143 if
    Ctrl-C or SIGTERM ends it.

    \b
    JSON: one object with
      version, ok, missing     of piactors; whether all is well, and what is not
      limits                   by name: mechanism, scope (null if nothing enforces
                               it), by (each mechanism that knows it: null if it
                               works, or why not)
      start_methods            by name: works, seconds, why_not
      interpreters             a list of path, version, implementation, own, works,
                               seconds, why_not; null with --no-interpreters
      machine                  system, kernel, python, user, cpus, ...
      kernel                   by name: works, detail
      cgroups                  a list of version, controllers, folder, own, writable
      priorities               by name (such as "nice -20"): null or why not
      advice                   a list of about, text, commands
    """
    from piactors.cli import doctor as doctoring  # nothing else needs what it imports

    context.exit(doctoring.doctor(as_json=as_json, interpreters=interpreters))
