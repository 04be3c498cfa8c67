"""Runs `sample_lib.method` in an isolate, by name, and shows what happens.

    python examples/sample_host.py                             a short tour
    python examples/sample_host.py print hello return7         prints, and returns 7
    python examples/sample_host.py --restart crash             crashes, and is started again

The host never imports the library.  Whatever that does, the host goes on.
"""

from __future__ import annotations

import argparse
import logging
import sys

from piactors import IsolateCrashed, IsolationOptions, ProcessIsolator, events

TARGET = "sample_lib:method"


def main() -> int:
    """Do what the command line says; the exit code is 1 if the call failed."""
    parser = argparse.ArgumentParser(description="Run sample_lib.method in an isolate.")
    parser.add_argument("--restart", action="store_true", help="start the isolate again after a crash")
    parser.add_argument("words", nargs="*", help="crash, throw, sleep100, return7, print hello; none: a short tour")
    given = parser.parse_args()

    logging.getLogger("piactors").setLevel(logging.CRITICAL)  # its warnings of crashes: the events show them here
    events.subscribe(show_event)
    if not given.words:
        tour()
        return 0
    options = IsolationOptions(name="sample", restart="permanent" if given.restart else "temporary")
    with ProcessIsolator(options) as isolator:
        succeeded = call(isolator, *given.words)
        if not succeeded and given.restart:
            call(isolator, "print", "back")
    return 0 if succeeded else 1


def tour() -> None:
    """Show a result, an exception, a crash, and the life after it."""
    with ProcessIsolator(IsolationOptions(name="sample", restart="permanent")) as isolator:
        say("\n1. A function returns a value.")
        call(isolator, "print", "hello", "sleep100", "return7")

        say("\n2. It raises: the exception comes here, with its traceback over there.")
        call(isolator, "throw")

        say("\n3. It crashes: that ends its own process, and only that.")
        call(isolator, "crash")

        say("\n4. It was started again, so the next call works.")
        call(isolator, "return42")
    say("\nThe host has come to its end, unharmed.")


def call(isolator: ProcessIsolator, *words: str) -> bool:
    """Call the function and show what comes of it; returns whether it returned."""
    try:
        result = isolator.invoke_method(TARGET, list(words)).get(timeout=30)
    except IsolateCrashed as error:
        stack = error.reason.fault.splitlines()  # that of the whole process; our own part of it is what helps
        where = [line for line in stack if "sample_lib" in line]
        say(f"crashed: {error.reason.summary}, in\n{indented(*where)}")
    except Exception as error:
        say(f"raised: {error!r}, from\n{indented(*str(error.__cause__).strip().splitlines())}")
    else:
        say(f"returned: {result}")
        return True
    return False


def show_event(event: events.Event) -> None:
    """Show an event in one line.  Events come on a thread of their own, so they may come a little late."""
    kind, about = type(event).__name__, f"generation {event.generation}"
    if isinstance(event, events.OutputReceived):
        about = f"{event.stream}: {event.line}"
    elif isinstance(event, events.IsolateExited):
        about += f", {event.reason.summary}"
    say(f"    [{kind}] {event.name}: {about}")


def say(text: str) -> None:
    """Print whole lines from two threads: `print` writes the text and the end of its line one by one."""
    sys.stdout.write(f"{text}\n")


def indented(*lines: str) -> str:
    """Return the lines as text, moved to the right."""
    return "\n".join(f"    | {line}" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
