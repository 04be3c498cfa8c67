"""`Supervisor`: starts children, watches over them, and starts them again by the rules of Erlang/OTP."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, overload

from piactors._future import waiting
from piactors._rules.supervisor.rules import AutoShutdown, Strategy
from piactors._tree import backend
from piactors._tree.root import RootSupervisor
from piactors._tree.settings import Settings
from piactors.child_spec import ChildSpec
from piactors.options import Backoff
from piactors.supervisor_ref import SupervisorRef

if TYPE_CHECKING:
    from typing import Concatenate

    from piactors._validation.type_variables import AnyArgument, P

_counter = itertools.count(1)


class _Unset:
    """Stands for a setting that the class's own attribute decides."""

    def __repr__(self) -> str:
        return "(as the class says)"


_UNSET: Any = _Unset()
_FIELDS = ("name", "strategy", "max_restarts", "within", "auto_shutdown", "backoff")


class Supervisor:
    """Starts children and restarts them.

    Use it as it is, with `Supervisor.start(children=[...])`, or as a base class: set the attributes, and return the
    children from `children`.

    Attributes:
        strategy: What a child's death means for its siblings: "one_for_one" nothing, "one_for_all" all are restarted,
            "rest_for_one" those that were started after it are; default "one_for_one".
        max_restarts: Restarts of all children together within `within` seconds, at least 0, default 3; one more ends
            the supervisor, children first; None: any number.
        within: Seconds of that window, more than 0; default 5.0.
        auto_shutdown: When the end of significant children ends the supervisor: "never", "any_significant",
            "all_significant"; default "never".
        backoff: How long restarts wait, unless the child says otherwise; default None: not at all.
        name: Its name in logs; default None: chosen for you.

    Example:
        ::

            class Shop(piactors.Supervisor):
                strategy = "rest_for_one"

                def __init__(self, database):
                    self.database = database

                def children(self):
                    return [ChildSpec("store", Store, args=(self.database,)), ChildSpec("till", Till)]

            with Shop.start("shop.db") as tree:
                tree.child("till").proxy().open().get()
    """

    _is_supervisor: ClassVar[bool] = True
    _is_dynamic: ClassVar[bool] = False

    strategy: Strategy = "one_for_one"
    max_restarts: int | None = 3
    within: float = 5.0
    auto_shutdown: AutoShutdown = "never"
    backoff: Backoff | None = None
    name: str | None = None

    def __init__(
        self,
        *,
        children: Iterable[ChildSpec] = (),
        strategy: Strategy = _UNSET,
        max_restarts: int | None = _UNSET,
        within: float = _UNSET,
        auto_shutdown: AutoShutdown = _UNSET,
        backoff: Backoff | None = _UNSET,
        name: str | None = _UNSET,
    ) -> None:
        if isinstance(children, Iterator):
            raise TypeError("Supervisor.children: an iterator is used up after one start; pass a list")
        self._children = children
        given = dict(zip(_FIELDS, (name, strategy, max_restarts, within, auto_shutdown, backoff), strict=True))
        self.__dict__.update({field: value for field, value in given.items() if value is not _UNSET})

    def children(self) -> Iterable[ChildSpec]:
        """Return the children to start, in order.

        It is asked several times: by checks, at the start and at each restart, of a new instance and in different
        threads.  So it should do nothing else.
        """
        return getattr(self, "_children", ())

    def _settings(self) -> Settings:
        if not callable(self.children):
            raise TypeError(f"{type(self).__name__}.children: a method that returns the children belongs here")
        return Settings(
            children=self.children(),
            **{field: getattr(self, field) for field in _FIELDS},
        )

    @overload
    @classmethod
    def start(cls: Callable[Concatenate[AnyArgument, ...], Any], *args: Any, **kwargs: Any) -> SupervisorRef: ...

    @overload
    @classmethod
    def start(cls: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> SupervisorRef: ...

    @classmethod
    def start(cls: Any, *args: Any, **kwargs: Any) -> SupervisorRef:
        """Make the supervisor with these arguments, start it, and return its ref once all children are ready.

        Raises:
            StartError: if a child does not start; those before it have been stopped again, in reverse order.
            TypeError, ValueError: if a setting or a child's specification is wrong; nothing was started.
        """
        waiting.warn_if_it_blocks_a_loop(f"{cls.__name__}.start()", f"{cls.__name__}.start_async()")
        root: RootSupervisor = cls._root(args, kwargs)
        ref: SupervisorRef = root.start()
        return ref

    @classmethod
    async def start_async(cls, *args: Any, **kwargs: Any) -> SupervisorRef:
        """Start the supervisor as `start` does, and let the event loop run meanwhile; if cancelled, the tree is ended.

        Raises:
            StartError, TypeError, ValueError: as `start`.
        """
        ref: SupervisorRef = await cls._root(args, kwargs).start_async()
        return ref

    @classmethod
    def _root(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RootSupervisor:
        return RootSupervisor(backend.current(), f"{cls.__name__}-{next(_counter)}", partial(cls, *args, **kwargs))

    @overload
    @classmethod
    def check(cls: Callable[Concatenate[AnyArgument, ...], Any], *args: Any, **kwargs: Any) -> None: ...

    @overload
    @classmethod
    def check(cls: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> None: ...

    @classmethod
    def check(cls: Any, *args: Any, **kwargs: Any) -> None:
        """Check what `start` would start, and the supervisors below it, and start nothing.

        Raises:
            TypeError, ValueError: what was wrong, and in which child.
        """
        cls(*args, **kwargs)._settings()


def root_of(tree: Supervisor | type[Supervisor], args: tuple[Any, ...], kwargs: dict[str, Any]) -> RootSupervisor:
    """Return what starts a tree: of a class, made with these arguments, or of an instance."""
    if isinstance(tree, type):
        return tree._root(args, kwargs)
    return RootSupervisor(backend.current(), f"{type(tree).__name__}-{next(_counter)}", lambda: tree)


class DynamicSupervisor(Supervisor):
    """Supervises children that come and go: one template, many children, started and stopped at run time.

    A child that ends for good, or is stopped, leaves nothing behind.  At the end all children stop at once.

    Attributes:
        max_children: How many it may have at a time; default None: any number.

    Example:
        ::

            sessions = DynamicSupervisor.start(template=ChildSpec("session", Session), max_children=100)
            ref = sessions.start_child(user="ada")
            sessions.terminate_child(ref)
    """

    _is_dynamic: ClassVar[bool] = True

    max_children: int | None = None

    def __init__(
        self,
        *,
        template: ChildSpec | None = None,
        max_children: int | None = _UNSET,
        max_restarts: int | None = _UNSET,
        within: float = _UNSET,
        backoff: Backoff | None = _UNSET,
        name: str | None = _UNSET,
    ) -> None:
        super().__init__(max_restarts=max_restarts, within=within, backoff=backoff, name=name)
        self._template = template
        if max_children is not _UNSET:
            self.max_children = max_children

    def template(self) -> ChildSpec | None:
        """Return what `start_child` starts if it is given no specification."""
        return getattr(self, "_template", None)

    def _settings(self) -> Settings:
        fields = {field: getattr(self, field) for field in _FIELDS}
        settings = Settings(template=self.template(), max_children=self.max_children, dynamic=True, **fields)
        if settings.strategy != "one_for_one" or settings.auto_shutdown != "never" or tuple(self.children()):
            raise ValueError(
                "DynamicSupervisor: its strategy is 'one_for_one', its auto_shutdown 'never', and it has no children "
                "from the start; use a Supervisor for others"
            )
        return settings
