"""Whatever fails on the way from a fork to the first message, the host is told the cause."""

from __future__ import annotations

import pytest

from piactors.pihost.memory import segments
from tests.support import HostScripts

PROGRAM = '''
    """Start isolates, each with a failure at another step, and print how each start ended without its cause."""
    import os, pickle, signal, socket, sys

    from piactors import pihost
    from piactors.pihost.fork import launcher, rehearsal
    from piactors.pihost.serve import isolate
    from piactors.pihost.wire import page, wire

    HERE = os.path.join(os.path.dirname(pihost.__file__), "")
    armed, steps, seen = 0, 0, set()

    def trace(frame, event, _):
        """Raise at the step that is armed: each call of a function of pihost, and each line of the isolate's own."""
        global steps
        path = frame.f_code.co_filename
        if not path.startswith(HERE) or frame.f_code.co_name in ("tell_failure", "_be_isolate"):
            return None
        place = frame.f_code, frame.f_lineno
        steps += place not in seen
        seen.add(place)
        if steps == armed:
            sys.settrace(None)
            raise KINDS[armed % len(KINDS)](f"injected into {frame.f_code.co_name}")
        return trace if path == isolate.__file__ else None

    KINDS = (RuntimeError, OSError, MemoryError, SystemExit)
    os.register_at_fork(after_in_child=lambda: sys.settrace(trace))

    def received(fd):
        decoder = wire.FrameDecoder(1 << 24)
        while True:
            data = os.read(fd, 65536)
            if not data:
                return None
            for frame in decoder.feed(data):
                return frame

    def start(init):
        (requests, to_requests), (from_replies, replies) = os.pipe(), os.pipe()
        control, their_control = socket.socketpair()
        ours, their_launcher = socket.socketpair()
        memory = os.memfd_create("page")
        os.ftruncate(memory, page.SIZE)
        outputs = [os.open(os.devnull, os.O_WRONLY) for _ in range(2)]
        fds = [requests, replies, their_control.detach(), *outputs]
        os.write(to_requests, wire.encode(wire.INIT, 0, 1, 0, init))
        one = launcher.Launcher(their_launcher, -1)
        pid = one._fork({"inherited": {}}, [*fds, memory])
        for fd in (*fds, memory, one._wake_read, one._wake_write):
            os.close(fd)
        frame = received(from_replies)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        for fd in (to_requests, from_replies):
            os.close(fd)
        for sock in (control, ours, their_launcher):
            sock.close()
        return frame

    target = ("object", pickle.dumps((list, (), {}), 4))
    init = pickle.dumps({**rehearsal._init(), "cwd": os.getcwd(), "target": target}, 4)
    outcomes = {"ready": 0, "told": 0}
    for armed in range(1, 2000):
        frame = start(init)
        if frame is not None and frame.kind == wire.START_FAILED and b"injected into" in frame.payload:
            outcomes["told"] += 1
        elif frame is not None and frame.kind == wire.READY:
            outcomes["ready"] += 1
            if outcomes["ready"] > 30:
                break  # long after the last step
        else:
            print("step", armed, frame)
            break
    print(outcomes)
'''


@pytest.mark.skipif(not segments.available(), reason="no files in memory here")
def test_a_failure_at_any_step_of_a_start_is_told(host_script: HostScripts) -> None:
    process = host_script(PROGRAM)
    out, err = process.communicate(timeout=60)
    assert "step" not in out, out + err
    assert "'ready': 31" in out, out + err
    assert int(out.rpartition(" ")[2].rstrip("}\n")) > 100
