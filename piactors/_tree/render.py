"""A supervision tree as text."""

from __future__ import annotations

from pykka import ActorDeadError

from piactors._rules.supervisor.child import Child
from piactors._text import shown
from piactors._tree.runner import Runner
from piactors._tree.tree_runner import TreeRunner


def render(root: TreeRunner, *, memory: bool = True) -> str:
    """Return the tree below `root` as text, one line for each child."""
    reason = root.ends.reason
    head = [root.name, root.state, root.describe(memory), "" if reason is None else reason.detail or reason.summary]
    return "\n".join(["  ".join(shown.line(part) for part in head if part), *_below(root, "", memory)])


def _below(parent: TreeRunner, indent: str, memory: bool) -> list[str]:
    try:
        found = [(child, parent.runners.get(child.id)) for child in parent.children()]
    except ActorDeadError:
        return []
    lines: list[str] = []
    for position, (child, runner) in enumerate(found, 1):
        last = position == len(found)
        lines.append(f"{indent}{'└─' if last else '├─'} {_line(child, runner, memory)}")
        if isinstance(runner, TreeRunner):
            lines += _below(runner, indent + ("   " if last else "│  "), memory)
    return lines


def _line(child: Child, runner: Runner | None, memory: bool) -> str:
    parts = [child.id, child.state, "" if runner is None else runner.describe(memory)]
    if child.restarts:
        parts.append(f"restarts {child.restarts}")
    if child.reason is not None and child.state != "running":
        parts.append(child.reason.summary)
    return "  ".join(shown.line(part) for part in parts if part)
