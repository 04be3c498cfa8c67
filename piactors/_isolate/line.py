"""The data path of an isolate, as its calls see it: what `delivery` is to `call`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from piactors._codec.decode import Decoder
from piactors._future.results import Result
from piactors._io.loop import Share
from piactors._io.spin import Spin
from piactors._isolate.reply_ports import Trust
from piactors._platform import wake as waking
from piactors._rules.message import Message

if TYPE_CHECKING:
    import asyncio


class Line(Trust, Protocol):
    """The data path of an isolate, as its calls see it (see `delivery`)."""

    name: str
    lock: threading.RLock
    is_mine: Callable[[], bool]
    decoder: Decoder
    spin: Spin
    loop: Share

    def watch(self) -> None:
        """See to it that answers are read that no caller reads."""

    def watch_for(self, call: Message) -> None:
        """See to it that the answer to this call is read soon, though nobody waits who reads it."""

    def stays_awake(self, loop: asyncio.AbstractEventLoop, call: Any, since: float) -> bool:
        """Read, as code of the event loop in this thread awaits this answer; whether it is to look again at once."""

    def await_in(self, loop: asyncio.AbstractEventLoop, call: Any) -> None:
        """Have the event loop of this thread read the answer that its code awaits."""

    def wake_reader(self) -> None:
        """Have the caller look that reads the answers, if one does: its own may have come in some other way."""

    def read_until_settled(self, call: Any, waker: waking.Waker, deadline: float | None) -> None:
        """Let the caller that waits for a call read the answers."""

    def has_begun(self, message: Message) -> bool:
        """Whether the process says that it has begun a message, which has not been answered."""

    def cancel_begun(self, message: Message, kill_after: float | None) -> object:
        """Cancel a call that has begun."""

    def result_of(self, message: Message) -> Result | None:
        """Return where the result of a call will be, if it is with a process now."""

    def give_up(self, message: Message) -> bool:
        """The caller of a message gave up on it: True if it will never begin, and has not begun before."""

    def has_given_up(self, message: Message) -> bool:
        """Whether a message will never begin because its caller gave up on it."""
