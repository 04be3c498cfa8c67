"""The options of ``piactors run`` that limit what the process may use; what is allowed, `IsolationLimits` says."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from piactors.limits import LIMITS, IsolationLimits
from piactors.options import IsolationOptions

_PERCENT_ALLOWED = "use a percentage of one core, a finite number of at least 1 (80 is 0.8 cores, 150 is 1.5)"
_LEAST_PERCENT = 1.0
_REFUSED = re.compile(r"Isolation(?:Limits|Options)\.(\w+): (.*?)(?:,? or None)?", re.DOTALL)

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _whole(text: str) -> object:
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,30}", text) else text


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text


def _checked(
    cls: type[IsolationLimits] | type[IsolationOptions],
    read: Callable[[str], object],
    context: click.Context,
    param: click.Parameter,
    value: str | None,
) -> Any:
    """Return what an option means by itself, as `cls` has it."""
    if value is None:
        return None
    name = "affinity" if param.name == "affinity_mask" else str(param.name)
    try:
        return getattr(cls(**{name: read(value)}), name)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise click.BadParameter(_allowed(error), context, param) from None


def _percent(context: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = _number(value.strip().removesuffix("%"))
    if not isinstance(found, float) or not _LEAST_PERCENT <= found < float("inf"):
        raise click.BadParameter(f"{value!r} is not allowed; {_PERCENT_ALLOWED}", context, param)
    return found / 100


def _mechanisms(context: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...] | None:
    names = [value.replace("cgroup-", "cgroup ") for value in values]
    try:
        return IsolationLimits(mechanisms=names).mechanisms if names else None
    except (TypeError, ValueError) as error:
        raise click.BadParameter(_allowed(error), context, param) from None


def _allowed(error: Exception) -> str:
    """Return what a refusal says, in the words of a command line and without the field: the option has another name."""
    found = _REFUSED.fullmatch(str(error))
    text = str(error) if found is None else found[2]
    return text.replace("pass a list of", "use").replace("a str such as", "text such as")


_limit = partial(partial, _checked, IsolationLimits)
_OPTIONS = (
    click.option(
        "--max-memory",
        callback=_limit(str),
        metavar="SIZE",
        help="End the process when it and its descendants use more memory than SIZE, such as 200MB or 1GiB.",
    ),
    click.option(
        "--soft-memory",
        callback=_limit(str),
        metavar="SIZE",
        help="Say so, once, when they use more memory than this; less than --max-memory.",
    ),
    click.option(
        "--max-cpu",
        callback=_percent,
        metavar="PERCENT",
        help="Hold them down to this much CPU: 80 is four fifths of one core, 150 is one and a half.",
    ),
    click.option(
        "--affinity-mask",
        callback=_limit(str),
        metavar="CPUS",
        help='Run on these CPUs only, such as "cpu0 cpu2" or "0-3".',
    ),
    click.option(
        "--max-cpu-time",
        callback=_limit(_number),
        metavar="SECONDS",
        help="End the process when they have used more CPU time.",
    ),
    click.option(
        "--max-processes",
        callback=_limit(_whole),
        metavar="N",
        help="How many tasks there may be at once, threads included; the process itself needs 3.",
    ),
    click.option(
        "--max-open-files",
        callback=_limit(_whole),
        metavar="N",
        help="How many files each may have open at once.",
    ),
    click.option(
        "--max-file-size",
        callback=_limit(str),
        metavar="SIZE",
        help="How large a file may grow by what they write.",
    ),
    click.option(
        "--nice",
        callback=_limit(_whole),
        metavar="N",
        help="Priority for the CPU, from -20, the first, to 19.",
    ),
    click.option(
        "--io-class",
        callback=_limit(str),
        metavar="CLASS",
        help="Priority for disks: realtime, best-effort or idle.",
    ),
    click.option("--strict", is_flag=True, help="Do not start if a limit cannot be enforced; default: only warn."),
    click.option(
        "--mechanism",
        "mechanisms",
        multiple=True,
        callback=_mechanisms,
        metavar="NAME",
        help="Enforce limits only by this: cgroup, cgroup-v2, cgroup-v1, rlimit, scheduler or monitor. Repeatable.  "
        "[default: for each limit the best that works; see `piactors doctor`]",
    ),
    click.option(
        "--call-timeout",
        callback=partial(_checked, IsolationOptions, _number),
        metavar="SECONDS",
        help="End the process when the call runs longer in it, and show where it was; each restart has as long.",
    ),
)


def limit_options(command: _Command) -> _Command:
    """Give a command the options of this module."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def taken(context: click.Context, given: dict[str, Any]) -> IsolationLimits | None:
    """Take the limits out of what was typed; None if there are none.

    Raises:
        click.UsageError: if they contradict each other.
    """
    fields = {name: given.pop("affinity_mask" if name == "affinity" else name) for name in LIMITS}
    strict, mechanisms = given.pop("strict"), given.pop("mechanisms")
    if all(value is None for value in fields.values()):
        if strict or mechanisms:
            typed = "--strict" if strict else "--mechanism"
            raise click.UsageError(f"{typed} says how limits are enforced, but there is no limit", context)
        return None
    try:
        return IsolationLimits(**fields, strict=strict, mechanisms=mechanisms)
    except (TypeError, ValueError) as error:
        found = _REFUSED.fullmatch(str(error))
        option = "the limits" if found is None else f"--{found[1].replace('_', '-')}"
        raise click.BadParameter(_allowed(error), context, param_hint=repr(option)) from None
