"""`ProcessIsolator`: run functions of some module in isolation, the way the .NET ancestor of piactors does."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, overload

import attrs

from piactors import events, spawning
from piactors._future import waiting
from piactors._isolate import dead, hosting
from piactors._spawn import start
from piactors._text import shown
from piactors._text.logs import plain as logger
from piactors.errors import InvalidTarget, PiactorsError
from piactors.exit_reason import ExitReason
from piactors.future import Future
from piactors.options import IsolationOptions, check_standby
from piactors.ref import IsolateRef
from piactors.usage import ResourceUsage, UsageSample

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from piactors._validation.type_variables import P, T


class ProcessIsolator:
    """Runs functions in a separate process.

    Example:
        ::

            with ProcessIsolator(IsolationOptions(restart="permanent")) as isolator:
                isolator.invoke_method("samplelib.sample:method", ["return7"]).get(timeout=5)

    Used as a context manager (``with`` or ``async with``) it starts at the beginning and ends at the end.

    Whether it is given names or functions, it inherits what code called by name does: of the environment,
    `DEFAULT_INHERITED_ENV` unless `inherit_env` says otherwise, and ``sys.argv`` is the isolator's name alone.
    """

    def __init__(self, options: IsolationOptions | None = None, name: str | None = None) -> None:
        options = options or IsolationOptions()
        check_standby(options, options.restart)
        self.options: IsolationOptions = options if name is None else attrs.evolve(options, name=name)
        self._ref: IsolateRef | None = None
        self._passes_stdin = False
        self.events = events
        """The events of all isolates; those of this one have its `name`."""

    def __repr__(self) -> str:
        if self._ref is None:
            return f"<ProcessIsolator {self.name or '(without a name yet)'} (not started)>"
        return f"<ProcessIsolator {self.name} ({dead.described(self._ref._isolate)})>"

    def _pass_stdin(self, passes: bool) -> None:
        """Have its process read this program's stdin; before it is started."""
        self._passes_stdin = passes

    def start(self) -> Self:
        """Start the process and return self.

        Raises:
            StartError: if it does not start.
            PiactorsError: if it has been started before.
        """
        self._check_new()
        self._ref = spawning.start_toolbox(self.options, "isolator", self._passes_stdin)
        return self

    async def start_async(self) -> Self:
        """Start as `start` does, and let the event loop run meanwhile; if this is cancelled, nothing stays behind.

        Raises:
            StartError, PiactorsError: as `start`.
        """
        self._check_new()
        options = await start.inside_async(self.options)
        ref = spawning.prepare_toolbox(options, "isolator", self._passes_stdin)
        await ref._isolate.start_async()
        self._ref = ref
        return self

    def _check_new(self) -> None:
        if self._ref is not None:
            raise PiactorsError(f"isolator {shown.line(str(self.name))} has been started before; make another one")

    @property
    def ref(self) -> IsolateRef:
        """The isolate's ref.

        Raises:
            PiactorsError: before `start`.
        """
        if self._ref is None:
            raise PiactorsError("the isolator is not started; call start(), or use it in a with statement")
        return self._ref

    @property
    def name(self) -> str | None:
        """The isolate's name; before `start`, the one that was asked for."""
        return self.options.name if self._ref is None else self._ref.name

    @property
    def pid(self) -> int | None:
        """The pid of the process, or None while none runs."""
        return None if self._ref is None else self._ref.pid

    @property
    def is_alive(self) -> bool:
        """Whether calls are taken."""
        return self._ref is not None and self._ref.is_alive()

    @overload
    def invoke_method(self, target: str, /, *args: Any, **kwargs: Any) -> Future[Any]: ...

    @overload
    def invoke_method(
        self, target: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...

    @overload
    def invoke_method(self, target: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    def invoke_method(self, target: object, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a function in the isolate and return a future of its result.

        With ``trust="auto"`` a function that is handed over itself is trusted as `spawn` trusts it: its result may be
        anything.  From the first call by name on, no result of this isolator is trusted any more, and all have to be
        plain data: code that was called by name may have stayed in the process.

        Args:
            target: ``"package.module:qualname"``, ``"path/to/file.py:qualname"``, or the function itself.
            args, kwargs: its arguments, whatever their names are.

        A name that leads to no function fails the future with `InvalidTarget`.
        """
        try:
            _, found = hosting.resolved_name(target)
            if not isinstance(found, str) and not callable(found):
                raise InvalidTarget(f"{target!r} is not a target; use a function or a name like 'package.module:name'")
        except InvalidTarget as error:
            failed: Future[Any] = Future()
            failed.fail(error)
            return failed
        return self.ref.invoke(found, args, kwargs)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call a function as `invoke_method` does: so ``loop.run_in_executor(isolator, fn, *args)`` works."""
        return self.invoke_method(fn, *args, **kwargs)

    def resource_usage(self) -> ResourceUsage | None:
        """Return what the process uses now, or None while none runs; see `IsolateRef.resource_usage`."""
        return self.ref.resource_usage()

    def usage_history(self) -> tuple[UsageSample, ...]:
        """Return what the process has used since this was first called; see `IsolateRef.usage_history`."""
        return self.ref.usage_history()

    def set_data(self, key: str, value: Any) -> None:
        """Set a value that isolated code reads as ``import pihost_data; pihost_data.data[key]``."""
        self.ref.set_data(key, value)

    def get_data(self, key: str) -> Any:
        """Return a value that was set here, or put into ``pihost_data.data`` by isolated code.

        Raises:
            KeyError: if there is no such key.
        """
        return self.ref.get_data(key)

    def exit(self, reason: str | None = None) -> None:
        """Ask the process to end once it has run what was asked of it; does not wait.  `reason` goes to the log."""
        if reason is not None:
            logger.info("isolate %s is asked to exit: %s", self.ref.name, reason)
        self.ref.stop(block=False)

    async def exit_async(self, reason: str | None = None) -> ExitReason:
        """Ask the process to end as `exit` does, and return why it ended once it has; the event loop runs meanwhile.

        If this is cancelled, the process ends all the same, in its time.
        """
        waiting.refuse_another_kind_of_loop("isolator.wait_for_exit")
        self.exit(reason)
        return await self.ref._ends.wait()

    def terminate(self, timeout: float | None = 5.0) -> ExitReason | None:
        """End the whole process tree at once; return why it ended, None if that takes more than `timeout` seconds."""
        return self.ref.terminate(timeout)

    def wait_for_exit(self, timeout: float | None = None) -> ExitReason | None:
        """Wait until it has ended for good and return why; None if `timeout` seconds pass first."""
        return self.ref.wait_for_exit(timeout)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._close(kind is not None)

    async def __aenter__(self) -> Self:
        return await self.start_async()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._ref is None:
            return
        try:
            self._begin_to_close(self._ref, failed=kind is not None)
            await self._ref._ends.wait()
        except BaseException:  # the time for an orderly stop is over
            self._ref._isolate.terminate()
            await self._ref._ends.wait_briefly()
            raise

    def _close(self, failed: bool) -> None:
        """Leave nothing behind."""
        if self._ref is not None:
            self._begin_to_close(self._ref, failed=failed)
            self._ref._isolate.wait_ended(None)

    @staticmethod
    def _begin_to_close(ref: IsolateRef, *, failed: bool) -> None:
        """Begin an orderly stop, or an end at once if the block has failed."""
        if failed:
            ref._isolate.terminate()
        else:
            ref._isolate.shut_down()
