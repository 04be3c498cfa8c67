"""The actor that xoscar runs; apart, because its base class is there only where xoscar is."""

from __future__ import annotations

import xoscar

from benchmarks import subjects, victims


class Echo(victims.Plain, subjects.PlainEcho, xoscar.Actor):
    """Returns what it is given, and dies when told to."""
