"""What an isolate is made of."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from piactors._codec.definitions import Needs
from piactors._process.placement import Order
from piactors.options import IsolationOptions


@attrs.frozen(kw_only=True)
class IsolateSpec:
    """What an isolate is made of, the same for all its generations.

    Attributes:
        order: how its processes are made.
        init: makes the first frame of a generation: of the urn of the ref, its number, what was set with `set_data`.
        code: whether replies may be pickles.
        trusts_objects: whether functions that are handed over with a call are trusted more than that (see `trusting`).
        takes_requests: whether the isolate may ask things of the host: where that has handed over its code.
        needs: the definitions that what is hosted needs; they live as long as the isolate does.
    """

    name: str
    urn: str
    options: IsolationOptions
    order: Order
    own_interpreter: bool
    init: Callable[[str, int, dict[str, bytes]], bytes]
    code: bool
    takes_requests: bool
    needs: Needs | None = None
    trusts_objects: bool = False
