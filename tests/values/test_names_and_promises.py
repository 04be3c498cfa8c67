"""Names of actors, here and in isolates; and promises, whose other end is given away."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pykka
import pytest

import piactors
from piactors import ActorDeadError, NameTaken, ProcessIsolator, Promise, Released, named, register, unregister, whereis
from tests.children.talking import Store, Threaded, User
from tests.support import wait_until

SECONDS = 20


@pytest.fixture
def user() -> Iterator[Any]:
    ref = User.start()
    yield ref
    ref.stop(timeout=SECONDS)


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def test_a_name_leads_to_its_actor(store: Any) -> None:
    register("store", store)
    register("store", store)
    assert whereis("store") is store
    assert whereis("nobody") is None
    assert get(named("store").proxy().add(1)) == 1
    assert named("store").ask("x", timeout=SECONDS) == ("received", "x")
    assert named("store").actor_urn == store.actor_urn
    unregister("store")
    unregister("store")
    assert whereis("store") is None
    with pytest.raises(ActorDeadError, match="'store'"):
        named("store").tell(1)


def test_a_name_belongs_to_one_actor_through_its_restarts_and_is_free_after_it(store: Any, user: Any) -> None:
    register("store", store)
    with pytest.raises(NameTaken, match="'store'"):
        register("store", user)
    with pytest.raises(piactors.IsolateCrashed):
        get(store.proxy().die())
    assert whereis("store") is store
    assert get(named("store").proxy().add(1)) == 1
    store.stop(timeout=SECONDS)
    assert whereis("store") is None
    register("store", user)
    assert whereis("store") is user
    unregister("store")


class Ends(piactors.ProcessActor):
    """Looks who has its name when it ends."""

    def __init__(self, say: Any) -> None:
        super().__init__()
        self.say = say

    def on_stop(self) -> None:
        self.say(piactors.whereis("ends") is None)


def test_it_is_free_before_on_stop_runs() -> None:
    said: list[bool] = []
    ref = Ends.start(piactors.by_ref(lambda free: said.append(free)))
    register("ends", ref)
    ref.stop(timeout=SECONDS)
    assert said == [True]


def test_isolates_of_the_hosts_own_code_look_names_up_and_give_them(store: Any, user: Any) -> None:
    register("store", store)
    run = user.proxy().run
    assert get(run(lambda: piactors.whereis("store").proxy().add("x").get(timeout=SECONDS))) == 1
    assert get(run(lambda: piactors.named("store").proxy().add("y").get(timeout=SECONDS))) == 2
    assert get(run(lambda: piactors.whereis("store"))) is store
    assert get(run(lambda: piactors.whereis("nobody"))) is None
    get(run(_register_own, user))
    assert whereis("user") is user
    with pytest.raises(NameTaken):
        get(run(lambda ref: piactors.register("store", ref), user))
    assert get(user.proxy().call(named("store"), "add", "z")) == 3
    get(run(lambda: piactors.unregister("user")))
    assert whereis("user") is None
    unregister("store")


def _register_own(ref: Any) -> None:
    piactors.register("user", ref)


def test_what_was_narrowed_has_a_name_too(store: Any, user: Any) -> None:
    register("adder", store.restrict(["add"]))
    with pytest.raises(AttributeError):
        get(user.proxy().run(lambda: piactors.whereis("adder").proxy().get("x")))
    unregister("adder")


def test_code_called_by_name_may_not_look_names_up(store: Any) -> None:
    register("store", store)
    with ProcessIsolator() as isolator, pytest.raises(piactors.IsolateCrashed, match="does not hold"):
        isolator.invoke_method("piactors:whereis", "store").get(timeout=SECONDS)
    unregister("store")


def test_threads_have_names_too(user: Any) -> None:
    ref = Threaded.start()
    register("thread", ref)
    assert get(user.proxy().run(lambda: piactors.named("thread").proxy().double(4).get(timeout=SECONDS))) == 8
    ref.stop()
    assert whereis("thread") is None


@pytest.mark.parametrize(
    ("attempt", "kind"),
    [
        (lambda: register("", None), ValueError),
        (lambda: register("x" * 256, None), ValueError),
        (lambda: register(3, None), TypeError),  # type: ignore[arg-type]
        (lambda: register("x", object()), TypeError),  # type: ignore[arg-type]
        (lambda: whereis(None), TypeError),  # type: ignore[arg-type]
        (lambda: named(b"x"), TypeError),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_name_is_refused(attempt: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        attempt()


def test_pykkas_registry_in_an_isolate_finds_what_it_was_given_and_stops_none_of_it(store: Any) -> None:
    user = User.start(store)
    run = user.proxy().run
    assert get(run(_found, store.actor_urn)) == (store.actor_urn, ["Store"], True, [user.actor_urn])
    other = Store.start()
    assert get(run(_found, other.actor_urn))[0] is None, "nobody has given it that one"
    other.stop()
    user.stop(timeout=SECONDS)
    assert store.is_alive()


def _found(urn: str) -> Any:
    registry = pykka.ActorRegistry
    ref = registry.get_by_urn(urn)
    return (
        None if ref is None else ref.actor_urn,
        [found.actor_class.__name__ for found in registry.get_by_class_name("Store")],
        [found.actor_urn for found in registry.get_by_class(Store)] == [urn],
        [found.actor_urn for found in registry.get_all()],
    )


# Promises


class Worker(piactors.ProcessActor):
    """Fills promises, or does not."""

    def fill(self, writer: Any, value: Any) -> None:
        writer.set(value)

    def fail(self, writer: Any) -> None:
        writer.set_exception(LookupError("no"))

    def keep(self, writer: Any) -> None:
        self.writer: Any = writer

    def pass_on(self, writer: Any, other: Any) -> None:
        other.proxy().fill(writer, "passed on").get(timeout=SECONDS)

    def forget(self) -> None:
        self.writer = None

    def read(self, writer: Any) -> Any:
        return sorted(name for name in dir(writer) if not name.startswith("_"))

    def make(self) -> Any:
        self.promise: Any = Promise()
        return self.promise.writer

    def read_own(self) -> Any:
        return self.promise.get(timeout=SECONDS)


@pytest.fixture
def worker() -> Iterator[Any]:
    ref = Worker.start()
    yield ref
    ref.stop(timeout=SECONDS)


def test_a_promise_is_set_by_whoever_has_its_writer(worker: Any) -> None:
    promise: Promise[Any] = Promise()
    get(worker.proxy().fill(promise.writer, [1, 2]))
    assert promise.get(timeout=SECONDS) == [1, 2]
    failed: Promise[Any] = Promise()
    get(worker.proxy().fail(failed.writer))
    with pytest.raises(LookupError):
        failed.get(timeout=SECONDS)
    passed: Promise[Any] = Promise()
    other = Worker.start()
    get(worker.proxy().pass_on(passed.writer, other))
    assert passed.get(timeout=SECONDS) == "passed on"
    assert get(worker.proxy().read(passed.writer)) == ["set", "set_exception"]
    other.stop()


def test_here_too_and_the_first_outcome_stands() -> None:
    promise: Promise[int] = Promise()
    writer = promise.writer
    assert promise.writer is writer
    writer.set(3)
    with pytest.raises(queue.Full):
        writer.set_exception(ValueError())
    assert promise.get() == 3


def test_a_promise_fails_if_nobody_is_left_to_set_it(worker: Any) -> None:
    kept: Promise[Any] = Promise()
    get(worker.proxy().keep(kept.writer))
    assert not kept.done()
    get(worker.proxy().forget())
    with pytest.raises(Released, match="nobody is left"):
        kept.get(timeout=SECONDS)
    lost: Promise[Any] = Promise()
    other = Worker.start()
    get(other.proxy().keep(lost.writer))
    other.terminate()
    with pytest.raises(Released):
        lost.get(timeout=SECONDS)


def test_an_isolates_own_promise_is_set_from_here_and_from_another_one(worker: Any) -> None:
    other = Worker.start()
    get(worker.proxy().make()).set("from here")
    assert get(worker.proxy().read_own()) == "from here"
    writer = get(worker.proxy().make())
    get(other.proxy().fill(writer, "from there"))
    assert get(worker.proxy().read_own()) == "from there"
    other.stop()


def test_promises_are_futures(worker: Any) -> None:
    promise: Promise[int] = Promise()
    waiting = User.start()
    reading = waiting.proxy().wait_for(promise)
    get(worker.proxy().fill(promise.writer, 5))
    assert get(reading) == 5
    assert promise.map(lambda value: value + 1).get(timeout=SECONDS) == 6
    wait_until(promise.done)
    waiting.stop()
