"""One plugin of a host, as it is now, and as a child of the host's supervisor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from piactors.child_spec import ChildSpec
from piactors.options import IsolationOptions
from piactors.plugins.inside import FOLDER, SIDE
from piactors.plugins.specs import PluginPolicy, PluginSpec, PluginState
from piactors.plugins.stand_in import PluginDescription


@attrs.define(eq=False)
class Installed:
    """One plugin of a host, and how it is."""

    spec: PluginSpec
    policy: PluginPolicy
    state: PluginState = "disabled"
    why: str = ""
    hooks: tuple[str, ...] = ()
    generation: int = 0
    described: PluginDescription | None = None
    """What it has said of itself, if it runs in an isolate."""
    before: tuple[PluginSpec, PluginPolicy] | None = None
    """The version before this one, as long as this one is on probation."""
    until: float = 0.0
    """When that ends, on the monotonic clock."""
    heard: int = 0
    """The last generation that has heard what historic calls there were."""

    def has(self, description: PluginDescription) -> None:
        """These are its hooks, which stand-ins are called for."""
        self.described = description

    def has_heard(self, generation: int) -> None:
        """It has heard what historic calls there were."""
        self.heard = max(self.heard, generation)

    def became(self, state: PluginState, why: str = "", hooks: tuple[str, ...] | None = None) -> None:
        """It is so from now on."""
        self.state, self.why = state, why
        self.hooks = self.hooks if hooks is None else hooks

    def runs(self, generation: int) -> None:
        """A process of it is ready."""
        self.generation = generation

    def is_on_probation(self, spec: PluginSpec, policy: PluginPolicy, until: float) -> None:
        """It has taken over from this version, which is kept until then."""
        self.before, self.until = (spec, policy), until

    def is_trusted(self) -> tuple[PluginSpec, PluginPolicy] | None:
        """Its probation is over; return the version before it."""
        before, self.before = self.before, None
        return before

    def declared(self, spec: PluginSpec, policy: PluginPolicy) -> None:
        """It is another version from now on."""
        self.spec, self.policy = spec, policy

    @property
    def key(self) -> str:
        """Its version and environment: a quarantine is one of those."""
        spec = self.spec
        return f"{spec.version or ''} {spec.environment!r}" if spec.environment else spec.version or ""

    def child(self, host: str, project: str, specs: dict[str, list[str]], *, tests: bool) -> ChildSpec:
        """Return it as a child of the host's supervisor.

        Args:
            host: the host's name.
            specs: the parameters of each hook of the application.
            tests: whether it tests itself at the start.
        """
        spec, policy = self.spec, self.policy
        options = IsolationOptions(
            name=f"{host}.{spec.name}",
            environment=spec.environment,
            sys_path=(*spec.sys_path, FOLDER),
            limits=policy.limits,
            call_timeout=policy.hook_timeout,
            start_timeout=policy.start_timeout,
            concurrency=policy.concurrency,
            on_cycle="reenter",
            trust="code" if policy.trust == "auto" and not isinstance(spec.target, str) else policy.trust,
            accept=policy.accept,
        )
        return ChildSpec(
            spec.name,
            SIDE,
            args=(spec.target, project, specs, tests),
            restart=policy.restart,
            options=options,
            backoff=policy.backoff,
            max_restarts=None,
            on_exhausted="stop",
        )


def loaded(target: Any) -> Any:
    """Return a plugin that runs in the host."""
    from piactors.plugins.inside._piactors_plugin import loading

    return loading.loaded(target) if isinstance(target, str) else target


def marked(plugin: Any, hooks: Iterable[str], marker: Callable[[Any], Any]) -> None:
    """Mark the functions of a plugin in the host that are called as hooks, if none has a marker of its own."""
    statics = {name: inspect.getattr_static(plugin, name) for name in dir(plugin)}
    functions = {name: getattr(static, "__func__", static) for name, static in statics.items()}
    name_of_mark = f"{marker.project_name}_impl"  # type: ignore[attr-defined]
    if not any(hasattr(function, name_of_mark) for function in functions.values()):
        for name in hooks:
            if inspect.isfunction(functions.get(name)):
                marker(functions[name])
