"""Refs that go to isolates, thread actors and back: what they lead to, what they allow, and how long."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import pykka
import pytest

import piactors
from piactors import (
    ActorDeadError,
    ChildSpec,
    IsolateCrashed,
    NotPermitted,
    ProcessIsolator,
    Revoked,
    Supervisor,
    by_ref,
)
from tests.children.talking import Store, Threaded, User
from tests.support import wait_until

SECONDS = 20


def get(future: Any) -> Any:
    return future.get(timeout=SECONDS)


def test_a_ref_is_an_argument_and_its_methods_run_in_their_own_process(store: Any, user: Any) -> None:
    proxy = user.proxy()
    assert get(proxy.call(store, "add", "x")) == 1
    assert get(proxy.call(store, "add", [1, {"two": (3,)}])) == 2
    assert get(proxy.attribute(store, "size")) == 0
    get(proxy.set_attribute(store, "size", 9))
    assert store.proxy().size.get(timeout=SECONDS) == 9
    assert get(proxy.ask(store, {"a": 1})) == ("received", {"a": 1})
    get(proxy.tell(store, "told"))
    assert get(store.proxy().all()) == ["x", [1, {"two": (3,)}], {"a": 1}, "told"]
    assert get(proxy.about(store)) == (True, store.name, "running", 1, store.actor_urn, True)


@pytest.mark.parametrize("where", ["argument", "list", "constructor", "set_data", "message", "exception", "closure"])
def test_it_goes_wherever_a_value_goes(store: Any, user: Any, where: str) -> None:
    proxy = user.proxy()
    if where == "argument":
        get(proxy.keep(store))
    elif where == "list":
        assert get(proxy.back([{"ref": store}]))[0]["ref"] is store
        return
    elif where == "constructor":
        other = User.start(store)
        assert get(other.proxy().call(None, "add", 1)) == 1
        assert get(other.proxy().given_back()) == (store,)
        other.stop()
        return
    elif where == "set_data":
        user.set_data("store", store)
        assert user.get_data("store") is store
        assert get(proxy.run(_add_to_data, 5)) == 1
        return
    elif where == "message":
        user.ask({"keep": store}, timeout=SECONDS)
    elif where == "exception":
        with pytest.raises(LookupError) as caught:
            get(proxy.fail_with(store))
        assert caught.value.args[1] is store
        return
    else:
        assert get(proxy.run(lambda: store.proxy().add(1).get(timeout=SECONDS))) == 1
        return
    assert get(proxy.kept_back()) is store
    assert get(proxy.call(None, "add", 1)) == 1


def _add_to_data(value: Any) -> Any:
    import pihost_data

    return pihost_data.data["store"].proxy().add(value).get(timeout=SECONDS)


def test_what_an_actor_returns_as_its_own_ref_is_the_hosts(store: Any, user: Any) -> None:
    assert get(store.proxy().me()) is store
    with pytest.raises(LookupError) as caught:
        get(store.proxy().raise_with(store))
    assert caught.value.args[1] is store
    assert get(user.proxy().call(store, "me")) is store, "by way of another isolate"


def test_two_refs_of_one_actor_are_one_and_an_actors_own_is_its_own(store: Any, user: Any) -> None:
    assert get(user.proxy().are_one(store, store)) == (True, True, True)
    assert get(user.proxy().are_one(store, user)) == (False, False, False)
    assert get(user.proxy().is_mine(user)) is True


def test_a_ref_that_is_passed_on_leads_to_the_same_actor(store: Any, user: Any) -> None:
    """From one isolate to another, as an argument and as a result."""
    other = User.start()
    get(user.proxy().call(other, "keep", store))
    assert get(other.proxy().call(None, "add", "x")) == 1
    get(user.proxy().keep(other))
    assert get(user.proxy().call(None, "kept_back")) is store
    get(other.proxy().keep(user))
    assert get(store.proxy().all()) == ["x"]
    other.stop()


def test_it_holds_through_restarts_of_both(store: Any, user: Any) -> None:
    other = User.with_options(restart="permanent").start(store)
    proxy = other.proxy()
    assert get(proxy.call(None, "add", 1)) == 1
    with pytest.raises(IsolateCrashed):
        get(proxy.call(None, "die"))
    assert get(proxy.call(None, "add", 2)) == 1, "a new process of the store"
    with pytest.raises(IsolateCrashed):
        get(proxy.die())
    assert get(proxy.call(None, "add", 3)) == 2, "a new process of the user, which was given it at its start"
    other.stop()


def test_a_retry_and_a_call_timeout_of_the_methods_author_hold_for_isolates_too(
    store: Any, user: Any, tmp_path: Path
) -> None:
    assert get(user.proxy().call(store, "die_once", str(tmp_path / "flag"))) == "survived"


def test_it_neither_keeps_an_actor_alive_nor_ends_it(store: Any, user: Any) -> None:
    other = Store.start()
    get(user.proxy().keep(other))
    get(user.proxy().keep(None))
    assert get(other.proxy().add(1)) == 1
    get(user.proxy().keep(other))
    other.stop()
    with pytest.raises(ActorDeadError):
        get(user.proxy().call(None, "add", 1))
    with pytest.raises(ActorDeadError):
        get(user.proxy().tell(other, 1))
    assert get(user.proxy().about(other))[:3] == (False, other.name, "stopped")


def test_messages_of_one_holder_arrive_in_order_whatever_they_hold(store: Any, user: Any) -> None:
    """Some the host passes on as they came; some it has to read, as they hold what it has sent by value."""
    values: list[Any] = [Local(number) if number % 7 == 3 else number for number in range(200)]
    get(user.proxy().defers(store, "add", values))
    wait_until(lambda: len(get(store.proxy().all())) == 200)  # those that the host has to read come a little later
    seen = get(store.proxy().all())
    assert [value.number if isinstance(value, Local) else value for value in seen] == list(range(200))
    assert all(type(value) is Local for value in seen[3::7])


class Local:
    """A class of this module, which isolates import."""

    def __init__(self, number: int) -> None:
        self.number = number


def test_what_a_call_needs_of_the_hosts_own_code_goes_along(store: Any, user: Any) -> None:
    """A class and a function of a script are known by a key, which another isolate may not have."""

    class Inner:
        def __init__(self, value: int) -> None:
            self.value = value

    get(user.proxy().call(store, "set", "inner", Inner(3)))
    found = get(store.proxy().get("inner"))
    assert (type(found), found.value) == (Inner, 3)
    assert get(user.proxy().call(store, "get", "inner")).value == 3


# Thread actors


def test_refs_of_actors_in_threads_go_as_well(user: Any) -> None:
    ref = Threaded.start()
    proxy = user.proxy()
    assert get(proxy.call(ref, "double", 4)) == 8
    assert get(proxy.attribute(ref, "size")) == 3
    get(proxy.set_attribute(ref, "size", 5))
    assert ref.proxy().size.get(timeout=SECONDS) == 5
    assert get(proxy.ask(ref, "m")) == ("thread", "m")
    with pytest.raises(LookupError, match="from a thread"):
        get(proxy.call(ref, "raise_it"))
    assert get(proxy.back(ref)) is ref
    assert get(proxy.stop_it(ref)) is True
    wait_until(lambda: not ref.is_alive())
    with pytest.raises(ActorDeadError):
        get(proxy.call(ref, "double", 4))


# Isolates that the host does not trust, and interpreters without piactors


def test_code_called_by_name_uses_a_ref_that_it_is_given(store: Any) -> None:
    with ProcessIsolator() as isolator:
        found = isolator.invoke_method("tests.children.plain_talk:use_ref", store, 4).get(timeout=SECONDS)
        assert found == {"count": 1, "size": 0, "asked": ("received", "hello"), "alive": True, "name": store.name}
        assert isolator.invoke_method("tests.children.plain_talk:back", store).get(timeout=SECONDS) is store
    assert get(store.proxy().all()) == [4, "hello"]


def test_what_it_sends_through_it_is_plain_data(store: Any) -> None:
    with ProcessIsolator() as isolator, pytest.raises(Exception, match="cannot be sent"):
        isolator.invoke_method("tests.children.plain_talk:send_object", store).get(timeout=SECONDS)


# Narrowed


def test_a_narrowed_ref_allows_its_methods_alone_here_and_there(store: Any, user: Any) -> None:
    narrow = store.restrict(["add", "size"])
    proxy = user.proxy()
    assert get(proxy.call(narrow, "add", 1)) == 1
    assert narrow.proxy().size.get(timeout=SECONDS) == 0
    assert get(narrow.call("add", 2)) == 2
    for attempt in (
        lambda: narrow.call("get", "x"),
        lambda: narrow.ask("message"),
        lambda: narrow.tell("message"),
        narrow.stop,
        narrow.terminate,
        narrow.recycle,
        lambda: narrow.set_data("x", 1),
        lambda: narrow.invoke(os.getpid, (), {}),
        lambda: get(proxy.ask(narrow, "message")),
        lambda: get(proxy.stop_it(narrow)),
        lambda: get(proxy.run(_call_whatever_is_described, narrow)),
    ):
        with pytest.raises(NotPermitted):
            attempt()
    with pytest.raises(AttributeError):
        narrow.proxy().get("x")
    with pytest.raises(AttributeError):
        get(proxy.call(narrow, "get", "x"))
    assert store.is_alive()


def _call_whatever_is_described(ref: Any) -> Any:
    return ref.call("get", "x").get(timeout=SECONDS)


def test_it_cannot_be_widened_by_nobody(store: Any, user: Any) -> None:
    narrow = store.restrict(["add"]).restrict(["add", "get"], stop=True)
    with pytest.raises(NotPermitted):
        get(user.proxy().run(_call_whatever_is_described, narrow))
    with pytest.raises(NotPermitted):
        get(user.proxy().stop_it(narrow))
    came_back = get(user.proxy().back(narrow))
    assert came_back is narrow
    with pytest.raises(NotPermitted):
        store.revoke()


def test_it_may_stop_only_if_it_says_so(store: Any, user: Any) -> None:
    other = Store.start()
    assert get(user.proxy().stop_it(other.restrict(stop=True))) is True
    assert not other.is_alive()


def test_messages_are_allowed_by_the_name_of_their_method(store: Any, user: Any) -> None:
    narrow = store.restrict(["on_receive"])
    assert get(user.proxy().ask(narrow, "m")) == ("received", "m")


def test_a_revoked_ref_leads_nowhere_wherever_it_is(store: Any, user: Any) -> None:
    """Calls that have begun go on; those that wait fail, also those of refs that were made of it."""
    narrow = store.restrict()
    narrower = narrow.restrict(["add"])
    begun = narrow.proxy().sleep(0.5)
    wait_until(begun.running)
    waiting = [narrow.proxy().add(1), narrower.proxy().add(2)]
    there = user.proxy().call(narrower, "add", 3)
    wait_until(lambda: store.mailbox_size == 4)
    narrow.revoke()
    for future in (*waiting, there):
        with pytest.raises(Revoked):
            get(future)
    assert get(begun) == "slept"
    with pytest.raises(Revoked):
        narrow.proxy().add(1).get(timeout=SECONDS)
    with pytest.raises(Revoked):
        get(user.proxy().call(narrower, "add", 4))
    assert get(store.proxy().all()) == []


def test_it_expires_and_counts_its_calls(store: Any, user: Any) -> None:
    with pytest.raises(Revoked, match="expired"):
        get(user.proxy().call(store.restrict(expires=1e-6), "add", 1))
    few = store.restrict(calls_per_second=0.001)
    assert get(user.proxy().call(few, "add", 1)) == 1
    with pytest.raises(NotPermitted, match="per second"):
        get(user.proxy().call(few, "add", 2))


def test_its_time_limit_is_the_least_of_all(store: Any, user: Any) -> None:
    hasty = store.restrict(call_timeout=0.2).restrict(call_timeout=60)
    with pytest.raises(piactors.CallTimeout):
        get(user.proxy().call(hasty, "sleep", 30))
    assert get(store.proxy().add(1)) == 1


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"methods": "add"}, TypeError),
        ({"methods": [1]}, TypeError),
        ({"methods": ["a b"]}, TypeError),
        ({"expires": 0}, ValueError),
        ({"expires": "soon"}, TypeError),
        ({"calls_per_second": -1}, ValueError),
        ({"calls_per_second": True}, TypeError),
        ({"call_timeout": 0}, ValueError),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(store: Any, more: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        store.restrict(**more)


def test_a_ref_is_not_pickled_for_others(store: Any) -> None:
    with pytest.raises(piactors.NotSendable, match="in the arguments of calls"):
        pickle.dumps(store)
    ref = Threaded.start()
    with pytest.raises(Exception, match="pickle"):
        pickle.dumps(ref)
    pykka.ActorRegistry.stop_all()


def test_a_method_that_tells_all_the_time_is_told_of_the_end(user: Any) -> None:
    other, begun = Store.start(), threading.Event()
    told = user.proxy().tell_until_it_raises(other, by_ref(begun.set))
    assert begun.wait(SECONDS)
    other.stop(timeout=SECONDS)
    assert "takes no messages" in get(told)
    with pytest.raises(ActorDeadError):
        get(user.proxy().tell(other, 1))


def test_a_ref_that_was_sent_after_the_end_says_so(user: Any) -> None:
    other = Store.start()
    other.stop(timeout=SECONDS)
    with pytest.raises(ActorDeadError):
        get(user.proxy().tell(other, 1))


def test_a_child_that_its_supervisor_starts_again_takes_messages_again(user: Any) -> None:
    tree = Supervisor.start(children=[ChildSpec("store", Store)])
    child = tree.child("store")
    get(user.proxy().tell(child, 1))
    tree.terminate_child("store")
    with pytest.raises(ActorDeadError):
        get(user.proxy().tell(child, 2))
    tree.restart_child("store")
    get(user.proxy().tell(child, 3))
    wait_until(lambda: get(child.proxy().all()) == [3])
    tree.stop()


def test_an_isolate_watches_another_one(user: Any) -> None:
    """A restart is no end, and what has ended before is told of at once."""
    other = Store.with_options(restart="permanent").start()
    get(user.proxy().watches(other))
    with pytest.raises(IsolateCrashed):
        get(other.proxy().die())
    assert get(other.proxy().add(1)) == 1
    assert get(user.proxy().watched()) == []
    other.stop(timeout=SECONDS)
    wait_until(lambda: get(user.proxy().watched()) == [("Down", other.name, "shutdown")])
    get(user.proxy().watches(other))
    wait_until(lambda: get(user.proxy().watched()) == [("Down", other.name, "shutdown")])


def test_an_isolate_that_watches_no_longer_is_told_nothing(user: Any) -> None:
    other, third = Store.start(), Store.start()
    get(user.proxy().watches(other))
    get(user.proxy().watches_no_longer())
    other.stop(timeout=SECONDS)
    get(user.proxy().keep(third))
    third.stop(timeout=SECONDS)
    assert get(user.proxy().watched()) == []
    threaded = Threaded.start()
    with pytest.raises(TypeError, match="in a thread of another process"):
        get(user.proxy().watches(threaded))
    threaded.stop()


def test_watches_of_isolates_leave_nothing(user: Any) -> None:
    """Neither those that were called off, however many, nor those of a process that has ended."""
    other = Store.start()
    for _ in range(1_500):  # more than what a process may lend at once
        get(user.proxy().watches(other))
        get(user.proxy().watches_no_longer())
    wait_until(lambda: not other._ends._waiting)
    get(user.proxy().watches(other))
    assert len(other._ends._waiting) == 1
    with pytest.raises(IsolateCrashed):
        get(user.proxy().die())
    wait_until(lambda: not other._ends._waiting)
    other.stop(timeout=SECONDS)
