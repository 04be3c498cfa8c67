"""What a host holds of an isolate: a `pykka.ActorRef` that stays valid across restarts."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, overload

from pykka import ActorRef
from pykka.messages import _ActorStop

from piactors._codec import decode, encode, lending
from piactors._future import waiting
from piactors._host import sampling
from piactors._isolate import dead, envelopes
from piactors._isolate.calls import Calls
from piactors._isolate.deathwatch import DeathWatch
from piactors._isolate.frames import check_description
from piactors._isolate.isolate import Isolate
from piactors._isolate.lent_refs import RefLoan
from piactors._isolate.parent import ParentLink
from piactors._isolate.remote_attributes import Described, RemoteAttributes
from piactors._isolate.replacing import other_spec
from piactors._isolate.reply_ports import StopFuture
from piactors._isolate.spec import IsolateSpec
from piactors._refs.about import AboutIsolate
from piactors._validation.class_variables import A_co
from piactors.errors import ActorDeadError, NotPermitted, NotSendable, Timeout
from piactors.exit_reason import ExitReason
from piactors.future import Future
from piactors.options import IsolationOptions
from piactors.proxy import IsolateProxy, method_path

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from typing import Concatenate

    from pykka import Actor

    from piactors._validation.type_variables import P, T
_DESCRIBE_SECONDS = 1.0


class IsolateRef(AboutIsolate, ActorRef[Any], Generic[A_co]):
    """Reference to an isolate.  It offers all that a `pykka.ActorRef` does, and stays valid across restarts.

    For a type checker, ``IsolateRef[Calc]`` is one whose object is a `Calc`, and `IsolateRef` alone one of anything.
    """

    def __init__(self, actor_class: type[Actor], spec: IsolateSpec, link: ParentLink | None = None) -> None:
        self._foreign = not spec.own_interpreter
        self.actor_class = actor_class
        self.actor_urn = spec.urn
        self._ends = DeathWatch()
        self._loan: RefLoan | None = None
        self._use(Isolate(spec, self, link))
        self._history = sampling.History(lambda: self._isolate)  # a supervisor may put another isolate there

    def __repr__(self) -> str:
        # The text of pykka's own `str` stays: log records name an actor in it, here and in the isolate.
        about = f"{self.actor_class.__name__}, {dead.described(self._isolate)}, {self.actor_urn}"
        return f"<ActorRef for {self.name} ({about})>"

    def __reduce__(self) -> NoReturn:
        raise NotSendable(f"{self!r} cannot be sent here: a ref goes in the arguments of calls, and in their results")

    def restrict(
        self,
        methods: Iterable[str] | None = None,
        *,
        stop: bool = False,
        call_timeout: float | None = None,
        calls_per_second: float | None = None,
        expires: float | None = None,
    ) -> IsolateRef[A_co]:
        """Return a ref of the same actor that allows less, to be given to code that is to do no more than that.

        It cannot be widened, only narrowed further, and `revoke` ends it and all its copies.

        Args:
            methods: the names of the methods and attributes that it allows; ``on_receive`` stands for messages.
                Default None: all of them.
            stop: whether the actor may be stopped through it.
            call_timeout: seconds that a call may run, until the process is ended.
            calls_per_second: how many messages a second it takes.
            expires: seconds from now after which it allows nothing any more.

        Raises:
            TypeError, ValueError: if a value is not allowed.

        Example:
            ::

                reader = store.restrict(["get", "keys"], calls_per_second=100)
                plugin.proxy().use(reader)
        """
        make = importlib.import_module("piactors._refs.restricted").restricted  # it is below this class
        made: IsolateRef[A_co] = make(
            self,
            methods,
            stop=stop,
            call_timeout=call_timeout,
            calls_per_second=calls_per_second,
            expires=expires,
        )
        return made

    def revoke(self) -> None:
        """Have this ref, and all that were made from it, allow nothing any more, wherever they are.

        Calls that have begun go on; those that have not, and later ones, raise `Revoked`.

        Raises:
            NotPermitted: if it was not made with `restrict`: a ref that allows everything cannot be taken back.
        """
        raise NotPermitted(f"{self!r} cannot be revoked: only a ref that was made with restrict() can")

    def _lend(self) -> RefLoan:
        """Return what stands for this ref in other isolates; the same each time."""
        if self._loan is None:
            self._loan = RefLoan(self, lambda: self._isolate, lambda: self._calls)
        return self._loan

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]
        """An event that is set once it takes no more messages."""
        return self._isolate.actor_stopped

    @property
    def actor_inbox(self) -> Any:
        """The mailbox, as pykka's envelopes see it."""
        return envelopes.EnvelopeInbox(self)

    @actor_inbox.setter
    def actor_inbox(self, _: object) -> None:
        raise AttributeError("the mailbox of an isolate cannot be replaced")

    def _actor_weakref(self) -> RemoteAttributes:  # type: ignore[override]
        """Stand in for the actor, which lives elsewhere, when pykka looks at its attributes."""
        return RemoteAttributes(self, self._description(), self._describe_again)

    def _description(self) -> Described:
        """Return what the hosted object offers, as far as this ref allows it."""
        return self._isolate.description()

    def _describe_again(self) -> Described:
        """Ask the isolate what it offers now, for an attribute that was not there when it started."""
        try:
            return check_description(self._isolate.control("describe").get(timeout=_DESCRIBE_SECONDS))
        except (Timeout, ActorDeadError):
            return self._isolate.description()

    # Messages

    def tell(
        self, message: Any, *, retries: int = 0, call_timeout: float | None = None, timeout: float | None = None
    ) -> None:
        """Send a message without waiting for an answer.

        An exception of its handler ends the generation, after `on_failure`.

        Args:
            retries, call_timeout: as in `ask`.
            timeout: seconds to wait for room in a full mailbox.

        Raises:
            ActorDeadError: if the isolate takes no messages (any more).
            MailboxFull: if the mailbox is full, and the options or a running event loop forbid to wait.
            Timeout: if the mailbox was full for that time; the message was not sent.
        """
        if not self.is_alive():
            raise dead.takes_nothing(self._isolate)
        if isinstance(message, _ActorStop):
            self.stop(block=False)
            return
        self._calls.tell(message, retries, call_timeout, None if timeout is None else waiting.until(timeout))

    @overload
    def ask(
        self,
        message: Any,
        *,
        block: Literal[False],
        timeout: float | None = None,
        retries: int = 0,
        call_timeout: float | None = None,
    ) -> Future[Any]: ...

    @overload
    def ask(
        self,
        message: Any,
        *,
        block: bool = True,
        timeout: float | None = None,
        retries: int = 0,
        call_timeout: float | None = None,
    ) -> Any: ...

    def ask(
        self,
        message: Any,
        *,
        block: bool = True,
        timeout: float | None = None,
        retries: int = 0,
        call_timeout: float | None = None,
    ) -> Any:
        """Send a message and wait for the answer, or return a `Future` of it if `block` is False.

        Args:
            timeout: seconds to wait, for room in a full mailbox too; a call that has not begun by then never will.
            retries: how often the message may be tried again if the process ended while it ran.
            call_timeout: seconds that it may run, until its process is ended; default None: as the method's
                `call_options` or the isolate's options say, `math.inf` for no limit.

        Raises:
            Timeout: if the time runs out first.
            ActorDeadError: if the isolate takes no messages, or ended before it handled this one.
            IsolateCrashed: if the process ended while it handled the message.
            CallTimeout: if it ran longer than its `call_timeout`.
            Exception: what the handler raised.
        """
        until = None if timeout is None or self._isolate.delivery.capacity is None else waiting.until(timeout)
        if isinstance(message, _ActorStop):
            future = self._ask_stop()
        else:
            wanted_until = waiting.until(timeout) if block else None
            future = self._calls.ask(message, retries, call_timeout, until, wanted_until)
        return future.get_or_cancel(timeout, until) if block else future

    @overload
    def call(self, method: str, /, *args: Any, **kwargs: Any) -> Future[Any]: ...

    @overload
    def call(
        self, method: Callable[Concatenate[A_co, P], Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]: ...

    @overload
    def call(self, method: Callable[Concatenate[A_co, P], T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...

    def call(self, method: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call a method of the hosted object, and return a future of its result.

        It does what ``ref.proxy().method(...)`` does, in a form that a type checker can check: the method, its
        arguments and its result.

        Args:
            method: the function as its class has it, such as `Calc.add`; of a subclass that overrides it, the
                subclass's own is called.  Or its name; a dot leads into a traversable attribute.
            args, kwargs: its arguments.

        Raises:
            TypeError: if `method` is neither a name nor a function that has one.

        Example:
            ::

                total: int = ref.call(Calc.add, 1).get(timeout=2)
        """
        return self._call(method_path(method), args, kwargs)

    def invoke(self, target: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        """Have the isolate call a function that need not be part of its object."""
        return self._calls.invoke(target, args, kwargs)

    # Another process in place of the one that runs

    def recycle(self) -> Future[int]:
        """Have a fresh process take over between two calls, and return a future of its generation.

        No message is lost: what has not begun waits for it.  The future fails with `PiactorsError` if the new process
        does not start, whereupon the old one goes on, or if the isolate ends first.
        """
        return self._isolate.replace("asked for")

    def replace(
        self, target: object, /, *args: Any, options: IsolationOptions | None = None, **kwargs: Any
    ) -> Future[int]:
        """Have a process of other code, arguments or options take over between two calls; restarts run that, too.

        Args:
            target: what to host from then on: a ProcessActor class, or what `spawn` takes.
            args, kwargs: for its constructor.
            options: those of its process; default None: as before.  An environment is built before, if it is not there.

        Returns:
            A future of the new process's generation.  It fails with `PiactorsError`, and the old process goes on, if
            the new one does not start; calls that have not begun wait for whichever runs next.

        Raises:
            InvalidTarget: if there is no such class or function.
            ValueError: if the options differ in something that concerns the isolate rather than one process of it.
        """
        spec = other_spec(self._isolate.spec, self.actor_class, target, options, args, kwargs)
        return self._isolate.replace("replaced", spec)

    def _renew(self, link: ParentLink | None, spec: IsolateSpec | None) -> None:
        """Have another isolate behind this ref: the one before has ended, and its supervisor starts it again."""
        earlier = self._isolate
        self._use(Isolate(spec or earlier.spec, self, link))
        self._isolate.inherit(earlier)
        self._lend().tell_holders(alive=True)

    def _use(self, isolate: Isolate) -> None:
        self._isolate = isolate
        self._calls = Calls(isolate, foreign=self._foreign)
        self._call, self._map, self._amap = self._calls.call, self._calls.map, self._calls.amap

    # The end

    @overload
    def stop(self, *, block: Literal[True] = True, timeout: float | None = None) -> bool: ...

    @overload
    def stop(self, *, block: Literal[False], timeout: float | None = None) -> Future[bool]: ...

    @overload
    def stop(self, *, block: bool = True, timeout: float | None = None) -> bool | Future[bool]: ...

    def stop(self, *, block: bool = True, timeout: float | None = None) -> bool | Future[bool]:
        """Stop it once it has handled what is in its mailbox; no restart follows.

        Returns True if it was alive, False if it was not; a future of that if `block` is
        False.  With `block`, all its processes are gone on return.

        From now on no call runs longer than `shutdown_timeout`: the process of one that does is ended, that call fails
        with `IsolateCrashed`, and what has not begun with `ActorDeadError`.

        Raises:
            Timeout: if `timeout` seconds pass first; the stop goes on.
        """
        future = self._ask_stop()
        if future.is_settled() and isinstance(future.exception(), ActorDeadError):
            future = StopFuture(self.name)
            future.set(False)
        return future.get(timeout=timeout) if block else future

    async def stop_async(self) -> bool:
        """Stop it as `stop` does, and let the event loop run meanwhile; if this is cancelled, the stop goes on.

        Returns True if it was alive, False if it was not.  Bound it with `asyncio.timeout` if you like.
        """
        stopped: bool = await self.stop(block=False)
        return stopped

    def _ask_stop(self) -> Future[Any]:
        future = StopFuture(self.name)
        try:
            self._isolate.stop(future)
        except ActorDeadError as error:
            future.fail(error)
        return future

    def terminate(self, timeout: float | None = 5.0) -> ExitReason | None:
        """End its whole process tree at once; return why it ended, None if that takes more than `timeout` seconds."""
        self._isolate.terminate()
        return self.wait_for_exit(timeout)

    # Data that isolated code can read without knowing of piactors

    def set_data(self, key: str, value: Any) -> None:
        """Set a value that isolated code reads as ``pihost_data.data[key]``; later generations have it too."""
        if not isinstance(key, str):
            raise TypeError(f"set_data: the key {key!r} is a {type(key).__name__}; use a str")
        payload = encode.with_definitions(value, foreign=self._foreign, whole=f"the value of {key!r}")
        _settled(self._isolate.set_data(key, payload))

    def get_data(self, key: str) -> Any:
        """Return a value that was set, or that isolated code has put into ``pihost_data.data``.

        Raises:
            KeyError: if there is no such key.
        """
        try:
            return self._isolate.control("get_data", key).get(timeout=self._isolate.options.start_timeout)
        except ActorDeadError:
            whole = self._isolate.data[key]
            return decode.loads_own(whole.data, whole.loans)

    def proxy(self) -> IsolateProxy[A_co]:
        """Return a `pykka.ActorProxy`: attributes and methods of the hosted object, as futures."""
        return IsolateProxy(actor_ref=self)

    def _check_alive(self) -> None:
        """Raise `ActorDeadError` if it has stopped."""
        if not self.is_alive():
            raise dead.takes_nothing(self._isolate)


lending.ways[IsolateRef] = lambda ref: ref._lend().learned()


def _settled(future: Future[Any]) -> None:
    """Wait for an answer, and accept that there may be no process to give one."""
    try:
        future.get(timeout=30)
    except (ActorDeadError, Timeout):
        return
