"""Fuzzing of all that the host reads of an isolate: frames, plain values, replies, errors, descriptions, requests, and
what is said of things that go by reference (`reference_rules`, `request_rules`).

With atheris, which wants an environment of its own (it is no dependency of the tests)::

    python3.11 -m venv /tmp/atheris && /tmp/atheris/bin/pip install atheris pykka psutil multiprocess attrs numpy
    PYTHONPATH=. /tmp/atheris/bin/python tests/fuzz/fuzz_host_input.py -max_total_time=600 -rss_limit_mb=2048 \
        -max_len=4096 -timeout=10 /tmp/atheris-corpus

Without it, from random mutations of valid input, reproducible by its seed::

    python tests/fuzz/fuzz_host_input.py --random 60 --seed 1

Either stops at the first input that breaks a rule.  With ``--replay FILE...`` inputs are run once.
"""

from __future__ import annotations

import contextlib
import decimal
import importlib
import logging
import pathlib
import random
import sys
import time
from collections.abc import Callable
from typing import Any

with contextlib.suppress(ImportError):
    import atheris

    with atheris.instrument_imports(include=["piactors"]):
        importlib.import_module("piactors")

import attrs
import numpy
import reference_rules
import request_rules

from piactors._codec import decode, foreign_records
from piactors._isolate.frames import check_description
from piactors.errors import ProtocolError, UntrustedReply
from piactors.pihost.plain import decode as plain_decode
from piactors.pihost.plain import encode as plain_encode
from piactors.pihost.wire import wire

BUDGET = 1 << 20
MAX_FRAME = 1 << 12


class Broken(AssertionError):
    """A rule of the host does not hold."""


@attrs.define(eq=False)
class Accepted(Exception):
    """An exception that the fuzzed host accepts by name."""

    detail: object = None


@attrs.define
class Point:
    """A value that the fuzzed host accepts by name."""

    x: object = 0
    y: object = 0


ACCEPT = {f"{cls.__module__}:{cls.__qualname__}": cls for cls in (Accepted, Point)}


def _no_request(number: int) -> Any:
    raise Broken(f"a reply of plain data asked for the future of request {number}")


DECODER = decode.Decoder("fuzzed", False, ACCEPT, BUDGET, _no_request)


# --- the rules --------------------------------------------------------------------------------


def frames(data: bytes) -> None:
    """However a stream is cut, its frames are the same, and after a WireError nothing more is taken."""
    cuts, stream = data[:8], data[8:]
    whole, whole_error = _decoded(stream, [len(stream)])
    sizes = [1 + byte for byte in cuts] or [1]
    cut, cut_error = _decoded(stream, sizes)
    if (whole_error is None) != (cut_error is None):
        raise Broken(f"only one way of cutting ended in an error: {whole_error!r}, {cut_error!r}")
    # An error may swallow what came with it in one piece, and nothing else.
    if whole_error is None and whole != cut:
        raise Broken("the frames depend on how the stream was cut")
    if cut[: len(whole)] != whole:
        raise Broken("frames before an error depend on how the stream was cut")


def _decoded(stream: bytes, sizes: list[int]) -> tuple[list[wire.Frame], wire.WireError | None]:
    decoder = wire.FrameDecoder(MAX_FRAME)
    found: list[wire.Frame] = []
    position = turn = 0
    while position < len(stream):
        size = sizes[turn % len(sizes)]
        turn += 1
        try:
            target = decoder.direct()
            if target is not None and turn % 2:
                piece = stream[position : position + min(size, len(target))]
                target[: len(piece)] = piece
                found += [wire.Frame(*frame) for frame in decoder.received(len(piece))]
            else:
                piece = stream[position : position + size]
                found += decoder.feed(piece)
        except wire.WireError as error:
            _refuses(decoder)
            return found, error
        position += len(piece)
    if any(len(frame.payload) > MAX_FRAME or frame.kind not in wire.KINDS for frame in found):
        raise Broken("a frame beyond its bounds")
    return found, None


def _refuses(decoder: wire.FrameDecoder) -> None:
    for more in (b"", wire.encode(wire.LOG)):
        try:
            decoder.feed(more)
        except wire.WireError:
            continue
        raise Broken("a broken decoder takes more")


