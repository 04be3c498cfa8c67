"""When the host dies, every isolate and everything that an isolate has started is gone within a second."""

from __future__ import annotations

import signal

import pytest

from tests.orphans.support import (
    Watch,
    end_by_pidfd,
    script_of,
    state_of,
    time_limit,
    together,
    wait_until,
    watch,
)

__all__ = ["watch"]
pytestmark = time_limit

START_METHODS = ("launcher", "spawn")

# Each script leaves an isolate in one condition, says so with "at", and then says all with "ready".
CONDITIONS = {
    "idle": "ref = spawn('daemons:Daemons'); say(at='idle')",
    "busy": "ref = spawn('busy:spin'); call = ref.proxy().call()",
    "c call with the GIL": "ref = spawn('gil:sleep_in_c'); call = ref.proxy().call()",
    "c loop with the GIL": "ref = spawn('gil:count_in_c'); call = ref.proxy().call()",
    "stopped": "ref = spawn('stopped:stop'); call = ref.proxy().call()",
    "deaf": "ref = spawn('deaf:sleep'); call = ref.proxy().call()",
    "with daemons": (
        "ref = spawn('daemons:Daemons'); say(daemons=ref.proxy().leave().get(timeout=20)); say(at='daemons')"
    ),
    "with daemons, in a c call with the GIL": (
        "ref = spawn('daemons:Daemons'); say(daemons=ref.proxy().leave().get(timeout=20));"
        "call = ref.invoke('gil:sleep_in_c', (), {})"
    ),
}


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("conditions", together(CONDITIONS))
def test_no_isolate_outlives_its_host(
    watch: Watch, conditions: tuple[str, ...], number: int, start_method: str
) -> None:
    """Whatever an isolate does when the host is ended by a signal, it and all its descendants go within a second."""
    end = "say(pids={name: ref.pid for name, ref in refs.items()}, launchers=launchers())\nsleep_for_ever()"
    host = watch.host(script_of(CONDITIONS, conditions) + end, start_method=start_method)
    for _ in conditions:
        host.hear("at")
    line = host.hear_line("pids")
    pids = line["pids"]
    assert set(pids) == set(conditions)
    if "stopped" in pids:
        wait_until(lambda: state_of(pids["stopped"]) == "T")
    found = watch.add_tree(host.pid)
    assert {*pids.values(), *line["launchers"]} <= found
    for name in conditions:
        if "daemons" in name:
            daemons = host.hear("daemons")
            assert len(daemons) == 9
            assert set(daemons) <= found
    watch.assert_all_gone(since=host.signal(number))


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("way", ["os._exit(0)", "os.abort()", "os.execv('/bin/sleep', ['sleep', '1000'])"])
def test_no_isolate_outlives_a_host_that_leaves_without_a_word(watch: Watch, way: str, start_method: str) -> None:
    """`os._exit`, a crash of the interpreter, or another program in the host's place: the isolates end too."""
    script = f"""
ref = spawn('daemons:Daemons')
pids = ref.proxy().leave().get(timeout=20)
say(pid=ref.pid)
signal.signal(signal.SIGUSR1, lambda *_: {way})
say(ready=1)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    host.hear("ready")
    watch.add_tree(host.pid)
    since = host.signal(signal.SIGUSR1)
    if "exec" in way:
        watch.assert_all_gone(since=since, besides=[host.pid])
        assert watch.living([host.pid])
    else:
        watch.assert_all_gone(since=since)


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.02, 0.04, 0.08, 0.12, 0.2, 0.3])
def test_no_isolate_outlives_a_host_that_dies_while_it_starts(watch: Watch, delay: float, start_method: str) -> None:
    """The host is killed at any time between its wish for an isolate and the isolate's first message."""
    host = watch.host("say(ready=1); spawn('daemons:Daemons')\nsleep_for_ever()", start_method=start_method)
    host.hear("ready")
    watch.await_end([host.pid], delay)
    watch.add_tree(host.pid)
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))


@pytest.mark.parametrize("start_method", START_METHODS)
def test_no_isolate_outlives_a_host_that_dies_during_its_import(watch: Watch, start_method: str) -> None:
    """An isolate that is still importing its target ends with its host as any other."""
    host = watch.host("spawn('slow:anything')", start_method=start_method)
    host.hear("at")
    watch.add_tree(host.pid)
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))


def test_no_launcher_outlives_a_host_that_dies_during_its_preload(watch: Watch) -> None:
    """A launcher that is still importing what it preloads ends with its host."""
    host = watch.host("say(ready=1); spawn('daemons:Daemons', preload=['slow'])", start_method="launcher")
    host.hear("ready")
    wait_until(lambda: watch.add_tree(host.pid))
    watch.await_end([host.pid], 0.3)  # what a launcher prints goes nowhere, so nothing tells when it is there
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_none_of_many_starting_isolates_outlives_the_host(watch: Watch, delay: float, start_method: str) -> None:
    """The host is killed while 16 isolates start at the same time."""
    script = """
threads = [threading.Thread(target=spawn, args=("daemons:Daemons",), daemon=True) for _ in range(16)]
for thread in threads:
    thread.start()
say(ready=1)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    host.hear("ready")
    watch.await_end([host.pid], delay)
    watch.add_tree(host.pid)
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))


@pytest.mark.parametrize("start_method", START_METHODS)
def test_none_of_many_isolates_with_daemons_outlives_the_host(watch: Watch, start_method: str) -> None:
    """A second is enough for 12 isolates that have left all kinds of processes behind."""
    script = """
