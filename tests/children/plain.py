"""Functions and classes that know nothing of the framework: what the tests host."""

import asyncio
import ctypes
import logging
import os
import signal
import sys
import threading
import time


def give(value):
    return value


def add(left, right=0):
    return left + right


def environment(name):
    return os.environ.get(name)


def where():
    return os.getcwd()


def path():
    return list(sys.path)


def modules():
    return sorted(sys.modules)


def interpreter():
    return list(sys.version_info[:2])


def exit_with(code):
    os._exit(code)


def leave(code):
    sys.exit(code)


def kill_self(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    time.sleep(60)


def segfault():
    ctypes.string_at(0)


def fail(text):
    raise ValueError(text)


def interrupt():
    raise KeyboardInterrupt


def say(text, stream="stdout"):
    getattr(sys, stream).write(text)
    getattr(sys, stream).flush()


def flood(count, chunk):
    for _ in range(count):
        os.write(1, chunk)
    return count


def log(name, level, text, **extra):
    logging.getLogger(name).log(level, text, extra=extra)


def log_error(text):
    try:
        raise LookupError(text)
    except LookupError:
        logging.getLogger("plugin").exception("it went wrong")


def shared(key):
    import pihost_data

    return pihost_data.data[key]


def share(key, value):
    import pihost_data

    pihost_data.data[key] = value


def pid():
    return os.getpid()


def wait_for(path):
    """Wait until a file is there: how the tests hold a call."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return path


def hold(path):
    """Say that the call has begun, and never end."""
    touch(path)
    time.sleep(600)


def touch(path):
    with open(path, "a"):
        return path


def append(path, text):
    with open(path, "a") as file:
        file.write(text + "\n")


def random_number():
    import random

    return random.random()


async def later(value):
    await asyncio.sleep(0)
    return value


class Needy(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


def raise_needy():
    raise Needy(1, 2)


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("with a lock")
        self.lock = threading.Lock()


def raise_unpicklable():
    raise Unpicklable


class Tally:
    """Counts; an ordinary class."""

    step = 1

    def __init__(self, start=0):
        self.count = start

    def up(self, by=1):
        self.count += by * self.step
        return self.count

    def custom(self):
        return self

    def die(self, code=1):
        os._exit(code)


class Broken:
    def __init__(self):
        raise RuntimeError("no good")


class Exits:
    def __init__(self):
        print("about to leave", file=sys.stderr)
        os._exit(9)


class Hangs:
    def __init__(self):
        time.sleep(600)
