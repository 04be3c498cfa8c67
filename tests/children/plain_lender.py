"""An object whose methods return all that may be lent, for an isolate that is not trusted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import piactors


class PlainLender:
    """Lends things, and uses what it is given."""

    def function(self) -> Any:
        return piactors.by_ref(lambda value: [value])

    def writer(self) -> Any:
        self.promise: piactors.Promise[Any] = piactors.Promise()
        return self.promise.writer

    def was_set(self) -> Any:
        return self.promise.get(timeout=20)

    def future(self) -> Any:
        return {"future": self.promise}

    def items(self) -> Any:
        return piactors.stream([1, 2, 3])

    def numbers(self) -> Iterator[int]:
        yield from (1, 2, 3)

    def back(self, thing: Any) -> Any:
        return [thing]