refs = [spawn("daemons:Daemons") for _ in range(12)]
daemons = [ref.proxy().leave() for ref in refs]
say(daemons=[pid for call in daemons for pid in call.get(timeout=30)])
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    daemons = host.hear("daemons")
    assert len(set(daemons) & watch.add_tree(host.pid)) == 12 * 9
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))


COPIES = {
    "multiprocessing": """
import multiprocessing
copy = multiprocessing.get_context("fork").Process(target=sleep_for_ever)
copy.start()
say(copy=copy.pid)
""",
    "fork without Python's knowledge": """
import ctypes
pid = ctypes.PyDLL(None).fork()
if pid == 0:
    while True:
        ctypes.PyDLL(None).pause()
say(copy=pid)
""",
}


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("how", COPIES)
def test_a_living_copy_of_the_host_does_not_keep_isolates_alive(watch: Watch, how: str, start_method: str) -> None:
    """A fork of the host holds copies of all its descriptors, so no channel ends; the isolates end all the same."""
    script = f"""
idle, ref, stuck = spawn("daemons:Daemons"), spawn("daemons:Daemons"), spawn("gil:sleep_in_c")
ref.proxy().leave().get(timeout=20)
call = stuck.proxy().call()
{COPIES[how]}
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    host.hear("at")
    copy = host.hear("copy")
    watch.add_tree(host.pid)
    watch.assert_all_gone(since=host.signal(signal.SIGKILL), besides=[copy])
    assert watch.living([copy]) == {copy}


@pytest.mark.parametrize("start_method", START_METHODS)
@pytest.mark.parametrize("portable", ["", "launcher"])
def test_isolates_do_not_depend_on_the_thread_that_started_them(watch: Watch, start_method: str, portable: str) -> None:
    """Isolates outlive the thread that made them, and still end with the host."""
    script = """
refs = []
def make():
    refs.append(spawn("daemons:Daemons"))
thread = threading.Thread(target=make)
thread.start()
thread.join()
pid = refs[0].pid
wait_for(lambda: len(os.listdir("/proc/self/task")) <= 4)  # the main thread and the three of piactors
say(before=pid, after=refs[0].proxy().pid().get(timeout=20), launchers=launchers())
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method, env={"PIACTORS_PORTABLE": portable})
    line = host.hear_line("after")
    assert line["before"] == line["after"]
    watch.add_tree(host.pid)
    assert watch.living([line["after"]])
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))


@pytest.mark.parametrize("start_method", START_METHODS)
def test_isolates_end_with_the_host_while_their_launcher_is_stopped(watch: Watch, start_method: str) -> None:
    """Isolates watch the host themselves: where the launcher cannot act, those that can run Python still go."""
    script = """
idle, busy, ref = spawn("daemons:Daemons"), spawn("busy:spin"), spawn("daemons:Daemons")
call = busy.proxy().call()
ref.proxy().leave().get(timeout=20)
say(launchers=launchers())
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    host.hear("at")
    (launcher,) = host.hear("launchers")
    watch.add_tree(host.pid)
    end_by_pidfd(launcher, signal.SIGSTOP)
    wait_until(lambda: state_of(launcher) == "T")
    since = host.signal(signal.SIGKILL)
    watch.assert_all_gone(since=since, besides=[launcher])
    if watch.living([launcher]):
        end_by_pidfd(launcher, signal.SIGCONT)
    watch.assert_all_gone()


@pytest.mark.parametrize("start_method", START_METHODS)
def test_a_process_that_keeps_forking_does_not_outrun_the_launcher(watch: Watch, start_method: str) -> None:
    """A process that is another one every millisecond ends with the host too."""
    script = """
ref = spawn("runner:run_away")
ref.proxy().call().get(timeout=20)
say(ready=1)
sleep_for_ever()
"""
    host = watch.host(script, start_method=start_method)
    host.hear("ready")
    watch.add_tree(host.pid)
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))


@pytest.mark.parametrize("portable", ["launcher", "launcher,pidfd,memfd"])
@pytest.mark.parametrize("condition", ["idle", "busy", "c call with the GIL", "stopped", "deaf"])
def test_without_a_launcher_isolates_end_with_the_host(watch: Watch, condition: str, portable: str) -> None:
    """On the portable path the isolates themselves end with the host, by the kernel's signal or their own watch."""
    script = f"{CONDITIONS[condition]}\nsay(pid=ref.pid, launchers=launchers())\nsleep_for_ever()"
    host = watch.host(script, env={"PIACTORS_PORTABLE": portable})
    host.hear("at")
    line = host.hear_line("pid")
    if condition == "stopped":
        wait_until(lambda: state_of(line["pid"]) == "T")
    assert line["launchers"] == []
    assert line["pid"] in watch.add_tree(host.pid)
    watch.assert_all_gone(since=host.signal(signal.SIGKILL))
