"""``piactors plugins``: run a program with its plugins in isolates, and see what plugins there are."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import runpy
import sys
from typing import Any

import click

from piactors.cli import limits
from piactors.plugins import EntryPoints, PluginPolicy, PluginSpec, isolated_entry_points
from piactors.plugins.kept import KeptState


@click.group()
def plugins() -> None:
    """Run programs with their plugins in isolates, and list plugins."""


def _wanted(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, list[str] | None]:
    """Return the names that are wanted by group; None for all of a group."""
    found: dict[str, list[str] | None] = {}
    for value in values:
        group, colon, name = value.partition(":")
        if not group or (colon and not name):
            raise click.BadParameter(f"{value!r} is not of the form GROUP or GROUP:NAME")
        before = found.get(group, [])
        found[group] = None if not colon or name == "*" or before is None else [*before, name]
    return found


@plugins.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--isolate",
    "wanted",
    multiple=True,
    required=True,
    callback=_wanted,
    metavar="GROUP[:NAME]",
    help="Entry points whose code runs in isolates: all of a group, or one, by its name or its module. Repeatable.",
)
@click.option("--hook-timeout", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, metavar="S")
@click.option("--concurrency", type=click.IntRange(1, 256), default=16, show_default=True, metavar="N")
@click.option(
    "--trust",
    type=click.Choice(("data", "code")),
    default="data",
    show_default=True,
    help="What is accepted from plugins: plain data, or pickles, which can run code here.",
)
@click.option("--state", type=click.Path(dir_okay=False), help="A file that keeps which plugins crash too often.")
@limits.limit_options
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def run(
    context: click.Context,
    /,
    wanted: dict[str, list[str] | None],
    hook_timeout: float,
    concurrency: int,
    trust: Any,
    state: str | None,
    program: tuple[str, ...],
    **given: Any,
) -> None:
    """Run a program with plugins of it in isolates: a plugin that crashes does not take it along.

    PROGRAM is the command of an installed package, a Python file, or "-m" and a module; what follows are its
    arguments.  For example: piactors plugins run --isolate datasette -- datasette data.db

    The limits hold for each plugin by itself.
    """
    policy = PluginPolicy(
        hook_timeout=hook_timeout,
        concurrency=concurrency,
        trust=trust,
        limits=limits.taken(context, given),
    )
    main = _main_of(program)
    with contextlib.ExitStack() as hosts:
        for group, names in wanted.items():
            try:
                host = isolated_entry_points(group, names, policy=policy, state=state)
            except (TypeError, ValueError) as error:
                raise click.ClickException(str(error)) from None
            hosts.enter_context(host)
        main()


def _main_of(program: tuple[str, ...]) -> Any:
    """Return what runs a program; its arguments are those of this process from then on."""
    first, *rest = program
    if first == "-m":
        if not rest:
            raise click.UsageError("-m needs the name of a module")
        sys.argv = rest
        return lambda: runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    if os.path.isfile(first):
        sys.argv = [first, *rest]
        sys.path.insert(0, os.path.dirname(os.path.abspath(first)))
        return lambda: runpy.run_path(first, run_name="__main__")
    points = importlib.metadata.entry_points(group="console_scripts", name=first)
    if not points:
        raise click.UsageError(f"{first!r} is not a command of an installed package, nor a file, nor -m MODULE")
    sys.argv = [first, *rest]
    (point, *_) = points
    return lambda: sys.exit(_loaded(point.value)())


def _loaded(value: str) -> Any:
    module, _, path = value.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("[")[0].strip().split(".") if path else ():
        found = getattr(found, part)
    return found


@plugins.command("list")
@click.argument("groups", nargs=-1, required=True, metavar="GROUP...")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_plugins(groups: tuple[str, ...], as_json: bool) -> None:
    """List the entry points of groups; nothing of them is imported."""
    found = [
        {"group": group, "name": one.name, "version": one.version, "target": one.target}
        if isinstance(one, PluginSpec)
        else {"group": group, "name": one.name, "refused": one.why}
        for group in groups
        for one in EntryPoints(group).find()
    ]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for one in found:
        click.echo(
            f"{one['group']}:{one['name']}  {one.get('version') or ''}  {one.get('target') or one.get('refused')}"
        )


@plugins.command()
@click.argument("state", type=click.Path(exists=True, dir_okay=False))
@click.option("--release", "released", multiple=True, metavar="NAME", help="Let a plugin take part again. Repeatable.")
def health(state: str, released: tuple[str, ...]) -> None:
    """List what is in quarantine, by the file that a program keeps that in (--state)."""
    kept = KeptState(state)
    for name in released:
        try:
            kept.release(name)
        except (OSError, ValueError) as error:
            raise click.ClickException(str(error)) from None
    for name, versions in sorted(kept.all().items()):
        for key, hooks in versions.items():
            for hook in hooks:
                what = f"hook {hook}" if hook else "the whole plugin"
                click.echo(f"{name}  {key.strip() or '-'}  {what}: in quarantine")
