"""Which mechanisms can enforce which limit."""

from __future__ import annotations

PREFERENCES: dict[str, tuple[str, ...]] = {
    "max_memory": ("cgroup v2", "cgroup v1", "monitor", "rlimit"),
    "soft_memory": ("monitor",),
    "max_cpu": ("cgroup v2", "cgroup v1", "monitor"),
    "affinity": ("scheduler",),
    "max_cpu_time": ("monitor", "rlimit"),
    "max_processes": ("cgroup v2", "cgroup v1", "monitor"),
    "max_open_files": ("rlimit",),
    "max_file_size": ("rlimit",),
    "nice": ("scheduler",),
    "io_class": ("scheduler",),
}
"""The mechanisms that know each limit, the best one first: what counts the whole tree, and what the kernel does."""
