"""What to do to get more out of a machine: commands, from facts.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from piactors.cli.facts import Cgroups, Facts

_CONTROLLERS = {"max_memory": "memory", "max_cpu": "cpu", "max_processes": "pids"}
_KERNEL = {
    "pidfd": "Without pidfds, processes are told apart by pid and creation time.  They need Linux 5.3; in a container, "
    "also a seccomp profile that lets pidfd_open and pidfd_send_signal pass (Docker from 20.10 on has one).",
    "subreaper": "Without subreapers, daemons that an isolate starts are found only by a mark in their environment.  "
    "They need Linux 3.4, and a seccomp profile that lets prctl pass.",
    "children file": "Without /proc/PID/task/TID/children, whole trees are found by reading every process.  It needs "
    "a kernel with CONFIG_PROC_CHILDREN, and a /proc of the same pid namespace.",
    "process CPU clock": "Without it, the monitor looks more closely, and more often, than it needs to.",
    "smaps_rollup": "Without /proc/PID/smaps_rollup (Linux 4.14), shared memory counts for each process that has it.",
}


@attrs.frozen(kw_only=True)
class Advice:
    """One thing to do.

    Attributes:
        about: what it is for.
        text: why and what.
        commands: to be typed, one after the other.
    """

    about: str
    text: str
    commands: tuple[str, ...] = ()


def advice(facts: Facts) -> list[Advice]:
    """Return what helps, the most important first."""
    if facts.machine.taken_away:
        return [
            Advice(
                about="PIACTORS_PORTABLE",
                text=f"It takes away {', '.join(facts.machine.taken_away)}, as tests do.  Look again without it.",
                commands=("unset PIACTORS_PORTABLE", "piactors doctor"),
            )
        ]
    if facts.machine.system != "Linux":
        return [Advice(about="the system", text=f"On {facts.machine.system} most mechanisms are unknown; use Linux.")]
    return [
        *_for_cgroups(facts),
        *_for_priorities(facts),
        *_for_affinity(facts),
        *_for_kernel(facts),
        *_for_starts(facts),
        *_for_interpreters(facts),
    ]


# Control groups


def _for_cgroups(facts: Facts) -> Iterator[Advice]:
    without = [name for name in _CONTROLLERS if name in facts.limits and not _has_group(facts, name)]
    if not without:
        return
    names = " ".join(f"+{_CONTROLLERS[name]}" for name in without)
    about = f"control groups, for {', '.join(without)}"
    divided = [found for found in facts.cgroups if found.version == 1]
    unified = next(
        (found for found in facts.cgroups if found.version == 2 and (found.controllers or not divided)), None
    )
    if facts.machine.container is not None:
        yield _in_container(facts, about, unified, names)
    elif unified is not None and facts.machine.systemd:
        yield _with_systemd(facts.machine.root, about, names)
    elif unified is not None:
        yield _by_hand(facts.machine.root, about, unified, names)
    elif divided:
        yield _version_1(facts.machine.root, about, divided)
    else:
        yield _mount(about)


def _has_group(facts: Facts, limit: str) -> bool:
    return any(facts.limits[limit].by.get(name, "") is None for name in ("cgroup v2", "cgroup v1"))


def _with_systemd(root: bool, about: str, names: str) -> Advice:
    scope = "systemd-run --scope" if root else "systemd-run --user --scope"
    text = (
        "Have systemd delegate a group, and in it move the shell into a subgroup: version 2 allows no processes in a "
        "group that is divided."
    )
    more = (
        ""
        if root
        else (
            "  If a controller is still missing then, an administrator has to delegate it to users: "
            "`systemctl edit user@.service` with `[Service]` and `Delegate=cpu cpuset io memory pids`."
        )
    )
    return Advice(
        about=about,
        text=text + more,
        commands=(
            f"{scope} -p Delegate=yes -- bash",
            "cd /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)",
            "mkdir host && echo $$ > host/cgroup.procs",
            f"echo '{names}' > cgroup.subtree_control",
            "cd - && piactors doctor",
        ),
    )


def _by_hand(root: bool, about: str, unified: Cgroups, names: str) -> Advice:
    own = unified.own or unified.folder
    if root:
        return Advice(
            about=about,
            text="Move the shell into a subgroup: version 2 allows no processes in a group that is divided.",
            commands=(
                f"mkdir -p {own}/host && for pid in $(cat {own}/cgroup.procs); do echo $pid > {own}/host/cgroup.procs; "
                "done 2>/dev/null",
                f"echo '{names}' > {own}/cgroup.subtree_control",
                "piactors doctor",
            ),
        )
    group = f"{unified.folder}/piactors"
    return Advice(
        about=about,
        text="Have root make a group for this user, and move the shell into a subgroup of it.",
        commands=(
            f"sudo sh -c \"echo '{names}' > {unified.folder}/cgroup.subtree_control\"",
            f"sudo mkdir -p {group}/host && sudo chown -R $(id -u) {group}",
            f'sudo sh -c "echo $$ > {group}/host/cgroup.procs"',
            f"echo '{names}' > {group}/cgroup.subtree_control",
            "piactors doctor",
        ),
    )


def _in_container(facts: Facts, about: str, unified: Cgroups | None, names: str) -> Advice:
    if unified is None or not unified.writable:
        return Advice(
            about=about,
            text="This container is not allowed to make control groups.  Start it with a writable /sys/fs/cgroup and a "
            "namespace of its own, and in it, as root, leave the root group free of processes.",
            commands=(
                "docker run --cgroupns=private --security-opt writable-cgroups=true ...  # from Docker 28 on",
                "podman run --cgroupns=private --security-opt unmask=/sys/fs/cgroup ...",
                "docker run --cgroupns=private --privileged ...  # elsewhere",
                "mkdir /sys/fs/cgroup/host && echo $$ > /sys/fs/cgroup/host/cgroup.procs",
                f"echo '{names}' > /sys/fs/cgroup/cgroup.subtree_control",
                "piactors doctor",
            ),
        )
    return attrs.evolve(_by_hand(True, about, unified, names), text=_CROWDED)


_CROWDED = (
    "Leave the container's own group free of processes, as the first thing that it runs: version 2 allows no processes "
    "in a group that is divided."
)


def _version_1(root: bool, about: str, divided: list[Cgroups]) -> Advice:
    folders = list(dict.fromkeys(found.own or found.folder for found in divided if not found.writable))
    if root or not folders:
        return Advice(
            about=about,
            text="Version 1 is mounted, but no groups can be made there; the report says why.  Mount it "
            "writable, or boot with version 2 (systemd.unified_cgroup_hierarchy=1).",
            commands=tuple(f"mount -o remount,rw {folder}" for folder in folders),
        )
    return Advice(
        about=about,
        text="Version 1 cannot be delegated safely.  On a machine of your own, root can make a group for this user "
        "in each hierarchy; better, boot with version 2 (systemd.unified_cgroup_hierarchy=1).",
        commands=tuple(
            f"sudo mkdir -p {folder}/piactors && sudo chown -R $(id -u) {folder}/piactors && "
            f'sudo sh -c "echo $$ > {folder}/piactors/cgroup.procs"'
            for folder in folders
        ),
    )


def _mount(about: str) -> Advice:
    return Advice(
        about=about,
        text="No control groups are mounted here.  Mount version 2, as root; then look again.",
        commands=("sudo mkdir -p /sys/fs/cgroup && sudo mount -t cgroup2 none /sys/fs/cgroup", "piactors doctor"),
    )


# The rest


def _for_priorities(facts: Facts) -> Iterator[Advice]:
    refused = [name for name, why_not in facts.priorities.items() if why_not is not None]
    if not refused:
        return
    if facts.machine.container is not None:
        commands: tuple[str, ...] = ("docker run --cap-add SYS_NICE ...",)
    else:
        commands = (
            'sudo setcap cap_sys_nice+ep "$(readlink -f "$(command -v python3)")"  # the interpreter, for everybody',
            "# of a systemd service: AmbientCapabilities=CAP_SYS_NICE",
        )
    yield Advice(
        about=", ".join(refused), text="A better priority than the usual one needs CAP_SYS_NICE.", commands=commands
    )


def _for_affinity(facts: Facts) -> Iterator[Advice]:
    machine = facts.machine
    if machine.usable_cpus < machine.cpus:
        command = "docker run --cpuset-cpus=..." if machine.container is not None else "taskset -cp $$"
        yield Advice(
            about="affinity",
            commands=(command,),
            text=f"Only {machine.usable_cpus} of the {machine.cpus} "
            "CPUs may be used here, by a cpuset or the affinity of this shell.",
        )


def _for_kernel(facts: Facts) -> Iterator[Advice]:
    for name, text in _KERNEL.items():
        found = facts.kernel.get(name)
        if found is not None and not found.works:
            yield Advice(about=name, text=text)


def _for_starts(facts: Facts) -> Iterator[Advice]:
    broken = [name for name, trial in facts.start_methods.items() if not trial.works]
    if broken:
        yield Advice(
            about=f"start methods: {', '.join(broken)}",
            text="Isolates cannot be started this way.  See what a start reports:",
            commands=tuple(f"piactors run --start-method {name} --log-level DEBUG builtins:len" for name in broken),
        )


def _for_interpreters(facts: Facts) -> Iterator[Advice]:
    if facts.interpreters is not None and len(facts.interpreters) == 1:
        yield Advice(
            about="interpreters",
            text="Only this one was found.  Plugins may run in others, from Python 3.8 on, with nothing installed.",
            commands=("pyenv install 3.12  # or your system's package", "piactors run --python PATH ..."),
        )
