"""The tests of pykka that need not pass with processes, each with the reason."""

from __future__ import annotations

_ON_START = "a failed on_start raises StartError from start(), which returns no ref that the test could look at"
_MOCK = "the mock that is used is the one in the isolate: the host's own mock counts no calls"

_DEAD = "it compares the whole text of ActorDeadError, which names the isolate here, and says why it ended"

EXPECTED_FAILURES: dict[str, str] = {
    "tests.proxy.test_mocking::test_actor_with_noncallable_mock_property_works[process]": _MOCK,
    "tests.proxy.test_mocking::test_actor_with_mocked_method_works[process]": _MOCK,
    "tests.proxy.test_mocking::test_actor_with_callable_mock_property_does_not_work[process]": (
        "the class has a mock in it, and a mock cannot be sent: each has a class of its own that no pickle can name"
    ),
    "tests.test_actor::test_on_start_failure_causes_actor_to_stop[process]": _ON_START,
    "tests.test_logging::test_exception_in_on_start_is_logged[process]": _ON_START,
    "tests.test_logging::test_base_exception_is_logged[process]": (
        "it counts DEBUG records and wants the first: those of the isolate come later than those of the host's registry"
    ),
    "tests.test_ref::test_tell_accepts_any_object_as_the_message[process-message5]": (
        "exceptions compare by identity, and what comes back from the isolate is a copy"
    ),
    "tests.test_ref::test_tell_fails_if_actor_is_stopped[process]": _DEAD,
    "tests.test_ref::test_ask_fails_if_actor_is_stopped[process]": _DEAD,
    "tests.test_ref::test_ask_nonblocking_fails_future_if_actor_is_stopped[process]": _DEAD,
}
