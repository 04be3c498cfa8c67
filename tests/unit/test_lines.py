"""Rules of `piactors._io.output.LineSplitter`: lines come out as they are, however the chunks were cut."""

from __future__ import annotations

import itertools
import re
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piactors._io.output import MAX_LINE, LineSplitter


def split(*chunks: bytes) -> list[str]:
    splitter, found = LineSplitter(), []
    for chunk in chunks:
        found += splitter.feed(chunk)
    return found + splitter.end()


def expected(data: bytes) -> list[str]:
    """What the rules say, for data whose last line is complete."""
    lines = re.split(rb"\r\n|\r|\n", data)[:-1]
    pieces = [line[at : at + MAX_LINE] for line in lines for at in range(0, max(1, len(line)), MAX_LINE)]
    return [piece.decode("utf-8", "replace") for piece in pieces]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


texts = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"bc", "é".encode(), b"\xff", b"\0", b""])).map(b"".join)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_a_line_ends_with_a_newline_a_carriage_return_or_both(end: bytes) -> None:
    """And comes without its end."""
    assert split(b"one" + end + b"two" + end) == ["one", "two"]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_empty_lines_are_lines(end: bytes) -> None:
    """As many as there are ends."""
    assert split(end + end + b"x" + end) == ["", "", "x"]


def test_both_ends_are_one_end_also_when_they_come_apart() -> None:
    """A carriage return waits for what follows."""
    assert split(b"one\r", b"\ntwo\r", b"", b"\n", b"three") == ["one", "two", "three"]
    assert split(b"one\r", b"two\n") == ["one", "two"]
    assert split(b"\r", b"\r", b"\n", b"\n") == ["", "", ""]


def test_a_line_comes_out_with_its_end_and_not_later() -> None:
    """Only a carriage return has to wait."""
    splitter = LineSplitter()
    assert splitter.feed(b"on") == []
    assert splitter.feed(b"e\ntw") == ["one"]
    assert splitter.feed(b"o\r") == []
    assert splitter.feed(b"t") == ["two"]
    assert splitter.end() == ["t"]


def test_the_last_line_needs_no_newline() -> None:
    """The end of the stream ends it, once."""
    splitter = LineSplitter()
    splitter.feed(b"last")
    assert splitter.end() == ["last"]
    assert splitter.end() == []


@pytest.mark.parametrize("data", [b"", b"a\n", b"a\r", b"a\r\n"])
def test_the_end_of_the_stream_adds_no_line_after_a_finished_one(data: bytes) -> None:
    """A newline ends a line, it does not begin one."""
    assert split(data) == (["a"] if data else [])


@pytest.mark.parametrize("before", [b"", b"x\n", b"x\r\n"])
def test_an_empty_line_ended_by_a_carriage_return_is_a_line_at_the_end_of_the_stream_too(before: bytes) -> None:
    """As one ended by a newline is."""
    assert split(before + b"\r") == split(before + b"\n")


@given(texts, st.lists(st.integers(0, 1000), max_size=8))
def test_any_chunking_gives_the_same_lines(data: bytes, places: list[int]) -> None:
    """Those of all of it at once."""
    assert split(*cut(data, places)) == split(data)


@given(texts, st.lists(st.integers(0, 1000), max_size=8))
def test_lines_are_what_stands_between_the_ends(data: bytes, places: list[int]) -> None:
    """Against a splitting by regular expression."""
    data += b"x\n"
    assert split(*cut(data, places)) == expected(data)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 5, -1, MAX_LINE]), st.integers(0, 2)), min_size=1, max_size=4),
    st.lists(st.integers(0, 10 * MAX_LINE), max_size=5),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
)
def test_any_chunking_of_long_lines_gives_the_same_pieces(
    sizes: list[tuple[int, int]], places: list[int], end: bytes
) -> None:
    """Around every multiple of the bound."""
    data = b"".join(b"x" * max(0, MAX_LINE * times + more) + end for more, times in sizes) + b"x" + end
    assert split(*cut(data, places)) == expected(data) == split(data)


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        (MAX_LINE - 1, [MAX_LINE - 1]),
        (MAX_LINE, [MAX_LINE]),
        (MAX_LINE + 1, [MAX_LINE, 1]),
        (2 * MAX_LINE, [MAX_LINE, MAX_LINE]),
        (3 * MAX_LINE + 7, [MAX_LINE, MAX_LINE, MAX_LINE, 7]),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b""])
def test_a_line_over_the_bound_comes_in_pieces(size: int, pieces: list[int], end: bytes) -> None:
    """Each as long as allowed, the last one with the rest; whether the line ends or the stream does."""
    data = b"x" * size + end
    assert [len(line) for line in split(data)] == pieces
    assert [len(line) for line in split(*cut(data, list(range(0, size, 9973))))] == pieces


def test_invalid_utf_8_is_replaced_and_hides_nothing_else() -> None:
    """A line is always text that can be encoded again."""
    found = split(b"a\xffb\xc3\ne\xcc\x81\n", b"\xed\xa0\x80z\xe2\x82")
    assert [line.replace("\ufffd", "") for line in found] == ["ab", "e\u0301", "z"]
    assert ["\ufffd" in line for line in found] == [True, False, True]
    assert all(line.encode() for line in found)


def test_characters_cut_by_a_chunk_are_whole() -> None:
    """Decoding waits for the line."""
    data = "ä€😀\n".encode()
    assert split(*(data[at : at + 1] for at in range(len(data)))) == ["ä€😀"]


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_the_pieces_of_a_long_line_put_together_are_the_line(character: str) -> None:
    """A cut at the bound tears no character apart."""
    line = "x" + character * MAX_LINE
    found = split(line.encode() + b"\n")
    assert "".join(found) == line
    assert all(len(piece.encode()) <= MAX_LINE for piece in found)


def test_a_flood_without_a_newline_takes_bounded_memory_and_time() -> None:
    """100 MB in the chunks that a pipe gives: never more than a few chunks at once."""
    splitter, chunk, total = LineSplitter(), b"x" * 65_535, 0
    began = time.thread_time()
    tracemalloc.start()
    try:
        for _ in range(100_000_000 // len(chunk)):
            total += sum(map(len, splitter.feed(chunk)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    total += sum(map(len, splitter.end()))
    assert total == 100_000_000 // len(chunk) * len(chunk)
    assert peak < 16 * MAX_LINE
    assert time.thread_time() - began < 5


def test_a_flood_of_carriage_returns_takes_bounded_memory() -> None:
    """What waits for its newline is one byte."""
    splitter = LineSplitter()
    for _ in range(1000):
        splitter.feed(b"\r")
    assert splitter.end() in ([], [""])
