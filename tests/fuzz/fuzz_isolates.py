"""Fuzzing of a living host by an isolate that it has lent things to, which sends frames that are almost right.

The host lends it a function, an object, a ref, a stream, a future and a topic that it has subscribed to; a sibling
holds an object that it does not.  It then sends rows of frames that ask, lend, drop and answer, with changes
(`lent_frames`).  After each row the sibling answers, what is not the isolate's was neither used nor dropped, and the
isolate goes on or was ended for a ProtocolError; after its end nothing of it is left.  The rows are reproducible by
their seed, the moments at which they are read are not::

    PYTHONPATH=. python tests/fuzz/fuzz_isolates.py --seconds 600 --seed 1
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import logging
import os
import random
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from fuzz_host_input import mutated
from lent_frames import PLACE, Row, frames
from reference_rules import BrokenRule, expect

import piactors
from piactors import IsolationOptions, ProcessActor, Topic, by_ref
from piactors.errors import PiactorsError
from piactors.pihost.wire import wire
from tests.support import wait_until

TARGETS = Path(__file__).resolve().parent.parent / "children" / "hostile_targets.py"
SECONDS = 20.0
_PATIENCE = 0.5
_ROWS = 25
"""Rows until the isolate is ended, if that has not come by itself."""
_SLACK = 64 << 20
_NUMBER = struct.Struct("<Q")
_ON_DATA = (wire.USE, wire.REQUEST, wire.LEND, wire.AWAIT, wire.REPLY, wire.ERROR, wire.DONE, wire.PART, wire.CANCELLED)
_ON_CONTROL = (wire.DROP, wire.RESPONSE, wire.FAILURE, wire.LOST, wire.LOG, wire.UNMAP)


class Villain(ProcessActor):
    """Sends what it is told to."""

    def hold(self, *things: Any) -> None:
        """Hold what is lent."""
        self.things = things

    def note(self, value: Any) -> None:
        """Take a publication."""

    def send(self, data: bytes, control: bytes) -> int:
        """Write bytes to both channels."""
        self._write(data, control)
        return 1

    def yielding(self, data: bytes, control: bytes) -> Iterator[int]:
        """Write them while items are asked for."""
        yield 1
        self._write(data, control)
        yield 2

    @staticmethod
    def _write(data: bytes, control: bytes) -> None:
        name = "_hostile_targets_of_a_fuzzer"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, str(TARGETS))
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        grip = sys.modules[name].Grip()
        own = struct.pack("<Q", grip.seq)
        grip.control.sendall(control.replace(struct.pack("<Q", PLACE), own))
        grip.data.sendall(data.replace(struct.pack("<Q", PLACE), own))


class Sibling(ProcessActor):
    """Holds what the other isolate does not, and answers."""

    def hold(self, secret: Any) -> None:
        """Hold it."""
        self.secret = secret

    def ping(self) -> int:
        """Answer."""
        return 1


class Lamp:
    """An object that is lent; it counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def up(self, *_: Any) -> int:
        """Be called."""
        self.calls += 1
        return self.calls


class Defects(logging.Handler):
    """Notes what the host logs of failures of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record, if it is one of them."""
        text = record.getMessage()
        if "piactors failed" in text or "piactors has failed" in text:
            self.found.append(f"{text}: {record.exc_info and record.exc_info[1]!r}")


