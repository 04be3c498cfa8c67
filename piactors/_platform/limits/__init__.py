"""How limits are enforced: one file per mechanism, behind the port of `piactors._platform.confinement`.

- `cgroup_v2`, `cgroup_v1`: the kernel's control groups (`cgroups` is what both share, `launcher_cgroup` the
  group that holds whatever a launcher has started);
- `rlimits`: limits of single processes, which the kernel checks at each request;
- `scheduler`: affinity, niceness and I/O class;
- `monitored`: what the host's monitor can enforce by looking (see `piactors._host.monitor`).

`groups` is what control groups have in common, `joined` makes one of several.  `preferences` has the mechanisms of each
limit, the best one first.  `PIACTORS_PORTABLE` takes ``cgroup-v2``,
``cgroup-v1``, ``rlimit``, ``scheduler`` or ``monitor`` away.
"""