def plain(data: bytes) -> None:
    """Plain data decodes or is BadPlain, and nothing else."""
    with contextlib.suppress(plain_decode.BadPlain):
        plain_decode.decode(data, budget=BUDGET, accept=ACCEPT)


def value(data: bytes) -> None:
    """A reply is a value or an UntrustedReply, and a pickle is never looked at."""
    flags = data[0] if data else 0
    try:
        DECODER.value(flags, data[1:])
    except UntrustedReply:
        return
    if flags == wire.PICKLE:
        raise Broken("a pickle was taken in spite of trust='data'")


def error(data: bytes) -> None:
    """What describes an exception becomes an Exception, whatever it says."""
    found = DECODER.error(data)
    if not isinstance(found, Exception):
        raise Broken(f"{type(found).__name__} is no Exception")


def described(data: bytes) -> None:
    """The same, with a description that is right but for one or two of its fields."""
    fields = dict(_DESCRIPTION)
    for field, raw in _pieces(data, list(_DESCRIPTION)):
        fields[field] = _some_value(raw) if raw[:1] != b"b" else bytes(raw[1:])
    error(plain_encode.encode(fields, frozenset(ACCEPT)))


def description(data: bytes) -> None:
    """What describes a hosted object is a description or a ProtocolError."""
    try:
        found = plain_decode.decode(data, budget=BUDGET)
    except plain_decode.BadPlain:
        return
    for given in (found, {"name": found}, {"name": (True, False, found)}):
        with contextlib.suppress(ProtocolError):
            check_description(given)


def record(data: bytes) -> None:
    """A logging record becomes one or is refused by one of the errors that its reader expects."""
    fields = dict(_RECORD)
    for field, raw in _pieces(data, list(_RECORD)):
        fields[field] = _some_value(raw)
    with contextlib.suppress(*foreign_records.UNREADABLE):
        payload = plain_encode.encode(fields)
        foreign_records.rebuilt(payload, "fuzzed", 1, set(), DECODER.error)


def _pieces(data: bytes, names: list[str]) -> list[tuple[str, bytes]]:
    """Cut the input into up to two pieces, each for one of the names."""
    if len(data) < 2:
        return []
    middle = 2 + data[1] % max(1, len(data) - 1)
    first = (names[data[0] % len(names)], data[2:middle])
    rest = data[middle:]
    return [first] + ([(names[rest[0] % len(names)], rest[1:])] if rest else [])


def _some_value(raw: bytes) -> Any:
    try:
        return plain_decode.decode(raw, budget=BUDGET)
    except plain_decode.BadPlain:
        return raw.decode("utf-8", "replace")


OWN_RULES: tuple[Callable[[bytes], None], ...] = (frames, plain, value, error, described, description, record)
RULES = OWN_RULES + reference_rules.RULES + request_rules.RULES


def one_input(data: bytes) -> None:
    """Run one input: its first byte says on what."""
    if data:
        RULES[data[0] % len(RULES)](data[1:])


# --- seeds --------------------------------------------------------------------------------------

_DESCRIPTION: dict[str, Any] = {
    "module": "builtins",
    "qualname": "ValueError",
    "text": "no",
    "traceback": "Traceback",
    "notes": ["a note"],
    "args": plain_encode.encode(("no",)),
    "pickle": None,
    "accepted": None,
    "untrusted": None,
    "invalid_target": False,
}
_RECORD: dict[str, Any] = {
    "name": "a.b",
    "level": 20,
    "message": "hello",
    "created": 1.5,
    "pathname": "f.py",
    "lineno": 3,
    "function": "f",
    "thread": 7,
    "thread_name": "MainThread",
    "exception": None,
    "stack": "",
    "extra": {"more": 1},
    "msecs": 500.0,
    "relative_created": 20.5,
    "process_name": "MainProcess",
    "task_name": None,
}
_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    2**63,
    10**5000,
    1.5,
    "text",
    "\ud800",
    b"raw",
    [1, [2, "x"]],
    (1,),
    {"a": {"b": None}},
    {1, 2},
    range(3),
    decimal.Decimal("1E+9"),
    numpy.arange(3),
    numpy.datetime64(5, "D"),
    numpy.array(["x"]),
    list(range(9)),
    {"name": (True, False, 2)},
    {"a.b": (False, True, 0)},
    _DESCRIPTION,
    _RECORD,
    {**_DESCRIPTION, "qualname": "SystemExit"},
    {**_DESCRIPTION, "pickle": b"cos\nsystem\n(S'x'\ntR."},
    {**_DESCRIPTION, "args": None, "accepted": plain_encode.encode(Accepted(1), frozenset(ACCEPT))},
    {**_DESCRIPTION, "args": plain_encode.encode((10**5000,))},
    Accepted(2),
    Point(1, "y"),
)


