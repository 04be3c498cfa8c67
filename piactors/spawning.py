"""`spawn`: from a class, a function or a name to a running isolate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from piactors._codec import encode, importing
from piactors._future import waiting
from piactors._isolate.hosting import HostedTarget, object_target
from piactors._isolate.parent import ParentLink
from piactors._spawn.start import inside, inside_async, prepare, started, started_async
from piactors.actor import ProcessActor
from piactors.options import IsolationOptions
from piactors.ref import IsolateRef

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Concatenate

    from pykka import Actor

    from piactors._validation.type_variables import A, AnyArgument, P


@overload
def spawn(target: str, /, *args: Any, options: IsolationOptions | None = None, **kwargs: Any) -> IsolateRef[Any]: ...


@overload
def spawn(
    target: Callable[Concatenate[AnyArgument, ...], A],
    /,
    *args: Any,
    options: IsolationOptions | None = None,
    **kwargs: Any,
) -> IsolateRef[A]: ...


@overload
def spawn(target: Callable[P, A], /, *args: P.args, **kwargs: P.kwargs) -> IsolateRef[A]: ...


@overload
def spawn(target: type[A], /, *args: Any, options: IsolationOptions | None, **kwargs: Any) -> IsolateRef[A]: ...


@overload
def spawn(  # type: ignore[overload-cannot-match]  # the third is not for functions
    target: Callable[..., object], /, *, options: IsolationOptions | None = None
) -> IsolateRef[Any]: ...


def spawn(  # type: ignore[misc]  # `P` has no `options`
    target: object, /, *args: Any, options: IsolationOptions | None = None, **kwargs: Any
) -> IsolateRef[Any]:
    """Host any class or function in a process of its own.

    Args:
        target: the class or function itself, ``"package.module:qualname"`` or ``"path/to/file.py:qualname"``.
            A name is never imported into the host.  An object is the host's own code, and inherits its environment and
            ``sys.argv``; code called by name gets less (see `IsolationOptions.inherit_env`).
        args, kwargs: for the class's constructor.
        options: how to run it.

    Returns:
        The isolate's ref.  ``ref.proxy()`` offers the instance's attributes and methods; of a function,
        the method `call`.

    Raises:
        InvalidTarget: if there is no such class or function.
        StartError: if the isolate does not start; the cause is what its code raised.
        TypeError: if an option of the isolate is among the arguments, and the class does not take it.
    """
    importing.check()
    waiting.warn_if_it_blocks_a_loop("spawn()", "spawn_async()")
    return started(prepare_target(target, options or IsolationOptions(), args, kwargs))


async def spawn_async(
    target: object, /, *args: Any, options: IsolationOptions | None = None, **kwargs: Any
) -> IsolateRef:
    """Host any class or function in a process of its own, as `spawn` does, and let the event loop run meanwhile.

    If this is cancelled, nothing stays behind.

    Raises:
        InvalidTarget, StartError, TypeError: as `spawn`.
    """
    options = await inside_async(options or IsolationOptions())
    return await started_async(prepare_target(target, options, args, kwargs))


def prepare_target(
    target: object,
    options: IsolationOptions,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    link: ParentLink | None = None,
) -> IsolateRef:
    """Return the ref of a hosted class or function that is still to be started.

    Raises:
        InvalidTarget: if there is no such class or function.
    """
    options = inside(options)
    return prepare(object_target(target, options, args, kwargs, hosting_class), options, link)


def start_toolbox(options: IsolationOptions, label: str, stdin: bool = False) -> IsolateRef:
    """Start an isolate that hosts nothing but calls of functions; with `stdin` it reads the host's."""
    waiting.warn_if_it_blocks_a_loop("ProcessIsolator.start()", "isolator.start_async(), or async with")
    return started(prepare_toolbox(options, label, stdin))


def prepare_toolbox(options: IsolationOptions, label: str, stdin: bool = False) -> IsolateRef:
    """Return the ref of an isolate that hosts nothing but calls of functions, and is still to be started."""
    importing.check()
    options = inside(options)
    packed = encode.Packed(b"", None)
    what = HostedTarget(hosting_class(label), "none", packed, code=False, folder=None, label=label, stdin=stdin)
    return prepare(what, options, None)


def hosting_class(label: str) -> type[Actor]:
    """Return a class to stand for a hosted class or function in pykka's registry, under its name."""
    return type(label.rpartition(".")[2] or "Hosted", (ProcessActor,), {})
