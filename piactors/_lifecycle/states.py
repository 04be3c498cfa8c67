"""The states of an isolate and every way from one to another.

    starting ──ready──> running ──stop_begun──> stopping ──ended──> stopped
       │                  │  ▲                     │
       │ ended            │  └────────ready────────┼──────┐
       ▼                  ▼                        ▼      │
    stopped            restarting <────will_restart┴── restarting

``will_restart`` and ``ended`` are the two outcomes of a generation's exit.  A generation of a
restarting isolate that does not come up leaves it restarting (`will_restart` again) or ends it.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """What an isolate is doing, as `ref.state` says it."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Happening(StrEnum):
    """What can happen to an isolate."""

    READY = "ready"
    STOP_BEGUN = "stop_begun"
    WILL_RESTART = "will_restart"
    ENDED = "ended"


class IllegalTransition(Exception):
    """Something cannot happen in this state; the state stays as it was."""


TRANSITIONS: dict[State, dict[Happening, State]] = {
    State.STARTING: {
        Happening.READY: State.RUNNING,
        Happening.ENDED: State.STOPPED,
    },
    State.RUNNING: {
        Happening.STOP_BEGUN: State.STOPPING,
        Happening.WILL_RESTART: State.RESTARTING,
        Happening.ENDED: State.STOPPED,
    },
    State.STOPPING: {
        Happening.WILL_RESTART: State.RESTARTING,
        Happening.ENDED: State.STOPPED,
    },
    State.RESTARTING: {
        Happening.READY: State.RUNNING,
        Happening.WILL_RESTART: State.RESTARTING,
        Happening.ENDED: State.STOPPED,
    },
    State.STOPPED: {},
}


def after(state: State, happening: Happening) -> State:
    """Return the state that follows.

    Raises:
        IllegalTransition: where `happening` cannot happen in `state`.
    """
    try:
        return TRANSITIONS[state][happening]
    except KeyError:
        raise IllegalTransition(f"{happening} cannot happen to an isolate that is {state}") from None