def seeds() -> list[bytes]:
    """Return valid inputs to start from, a few for each rule."""
    coded = [plain_encode.encode(value, frozenset(ACCEPT)) for value in _VALUES]
    streams = [
        bytes(range(8)) + b"".join(wire.encode(kind, 0, 1, 5, payload) for kind in (wire.REPLY, wire.LOG))
        for payload in (b"", b"x" * 40, b"y" * 900)
    ]
    found = [b"\0" + stream for stream in streams]
    for number in range(1, len(OWN_RULES)):
        prefix = bytes((number,))
        for raw in coded:
            if RULES[number] is value:
                found += [prefix + b"\0" + raw, prefix + b"\1" + raw]
            elif RULES[number] in (described, record):
                found += [prefix + bytes((field, 255)) + raw for field in range(12)]
            else:
                found.append(prefix + raw)
    for rule, inputs in {**reference_rules.seeds(), **request_rules.seeds()}.items():
        found += [bytes((RULES.index(rule),)) + raw for raw in inputs]
    return found


# --- running ------------------------------------------------------------------------------------


def mutated(source: random.Random, corpus: list[bytes]) -> bytes:
    """Return an input of the corpus with a few changes."""
    data = bytearray(source.choice(corpus))
    for _ in range(source.choice((0, 1, 1, 2, 4, 8))):
        position = source.randrange(len(data) + 1)
        kind = source.randrange(5)
        if kind == 0:
            data[position : position + 1] = bytes((source.randrange(256),))
        elif kind == 1:
            data[position:position] = source.randbytes(source.choice((1, 4, 8)))
        elif kind == 2:
            del data[position : position + source.choice((1, 2, 8, 64))]
        elif kind == 3 and position < len(data):
            data[position] ^= 1 << source.randrange(8)
        else:
            other = source.choice(corpus)
            cut = source.randrange(len(other) + 1)
            data[position:] = other[cut:]
    return bytes(data)


def run_random(seconds: float, seed: int) -> int:
    """Run mutated inputs for so long; return how many.  A failure carries its input as a note."""
    source, corpus = random.Random(seed), seeds()
    for data in corpus:
        _run_noting(data)
    count, until = len(corpus), time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(100):
            _run_noting(mutated(source, corpus))
        count += 100
    return count


def _run_noting(data: bytes) -> None:
    try:
        one_input(data)
    except BaseException as failure:
        failure.add_note(f"rule {RULES[data[0] % len(RULES)].__name__}, input bytes.fromhex({data.hex()!r})")
        raise


def _shrink_direct() -> None:
    """Let short inputs reach what large payloads do."""
    wire.DIRECT_FROM = 32
    wire.MAPPED_FROM = 100
    wire.FIRST_ALLOCATION = 16


def main(arguments: list[str]) -> None:
    """Run as the module's text says."""
    _shrink_direct()
    logging.disable()  # that a call of something lent has failed is logged, as it should be
    if "--random" in arguments:
        seconds = float(arguments[arguments.index("--random") + 1])
        seed = int(arguments[arguments.index("--seed") + 1]) if "--seed" in arguments else 0
        print(f"{run_random(seconds, seed)} inputs, seed {seed}: every rule holds")
    elif "--replay" in arguments:
        for name in arguments[arguments.index("--replay") + 1 :]:
            _run_noting(pathlib.Path(name).read_bytes())
    else:
        folders = [pathlib.Path(argument) for argument in arguments[1:] if not argument.startswith("-")]
        for folder in folders[:1]:
            folder.mkdir(parents=True, exist_ok=True)
            for number, data in enumerate(seeds()):
                (folder / f"seed-{number:04}").write_bytes(data)
        atheris.Setup(arguments, one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
