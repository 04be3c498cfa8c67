"""What strikes from outside: kills and stops of isolates, of launchers and of the host itself; and forks of it."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import subprocess
import sys
import time

import pykka

from piactors._host import runtime
from tests.soak.operations import Operation
from tests.soak.world import Caller, Held

FORK_SECONDS = 30.0
_STOPPER = """
import os, signal, sys, time
pid, seconds = int(sys.argv[1]), float(sys.argv[2])
os.kill(pid, signal.SIGSTOP)
try:
    time.sleep(seconds)
finally:
    os.kill(pid, signal.SIGCONT)
"""


def _signalled(pid: int | None, number: int) -> bool:
    if pid is None:
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_isolate(caller: Caller) -> None:
    """Kill an isolate's process."""
    held = caller.world.any(caller.dice)
    if held is not None and held.ref is not None:
        number = caller.dice.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
        caller.world.watch.note(f"kill {number.name} {held.ref.pid}", held.name)
        _signalled(held.ref.pid, number)


def stop_isolate(caller: Caller) -> None:
    """Stop an isolate's process for a moment."""
    held = caller.world.any(caller.dice)
    if held is None:
        return
    pid = held.ref.pid
    start = time.monotonic()
    caller.world.watch.note(f"SIGSTOP {pid}", held.name)
    if _signalled(pid, signal.SIGSTOP):
        caller.world.over.wait(caller.dice.choice([0.01, 0.2, 1.0]))
        _signalled(pid, signal.SIGCONT)
        caller.world.watch.note(f"SIGCONT {pid}", held.name)
    held.facts.pauses.append((start, time.monotonic()))


def _launcher(caller: Caller) -> int | None:
    pids = runtime.current().launcher_pids()
    return caller.dice.choice(pids) if pids else None


def kill_launcher(caller: Caller) -> None:
    """Kill a launcher, and all isolates with it."""
    pid = _launcher(caller)
    caller.world.watch.note(f"kill launcher {pid}")
    _signalled(pid, signal.SIGKILL)


def stop_launcher(caller: Caller) -> None:
    """Stop a launcher for a moment."""
    pid = _launcher(caller)
    caller.world.watch.note(f"SIGSTOP launcher {pid}")
    if _signalled(pid, signal.SIGSTOP):
        caller.world.over.wait(caller.dice.choice([0.05, 0.5, 1.5]))
        _signalled(pid, signal.SIGCONT)
        caller.world.watch.note(f"SIGCONT launcher {pid}")


def stop_host(caller: Caller) -> None:
    """Have this very process stopped for a moment, as by a terminal or a machine that sleeps."""
    seconds = caller.dice.choice([0.1, 0.6, 2.0])
    caller.world.watch.note(f"SIGSTOP the host for {seconds:g} s")
    subprocess.run([sys.executable, "-S", "-c", _STOPPER, str(os.getpid()), str(seconds)], check=False)
    caller.world.watch.note("SIGCONT the host")


def fork_host(caller: Caller) -> None:
    """Fork the host: in the copy all refs are dead, and the isolates of the original live on."""
    with caller.world.lock:
        held = [one for one in caller.world.open if one.ref is not None]
    pid = os.fork()
    if pid == 0:
        _be_a_copy(held)
    with caller.world.watch.bounded(f"fork of the host, pid {pid}", FORK_SECONDS):
        _, status = os.waitpid(pid, 0)
    if status != 0:
        caller.world.fault("fork of the host", "-", f"its copy ended with status {status}")


def _be_a_copy(held: list[Held]) -> None:
    """Look at the refs and end; code 1 where one of them is not dead, 2 where anything else is wrong."""
    code = 2
    try:
        faulthandler.dump_traceback_later(FORK_SECONDS, exit=True)
        dead = [not one.ref.is_alive() for one in held]
        for one in held[:3]:
            with contextlib.suppress(pykka.ActorDeadError):
                one.ref.ask({"method": "fast", "number": 0, "args": ()}, timeout=5)
                dead.append(False)
        code = 0 if all(dead) else 1
    finally:
        os._exit(code)


SABOTAGE = (
    Operation("kill_isolate", 6, 5, kill_isolate),
    Operation("stop_isolate", 4, 5, stop_isolate),
    Operation("kill_launcher", 0.5, 5, kill_launcher),
    Operation("stop_launcher", 0.5, 5, stop_launcher),
    Operation("stop_host", 0.5, 30, stop_host),
    Operation("fork_host", 0.7, 40, fork_host),
)
