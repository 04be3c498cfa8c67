"""An actor in a process of its own: ask, tell, a proxy, attributes, and an actor that stops itself.

    python examples/basic.py

But for its base class it is written as any pykka actor is, and used in the same way.
"""

from __future__ import annotations

import os
from typing import Any

from piactors import ProcessActor


class Greeter(ProcessActor):
    """Greets, and remembers whom."""

    def __init__(self, greeting: str) -> None:
        super().__init__()
        self.greeting = greeting
        self.greeted: list[str] = []

    def on_receive(self, message: Any) -> str:
        """Answer a message that is not a call of a method."""
        return f"got {message!r} in process {os.getpid()}"

    def greet(self, name: str) -> str:
        """Return a greeting."""
        self.greeted.append(name)
        return f"{self.greeting}, {name}!"

    def say_goodbye(self) -> str:
        """Stop; what is in the mailbox by now is still handled."""
        self.stop()
        return f"Goodbye, {' and '.join(self.greeted)}!"


def main() -> None:
    """Start a greeter and talk to it in every way."""
    ref = Greeter.start("Hello")
    print(f"The host is process {os.getpid()}, the actor lives in {ref.pid}.")

    # Messages: `ask` waits for the answer, `tell` does not.
    print("Asked: ", ref.ask({"any": "message"}, timeout=10))
    ref.tell("nobody waits for an answer to this")

    # A proxy has the methods and attributes of the actor; each use of one returns a future.
    greeter = ref.proxy()
    future = greeter.greet("Ada")
    print("Called:", future.get(timeout=10))

    # Attributes can be read and set.
    greeter.greeting = "Good day"
    print("Set:   ", greeter.greet("Grace").get(timeout=10))
    print("Read:  ", greeter.greeted.get(timeout=10))

    # An actor can stop itself; then its process is gone.
    print("Last:  ", greeter.say_goodbye().get(timeout=10))
    reason = ref.wait_for_exit()
    assert reason is not None  # None would be a time-out, and there is none here
    print(f"The actor has {reason.summary}; alive: {ref.is_alive()}.")


if __name__ == "__main__":
    main()
