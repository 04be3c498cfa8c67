"""A call that has begun, and waits to be tried again, is never said not to have begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pykka
import pytest

from piactors import Backoff, ChildSpec, IsolateCrashed, IsolationOptions, Supervisor
from piactors.options import OverflowPolicy
from tests.children.actors import Fragile
from tests.support import wait_until

PATIENCE = 20.0
BRIEF = Backoff(initial=0.3, jitter=0)
LONG = Backoff(initial=600, maximum=600)


def started(**options: Any) -> Any:
    return Fragile.with_options(restart="permanent", **options).start()


def waits_to_be_tried_again(ref: Any, folder: Path) -> Any:
    """Return a call that has ended a generation, while the next one has still to come."""
    call = ref.proxy().die_once(str(folder / "flag"))
    wait_until(lambda: ref.state == "restarting")
    return call


def test_it_is_tried_again_where_calls_do_not_wait_for_a_restart(tmp_path: Path) -> None:
    ref = started(while_restarting="fail", backoff=BRIEF)
    call, behind = ref.proxy().die_once(str(tmp_path / "flag")), ref.proxy().work(1)
    with pytest.raises(pykka.ActorDeadError, match="restarting"):
        behind.get(timeout=PATIENCE)
    assert call.get(timeout=PATIENCE) == "survived"
    ref.stop()


@pytest.mark.parametrize("overflow", ["drop_oldest", "fail"])
def test_it_is_not_dropped_for_a_newer_one(overflow: OverflowPolicy, tmp_path: Path) -> None:
    ref = started(mailbox_capacity=1, overflow=overflow, backoff=BRIEF)
    call = waits_to_be_tried_again(ref, tmp_path)
    newer = ref.proxy().work(1)
    assert call.get(timeout=PATIENCE) == "survived"
    assert (newer.exception(timeout=PATIENCE) is None) == (overflow == "drop_oldest")
    ref.stop()


def test_it_cannot_be_cancelled_as_one_that_has_not_begun(tmp_path: Path) -> None:
    ref = started(backoff=BRIEF)
    call = waits_to_be_tried_again(ref, tmp_path)
    assert not call.cancel()
    assert call.get(timeout=PATIENCE) == "survived"
    ref.stop()


def test_where_its_tree_is_stopped_it_fails_as_what_had_begun(tmp_path: Path) -> None:
    spec = ChildSpec("fragile", Fragile, backoff=LONG, options=IsolationOptions(name="fragile"))
    tree = Supervisor.start(children=[spec])
    call = waits_to_be_tried_again(tree.child("fragile"), tmp_path)
    waits = tree.child("fragile").proxy().work(1)
    tree.stop()
    error = call.exception(timeout=PATIENCE)
    assert isinstance(error, IsolateCrashed)
    assert (error.generation, error.reason.kind) == (1, "exited")
    assert isinstance(waits.exception(timeout=PATIENCE), pykka.ActorDeadError)


def test_where_the_program_ends_it_fails_as_what_had_begun(tmp_path: Path) -> None:
    """By way of what the end of the program does with an isolate that stands alone."""
    ref = started(backoff=LONG)
    call = waits_to_be_tried_again(ref, tmp_path)
    ref._isolate.shut_down()
    error = call.exception(timeout=PATIENCE)
    assert isinstance(error, IsolateCrashed)
    assert error.generation == 1
    assert ref.wait_for_exit(PATIENCE) is not None
