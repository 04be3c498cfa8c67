"""The border of an isolate, joined with its control channel: made when something crosses it for the first time."""

from __future__ import annotations

import functools
import importlib
import pickle
import sys
from typing import Any, Callable, Dict, Tuple

from ..process import adopted
from ..wire import wire
from . import answers, objects, peers, performing, pipelined, results
from .border import Border


class LinkedBorder(Border):
    """The tables of one isolate, and what uses them.

    Args:
        link: what requests and answers go through.
        owner: the number of this process among all that lend.
    """

    def __init__(self, link: Any, owner: int, own_ref: Any) -> None:
        super().__init__(owner, adopted.wake)
        self.own_ref = own_ref
        self.link = link
        self.performer = performing.Performer(link)
        self.perform = self.performer.perform
        self.pipeline = pipelined.Pipeline(self, functools.partial(pipelined.nothing, link))
        self.makers.update(_MAKERS)
        self._new_direct: Any = None

    def arrived(self, frame: wire.Frame) -> wire.Frame:
        """An answer that lends things has come: take those at once, whenever it is read."""
        entries, body = pickle.loads(frame.payload)
        return frame._replace(payload=results.Carried(body, self.take(entries)))

    def new_future(self) -> Any:
        """Return a future for an answer."""
        rich = _rich()
        return answers.AnswerFuture(self.link) if rich is None else rich.PeerAnswer(self.link)

    def new_direct(self) -> Any:
        """Return a future for the answer to a message that may go directly."""
        make = self._new_direct
        if make is None:
            rich = _rich()
            if rich is None:  # so far
                return answers.DirectAnswer(self.link)
            make = self._new_direct = rich.PeerDirect
        return make(self.link)

    def new_pull(self) -> Any:
        """Return a future for items of a stream."""
        rich = _rich()
        return answers.AnswerFuture(self.link) if rich is None else rich.PeerPull(self.link)


def _rich() -> Any:
    """Return what makes stand-ins of pykka's own kinds; None if this process knows of neither."""
    if "piactors" not in sys.modules and "pykka" not in sys.modules:
        return None
    try:
        return importlib.import_module("piactors._values.peers")
    except ImportError:
        return None


def _future(border: LinkedBorder, number: int, facts: Tuple[Any, ...]) -> Any:
    rich = _rich()
    return answers.FutureStandIn(border.link, number) if rich is None else rich.PeerFuture(border.link, number)


def _stream(border: LinkedBorder, number: int, facts: Tuple[Any, ...]) -> Any:
    from . import given_streams  # most isolates are given none

    rich, reach = _rich(), given_streams.PeerReach(border.link, number, facts)
    return given_streams.PlainStream(reach) if rich is None else rich.stream(reach)


def _writer(border: LinkedBorder, number: int, facts: Tuple[Any, ...]) -> Any:
    return answers.WriterStandIn(border.link, number)


def _ref(border: LinkedBorder, number: int, facts: Tuple[Any, ...]) -> Any:
    rich = _rich()
    return peers.Peer(border.link, number, facts) if rich is None else rich.peer(border.link, number, facts)


_MAKERS: Dict[str, Callable[[Any, int, Tuple[Any, ...]], Any]] = {
    "object": objects.make_object,
    "function": objects.make_function,
    "future": _future,
    "ref": _ref,
    "stream": _stream,
    "writer": _writer,
}


def make(link: Any, owner: int, own_ref: Any) -> LinkedBorder:
    """Make the border of this process; `own_ref` is what stands for the isolate itself, if it is an actor's."""
    return LinkedBorder(link, owner, own_ref)
