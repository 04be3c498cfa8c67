"""``piactors env``: the environments of a store, from the shell."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from piactors.environments import (
    BuildFailed,
    BuildProgress,
    Environment,
    EnvironmentInUse,
    EnvironmentSpec,
    EnvironmentStore,
    NoInterpreter,
)

F = TypeVar("F", bound=Callable[..., Any])
_SHOWN = 12
"""Digits of a key in a list."""
_DAY = 86400.0


class _Group(click.Group):
    """Says in one line what went wrong with an environment, and exits with 1."""

    def invoke(self, context: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(context)
        except (BuildFailed, EnvironmentInUse, NoInterpreter, ValueError, OSError) as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Group)
@click.option(
    "--store",
    "root",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="The store.  [default: $PIACTORS_ENVIRONMENTS, else piactors/environments in the user's cache]",
)
@click.option(
    "--builder",
    type=click.Choice(("auto", "uv", "pip")),
    default="auto",
    show_default=True,
    help="What resolves and installs.",
)
@click.pass_context
def env(context: click.Context, root: str | None, builder: Any) -> None:
    """Make, list and remove environments: virtual environments by what they are made of.

    KEY is the key of an environment, or the beginning of one.
    """
    context.obj = EnvironmentStore(root, builder=builder)


def _source(command: F) -> F:
    """Add the options that say what an environment is made of."""
    path = click.Path(exists=True)
    options = [
        click.argument("requirements", nargs=-1),
        click.option("--project", type=path, help="A pyproject.toml: what that project depends on."),
        click.option("--script", type=path, help="A Python file with inline metadata (PEP 723)."),
        click.option("--lock", type=path, help="A pylock.toml, or requirements with hashes: just that."),
        click.option("--python", metavar="PYTHON", help="'3.12', '>=3.10', a path, ...  [default: this one]"),
        click.option("--constraint", "constraints", multiple=True, metavar="REQUIREMENT", help="Bound a version."),
        click.option("--find-links", multiple=True, metavar="PLACE", help="A folder or page with distributions."),
        click.option("--index-url", "index_urls", multiple=True, metavar="URL", help="A package index."),
        click.option("--offline", is_flag=True, help="Leave the network alone."),
        click.option("--require-hashes", is_flag=True, help="Install nothing that comes without a hash."),
        click.option(
            "--only-binary/--allow-builds", default=True, show_default=True, help="Whether wheels alone are installed."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _found(store: EnvironmentStore, key: str) -> Environment:
    fitting = [one for one in store.environments() if one.key.startswith(key)]
    if len(fitting) != 1:
        many = "no environment" if not fitting else f"{len(fitting)} environments"
        raise click.ClickException(f"{many} with a key that begins with {key!r}; see `piactors env list`")
    return fitting[0]


@env.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.pass_obj
def listed(store: EnvironmentStore, /, as_json: bool) -> None:
    """List the environments that are complete, the one used last first."""
    found: list[dict[str, Any]] = [
        {
            "key": one.key,
            "python": str(one.lock.interpreter),
            "packages": dict(one.packages),
            "size": one.size,
            "path": one.path,
        }
        for one in store.environments()
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for one in found:
        names = " ".join(f"{name}=={version}" for name, version in list(one["packages"].items())[:6])
        more = len(one["packages"]) - 6
        tail = f" and {more} more" if more > 0 else ""
        click.echo(f"{one['key'][:_SHOWN]}  {one['size'] / 1e6:8.1f} MB  {one['python']}  {names}{tail}")


@env.command()
@click.argument("key")
@click.pass_obj
def why(store: EnvironmentStore, /, key: str) -> None:
    """Print what the key of an environment is made of."""
    click.echo(store.why(_found(store, key)))


@env.command("lock")
@_source
@click.option("--upgrade", multiple=True, metavar="NAME", help="Let a package change its version; '*' for all.")
@click.pass_obj
def locked(store: EnvironmentStore, /, upgrade: tuple[str, ...], **fields: Any) -> None:
    """Print what REQUIREMENTS come to, as requirements with hashes, which --lock takes."""
    found = store.lock(EnvironmentSpec(**fields), upgrade=upgrade)
    click.echo(f"# {found.interpreter}, key {found.key}")
    click.echo(found.requirements, nl=False)


@env.command()
@_source
@click.option("--quiet", "-q", is_flag=True, help="Print no progress.")
@click.pass_obj
def build(store: EnvironmentStore, /, quiet: bool, **fields: Any) -> None:
    """Make the environment of REQUIREMENTS if it is not there, and print the path of its interpreter."""
    future = store.prepare(EnvironmentSpec(**fields), progress=None if quiet else _tell)
    try:
        found = future.get()
    except KeyboardInterrupt:
        future.cancel()
        raise
    click.echo(found.python)


def _tell(progress: BuildProgress) -> None:
    click.echo(f"{progress.phase}: {progress.line or progress.label}", file=sys.stderr)


@env.command()
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.pass_context
def verify(context: click.Context, keys: tuple[str, ...]) -> None:
    """Look whether environments are as they were made; all of them if no KEY is given.  Exits with 1 if one is not."""
    store: EnvironmentStore = context.obj
    faults = 0
    for one in [_found(store, key) for key in keys] or list(store.environments()):
        found = store.verify(one)
        faults += len(found)
        for fault in found or ["as it was made"]:
            click.echo(f"{one.key[:_SHOWN]}  {fault}")
    context.exit(1 if faults else 0)


@env.command()
@click.option("--max-size", metavar="SIZE", help="Leave so much, such as '10 GiB'.  [default: any amount]")
@click.option("--max-days", type=float, default=30.0, show_default=True, help="Take what was not used for so long.")
@click.pass_obj
def collect(store: EnvironmentStore, /, max_size: str | None, max_days: float) -> None:
    """Remove what nobody has used for long, and what builders that died have left.  What is in use stays."""
    store = EnvironmentStore(store.root, max_bytes=max_size, max_unused=max_days * _DAY)
    click.echo(f"{store.collect()} removed")


@env.command()
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
@click.pass_obj
def remove(store: EnvironmentStore, /, keys: tuple[str, ...]) -> None:
    """Remove environments that nobody uses."""
    for key in keys:
        found = _found(store, key)
        store.remove(found)
        click.echo(f"{found.key[:_SHOWN]}  removed")
