"""An actor's class together with the options to start it with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic

import attrs

from piactors._spawn import ahead
from piactors._validation.class_variables import A_co, P
from piactors.options import IsolationOptions

if TYPE_CHECKING:
    from piactors.ref import IsolateRef


@attrs.frozen
class ActorStarter(Generic[A_co, P]):
    """A ProcessActor class together with the options to start it with."""

    actor_class: type[A_co]
    options: IsolationOptions

    @property
    def _plain_class(self) -> type[Any]:
        return self.actor_class

    def start(self, *args: P.args, **kwargs: P.kwargs) -> IsolateRef[A_co]:
        """Start the actor; see `ProcessActor.start`."""
        with ahead.launcher_for(self.options):
            from piactors._spawn import start  # not before it is needed: the launcher starts meanwhile

            return start.start_actor(self._plain_class, self.options, args, kwargs)

    async def start_async(self, *args: P.args, **kwargs: P.kwargs) -> IsolateRef[A_co]:
        """Start the actor, and let the event loop run meanwhile; see `ProcessActor.start_async`."""
        with ahead.launcher_for(self.options):
            from piactors._spawn import start  # as above

            return await start.start_actor_async(self._plain_class, self.options, args, kwargs)


def starter(actor_class: type[Any], options: IsolationOptions, fields: Mapping[str, Any]) -> ActorStarter[Any, Any]:
    """Return what starts an actor with these options, and these fields of them changed."""
    return ActorStarter(actor_class, attrs.evolve(options, **fields))
