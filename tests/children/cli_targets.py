"""Functions for the tests of the command line to run; they work on Python 3.8 and without piactors."""

import logging
import os
import signal
import sys
import threading
import time


def nothing(args):
    pass


def seven(args):
    return 7


def number(args):
    return int(args[0])


def true(args):
    return True


def text(args):
    return "some text"


def unsendable(args):
    return object()


async def coroutine(args):
    return 9


def show_args(args):
    print(repr(args))


def both_streams(args):
    print("one")
    sys.stderr.write("two\n")
    print("three, without a newline", end="")


def many_lines(args):
    for index in range(int(args[0])):
        print("line", index)


def place(args):
    print(os.getcwd())
    print(os.environ.get("CLI_TEST_A"), os.environ.get("CLI_TEST_B"))


def version(args):
    print("{}.{}".format(*sys.version_info))


def sibling(args):
    import cli_sibling

    return cli_sibling.CODE


def fail(args):
    raise ValueError("this went wrong")


def fail_in_own_way(args):
    class Special(Exception):
        pass

    raise Special("this went wrong")


def log(args):
    logger = logging.getLogger("some.where")
    logger.debug("quite small")
    logger.warning("first line\nsecond line")


def crash(args):
    sys.stderr.write("about to crash\n")
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(30)


def crash_in_c(args):
    import ctypes

    ctypes.string_at(0)


def exit_with(args):
    sys.exit(int(args[0]))


def exit_at_once(args):
    os._exit(int(args[0]))


def exit_with_text(args):
    sys.exit("the reason for it")


def interrupt_itself(args):
    raise KeyboardInterrupt("by itself")


def _count(path):
    """Append to a file and return how often that has been done."""
    with open(path, "a") as file:
        file.write("x")
    return os.path.getsize(path)


def crash_times(args):
    """Crash as often as args[1] says, counted in the file args[0], then return 5."""
    if _count(args[0]) <= int(args[1]):
        os._exit(33)
    return 5


def wait_for_ever(args):
    """Start a child process, tell the pids, and never return."""
    child = os.fork()
    if child:
        print(os.getpid(), child)
    while True:
        time.sleep(60)


def leave_thread(args):
    """Return while another thread still works and has something to print."""

    def work():
        time.sleep(0.3)
        print("the thread ends")

    threading.Thread(target=work).start()
    return 4


def crash_in_thread_at_end(args):
    """Return, and crash once the process is asked to end."""
    import atexit

    atexit.register(os.kill, os.getpid(), signal.SIGABRT)
    return 4


def allocate(args):
    """Take memory, piece by piece, until something ends that; with args, count the runs in the file args[0]."""
    if args:
        _count(args[0])
    kept = []
    while True:
        kept.append(bytearray(b"x") * 5000000)
        time.sleep(0.03)


def sleep_long(args):
    if args:
        _count(args[0])
    time.sleep(30)


def burn(args):
    while True:
        pass


def state(args):
    """Tell what this process has been confined to."""
    import resource

    print(sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0))
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], resource.getrlimit(resource.RLIMIT_FSIZE)[0])


def read_one(args):
    """Read and show one line; after it end with an exit code, where one is given, the first time."""
    print(repr(sys.stdin.readline()), flush=True)
    if args and not os.path.exists(args[0]):
        open(args[0], "w").close()
        os._exit(9)


def read_all(args):
    """Show what stdin has, and whether it is a terminal."""
    print(len(sys.stdin.read()), os.isatty(0))
