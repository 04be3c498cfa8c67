"""What can go wrong with environments."""

from __future__ import annotations

from piactors.errors import PiactorsError


class NoInterpreter(PiactorsError):
    """This machine has no interpreter that a spec asks for."""


class BuildFailed(PiactorsError):
    """An environment, or the list of what goes into it, could not be made; nothing is left of the attempt.

    Attributes:
        package: the package that it failed at, as far as that is known.
        lines: the last lines that the tool has written.
    """

    def __init__(self, message: str, package: str | None = None, lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.package = package
        self.lines = lines

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.args[0], self.package, self.lines)


class EnvironmentInUse(PiactorsError):
    """An environment cannot be removed, since somebody uses it."""