class Scene:
    """The host, its sibling, and one isolate after the other that sends."""

    def __init__(self, source: random.Random) -> None:
        self.source = source
        self.defects = Defects()
        logging.getLogger("piactors").addHandler(self.defects)
        self.sibling = Sibling.with_options(IsolationOptions(name="sibling")).start()
        self.secret = Lamp()
        self.secret_handle = by_ref(self.secret)
        self.sibling.proxy().hold(self.secret_handle).get(timeout=SECONDS)
        self.topic: Topic[int] = Topic("news", buffer=5)
        self.rows = 0
        self.villain: Any = None
        self.neighbour: Any = None
        self.lent: list[Any] = []
        self.frames: Row = []
        self.ended: dict[str, int] = {}

    # One isolate

    def begin(self) -> None:
        """Have an isolate that holds things."""
        options = IsolationOptions(
            name="villain", trust="data", restart="temporary", max_frame="1 MiB", output="discard"
        )
        self.villain = Villain.with_options(options).start()
        self.renew_neighbour()
        lamp = Lamp()
        self.lent = [
            by_ref(lamp.up),
            by_ref(lamp),
            self.neighbour,
            piactors.stream(iter(range(1000))),
            piactors.Future(),
        ]
        self.villain.proxy().hold(self.topic, *self.lent).get(timeout=SECONDS)
        self.topic.subscribe(self.villain, "note")
        process = self.villain._isolate.life.current.process
        held = {loan.number: loan.kind for loan in process.ledger}
        numbers, secret = list(held), self.secret_handle
        self.frames = list(frames(held, secret._loan.number, process.owner << 32))
        self.numbers = [*numbers, secret._loan.number, process.owner << 32, (process.owner << 32) + 1, 0]

    def renew_neighbour(self) -> None:
        """Have the actor live that it holds the ref of, and so may stop."""
        if self.neighbour is None or not self.neighbour.is_alive():
            self.neighbour = Sibling.with_options(IsolationOptions(name="neighbour")).start()

    def end(self) -> None:
        """End it, and see that nothing of it is left in what it was lent."""
        villain, self.villain = self.villain, None
        if villain is None:  # its row has ended it
            return
        reason = villain.terminate(timeout=SECONDS)
        expect(reason is not None, "the isolate does not end")
        kind = f"{reason.kind}: {(reason.detail or '')[:60]}"
        self.ended[kind] = self.ended.get(kind, 0) + 1
        detail = reason.detail or ""
        expect(reason.kind != "killed" or not detail or detail.startswith(("ProtocolError", "terminated")), detail)
        process = villain._isolate.life.current
        expect(process is None or len(process.process.ledger) == 0, "it still holds something")
        handles = [thing for thing in self.lent if isinstance(thing, type(self.secret_handle))]
        wait_until(lambda: all(handle.holders() == () for handle in handles), SECONDS)
        self.lent = []

    # One row

    def row(self) -> None:
        """Have a row of frames sent, and look at what comes of it."""
        if self.villain is None or not self.villain.is_alive():
            self.end()
            self.begin()
        row = [self._changed(self.source.choice(self.frames)) for _ in range(self.source.choice((1, 1, 2, 4, 8)))]
        generation = self.villain.generation
        data, control = (self._bytes(row, generation, on_control=wanted) for wanted in (False, True))
        try:
            self._send(data, control)
            self._look()
        except BaseException as error:
            error.add_note(f"row {self.rows}: data bytes.fromhex({data.hex()!r}), control {control.hex()!r}")
            raise
        self.rows += 1

    def _send(self, data: bytes, control: bytes) -> None:
        proxy = self.villain.proxy()
        try:
            if self.source.random() < 0.2:
                items = proxy.yielding(data, control)
                for _ in range(3):
                    items.get_next(timeout=_PATIENCE)
            else:
                proxy.send(data, control).get(timeout=_PATIENCE)
        except piactors.Timeout:  # it has left its own call without an answer
            self.end()
        except Exception:  # whatever it makes of its own call
            return

    def _look(self) -> None:
        with contextlib.suppress(PiactorsError):
            self.topic.publish(self.rows)
        expect(self.sibling.proxy().ping().get(timeout=SECONDS) == 1, "the sibling does not answer")
        expect(self.secret.calls == 0, "it has used what it does not hold")
        expect(self.secret_handle.holders() == ("sibling",), "it has dropped what another one holds")
        expect(self.sibling.is_alive(), "it has stopped its sibling")
        expect(not self.defects.found, "; ".join(self.defects.found))

    def _changed(self, frame: Any) -> Any:
        """Return a frame with a few changes, or none."""
        source = self.source
        control, kind, flags, seq, payload = frame
        for _ in range(source.choice((0, 0, 1, 1, 2, 3))):
            change = source.randrange(7)
            if change == 0:
                payload = mutated(source, [payload, source.choice(self.frames)[4]])
            elif change == 1 and len(payload) >= _NUMBER.size:
                position = source.choice((0, 0, source.randrange(len(payload) - 7)))
                number = _NUMBER.pack(source.choice(self.numbers))
                payload = payload[:position] + number + payload[position + _NUMBER.size :]
            elif change == 2:
                flags ^= 1 << source.randrange(8)
            elif change == 3:
                kind = source.choice(_ON_CONTROL if control else _ON_DATA)
            elif change == 4:
                seq = source.choice((0, 1, 2, PLACE, source.choice(self.numbers), 1 << 40, (1 << 64) - 1))
            elif change == 5:
                payload = payload[: source.randrange(len(payload) + 1)]
            elif source.random() < 0.05:
                control = not control
        return control, kind, flags, seq, payload

    def _bytes(self, row: Row, generation: int, *, on_control: bool) -> bytes:
        found = b""
        for control, kind, flags, seq, payload in row:
            if control == on_control:
                number = generation + (self.source.random() < 0.01)
                found += wire.encode(kind, flags, number & 0xFFFF, seq, payload)
        if found and self.source.random() < 0.01:
            found = found[: self.source.randrange(len(found))]
        return found

    def close(self) -> None:
        """End all of it."""
        self.end()
        self.neighbour.stop()
        self.sibling.stop()
        logging.getLogger("piactors").removeHandler(self.defects)


# --- running ----------------------------------------------------------------------------------


def _state() -> tuple[int, int]:
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def run(seconds: float, seed: int) -> Scene:
    """Have rows sent for so long.  A failure carries its row as a note.

    Raises:
        BrokenRule: if a rule does not hold, or anything is left.
    """
    scene = Scene(random.Random(seed))
    scene.begin()
    scene.row()
    scene.end()
    scene.renew_neighbour()
    before, memory = _state(), psutil.Process().memory_info().rss
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(_ROWS):
            if time.monotonic() < until:
                scene.row()
        scene.end()
    scene.renew_neighbour()
    _expect_as_before(before, memory)
    scene.close()
    return scene


def _expect_as_before(before: tuple[int, int], memory: int) -> None:
    try:
        wait_until(lambda: all(now <= then for now, then in zip(_state(), before, strict=True)), SECONDS)
    except AssertionError:
        names = [thread.name for thread in threading.enumerate()]
        raise BrokenRule(f"descriptors and threads were {before}, and are {_state()}: {names}") from None
    grown = psutil.Process().memory_info().rss - memory
    expect(grown < _SLACK, f"the host has grown by {grown >> 20} MiB")


def main(arguments: list[str]) -> None:
    """Run as the module's text says."""
    seconds = float(arguments[arguments.index("--seconds") + 1]) if "--seconds" in arguments else 60.0
    seed = int(arguments[arguments.index("--seed") + 1]) if "--seed" in arguments else 0
    logging.getLogger("piactors").propagate = False
    scene = run(seconds, seed)
    print(f"{scene.rows} rows, seed {seed}: every rule holds")
    for kind, count in sorted(scene.ended.items(), key=lambda entry: -entry[1])[:30]:
        print(f"{count:6} {kind}")


if __name__ == "__main__":
    main(sys.argv)
