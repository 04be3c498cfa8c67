"""What the ref of an isolate tells of it."""

from __future__ import annotations

from piactors._host import sampling
from piactors._isolate.isolate import Isolate
from piactors.exit_reason import ExitReason
from piactors.limits import Enforcement
from piactors.usage import ResourceUsage, UsageSample, measured


class AboutIsolate:
    """What can be asked about an isolate, without a message to it."""

    _isolate: Isolate
    _history: sampling.History

    @property
    def name(self) -> str:
        """The isolate's name."""
        return self._isolate.spec.name

    @property
    def pid(self) -> int | None:
        """The pid of its process, or None while none runs."""
        return self._isolate.pid

    @property
    def generation(self) -> int:
        """How many processes it has had, the current one included."""
        return self._isolate.generation_number

    @property
    def state(self) -> str:
        """``starting``, ``running``, ``restarting``, ``stopping`` or ``stopped``."""
        return self._isolate.shown_state

    @property
    def _waits_for_room(self) -> bool:
        """Whether who sends it something may have to wait for room in its mailbox."""
        delivery = self._isolate.delivery
        return delivery.capacity is not None and delivery.overflow == "block"

    @property
    def mailbox_size(self) -> int:
        """How many messages wait for it or are with it."""
        return len(self._isolate.delivery)

    def is_alive(self) -> bool:
        """Whether it takes messages: True also while it restarts."""
        return self._isolate.is_alive()

    def resource_usage(self) -> ResourceUsage | None:
        """Return what its process uses now, or None while none runs.

        An isolate that does not answer within 0.2 seconds, as one does not that is in C code which holds the GIL, is
        described from outside alone.  `piactors.usage.snapshot` asks all isolates together.
        """
        return measured([self._isolate])[0]

    def usage_history(self) -> tuple[UsageSample, ...]:
        """Return what its processes have used in the last 5 minutes, the oldest sample first.

        The first call returns one sample, taken now.  From then on there is one for each second in which a process
        runs, across restarts.  Of an isolate that has ended they remain; if a supervisor starts it again then, the
        next call lets them go on.
        """
        return self._history.samples()

    def enforcement(self) -> dict[str, Enforcement]:
        """Return what enforces each of its limits, by the limit's name; nothing if it has none.

        What works is found out once, before the first process is started.
        """
        limits, plan = self._isolate.options.limits, self._isolate.plan
        if limits is None:
            return {}
        return dict((plan or self._isolate.runtime.confiner.plan(limits)).enforcement)

    def wait_for_exit(self, timeout: float | None = None) -> ExitReason | None:
        """Wait until it has ended for good, and return why; None if `timeout` seconds pass first.

        A restart is not an exit.
        """
        return self._isolate.last_reason if self._isolate.wait_ended(timeout) else None
