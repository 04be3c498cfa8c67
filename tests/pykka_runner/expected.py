"""The tests of pykka that need not pass with processes, each with the reason."""

from __future__ import annotations

EXPECTED_FAILURES: dict[str, str] = {}
