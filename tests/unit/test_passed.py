"""Files in memory that isolates pass on: what the host checks, and what their receiver makes of them."""

from __future__ import annotations

import gc
import os

import pytest

from piactors._codec.passing import PassedFiles
from piactors.errors import ProtocolError
from piactors.pihost.memory import handed, passed, segments
from piactors.pihost.memory.chunks import LEAST, Chunks


def chunks(*pieces: bytes) -> Chunks:
    found = Chunks()
    found.pieces.extend(pieces)
    return found


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_lies_in_a_file_is_read_and_belongs_to_its_reader() -> None:
    before = open_files()
    file = passed.Passing(1 << 30).file(chunks(b"a" * LEAST, b"b"))
    one, two = (passed.opened(os.dup(file.fd), file.table).chunks()[0] for _ in range(2))
    one[0] = ord("c")
    assert bytes(one[:2]) == b"ca"
    assert bytes(two[:2]) == b"aa"
    assert len(two) == LEAST + 1
    del one, two, file
    gc.collect()
    assert open_files() == before


@pytest.mark.parametrize(
    ("size", "most", "takes"), [(LEAST - 1, 1 << 30, False), (LEAST, 1 << 30, True), (LEAST, 0, False)]
)
def test_which_values_go_that_way(size: int, most: int, takes: bool) -> None:
    assert passed.Passing(most).takes(chunks(b"x" * size)) is takes


def test_a_table_that_reaches_beyond_its_file_is_refused() -> None:
    large, small = (passed.Passing(1 << 30).file(chunks(b"x" * size)) for size in (LEAST * 2, LEAST))
    before = open_files()
    with pytest.raises(segments.BadTable, match="not within"):
        passed.opened(os.dup(small.fd), large.table)
    gc.collect()
    assert open_files() == before


def test_one_that_nobody_reads_is_let_go_of() -> None:
    file = passed.Passing(1 << 30).file(chunks(b"x" * LEAST))
    before = open_files()
    arriving = passed.Arriving(passed.with_number(7_000_001, file.table))
    handed.came(7_000_001, os.dup(file.fd))
    assert open_files() == before + 1
    del arriving
    assert open_files() == before
    arriving = passed.Arriving(passed.with_number(7_000_002, file.table))
    del arriving
    handed.came(7_000_002, os.dup(file.fd))
    assert open_files() == before, "it has come too late"


def sealed() -> tuple[int, bytes]:
    file = passed.Passing(1 << 30).file(chunks(b"x" * LEAST))
    return os.dup(file.fd), file.table


def test_the_host_takes_each_once() -> None:
    files, (fd, table) = PassedFiles(1 << 30), sealed()
    assert not files.has(table)
    files.add(1, [fd])
    assert files.has(table)
    found = files.take(table)
    assert found.travelling() == passed.with_number(found.lent.number, table)
    assert len(found.received()) == LEAST
    with pytest.raises(ProtocolError, match="not announced"):
        files.take(table)
    files.close()


def test_the_host_refuses_what_could_harm_its_receiver() -> None:
    files = PassedFiles(1 << 30)
    with pytest.raises(ProtocolError, match="no descriptor"):
        files.add(1, [])
    unsealed = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    with pytest.raises(ProtocolError, match="cut short"):
        files.add(1, [unsealed])
    with pytest.raises(ProtocolError, match="cut short"):
        files.add(1, [os.open(os.devnull, os.O_RDONLY)])
    with pytest.raises(ProtocolError, match="refers to"):
        files.take(b"short")


def test_the_host_keeps_no_more_than_so_many() -> None:
    files, (fd, _) = PassedFiles(1 << 30), sealed()
    before = open_files()

    def flood() -> None:
        for number in range(1000):
            files.add(number, [os.dup(fd)])

    with pytest.raises(ProtocolError, match="does not use them"):
        flood()
    files.close()
    gc.collect()
    assert open_files() <= before
    files.add(5, [os.dup(fd)])
    with pytest.raises(ProtocolError, match="does not use them"):
        files.add(5, [os.dup(fd)])
    os.close(fd)


def test_the_host_passes_nothing_on_that_is_larger_than_max_frame() -> None:
    files, (fd, table) = PassedFiles(LEAST - 1), sealed()
    files.add(1, [fd])
    with pytest.raises(ProtocolError, match="max_frame"):
        files.take(table)
