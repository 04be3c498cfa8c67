"""What the holder of a ref may do with it: the rules of `restrict`, without a clock of their own."""

from __future__ import annotations

from collections.abc import Iterable

from piactors.errors import NotPermitted, Revoked


class Capability:
    """Rules that narrow a ref, and those of the ref that it was narrowed from: all of them hold.

    Args:
        name: of the actor, for errors.
        above: the rules of the ref that this one was narrowed from.
        methods: the names of the methods that may be called; None: all.  ``on_receive`` stands for messages.
        stop: whether the actor may be stopped.
        call_timeout: seconds that a call may run; None: as long as otherwise.
        rate: how many messages a second; None: as many as they like.
        expires: when it ends, on the clock that `check` is given; None: never.
    """

    def __init__(
        self,
        name: str,
        above: Capability | None,
        *,
        methods: Iterable[str] | None,
        stop: bool,
        call_timeout: float | None,
        rate: float | None,
        expires: float | None,
    ) -> None:
        self.name, self.above = name, above
        self._methods = None if methods is None else frozenset(methods)
        self._stop, self._call_timeout, self._expires = stop, call_timeout, expires
        self._rate = rate
        self._left, self._filled_at = 0.0 if rate is None else max(1.0, rate), -1.0
        self._is_revoked = False

    def revoke(self) -> None:
        """Allow nothing any more."""
        self._is_revoked = True

    def ended(self, now: float) -> Revoked | None:
        """Return the error if it leads to the actor no more, or None."""
        if self._is_revoked:
            return Revoked(f"this ref of {self.name} was revoked")
        if self._expires is not None and now >= self._expires:
            return Revoked(f"this ref of {self.name} has expired")
        return None if self.above is None else self.above.ended(now)

    def check(self, method: str, now: float) -> None:
        """Allow one message: the call of a method, or of an attribute; nothing stands for any other message.

        Raises:
            Revoked: if it was revoked, or has expired.
            NotPermitted: if it does not allow this, or not so often.
        """
        ended = self.ended(now)
        if ended is not None:
            raise ended
        self._check_method(method or "on_receive")
        self._take(now)

    def check_stop(self, now: float) -> None:
        """Allow to stop the actor.

        Raises:
            Revoked, NotPermitted: as `check`.
        """
        ended = self.ended(now)
        if ended is not None:
            raise ended
        if not self.may_stop:
            raise NotPermitted(f"this ref of {self.name} does not allow to stop it; pass stop=True to restrict()")

    @property
    def may_stop(self) -> bool:
        """Whether it allows to stop the actor."""
        return self._stop and (self.above is None or self.above.may_stop)

    @property
    def call_timeout(self) -> float | None:
        """Seconds that a call may run: the least that any of the rules says; None for as long as otherwise."""
        above = None if self.above is None else self.above.call_timeout
        found = [seconds for seconds in (self._call_timeout, above) if seconds is not None]
        return min(found) if found else None

    def allows(self, method: str) -> bool:
        """Whether a method may be called."""
        return (self._methods is None or method in self._methods) and (self.above is None or self.above.allows(method))

    def _check_method(self, method: str) -> None:
        if not self.allows(method):
            raise NotPermitted(
                f"this ref of {self.name} does not allow {method[:100]!r}; see its restrict(methods=...)"
            )

    def _take(self, now: float) -> None:
        if self.above is not None:
            self.above._take(now)
        if self._rate is None:
            return
        if self._filled_at >= 0:
            self._left = min(max(1.0, self._rate), self._left + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._left < 1:
            raise NotPermitted(f"this ref of {self.name} allows {self._rate:g} calls per second, and no more")
        self._left -= 1
