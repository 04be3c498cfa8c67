"""One plugin for random sets of hooks: a function of each kind, which does what the call says."""

from __future__ import annotations

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("random")


class Boom(Exception):
    """What hooks raise."""


def done(step: Any) -> Any:
    """Do one step of a plan: raise, or return something."""
    if step[0] == "raise":
        raise KeyError(step[1])
    return None if step[0] == "none" else step[1]


class Player:
    """Has a plain hook, a wrapper, and a wrapper of the old style; each finds what to do under its name."""

    def __init__(self, name: str = "") -> None:
        self.name = name

    @hookimpl(specname="play")
    def plain(self, plans: dict[str, Any]) -> Any:
        return done(plans[self.name]["inside"])

    @hookimpl(specname="play", wrapper=True)
    def around(self, plans: dict[str, Any]) -> Any:
        plan = plans[self.name]
        done(plan["before"])
        try:
            result = yield
        except KeyError as error:
            if plan["catches"]:
                return ["caught", str(error)]
            raise
        if plan["after"][0] == "keep":
            return result
        made = done(plan["after"])
        return [made, result]

    @hookimpl(specname="play", hookwrapper=True)
    def old(self, plans: dict[str, Any]) -> Any:
        plan = plans[self.name]
        done(plan["before"])
        outcome = yield
        if plan["catches"] and outcome.exception is not None:
            outcome.force_result(["forced", str(outcome.exception)])
        elif plan["after"][0] == "value":
            outcome.force_result(plan["after"][1])
