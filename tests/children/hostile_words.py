"""Targets whose words would forge lines of a log, or command a terminal."""

import logging
import os
import sys
import threading
import time

FORGED = "[exit] forged code=0"
SEQUENCE = f"\x1b]0;title\x07\x1b[2J\x9b31m\u202e\u2028\r\n{FORGED}\r{FORGED}\u0085{FORGED}"


def says_on_stdout():
    print(SEQUENCE)


def says_on_stderr():
    sys.stderr.write(SEQUENCE + "\n")


def logs():
    logging.getLogger("words").warning("%s", SEQUENCE)


def logs_as_logger():
    logging.getLogger("words" + SEQUENCE).warning("title")


def logs_an_exception():
    try:
        raise ValueError(SEQUENCE)
    except ValueError:
        logging.getLogger("words").exception("it failed")


def logs_an_extra():
    logging.getLogger("words").warning("title", extra={"more": SEQUENCE})


def logs_a_stack():
    exec(compile("log.warning('x', stack_info=True)", SEQUENCE, "exec"), {"log": logging.getLogger("words")})


def logs_from_a_thread():
    thread = threading.Thread(target=logging.getLogger("words").warning, args=("x",), name=SEQUENCE)
    thread.start()
    thread.join()


def dies_with_last_words():
    sys.stderr.write(SEQUENCE + "\n")
    sys.stderr.flush()
    os._exit(3)


def exits_with_words():
    raise SystemExit(SEQUENCE)


def raises():
    raise ValueError(SEQUENCE)


def crashes_in_a_tell():
    raise KeyboardInterrupt(SEQUENCE)


def hangs_in_a_forged_file():
    code = "def f():\n import time\n time.sleep(60)\nf()"
    exec(compile(code, SEQUENCE, "exec"), {})


class CannotStart:
    """Its constructor fails."""

    def __init__(self):
        raise ValueError(SEQUENCE)


class Starts:
    """It is there."""

    def wait(self):
        time.sleep(60)
