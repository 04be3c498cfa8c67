"""Proxies of actors of other processes, in an isolate: each method returns a future, or a stream."""

from __future__ import annotations

import time
from typing import Any

from pykka import ActorProxy, CallableProxy

from piactors._future import waiting
from piactors._values.streams import Stream

_NEVER = 1e12


class PeerProxy(ActorProxy[Any]):
    """The attributes and methods of an actor of another process."""

    def __init__(self, *, actor_ref: Any, attr_path: Any = None, described: Any = None) -> None:
        # Not pykka's own __init__, which looks at the actor itself.
        self.actor_ref = actor_ref
        self._attr_path = attr_path or ()
        self._described = actor_ref._asker.wait("describe") if described is None else described
        self._actor_proxies, self._callable_proxies = {}, {}

    def __repr__(self) -> str:
        return f"<ActorProxy for {self.actor_ref}, attr_path={self._attr_path!r}>"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PeerProxy) and other.actor_ref == self.actor_ref and other._attr_path == self._attr_path
        )

    def __hash__(self) -> int:
        return hash((self.actor_ref, self._attr_path))

    def __getattr__(self, name: str) -> Any:
        """Return a method, a proxy of a traversable attribute, or a future of any other one."""
        path, ref = (*self._attr_path, name), self._ref
        entry = self._described.get(".".join(path))
        if entry is None:
            self.__dict__["_described"] = ref._asker.wait("describe")
            entry = self._described.get(".".join(path))
        if entry is None:
            raise AttributeError(f"{self} has no attribute {name!r}")
        found: Any
        if entry[1]:
            found = PeerProxy(actor_ref=ref, attr_path=path, described=self._described)
        elif entry[0]:
            found = PeerStreams(ref, path) if entry[4] else PeerMethod(ref, path)
        else:
            return ref._asker.begin("get", ".".join(path), holder=ref)
        self.__dict__[name] = found
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute there, and wait until that is done."""
        if name in ("actor_ref", "_attr_path", "_described", "_actor_proxies", "_callable_proxies"):
            self.__dict__[name] = value
            return
        self._ref._asker.wait("set", ".".join((*self._attr_path, name)), value)

    @property
    def _ref(self) -> Any:
        return self.actor_ref

    def __dir__(self) -> list[str]:
        here = len(self._attr_path)
        paths = (path.split(".") for path in self._described)
        return sorted({path[here] for path in paths if path[:here] == list(self._attr_path) and len(path) > here})


class PeerMethod(CallableProxy[Any]):
    """One method of an actor of another process, and how long its calls are wanted."""

    def __init__(
        self, ref: Any, path: tuple[str, ...], timeout: float | None = None, direct: bool | None = None
    ) -> None:
        super().__init__(actor_ref=ref, attr_path=path)
        self._begin, self._timeout, self._link = ref._asker.begin, timeout, ref._asker.link
        self._name, self._direct = ".".join(path), direct

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and return a future of the result."""
        return self._begin("call", self._name, args, kwargs, self._timeout, self.actor_ref, self._direct)

    def with_options(self, *, timeout: float | None = None, direct: bool | None = None) -> PeerMethod:
        """Return the same method, whose calls are not wanted any more after that many seconds; see `CallProxy`.

        Args:
            direct: True: its calls go directly to the other isolate as soon as there is a channel, which the first one
                asks for; False: they go by way of the host; None, the default: as `IsolationOptions(channels=...)` of
                this isolate says.
        """
        return type(self)(self.actor_ref, self._attr_path, waiting.seconds_of(timeout), direct)


class PeerStreams(PeerMethod):
    """One method that yields items: its calls return streams."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and return a stream of what it yields."""
        link = self._link
        left = link.until(link.call_asking(), self._timeout) - time.monotonic()
        return Stream(origin=super().__call__(*args, **kwargs), timeout=None if left > _NEVER else left)
