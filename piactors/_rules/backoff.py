"""How long a restart waits."""

from __future__ import annotations

from piactors.options import Backoff


def delay(backoff: Backoff | None, attempt: int, uniform: float) -> float:
    """Return the seconds to wait before the restart `attempt` (from 1); `uniform` in [0, 1) spreads it.

    The wait grows by `factor` from `initial` to `maximum`, and `jitter` moves it by up to that
    fraction either way, so that many isolates that failed together do not come back together.
    """
    if backoff is None:
        return 0.0
    try:
        plain = min(backoff.maximum, backoff.initial * backoff.factor ** (attempt - 1))
    except OverflowError:
        plain = backoff.maximum if backoff.initial else 0.0
    return min(backoff.maximum, plain * (1 + backoff.jitter * (2 * uniform - 1)))
